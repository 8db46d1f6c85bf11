"""Messages that are wrong, or do not fit the model, are refused with a reason, and nothing else
happens: the server answers a good request on a new connection, and on the same one."""
import random
import struct

import flatbuffers
import pytest

from harness import (MESSAGE, SMALL, Modules2018, Server, Tensor, assert_serves, decode,
                     decode_metadata, encode, encode_metadata_request, finish, plugin, uint8)

FB = Modules2018()
MALFORMED, INVALID = 2, 1
F32 = struct.pack("<4f", 1, 2, 3, 4)


def refusal(server, body, status=400):
    """The message of a refused message, as text; the connection lives on."""
    with server.connect() as connection:
        text = connection.ask("POST", "/", body)
        assert text.status == status, text
        assert text.fields["content-type"].startswith("text/plain")
        message = connection.ask("POST", "/", body, {"Accept": MESSAGE})
        assert message.status == status
        assert message.error[1] == text.text.rstrip("\n")
        assert connection.ask("POST", "/", encode(SMALL)).tensors == [SMALL]
    return text.text


def code_of(server, body):
    return server.ask("POST", "/", body, {"Accept": MESSAGE}).error[0]


# --- bytes that are no message ----------------------------------------------------------

def test_empty_body(server):
    refusal(server, b"")
    assert code_of(server, b"") == MALFORMED


def test_post_without_a_length(server):
    with server.connect() as connection:
        assert connection.ask("POST", "/", length=False).status == 400


@pytest.mark.tsan
def test_message_truncated_to_each_length(server):
    message = encode(Tensor("float32", [2, 2], F32), Tensor("string", [2], [b"ab", b"c"]),
                     input_names=["x", "y"], output_names=["z"], config="the config")
    end = message.rindex(b"the config") + len("the config")  # then a NUL and padding, if any
    assert end > len(message) - 8
    with server.connect() as connection:
        for size in range(end):
            answer = connection.ask("POST", "/", message[:size])
            assert answer.status == 400, f"{size} of {len(message)} bytes: {answer}"
        assert connection.ask("POST", "/", message).status == 200


def test_random_bytes(server):
    dice = random.Random(2018)
    with server.connect() as connection:
        for _ in range(500):
            body = dice.randbytes(dice.choice([1, 4, 8, 40, 100, 1000]))
            assert connection.ask("POST", "/", body).status in (400, 413), body.hex()


@pytest.mark.tsan
def test_every_word_made_hostile(server):
    """Offsets, lengths, counts and vtables: each 16 and 32 bit word gets every value that is
    likely to hurt. Some changes are harmless; what is answered must then be a message."""
    message = encode(Tensor("float64", [1, 2], bytes(16)), Tensor("string", [2], [b"ab", b"c"]),
                     input_names=["x"] * 2, output_names=["z"], config="c")
    values = [0, 1, 2, 4, len(message), len(message) - 1, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
              0x80000000, 0xfffffffc, 0xffffffff]
    statuses = set()
    with server.connect() as connection:
        for form, step in (("<H", 2), ("<I", 4)):
            for at in range(0, len(message) - step + 1, step):
                for value in values:
                    changed = bytearray(message)
                    struct.pack_into(form, changed, at, value & (256 ** step - 1))
                    answer = connection.ask("POST", "/", bytes(changed))
                    assert answer.status in (200, 400, 413), (at, value, answer)
                    statuses.add(answer.status)
                    if answer.status == 200 and answer.body:
                        try:
                            decode(answer.body)
                        except AssertionError:
                            decode_metadata(answer.body)
    assert statuses >= {200, 400}


@pytest.mark.parametrize("place, value", [(0, 0xffffffff), (0, 0x7ffffff0), (0, 3), (0, 0)])
def test_root_offset_out_of_range(server, place, value):
    message = bytearray(encode(SMALL))
    struct.pack_into("<I", message, place, value)
    assert "request" in refusal(server, bytes(message))


