"""GraphPipe's messages, written and read by hand: FlatBuffers, as far as the protocol uses them.

A message begins with the offset of its root table. An offset is a uint32, counted forwards from
where it is stored. A table begins with an int32, the distance back to its vtable, which is a list
of uint16: its own size, the table's size, and for each field its place in the table, or 0 if it is
absent. A vector or string is a uint32, the number of elements, followed by the elements. All
numbers are little-endian. docs/protocol.md has the tables; the C library writes the same bytes.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Union

from ._errors import InvalidInput, ProtocolError, one_line

TYPES = ("null", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
         "float16", "float32", "float64", "string", "bool", "bfloat16")  # fmt: skip
SIZES = (0, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 0, 1, 2)
STRING, BOOL, BFLOAT16 = 12, 13, 14

MAX_MESSAGE_BYTES = (1 << 31) - 1
MAX_TENSORS, MAX_RANK = 4096, 32

# Vtables as they are written, in bytes: vtable, table, then the place of each field.
_REQUEST = (8, 12, 8, 4)  # req_type, req
_INFER = (12, 20, 4, 8, 12, 16)  # config, input_names, input_tensors, output_names
_METADATA = (4, 4)
_TENSOR = (12, 20, 16, 4, 8, 12)  # type, shape, data, string_val

_DATA_ALIGN, _LARGE_BYTES = 64, 4096
_U8, _U16, _U32, _I32, _I64 = map(struct.Struct, ("<B", "<H", "<I", "<i", "<q"))

Part = Union[bytes, bytearray, memoryview]
# a tensor's type and shape, and its size in bytes or its strings
_Kind = tuple[int, tuple[int, ...], Union[int, tuple[Union[str, bytes], ...]]]


class Tensor(NamedTuple):
    """`data` is the elements' bytes, row-major; for strings bytes when written, str when read."""

    type: int
    shape: tuple[int, ...]
    data: memoryview | list[bytes] | list[str]


@dataclass(frozen=True)
class IO:
    """An input or output of a model. `shape` has None where any size will do; `type` is a name of
    the protocol, as "float32" or "string", or "null" for any."""

    name: str
    description: str
    type: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ",".join("-1" if n is None else str(n) for n in self.shape)
        return f"{one_line(self.name)} {self.type}[{sizes}]"


@dataclass(frozen=True)
class Metadata:
    """What a server says of a model. str() of it is a table for people."""

    name: str
    version: str
    server: str
    description: str
    inputs: tuple[IO, ...]
    outputs: tuple[IO, ...]

    def __str__(self) -> str:
        keys = "name", "version", "server", "description"
        lines = [f"{key:13}{one_line(getattr(self, key))}" for key in keys if getattr(self, key)]
        for key in ("inputs", "outputs"):
            lines += [key, *(f"  {io}" for io in getattr(self, key))]
        return "\n".join(lines)


class Fault(NamedTuple):
    """The error that an answer carries."""

    code: int
    message: str


# --- writing ----------------------------------------------------------------------------


class _Writer:
    def __init__(self) -> None:
        self.out = bytearray(4)
        self.vtables: dict[tuple[int, ...], int] = {}
        self.places: list[int] = []  # of each tensor's data, or the offset of a large one's

    def align(self, to: int, ahead: int = 0) -> None:
        self.out += bytes(-(len(self.out) + ahead) % to)

    def link(self, at: int, target: int | None = None) -> None:
        """Stores at `at` the offset of the target, or of what comes next."""
        _U32.pack_into(self.out, at, (len(self.out) if target is None else target) - at)

    def table(self, vtable: tuple[int, ...]) -> int:
        at = self.vtables.get(vtable)
        self.align(4, 0 if at else 2 * len(vtable))
        if at is None:
            at = self.vtables[vtable] = len(self.out)
            self.out += struct.pack(f"<{len(vtable)}H", *vtable)
        table = len(self.out)
        self.out += _I32.pack(table - at) + bytes(vtable[1] - 4)
        return table

    def vector(self, at: int, n: int, align: int = 4) -> None:
        """The head of a vector that the field at `at` leads to; its elements follow."""
        self.align(align, 4)
        self.link(at)
        self.out += _U32.pack(n)

    def offsets(self, at: int, n: int) -> range:
        """A vector of offsets that are linked later: where they are."""
        self.vector(at, n)
        first = len(self.out)
        self.out += bytes(4 * n)
        return range(first, first + 4 * n, 4)

    def string(self, at: int, text: bytes) -> None:
        self.vector(at, len(text))
        self.out += text + b"\0"

    def strings(self, at: int, texts: Sequence[str]) -> None:
        for place, text in zip(self.offsets(at, len(texts)), texts):
            self.string(place, text.encode())

    def tensor(self, at: int, kind: _Kind) -> None:
        number, shape, content = kind
        table = self.table(_TENSOR)
        self.link(at, table)
        self.out[table + 16] = number
        self.vector(table + 4, len(shape), 8)
        self.out += struct.pack(f"<{len(shape)}q", *shape)
        n_bytes, strings = (content, ()) if isinstance(content, int) else (0, content)
        if n_bytes >= _LARGE_BYTES:
            self.places.append(table + 8)
        else:
            self.vector(table + 8, n_bytes, _DATA_ALIGN if n_bytes else 4)
            self.places.append(len(self.out))
            self.out += bytes(n_bytes)
        for place, string in zip(self.offsets(table + 12, len(strings)), strings):
            self.string(place, string if isinstance(string, bytes) else string.encode())

    def gaps(self, kinds: Sequence[_Kind]) -> list[int | bytes]:
        """Puts the large tensors behind all else. For each tensor, where its data go; or for a
        large one the bytes that are sent before its data."""
        places: list[int | bytes] = []
        at = len(self.out)
        for (_, _, content), place in zip(kinds, self.places):
            if not isinstance(content, int) or content < _LARGE_BYTES:
                places.append(place)
                continue
            gap = bytes(-(at + 4) % _DATA_ALIGN) + _U32.pack(content & 0xFFFFFFFF)
            at += len(gap) + content
            if at > MAX_MESSAGE_BYTES:
                break
            self.link(place, at - content - 4)
            places.append(gap)
        if at > MAX_MESSAGE_BYTES:
            raise InvalidInput(f"the request would have {at} bytes or more; messages end at "
                               f"{MAX_MESSAGE_BYTES}: send fewer rows at a time")
        return places


