"""Arrays as tensors and back, without a copy where the bytes lie as the protocol wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import InvalidInput, ProtocolError
from ._message import BFLOAT16, BOOL, STRING, TYPES, Tensor

Array = npt.NDArray[Any]

_ALIGN = 64
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in TYPES
           if name not in ("null", "string", "bfloat16")}
_NUMBERS = {dtype: TYPES.index(name) for name, dtype in _DTYPES.items()}


def dtype_of(name: str) -> np.dtype[Any] | None:
    """The dtype of the arrays of a type of the protocol: object for strings, None for "null" and
    for "bfloat16" without the package ml_dtypes."""
    if name == "bfloat16":
        return _bfloat16()
    return np.dtype(object) if name == "string" else _DTYPES.get(name)


def _bfloat16() -> np.dtype[Any] | None:
    try:
        import ml_dtypes
    except ImportError:
        return None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def aligned_buffer(size: int) -> Array:
    """`size` writable bytes, aligned to 64; what is not written to takes no memory."""
    whole = np.empty(size + _ALIGN, np.uint8)
    begin = -whole.__array_interface__["data"][0] % _ALIGN
    return whole[begin : begin + size]


# --- to the server ----------------------------------------------------------------------


def _as_array(value: Any, what: str) -> Array:
    """Any array-like: an array, numbers or strings in lists, what has __array__ or __dlpack__."""
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.asarray(np.from_dlpack(value))  # type: ignore[attr-defined, unused-ignore]
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise InvalidInput(f"{what} is no array: {error}") from error


def _to_bytes(element: Any, what: str) -> bytes:
    if isinstance(element, str):
        return element.encode("utf-8", "surrogateescape")
    if isinstance(element, bytes):
        return element
    raise InvalidInput(f"{what} is an array of objects with a {type(element).__name__} in it; "
                       "arrays of objects are sent if all are str or bytes")


def to_tensor(value: Any, what: str) -> Tensor:
    """The tensor of an array-like, in its own memory if that is contiguous and little-endian."""
    array = _as_array(value, what)
    if array.dtype.kind in "OSUT":
        elements = array.astype(object).ravel().tolist()
        return Tensor(STRING, array.shape, [_to_bytes(element, what) for element in elements])
    number = _NUMBERS.get(array.dtype)
    if number is None:
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        is_bfloat16 = array.dtype.name == "bfloat16"
        number = BFLOAT16 if is_bfloat16 else _NUMBERS.get(array.dtype)
    if number is None:
        raise InvalidInput(f"{what} has dtype {array.dtype}; can be sent: bool, ints, floats of 16 "
                           "to 64 bits, bfloat16, str, bytes")
    flat = np.ascontiguousarray(array.reshape(-1))
    return Tensor(number, array.shape, flat.view(np.uint8).data)


# --- from the server --------------------------------------------------------------------


def to_array(tensor: Tensor) -> Array:
    """A writable array, in the answer's own memory if that is aligned for the dtype. Strings are
    an array of str; bytes that are not UTF-8 are lone surrogates in them, as in os.fsdecode()."""
    try:
        if isinstance(tensor.data, list):
            array = np.empty(len(tensor.data), object)
            array[:] = tensor.data
            return array.reshape(tensor.shape)
        dtype = dtype_of(TYPES[tensor.type])
        if dtype is None:  # bfloat16 is the upper half of a float32
            halves = np.frombuffer(tensor.data, "<u2").astype("<u4")
            return (halves << 16).view("<f4").reshape(tensor.shape)
        array = np.frombuffer(tensor.data, dtype).reshape(tensor.shape)
        if tensor.type == BOOL and array.size and array.view(np.uint8).max() > 1:
            raise ProtocolError("answer: a bool is neither 0 nor 1")
    except ValueError as error:  # a shape that numpy cannot have
        raise ProtocolError(f"answer: {TYPES[tensor.type]}{list(tensor.shape)}: {error}") from error
    return array if array.flags.aligned and array.flags.writeable else array.copy()
