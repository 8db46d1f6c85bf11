"""GraphPipe's client for Python: asks served models.

    import graphpipe

    with graphpipe.Client("http://127.0.0.1:9000") as client:
        scores = client.infer(images)

In a model that is Python code and that the server runs, this module also has `empty`, which makes
arrays that are sent without a copy.
"""

from . import remote
from ._client import AsyncClient, Client
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

__version__ = "2.0.0"
__all__ = ["IO", "AsyncClient", "Busy", "Client", "DeadlineExceeded", "GraphPipeError",
           "InvalidInput", "Metadata", "ModelError", "NotFound", "ProtocolError", "Unavailable",
           "remote"]
