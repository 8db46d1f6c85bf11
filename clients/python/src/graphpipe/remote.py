"""The functions of GraphPipe's client of 2018, by their names; new programs use graphpipe.Client.

As then, a URI names the server (port 80 by default), strings come as bytes, and types that are
newer than 2018 come as those that stood for them: uint8 for bool, float32 for bfloat16. Errors are
those of graphpipe.Client, with the server's words. Connections are kept. Any thread may call them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._arrays import Array, dtype_of
from ._client import Client
from ._drive import drive
from ._message import IO, TYPES, Metadata

_OLD = {"bool": "uint8", "bfloat16": "float32"}


@functools.lru_cache(maxsize=64)
def _client(uri: str) -> Client:
    return Client(re.sub(r"^(http://(?:\[[^]]*\]|[^:/]+))(?=/|$)", r"\1:80", uri), timeout=None)


def _as_in_2018(array: Array) -> Array:
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype.kind == "O":
        strings = [text.encode("utf-8", "surrogateescape") for text in array.ravel()]
        return np.array(strings).reshape(array.shape)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def execute(uri: str, inp: Any, input_name: str | None = None,
            output_name: str | None = None) -> Any:
    """The output for an input; a list if there are several outputs."""
    outputs = execute_multi(uri, [inp], [input_name] if input_name else None,
                            [output_name] if output_name else None)
    return outputs[0] if len(outputs) == 1 else outputs


def execute_multi(uri: str, inputs: Sequence[Any], input_names: Sequence[str] | None,
                  output_names: Sequence[str] | None, config: str | None = None) -> list[Array]:
    """The outputs for inputs, in order; names are the model's own by default."""
    steps = _client(uri)._execute(inputs, input_names or [], output_names or [], config or "")
    return [_as_in_2018(array) for array in drive(steps)]


class _IO2018:
    """An input or output by the accessors of 2018."""

    def __init__(self, io: IO) -> None:
        self._io = io
        self.Name, self.Description = _texts(io, "name", "description")

    def Type(self) -> int:
        return TYPES.index(_OLD.get(self._io.type, self._io.type))

    def ShapeLength(self) -> int:
        return len(self._io.shape)

    def Shape(self, i: int) -> int:
        return int(self.ShapeAsNumpy()[i])

    def ShapeAsNumpy(self) -> Array:
        return np.array([-1 if n is None else n for n in self._io.shape], np.int64)


class _Metadata2018:
    """Metadata by the accessors of 2018."""

    def __init__(self, metadata: Metadata) -> None:
        self._inputs, self._outputs = metadata.inputs, metadata.outputs
        self.Name, self.Version, self.Server, self.Description = _texts(
            metadata, "name", "version", "server", "description")

    def InputsLength(self) -> int:
        return len(self._inputs)

    def OutputsLength(self) -> int:
        return len(self._outputs)

    def Inputs(self, i: int) -> _IO2018:
        return _IO2018(self._inputs[i])

    def Outputs(self, i: int) -> _IO2018:
        return _IO2018(self._outputs[i])


def _texts(of: IO | Metadata, *names: str) -> list[Callable[[], bytes]]:
    """Accessors of texts, as UTF-8."""
    return [getattr(of, name).encode for name in names]


def metadata(uri: str) -> _Metadata2018:
    """The model's metadata, with the accessors that the client of 2018 had."""
    return _Metadata2018(_client(uri).metadata())


def _types(ios: Sequence[IO]) -> list[np.dtype[Any] | None]:
    return [dtype_of(_OLD.get(io.type, io.type)) for io in ios]


def get_input_names(uri: str) -> list[str]:
    """The names of the model's inputs."""
    return [io.name for io in _client(uri).metadata().inputs]


def get_output_names(uri: str) -> list[str]:
    """The names of the model's outputs."""
    return [io.name for io in _client(uri).metadata().outputs]


def get_input_types(uri: str) -> list[np.dtype[Any] | None]:
    """The dtypes of the inputs; None: any."""
    return _types(_client(uri).metadata().inputs)


def get_output_types(uri: str) -> list[np.dtype[Any] | None]:
    """The dtypes of the outputs; None: any."""
    return _types(_client(uri).metadata().outputs)


def get_input_shapes(uri: str) -> list[list[int | None]]:
    """The shapes of the inputs; None: any size."""
    return [list(io.shape) for io in _client(uri).metadata().inputs]


def get_output_shapes(uri: str) -> list[list[int | None]]:
    """The shapes of the outputs; None: any size."""
    return [list(io.shape) for io in _client(uri).metadata().outputs]
