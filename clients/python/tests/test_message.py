"""Messages that other libraries wrote are read; ours are, byte for byte, those of the C library;
and broken ones raise ProtocolError, in time and memory that are in proportion to their size."""

import struct
import tracemalloc

import numpy as np
import pytest
from golden_bytes import CASES, GOLDEN, read_golden

from graphpipe import ProtocolError
from graphpipe._arrays import to_array, to_tensor
from graphpipe._message import (
    IO,
    TYPES,
    Fault,
    Metadata,
    Tensor,
    decode_answer,
    decode_metadata,
    encode_infer,
    encode_metadata_request,
)


def of_kind(kind):
    return [name for name, case in CASES.items() if case["message"] == kind]


def whole(parts):
    return b"".join(bytes(part) for part in parts)


def tensors_of(case, field):
    """A manifest's tensors as we have them."""
    for tensor in case[field]:
        data = [s.encode() for s in tensor["strings"]] if "strings" in tensor \
            else memoryview(bytes.fromhex(tensor["data_hex"]))
        yield Tensor(TYPES.index(tensor["type"]), tuple(tensor["shape"]), data)


def read(message):
    """Every kind of answer, from a buffer that ends where the message does."""
    data = memoryview(np.frombuffer(message, np.uint8).copy())
    found = decode_answer(data)
    return found if isinstance(found, Fault) else [to_array(tensor) for tensor in found]


# --- golden bytes -----------------------------------------------------------------------


@pytest.mark.parametrize("name", of_kind("InferResponse"))
def test_answers_are_read(name):
    case, found = CASES[name], decode_answer(memoryview(read_golden(name)))
    if case["errors"]:
        error = case["errors"][0]
        assert found == (error["code"], error["message"])
        return
    wanted = list(tensors_of(case, "output_tensors"))
    for tensor, expected in zip(found, wanted):
        data = [s.decode() for s in expected.data] if isinstance(expected.data, list) \
            else expected.data
        assert tensor == expected._replace(data=data)
    assert len(found) == len(wanted)


@pytest.mark.parametrize("name", of_kind("MetadataResponse"))
def test_metadata_is_read(name):
    case, found = CASES[name], decode_metadata(memoryview(read_golden(name)))
    for key in "name", "version", "server", "description":
        assert getattr(found, key) == case[key]
    for key in "inputs", "outputs":
        assert [(io.name, io.type, [-1 if n is None else n for n in io.shape])
                for io in getattr(found, key)] == [(io["name"], io["type"], io["shape"])
                                                   for io in case[key]]


@pytest.mark.parametrize("name", of_kind("InferRequest"))
def test_requests_are_those_of_the_c_library(name, written_by_c):
    case = CASES[name]
    ours = whole(encode_infer(list(tensors_of(case, "input_tensors")), case["input_names"],
                              case["output_names"], case["config"]))
    assert ours == written_by_c("request", read_golden(name))


def test_large_tensors_lie_where_those_of_the_c_library_do(written_by_c):
    arrays = [np.arange(n, dtype=dtype) for n, dtype in
              [(4096, "u1"), (5, "f8"), (4099, "u1"), (0, "f4"), (1024, "f4"), (33000, "i8")]]
    arrays += [np.array(["a", "", "b" * 5000]), np.float16(3), np.zeros((2, 0, 3), "i2")]
    parts = encode_infer([to_tensor(a, "x") for a in arrays], [], ["y"], "config")
    ours = whole(parts)
    assert ours == written_by_c("request", ours)
    # from the arrays' own memory
    assert any(np.shares_memory(np.asarray(part), arrays[5]) for part in parts)


def test_metadata_request_is_that_of_the_c_library(written_by_c):
    ours = whole(encode_metadata_request())
    assert ours == written_by_c("request", read_golden("req_metadata.bin"))


# --- hostile bytes ----------------------------------------------------------------------

TWO = read_golden("resp_two.bin")
ANSWERS = [read_golden(name) for name in
           ("resp_two.bin", "resp_strings.bin", "resp_error.bin", "resp_metadata.bin")]