def _frame(kinds: tuple[_Kind, ...], input_names: tuple[str, ...], output_names: tuple[str, ...],
           config: str) -> tuple[bytearray, list[int | bytes]]:
    """A request but for the elements of its tensors, and where those belong."""
    writer = _Writer()
    request = writer.table(_REQUEST)
    writer.link(0, request)
    infer = writer.table(_INFER)
    writer.out[request + 8] = 1
    writer.link(request + 4, infer)
    writer.string(infer + 4, config.encode())
    writer.strings(infer + 8, input_names)
    for place, kind in zip(writer.offsets(infer + 12, len(kinds)), kinds):
        writer.tensor(place, kind)
    writer.strings(infer + 16, output_names)
    return writer.out, writer.gaps(kinds)


# Programs ask for the same again and again, with other numbers only.
_kept_frame = functools.lru_cache(maxsize=64)(_frame)


def encode_infer(tensors: Sequence[Tensor], input_names: Sequence[str],
                 output_names: Sequence[str], config: str) -> list[Part]:
    """An InferRequest, as buffers to be sent one after the other: large tensors are their own."""
    kinds: tuple[_Kind, ...] = tuple(
        (number, shape, (*data,) if isinstance(data, list) else len(data))
        for number, shape, data in tensors)
    frame = _frame if any(number == STRING for number, _, _ in kinds) else _kept_frame
    kept, places = frame(kinds, tuple(input_names), tuple(output_names), config)
    out = bytearray(kept)
    parts: list[Part] = [out]
    for tensor, place in zip(tensors, places):
        if isinstance(tensor.data, list):
            continue
        if isinstance(place, bytes):
            parts += [place, tensor.data]
        else:
            out[place : place + len(tensor.data)] = tensor.data
    return parts


def encode_metadata_request() -> list[Part]:
    """A MetadataRequest."""
    writer = _Writer()
    request = writer.table(_REQUEST)
    writer.link(0, request)
    writer.out[request + 8] = 2
    writer.link(request + 4, writer.table(_METADATA))
    return [writer.out]


# --- reading ----------------------------------------------------------------------------
# Nothing of a message is believed: every place is checked before it is read. What a message says
# several times, by offsets that lead to the same place, counts each time against `budget`, so
# that it cannot become more than a few times its size.

_OBJECT_BYTES = 57  # of a str, besides its characters


class _Message:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.size = len(data)
        self.budget = 8 * self.size + (1 << 20)

    def number(self, kind: struct.Struct, at: int) -> int:
        try:
            if at >= 0:
                return int(kind.unpack_from(self.data, at)[0])
        except struct.error:
            pass
        raise ProtocolError(f"answer: byte {at} is outside of its {self.size} bytes")

    def follow(self, at: int) -> int:
        offset = self.number(_U32, at)
        if not offset:
            raise ProtocolError(f"answer: the offset at byte {at} is 0")
        return at + offset

    def spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise ProtocolError("answer: says the same so often that it is far over its size")

    def vector(self, at: int, width: int, limit: int = MAX_MESSAGE_BYTES) -> tuple[int, int]:
        """The first element's place, and how many there are."""
        n = self.number(_U32, at)
        if n > limit or n * width > self.size - at - 4:
            raise ProtocolError(f"answer: {n} elements at byte {at} of {self.size} bytes")
        return at + 4, n

    def text(self, at: int, errors: str) -> str:
        begin, n = self.vector(at, 1)
        self.spend(n + _OBJECT_BYTES)
        try:
            return str(self.data[begin : begin + n], "utf-8", errors)
        except UnicodeDecodeError:
            raise ProtocolError(f"answer: the text at byte {at} is not UTF-8") from None


