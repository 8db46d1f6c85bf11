"""Our codec against the official FlatBuffers library, both ways: what it writes, with
code that flatc makes of our schema, we read; what we write it reads, its verifier approves
of, and the readers of the 2018 package understand."""

import random

import flatbuffers
import messages as m
import numpy as np
import pytest
from graphpipe import convert
from messages import Request, Response, Tensor

SIZES = {
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "uint32": 4,
    "int32": 4,
    "uint64": 8,
    "int64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "bool": 1,
    "bfloat16": 2,
}
RANDOM = random.Random(2018)


def numbers(kind, *shape):
    n = int(np.prod(shape, dtype=np.int64)) * SIZES[kind]
    data = RANDOM.getrandbits(8 * n).to_bytes(n, "little") if n else b""
    return Tensor(
        kind, list(shape), bytes(b & 1 for b in data) if kind == "bool" else data
    )


def texts(*values):
    return Tensor("string", [len(values)], list(values))


TENSORS = {
    "none": [],
    **{kind: [numbers(kind, 2, 3)] for kind in SIZES},
    **{"scalar_" + kind: [numbers(kind)] for kind in SIZES},
    "no_rows": [numbers("float32", 0, 3), numbers("int64", 4, 0, 2), numbers("uint8", 0)],
    "rank8": [numbers("float64", 1, 2, 1, 2, 1, 2, 1, 2)],
    "rank32": [numbers("uint8", *[1] * 32)],
    "strings": [
        texts(b"one", b"", b"nul\0within\0", b"\xff\xfe not utf-8", "é".encode() * 500)
    ],
    "string_scalar": [Tensor("string", [], [b"alone"])],
    "no_strings": [Tensor("string", [0, 2], [])],
    "strings_2x2": [Tensor("string", [2, 2], [b"a", b"b", b"c", b"d"])],
    "many_strings": [texts(*(b"%d" % i * (i % 7) for i in range(5000)))],
    "below_4_KiB": [
        numbers("uint8", 4095),
        numbers("float32", 1023),
        numbers("float64", 3),
    ],
    "4_KiB": [numbers("uint8", 4096)],
    "large": [numbers("float32", 1, 64, 64, 3)],
    "large_odd": [
        numbers("uint8", n) for n in (4097, 1, 5003, 64, 4159, 4160, 4161, 0, 70001)
    ],
    "large_types": [numbers(kind, 3, 1371) for kind in SIZES],
    "large_and_strings": [
        numbers("int64", 999),
        texts(b"x" * 9000, b""),
        numbers("int8", 7),
    ],
    "many": [numbers(kind, 5) for kind in SIZES for _ in range(70)],
    "many_large": [numbers("uint16", 2048 + i) for i in range(200)],
}
ALL = pytest.mark.parametrize("tensors", TENSORS.values(), ids=TENSORS.keys())
REQUESTS = {
    "unnamed": Request([numbers("float32", 2)]),
    "named": Request(
        [numbers("float32", 2), numbers("int8", 1)], ["a:0", "größe"], ["b", "b"]
    ),
    "config": Request([numbers("float32", 2)], config='{"é": 1}' * 2000),
    "no_tensors": Request([], [], ["out"]),
    "long_names": Request([numbers("uint8", 1)], ["n" * 65536], ["m" * 65535]),
    "many_names": Request(
        [numbers("uint8", 1)] * 4096,
        [f"i{i}" for i in range(4096)],
        [f"o{i}" for i in range(4096)],
    ),
}


def io(name, kind, *shape, description=""):
    return {"name": name, "type": kind, "shape": list(shape), "description": description}


METADATA = {
    "name": "mymodel",
    "version": "1.2",
    "server": "graphpipe é",
    "description": "d" * 70000,
    "inputs": [io("x:0", kind, -1, 3, 224) for kind in m.TYPES] + [io("", "null")],
    "outputs": [io("y", "float32", *[1] * 32, description="what it is")],
}


def of_2018(tensors):
    """What readers of 2018 are given instead."""

    def convert_one(t):
        if t.type == "bool":
            return Tensor("uint8", t.shape, t.data)
        if t.type == "bfloat16":
            halves = np.frombuffer(t.data, np.uint16)
            return Tensor("float32", t.shape, (halves.astype(np.uint32) << 16).tobytes())
        return t

    return [convert_one(t) for t in tensors]