def request_with(write):
    """A request whose InferRequest is made by `write(builder) -> {setter: offset}`."""
    builder = flatbuffers.Builder(1 << 16)
    fields = write(builder)
    FB.InferRequest.InferRequestStart(builder)
    for name, offset in fields.items():
        getattr(FB.InferRequest, "InferRequestAdd" + name)(builder, offset)
    infer = FB.InferRequest.InferRequestEnd(builder)
    FB.Request.RequestStart(builder)
    FB.Request.RequestAddReqType(builder, 1)
    FB.Request.RequestAddReq(builder, infer)
    return finish(builder, FB.Request.RequestEnd(builder))


def aliased_tensors(n, size):
    def write(builder):
        m = FB.Tensor
        data = builder.CreateByteVector(bytes(size))
        m.TensorStartShapeVector(builder, 1)
        builder.PrependInt64(size)
        shape = builder.EndVector(1)
        m.TensorStart(builder)
        m.TensorAddType(builder, 1)
        m.TensorAddShape(builder, shape)
        m.TensorAddData(builder, data)
        tensor = m.TensorEnd(builder)
        FB.InferRequest.InferRequestStartInputTensorsVector(builder, n)
        for _ in range(n):
            builder.PrependUOffsetTRelative(tensor)
        return {"InputTensors": builder.EndVector(n)}
    return request_with(write)


def aliased_strings(n, size):
    """One string tensor of n elements that are all the same bytes."""
    def write(builder):
        m = FB.Tensor
        string = builder.CreateString(b"x" * size)
        m.TensorStartStringValVector(builder, n)
        for _ in range(n):
            builder.PrependUOffsetTRelative(string)
        strings = builder.EndVector(n)
        m.TensorStartShapeVector(builder, 1)
        builder.PrependInt64(n)
        shape = builder.EndVector(1)
        m.TensorStart(builder)
        m.TensorAddType(builder, 12)
        m.TensorAddShape(builder, shape)
        m.TensorAddStringVal(builder, strings)
        tensor = m.TensorEnd(builder)
        FB.InferRequest.InferRequestStartInputTensorsVector(builder, 1)
        builder.PrependUOffsetTRelative(tensor)
        return {"InputTensors": builder.EndVector(1)}
    return request_with(write)


def test_aliased_tensors_are_taken_within_the_limits(server):
    tensors = server.ask("POST", "/", aliased_tensors(3, 100)).tensors
    assert tensors == [uint8(bytes(100))] * 3


@pytest.mark.parametrize("body", [aliased_tensors(4000, 300_000), aliased_strings(20_000, 60_000)],
                         ids=["tensors", "strings"])
def test_aliases_that_expand_over_the_limit(server, body):
    """300 KB that would be over a GB as they are read."""
    assert len(body) < 400_000
    assert "limit" in refusal(server, body, 413)


@pytest.mark.parametrize("shape", [[2 ** 62, 4], [2 ** 32, 2 ** 32], [2 ** 63 - 1],
                                   [0, 2 ** 62, 4], [3, 7, 2 ** 61]])
def test_product_of_a_shape_overflows(server, shape):
    text = refusal(server, encode(Tensor("float64", shape, b"")))
    assert "input_tensors[0]" in text and f"float64[{shape[0]}" in text


def test_negative_dimension(server):
    text = refusal(server, encode(Tensor("float32", [-1, 4], F32)))
    assert "shape[0]" in text and "-1" in text


@pytest.mark.parametrize("tensor, wanted, got", [
    (Tensor("float32", [5], F32), "20", "16"),
    (Tensor("float32", [3], F32), "12", "16"),
    (Tensor("float32", [], F32), "4", "16"),
    (Tensor("float32", [0], F32), "0", "16"),
    (Tensor("float32", [2, 2], b""), "16", "0"),
    (Tensor("uint8", [3], b"ab"), "3", "2"),
    (Tensor("string", [3], [b"a", b"b"]), "3", "2"),
    (Tensor("string", [1], [b"a", b"b"]), "1", "2"),
])
def test_shape_and_data_disagree(server, tensor, wanted, got):
    text = refusal(server, encode(tensor))
    assert "input_tensors[0]" in text and tensor.type in text
    assert f"needs {wanted}" in text and f"holds {got}" in text


