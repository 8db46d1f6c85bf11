"""GraphPipe's client for Python: asks served models, and serves functions.

    import graphpipe

    with graphpipe.Client("http://127.0.0.1:9000") as client:
        scores = client.infer(images)

A model that is Python code imports this module too: it raises InvalidInput to refuse a request, and
makes its outputs with empty().
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from . import remote
from ._client import Client
from ._errors import (
    Busy,
    DeadlineExceeded,
    GraphPipeError,
    InvalidInput,
    ModelError,
    NotFound,
    ProtocolError,
    Unavailable,
)
from ._message import IO, Metadata

if TYPE_CHECKING:
    from ._async import AsyncClient
    from ._serve import serve

__version__ = "2.0.0"


def __getattr__(name: str) -> Any:
    """What imports more than most programs need is imported when it is asked for."""
    if name == "AsyncClient":
        from ._async import AsyncClient
        return AsyncClient
    if name == "serve":
        from ._serve import serve
        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def empty(shape: Any, dtype: Any = np.float64) -> Any:
    """An array for a model's output. In a server it lies where the answer is sent from, so that no
    byte of it is copied; elsewhere it is numpy.zeros(shape, dtype)."""
    return np.zeros(shape, dtype)


__all__ = ["IO", "AsyncClient", "Busy", "Client", "DeadlineExceeded", "GraphPipeError",
           "InvalidInput", "Metadata", "ModelError", "NotFound", "ProtocolError", "Unavailable",
           "empty", "remote", "serve"]