@ALL
def test_request(codec, ours, tensors):
    request = Request(tensors, [f"in{i}" for i in range(len(tensors))], ["out"], "config")
    message = m.write_request(ours, request)
    assert codec.decode("request", message) == m.printed_request(request)
    again = codec.recode("request", message)
    assert m.read_request(ours, again) == request
    assert m.read_request(m.Modules2018(), again) == request


@ALL
def test_response(codec, ours, tensors):
    response = Response(tensors)
    message = m.write_response(ours, response)
    assert codec.decode("response", message) == m.printed_response(response)
    assert m.read_response(ours, codec.recode("response", message)) == response
    assert m.read_response(
        m.Modules2018(), codec.recode("response", message, "2018")
    ) == Response(of_2018(tensors))


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_texts_of_a_request(codec, ours, request_):
    message = m.write_request(ours, request_)
    assert codec.decode("request", message) == m.printed_request(request_)
    assert m.read_request(ours, codec.recode("request", message)) == request_


def test_metadata(codec, ours):
    message = m.write_metadata(ours, METADATA)
    assert codec.decode("metadata", message) == {
        "message": "MetadataResponse",
        **METADATA,
    }
    assert m.read_metadata(ours, codec.recode("metadata", message)) == METADATA
    old = m.read_metadata(m.Modules2018(), codec.recode("metadata", message, "2018"))
    kinds = [i["type"] for i in old["inputs"]]
    assert kinds == m.TYPES[:13] + ["uint8", "float32", "null"]


@pytest.mark.parametrize("text", ["", 'input "q" is unknown', "größe"])
def test_error(codec, ours, text):
    response = Response(errors=[(13, text), (2, "a second one")])
    message = m.write_response(ours, response)
    first = Response(errors=response.errors[:1])
    assert codec.decode("response", message) == m.printed_response(first)
    again = codec.recode("response", message)
    assert m.read_response(ours, again) == first
    assert m.read_response(m.Modules2018(), again) == first


def test_absent_fields(codec, ours):
    """Official writers leave out what is empty: absent vectors and texts are empty ones."""
    builder = flatbuffers.Builder(64)
    ours.InferRequest.InferRequestStart(builder)
    infer = ours.InferRequest.InferRequestEnd(builder)
    ours.Request.RequestStart(builder)
    ours.Request.RequestAddReqType(builder, ours.Req.Req.InferRequest)
    ours.Request.RequestAddReq(builder, infer)
    message = m.finish(builder, ours.Request.RequestEnd(builder))
    assert codec.decode("request", message) == m.printed_request(Request([]))

    builder = flatbuffers.Builder(64)
    ours.MetadataResponse.MetadataResponseStart(builder)
    message = m.finish(builder, ours.MetadataResponse.MetadataResponseEnd(builder))
    assert codec.decode("metadata", message)["inputs"] == []
    assert codec.decode("response", message) == m.printed_response(Response([]))


def test_metadata_request(codec):
    message = codec.recode("request", bytes(convert.serialize_metadata_request()))
    assert convert.deserialize_request(message) is None
    assert codec.decode("request", message) == {"message": "MetadataRequest"}


@ALL
def test_numpy_of_2018(codec, ours, tensors):
    """The 2018 client's own way from a response to arrays."""
    message = codec.recode("response", m.write_response(ours, Response(tensors)), "2018")
    arrays, errors = convert.deserialize_infer_response(message)
    assert errors == [] and len(arrays) == len(tensors)
    for array, tensor in zip(arrays, of_2018(tensors)):
        assert list(array.shape) == tensor.shape
        if tensor.type == "string":
            assert list(array.flat) == tensor.data or array.dtype.kind == "S"
        else:
            assert array.dtype == np.dtype(tensor.type) and array.tobytes() == tensor.data


@ALL
def test_verifier(codec, ours, verifier, tensors):
    request = m.write_request(
        ours, Request(tensors, [f"in{i}" for i in range(len(tensors))])
    )
    assert verifier("request", codec.recode("request", request))
    response = m.write_response(ours, Response(tensors))
    assert verifier("response", codec.recode("response", response))
    assert verifier("response", codec.recode("response", response, "2018"))


def test_verifier_of_the_rest(codec, ours, verifier):
    assert verifier(
        "metadata", codec.recode("metadata", m.write_metadata(ours, METADATA))
    )
    error = m.write_response(ours, Response(errors=[(1, "failed")]))
    assert verifier("response", codec.recode("response", error))
    metadata_request = bytes(convert.serialize_metadata_request())
    assert verifier("request", codec.recode("request", metadata_request))
    assert not verifier("request", bytes(convert.serialize_metadata_request())[:-3])