def test_types_that_a_tensor_cannot_have(server):
    message = encode(Tensor("uint8", [1], b"x"))
    number = encode(Tensor("int8", [1], b"x"))
    at, = (i for i in range(len(message)) if message[i] != number[i])
    for value, hint in ((0, "null"), (15, "15"), (255, "255")):
        changed = message[:at] + bytes([value]) + message[at + 1:]
        assert hint in refusal(server, changed)


def with_tag(body, tag):
    """The request with another tag in its union."""
    other = bytearray(body)
    root = struct.unpack_from("<I", other)[0]
    vtable = root - struct.unpack_from("<i", other, root)[0]
    other[root + struct.unpack_from("<H", other, vtable + 4)[0]] = tag
    return bytes(other)


def without_table(tag):
    builder = flatbuffers.Builder(64)
    FB.Request.RequestStart(builder)
    FB.Request.RequestAddReqType(builder, tag)
    return finish(builder, FB.Request.RequestEnd(builder))


def test_unknown_union_tag(server):
    for tag in (3, 255):
        assert str(tag) in refusal(server, with_tag(encode(SMALL), tag))


def test_request_without_its_table(server):
    refusal(server, without_table(0))
    refusal(server, without_table(1))


def test_metadata_request_needs_no_table(server):
    for body in (without_table(2), encode_metadata_request(), with_tag(encode(SMALL), 2)):
        answer = server.ask("POST", "/", body)
        assert answer.status == 200 and decode_metadata(answer.body)["name"] == "echo"


def test_limits_of_a_message(server):
    one = Tensor("uint8", [1], b"x")
    assert len(server.infer(*[one] * 4096).tensors) == 4096
    assert "4096" in refusal(server, encode(*[one] * 4097), 413)
    assert "4096" in refusal(server, encode(one, output_names=["n"] * 4097), 413)
    long = "n" * 65536
    assert server.infer(one, input_names=[long]).status == 200
    assert "65536" in refusal(server, encode(one, input_names=[long + "n"]), 413)
    assert server.infer(Tensor("uint8", [1] * 32, b"x")).tensors[0].shape == [1] * 32
    assert "32" in refusal(server, encode(Tensor("uint8", [1] * 33, b"x")), 413)


