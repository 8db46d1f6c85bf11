"""Tensors and numpy's arrays. Inputs are views of the request's memory, which is mapped read-only;
outputs either lie where the server reads them or are copied there once. Strings are copied both
ways: a model gets them as bytes, since a tensor's strings need not be UTF-8."""
import struct

import numpy as np

from .link import (BFLOAT16, DTYPES, ENGINE, INLINE, INVALID, MAX_RANK, MAX_TENSORS, SMALL_BYTES,
                   STRIDES, STRING, Failure, Nonsense, text, u32, u64)


class InvalidInput(ValueError):
    """For models to raise on an invalid request. Its client gets the message, as HTTP 400."""


class NoInput(InvalidInput, KeyError):
    """The model looked up an input that the request does not have."""

    __str__ = Exception.__str__


# --- in ---------------------------------------------------------------------------------

class Inputs(dict):
    """By name. A single tensor without a name goes by any name that the model looks up."""

    is_unnamed = False

    def __missing__(self, name):
        if self.is_unnamed and len(self) == 1:
            return next(iter(self.values()))
        raise NoInput(f'no input is named "{name}"; the request has: {", ".join(self) or "none"}')


def check_inside(memory, offset, size):
    if offset + size > len(memory):
        raise Nonsense()


def read_strings(memory, offset, shape):
    strings = np.empty(shape, object)
    flat = strings.reshape(-1)
    table = struct.unpack_from(f"<{2 * flat.size}Q", memory, offset)
    for i, (at, size) in enumerate(zip(table[::2], table[1::2])):
        check_inside(memory, at, size)
        flat[i] = memory[at:at + size]
    return strings


def read_tensor(record, memory):
    """(name, array)"""
    name, dtype, shape = record.text(), record.u32(), record.shape()
    offset, size = record.u64(), record.u64()
    n = 1
    for dimension in shape:
        n *= dimension
    if not 0 < dtype < len(DTYPES) or min(shape, default=0) < 0 or n * STRIDES[dtype] != size:
        raise Nonsense()
    check_inside(memory, offset, size)
    try:
        if dtype == STRING:
            array = read_strings(memory, offset, shape)
        elif dtype == BFLOAT16:  # which numpy lacks: as float32, which has all of its values
            array = (np.ndarray(shape, "<u2", memory, offset).astype("<u4") << 16).view("<f4")
        else:
            array = np.ndarray(shape, DTYPES[dtype], memory, offset)
    except ValueError as error:  # 0 elements, but with a shape that is too much for numpy
        raise Failure(INVALID, f'input "{name}": {error}')
    array.flags.writeable = False
    return name, array


def read_inputs(record, memory):
    n = record.u32()
    if n > MAX_TENSORS:
        raise Nonsense()
    inputs = Inputs()
    for i in range(n):
        name, array = read_tensor(record, memory)
        inputs.is_unnamed = not name
        name = name or f"input_{i}"
        if name in inputs:
            raise Failure(INVALID, f'input "{name}" came twice')
        inputs[name] = array
    return inputs


# --- out --------------------------------------------------------------------------------

def to_bytes(name, item):
    if isinstance(item, str):
        return item.encode("utf-8", "surrogateescape")
    if not isinstance(item, bytes):
        raise Failure(ENGINE, f'output "{name}" holds a {type(item).__name__}; arrays of objects '
                              "are for str and bytes")
    return item


def convert(value, dtype):
    """What is no array. Numbers of Python's get the declared type; texts keep what numpy's own
    types would cut off, the zeros at their ends."""
    try:
        array = np.asarray(value)
    except UnicodeDecodeError:  # str beside bytes
        return np.array(value, object)
    if array.dtype.kind in "SU" or dtype == STRING:
        return np.array(value, object)
    if isinstance(value, (bool, int, float, list, tuple)) and dtype not in (0, BFLOAT16):
        kind = np.dtype(DTYPES[dtype]).kind
        if array.dtype.kind in "bui" + kind or not array.size:
            return np.array(value, DTYPES[dtype])
    return array


def to_array(name, value, dtype):
    """(type, array) of what a model gives."""
    try:
        array = value if type(value) is np.ndarray else convert(value, dtype)
        if array.dtype.kind in "SUT":
            array = array.astype(object)
    except (TypeError, ValueError, OverflowError) as error:
        raise Failure(ENGINE, f'output "{name}" makes no array: {error}')
    if array.dtype == object:
        strings = np.empty(array.shape, object)
        strings.reshape(-1)[:] = [to_bytes(name, item) for item in array.flat]
        return STRING, strings
    if array.dtype.name not in DTYPES:
        raise Failure(ENGINE, f'output "{name}" is of type {array.dtype}, which GraphPipe lacks')
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return DTYPES.index(array.dtype.name), array


def shape_text(dtype, sizes):
    return f"{DTYPES[dtype] if dtype else 'any'}[{','.join(map(str, sizes))}]"


class Output:
    """One output of a run; `io` is (type, sizes, description) as declared, or None."""

    def __init__(self, name, value, io):
        dtype, sizes, _ = io or (0, None, "")
        self.dtype, self.array = to_array(name, value, dtype)
        shape = self.array.shape
        if len(shape) > MAX_RANK:
            raise Failure(ENGINE, f'output "{name}" has rank {len(shape)}, over the limit of '
                                  f"{MAX_RANK}")
        fits = sizes is None or len(sizes) == len(shape) and all(
            size in (-1, n) for size, n in zip(sizes, shape))
        if dtype not in (0, self.dtype) or not fits:
            raise Failure(ENGINE, f'output "{name}" is {shape_text(self.dtype, shape)}; the model '
                                  f"declares {shape_text(dtype, sizes or ())}")
        self.offset = 0
        self.size = self.array.size * STRIDES[self.dtype]
        self.head = text("") + u32(self.dtype) + u32(len(shape)) + struct.pack(
            f"<{len(shape)}q", *shape)

    def publish(self, places, room):
        """Has it lie where the server can read it. Gives what it takes of the record's room."""
        if self.dtype == STRING and self.size:
            self.publish_strings(places)
        elif 0 < self.size <= min(SMALL_BYTES, room):
            self.offset = INLINE
            return self.size
        elif self.size:
            place = places.find(self.array)
            if not place:
                place = places.take(self.size)
                np.copyto(place.array(self.array.shape, self.array.dtype), self.array)
            self.use(place)
        return 0

    def publish_strings(self, places):
        """A table of places first, then the strings."""
        strings = list(self.array.flat)
        place = places.take(self.size + sum(map(len, strings)))
        table, at = [], place.offset + self.size
        for string in strings:
            table += at, len(string)
            at += len(string)
        place.memory[:self.size] = struct.pack(f"<{len(table)}Q", *table)
        place.memory[self.size:at - place.offset] = b"".join(strings)
        self.use(place)

    def use(self, place):
        place.is_used = True
        self.offset = place.offset

    def record(self):
        return self.head + u64(self.offset) + u64(self.size) + (
            self.array.tobytes() if self.offset == INLINE else b"")