def test_metadata_is_shown_with_every_character_visible():
    io = IO("x\x1b[2J", "", "float32", (None,))
    shown = str(Metadata("two\nlines", "", "\x9b31m", "", (io,), ()))
    assert shown.splitlines() == ["name         two lines", r"server       \x9b31m", "inputs",
                                  r"  x\x1b[2J float32[-1]", "outputs"]


def is_read_or_refused(message):
    for decode in read, lambda message: decode_metadata(memoryview(message)):
        try:
            decode(message)
        except ProtocolError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("message", ANSWERS, ids=["two", "strings", "error", "metadata"])
def test_any_damage_is_read_or_refused(message):
    for n in range(len(message)):
        is_read_or_refused(message[:n])
        for bit in range(8):
            changed = bytearray(message)
            changed[n] ^= 1 << bit
            is_read_or_refused(bytes(changed))
    for at in range(0, len(message) - 3, 4):
        for word in 0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(message) - at:
            is_read_or_refused(message[:at] + struct.pack("<I", word) + message[at + 4:])


def shown(kind, message):
    """What we read in a message, as golden_codec shows it; None if it is refused."""
    try:
        if kind == "metadata":
            found = decode_metadata(memoryview(message))
            ios = [[{"name": io.name, "description": io.description, "type": io.type,
                     "shape": [-1 if n is None else n for n in io.shape]} for io in ios]
                   for ios in (found.inputs, found.outputs)]
            return {"message": "MetadataResponse", "name": found.name, "version": found.version,
                    "server": found.server, "description": found.description,
                    "inputs": ios[0], "outputs": ios[1]}
        found = decode_answer(memoryview(message))
    except ProtocolError:
        return None
    if isinstance(found, Fault):
        return {"message": "InferResponse", "output_tensors": [], "errors": [found._asdict()]}
    return {"message": "InferResponse", "errors": [], "output_tensors": [
        {"type": TYPES[number], "shape": list(shape)} | (
            {"strings_hex": [s.encode("utf-8", "surrogateescape").hex() for s in data]}
            if isinstance(data, list) else {"data_hex": data.hex()})
        for number, shape, data in found]}


@pytest.mark.parametrize("name", ["resp_two", "resp_strings", "resp_error", "resp_metadata"])
def test_what_is_damaged_is_read_and_refused_as_by_the_c_library(name, read_by_c):
    kind, message = "metadata" if "metadata" in name else "response", read_golden(name + ".bin")
    damaged = [message[:n] for n in range(len(message))]
    for at in range(0, len(message) - 3, 4):
        for word in 0, 1, 2, 12, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(message) - at - 4:
            damaged.append(message[:at] + struct.pack("<I", word) + message[at + 4:])
        for bit in (*range(7), 15, 16, 31):
            word = struct.unpack_from("<I", message, at)[0] ^ 1 << bit
            damaged.append(message[:at] + struct.pack("<I", word) + message[at + 4:])
    n_read = 0
    for bytes_, theirs in zip(damaged, read_by_c(kind, damaged)):
        ours = shown(kind, bytes_)
        n_read += ours is not None
        if "has a NUL" not in theirs.get("error", ""):  # which only C has to mind
            assert ours == (None if "status" in theirs else theirs), theirs
    assert 0 < n_read < len(damaged)


@pytest.mark.parametrize("path", sorted((GOLDEN / "reject").glob("*.bin")), ids=lambda p: p.name)
def test_earlier_findings(path):
    is_read_or_refused(path.read_bytes())


def test_random_bytes_are_refused():
    draw = np.random.RandomState(1)
    for _ in range(500):
        is_read_or_refused(draw.bytes(draw.randint(0, 200)))