@pytest.mark.parametrize("name", [b"a\0b", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80"])
def test_names_are_utf8_without_nul(server, name):
    def write(builder):
        string = builder.CreateString(name)
        FB.InferRequest.InferRequestStartOutputNamesVector(builder, 1)
        builder.PrependUOffsetTRelative(string)
        return {"OutputNames": builder.EndVector(1)}
    assert "output_names[0]" in refusal(server, request_with(write))


# --- messages that do not fit the model -------------------------------------------------

def test_fewer_names_than_tensors(server):
    assert "1 input names for 2 tensors" in refusal(
        server, encode(SMALL, SMALL, input_names=["a"]))


def test_more_names_than_tensors_only_when_repeated(server):
    assert server.infer(SMALL, SMALL, input_names=["a", "b", "a", "b"]).tensors == [SMALL] * 2
    assert '"c"' in refusal(server, encode(SMALL, SMALL, input_names=["a", "b", "c"]))


def test_echo_has_no_more_outputs_than_inputs(server):
    assert "2" in refusal(server, encode(SMALL, output_names=["a", "b"]))
    assert code_of(server, encode(SMALL, output_names=["a", "b"])) == INVALID
    assert server.infer(SMALL, uint8(b"2"), output_names=["a"]).tensors == [SMALL]


@pytest.fixture(scope="module")
def pair(onnx):
    with onnx("pair") as server:
        yield server


def floats(*values, shape=None):
    return Tensor("float32", [len(values)] if shape is None else shape,
                  struct.pack(f"<{len(values)}f", *values))


@pytest.mark.parametrize("tensors, names, outputs, words", [
    ([floats(1)] * 2, ["a", "nobody"], [], ['"nobody"', "a float32[-1]", "b float32[-1]"]),
    ([floats(1)] * 2, ["a", "b"], ["quotient"], ['"quotient"', "sum", "product"]),
    ([floats(1)] * 2, ["a", "a"], [], ['"a"', "twice"]),
    ([floats(1)], ["a"], [], ['"b"', "missing", "float32[-1]"]),
    ([floats(1)], [], [], ["1 tensor", "2 default inputs", "a float32[-1]"]),
    ([floats(1)] * 3, [], [], ["3 tensors", "2 default inputs"]),
    ([floats(1), Tensor("float64", [1], bytes(8))], [], [], ['"b"', "float64[1]", "float32[-1]"]),
    ([floats(1), floats(1, shape=[1, 1])], [], [], ['"b"', "float32[1,1]", "float32[-1]"]),
    ([floats(1), floats(1, shape=[])], [], [], ['"b"', "float32[]", "float32[-1]"]),
    ([], [], [], ["0 tensors", "2 default inputs"]),
], ids=["input", "output", "twice", "missing", "few", "many", "type", "rank", "scalar", "none"])
def test_what_does_not_fit_the_model_says_wanted_and_got(pair, tensors, names, outputs, words):
    body = encode(*tensors, input_names=names, output_names=outputs)
    answer = pair.ask("POST", "/", body)
    assert answer.status == 400
    for word in words:
        assert word in answer.text
    code, message = pair.ask("POST", "/", body, {"Accept": MESSAGE}).error
    assert code == INVALID and message == answer.text.rstrip("\n")
    assert pair.infer(floats(1), floats(2), output_names=["sum"]).tensors == [floats(3)]


def test_dimension_that_does_not_fit(onnx):
    with onnx("mlp") as server:
        text = server.infer(floats(*range(10), shape=[2, 5])).text
        assert '"x"' in text and "float32[2,5]" in text and "float32[-1,4]" in text
        assert server.infer(floats(*range(8), shape=[2, 4])).status == 200


def test_rows_that_do_not_fit_fail_in_the_engine(pair):
    answer = pair.infer(floats(1, 2), floats(1, 2, 3), fields={"Accept": MESSAGE})
    assert answer.status in (400, 500) and answer.error[1]
    assert pair.infer(floats(1), floats(2), output_names=["sum"]).tensors == [floats(3)]


def test_fixed_batch_refuses_other_row_counts(onnx):
    with onnx("fixed") as server:
        assert server.infer(floats(*range(6), shape=[2, 3])).status == 200
        for rows in (0, 1, 3):
            answer = server.infer(floats(*range(3 * rows), shape=[rows, 3]))
            assert answer.status == 400 and "float32[2,3]" in answer.text


# --- engines that misbehave -------------------------------------------------------------

@pytest.fixture(scope="module")
def faulty():
    with Server(engine=plugin("faulty")) as server:
        yield server


@pytest.mark.parametrize("config, code", [
    ("fail", 10), ("silent", 10), ("unknown", 10), ("hole", 9), ("many", 9),
    ("type", 9), ("negative", 9), ("size", 9)])
def test_engine_that_fails_is_an_error_and_no_more(faulty, config, code):
    text = faulty.infer(SMALL, config=config)
    assert text.status == 500 and text.text.count("\n") == 1
    answer = faulty.infer(SMALL, config=config, fields={"Accept": MESSAGE})
    assert answer.status == 500 and answer.error == (code, text.text.rstrip("\n"))
    assert_serves(faulty)


def test_engine_that_sets_nothing_gives_an_empty_answer(faulty):
    assert faulty.infer(SMALL, config="unset").tensors == []
    assert faulty.infer(SMALL, config="unset", output_names=["y"]).status == 500