class _Table:
    def __init__(self, message: _Message, at: int) -> None:
        self.message, self.at = message, at
        self.vtable = at - message.number(_I32, at)
        self.vtable_size = message.number(_U16, self.vtable)
        self.size = message.number(_U16, self.vtable + 2)
        if (
            self.vtable_size < 4
            or self.vtable_size % 2
            or self.size < 4
            or self.vtable + self.vtable_size > message.size
            or at + self.size > message.size
        ):
            raise ProtocolError(f"answer: the table at byte {at} is none, or cut off")

    def place(self, slot: int, size: int) -> int:
        """Where a field is; 0 if it is absent."""
        entry = 4 + 2 * slot
        if entry + 2 > self.vtable_size:
            return 0
        offset = self.message.number(_U16, self.vtable + entry)
        if offset and not 4 <= offset <= self.size - size:
            raise ProtocolError(f"answer: field {slot} is outside of the table at byte {self.at}")
        return self.at + offset if offset else 0

    def number(self, slot: int, kind: struct.Struct) -> int:
        at = self.place(slot, kind.size)
        return self.message.number(kind, at) if at else 0

    def text(self, slot: int, errors: str = "replace") -> str:
        at = self.place(slot, 4)
        return self.message.text(self.message.follow(at), errors) if at else ""

    def vector(self, slot: int, width: int, limit: int = MAX_MESSAGE_BYTES) -> tuple[int, int]:
        at = self.place(slot, 4)
        return self.message.vector(self.message.follow(at), width, limit) if at else (0, 0)

    def tables(self, slot: int, most: int = MAX_TENSORS) -> list[_Table]:
        """The tables that a field lists, or the first of them."""
        begin, n = self.vector(slot, 4, MAX_TENSORS)
        places = range(begin, begin + 4 * min(n, most), 4)
        return [_Table(self.message, self.message.follow(at)) for at in places]

    def shape(self, slot: int, smallest: int) -> tuple[int, ...]:
        begin, n = self.vector(slot, 8, MAX_RANK)
        shape = struct.unpack_from(f"<{n}q", self.message.data, begin)
        if min(shape, default=0) < smallest:
            raise ProtocolError(f"answer: a shape is {list(shape)}")
        return shape

    def type(self, slot: int, smallest: int) -> int:
        number = self.number(slot, _U8)
        if not smallest <= number < len(TYPES):
            raise ProtocolError(
                f"answer: a type is {number}; {smallest} to {len(TYPES) - 1} are known"
            )
        return number


def _read_tensor(table: _Table, what: str) -> Tensor:
    message, number, shape = table.message, table.type(0, 1), table.shape(1, 0)
    n, width = math.prod(shape), SIZES[number] or 4
    begin, held = table.vector(3 if number == STRING else 2, width if number == STRING else 1)
    wanted = n if number == STRING else n * width
    if held != wanted:
        raise ProtocolError(
            f"answer: {what} holds {held} {'strings' if number == STRING else 'bytes'}, "
            f"but {TYPES[number]}{list(shape)} needs {wanted}"
        )
    if number == BFLOAT16 or begin % width:
        message.spend(2 * held)  # becomes a copy
    if number != STRING:
        return Tensor(number, shape, message.data[begin : begin + held])
    places = range(begin, begin + 4 * n, 4)
    return Tensor(
        number, shape, [message.text(message.follow(at), "surrogateescape") for at in places]
    )


def decode_answer(data: memoryview) -> list[Tensor] | Fault:
    """The tensors of an InferResponse, as views of it but for strings; or the error in it."""
    root = _root(data)
    for error in root.tables(1, 1):
        return Fault(error.number(0, _I64), error.text(1))
    return [_read_tensor(table, f"output_tensors[{i}]") for i, table in enumerate(root.tables(0))]


def decode_metadata(data: memoryview) -> Metadata:
    """A MetadataResponse."""
    root = _root(data)
    name, version, server, description = map(root.text, range(4))
    inputs, outputs = (tuple(map(_read_io, root.tables(slot))) for slot in (4, 5))
    return Metadata(name, version, server, description, inputs, outputs)


def _root(data: memoryview) -> _Table:
    message = _Message(data)
    return _Table(message, message.follow(0))


def _read_io(table: _Table) -> IO:
    shape = tuple(None if n < 0 else n for n in table.shape(2, -1))
    return IO(table.text(0, "strict"), table.text(1), TYPES[table.type(3, 0)], shape)