def answer_of(type_number, shape, data=b"", n_strings=0, n_tensors=1):
    """An answer with a tensor, n_tensors times: all offsets of strings lead to the same bytes."""
    out = bytearray(struct.pack("<I4H", 12, 8, 8, 4, 0) + struct.pack("<iI", 8, 4))
    out += struct.pack(f"<I{n_tensors}I", n_tensors, *(0 for _ in range(n_tensors)))
    out += bytes(-len(out) % 4)
    vtable = len(out)
    out += struct.pack("<6H", 12, 20, 16, 4, 8, 12)
    table = len(out)
    for i in range(n_tensors):
        struct.pack_into("<I", out, 24 + 4 * i, table - 24 - 4 * i)
    out += struct.pack("<iIIII", table - vtable, 0, 0, 0, type_number)
    for field, vector in ((4, struct.pack(f"<I{len(shape)}q", len(shape), *shape)),
                          (8, struct.pack("<I", len(data)) + data)):
        struct.pack_into("<I", out, table + field, len(out) - table - field)
        out += vector + bytes(-len(vector) % 4)
    struct.pack_into("<I", out, table + 12, len(out) - table - 12)
    end = len(out) + 4 + 4 * n_strings
    out += struct.pack("<I", n_strings)
    out += b"".join(struct.pack("<I", end - at) for at in range(len(out), end, 4))
    return bytes(out + struct.pack("<I", len(data)) + data + b"\0")


def test_the_answer_that_is_made_here_is_one():
    (array,) = read(answer_of(10, [2], struct.pack("<2f", 1, 2)))
    assert array.tolist() == [1, 2]
    (array,) = read(answer_of(12, [2], b"ab", 2))
    assert array.tolist() == ["ab", "ab"]


@pytest.mark.parametrize("what, message", [
    ("a type that is not known", answer_of(15, [1], b"x")),
    ("no type", answer_of(0, [1], b"x")),
    ("too few bytes", answer_of(10, [2], b"1234")),
    ("too many bytes", answer_of(1, [2], b"123")),
    ("a shape that overflows", answer_of(1, [1 << 32, 1 << 32], b"")),
    ("a shape that numpy cannot have", answer_of(1, [1 << 62, 1 << 62, 0], b"")),
    ("a negative dimension", answer_of(1, [-1, -1], b"x")),
    ("33 dimensions", answer_of(1, [1] * 33, b"x")),
    ("a bool of 2", answer_of(13, [1], b"\2")),
    ("too few strings", answer_of(12, [3], b"", 2)),
    ("too many tensors", answer_of(1, [1], b"x", n_tensors=4097)),
])
def test_refused(what, message):
    with pytest.raises(ProtocolError):
        read(message)


@pytest.mark.parametrize("message", [
    answer_of(12, [5000], b"x" * 5000, 5000),
    answer_of(12, [50000], b"x" * 500, 50000),
    answer_of(12, [500], b"", 500, n_tensors=4096),
], ids=["long strings", "many strings", "many tensors"])
def test_what_is_said_again_and_again_takes_no_memory(message):
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="so often"):
            read(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(message) + (4 << 20)


@pytest.mark.parametrize("number, n_bytes, gap", [(10, 40000, 1), (14, 40000, 0), (1, 40000, 1)])
def test_copies_are_paid_for(number, n_bytes, gap):
    """4096 offsets to one tensor: views of it cost nothing, copies are soon too many."""
    n, vector = 4096, 20
    table = vector + 4 + 4 * n + 12
    message = struct.pack("<IHHHHiII", 12, 8, 8, 4, 0, 8, 4, n)  # the root, and its one field
    assert len(message) == vector + 4
    message += b"".join(struct.pack("<I", table - (vector + 4 + 4 * i)) for i in range(n))
    message += struct.pack("<HHHHHH", 10, 16, 12, 4, 8, 0)
    width = {10: 4, 14: 2, 1: 1}[number]
    data = table + 16 + 12
    data += -(data + 4) % 16 + gap
    message += struct.pack("<iIIB3x", 12, 12, data - (table + 8), number)
    message += struct.pack("<Iq", 1, n_bytes // width)
    message += bytes(data - len(message)) + struct.pack("<I", n_bytes) + bytes(n_bytes)
    if number == 1:
        assert len(decode_answer(memoryview(message))) == n
        return
    with pytest.raises(ProtocolError, match="far over its size"):
        decode_answer(memoryview(message))
