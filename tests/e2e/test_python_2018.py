"""The Python client of 2018, as it was released, against this server."""
import numpy as np
import pytest
import requests
from graphpipe import convert, remote

from harness import BUILD, Server, plugin

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16",
          "float32", "float64"]


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def some(dtype, shape):
    return np.random.RandomState(7).randint(0, 100, shape).astype(dtype)


@pytest.fixture(scope="module")
def pair(onnx):
    with onnx("pair") as server:
        yield server.url


@pytest.fixture(scope="module")
def mlp(onnx):
    with onnx("mlp") as server:
        yield server.url


# --- echo -------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 1, 1, 1, 5), (), (0,), (0, 4)], ids=str)
def test_numbers_come_back(echo, dtype, shape):
    array = some(dtype, shape)
    assert same(remote.execute(echo.url, array), array)


def test_numbers_of_every_value_come_back(echo):
    every = np.frombuffer(np.arange(65536, dtype="<u2").tobytes(), "f2")
    back = remote.execute(echo.url, every)
    assert back.tobytes() == every.tobytes()


@pytest.mark.parametrize("shape", [(1000, 1000), (7, 224, 224, 3)])
def test_larger_arrays_come_back(echo, shape):
    array = some("float32", shape)
    assert same(remote.execute(echo.url, array), array)


def test_arrays_that_are_not_contiguous(echo):
    array = some("int32", (6, 8))
    assert same(remote.execute(echo.url, array[::2, ::-3]), array[::2, ::-3])
    assert same(remote.execute(echo.url, array.T), array.T)


@pytest.mark.parametrize("strings", [["a", "bc", ""], [["x", "y"], ["z", "grüße"]]])
def test_strings_come_back(echo, strings):
    back = remote.execute(echo.url, np.array(strings))
    assert [s.decode() for s in back.ravel()] == list(np.array(strings).ravel())
    assert back.shape == np.array(strings).shape


def test_strings_of_objects_and_bytes_come_back(echo):
    for array in (np.array(["long" * 1000, ""], dtype=object), np.array([b"bytes", b"x"])):
        back = remote.execute(echo.url, array)
        assert [s for s in back] == [s if isinstance(s, bytes) else s.encode() for s in array]


def test_several_arrays_of_several_types(echo):
    arrays = [some("float64", (3,)), some("uint8", (1,)), some("int64", (2, 2)),
              some("float16", (5,))]
    back = remote.execute_multi(echo.url, arrays, list("abcd"), list("wxyz"))
    assert len(back) == 4 and all(map(same, back, arrays))
    back = remote.execute_multi(echo.url, arrays, None, None, config="ignored")
    assert len(back) == 4 and all(map(same, back, arrays))
    back = remote.execute_multi(echo.url, arrays, None, ["only"])
    assert len(back) == 1 and same(back[0], arrays[0])


def test_metadata_of_echo(echo):
    metadata = remote.metadata(echo.url)
    assert metadata.Name() == b"echo" and metadata.Server().startswith(b"graphpipe")
    assert remote.get_input_names(echo.url) == ["input0"]
    assert remote.get_output_names(echo.url) == ["output0"]
    assert remote.get_input_types(echo.url) == remote.get_output_types(echo.url) == [None]
    assert remote.get_input_shapes(echo.url) == remote.get_output_shapes(echo.url) == [[None]]


def test_any_path():
    """Of the program of 2018; graphpipe serve knows its models by their names."""
    array = some("float32", (3,))
    program = Server()
    program.command = [str(BUILD / "bin/graphpipe-echo"), "--listen", "127.0.0.1:0"]
    with program as server:
        for path in ("", "echo", "some/path?query"):
            assert same(remote.execute(server.url + path, array), array)


# --- a model ----------------------------------------------------------------------------

A, B = np.array([1, 2, 3], "f4"), np.array([4, 5, 6], "f4")


def test_execute_uses_the_only_input_and_output(mlp):
    x = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], "f4")
    assert same(remote.execute(mlp, x), np.array([[0, 2, 0], [3, 5, 0]], "f4"))


def test_execute_with_names(mlp):
    x = np.array([[1, 0, 0, 0]], "f4")
    wanted = np.array([[0, 2, 0]], "f4")
    assert same(remote.execute(mlp, x, input_name="x", output_name="y"), wanted)
    assert same(remote.execute(mlp, x, "x"), wanted)
    assert same(remote.execute(mlp, x, output_name="y"), wanted)


def test_no_rows_give_no_rows(mlp):
    assert remote.execute(mlp, np.zeros((0, 4), "f4")).shape == (0, 3)


def test_defaults_are_in_the_model_s_order(pair):
    total, product = remote.execute_multi(pair, [A, B], None, None)
    assert same(total, A + B) and same(product, A * B)


def test_names_in_any_order(pair):
    product, total = remote.execute_multi(pair, [B, A], ["b", "a"], ["product", "sum"])
    assert same(product, A * B) and same(total, A + B)


def test_one_of_two_outputs(pair):
    product, = remote.execute_multi(pair, [A, B], ["a", "b"], ["product"])
    assert same(product, A * B)


def test_an_output_named_twice_comes_twice(pair):
    back = remote.execute_multi(pair, [A, B], None, ["sum", "product", "sum"])
    assert [b.tolist() for b in back] == [(A + B).tolist(), (A * B).tolist(), (A + B).tolist()]


def test_names_doubled_as_the_batcher_did(pair):
    total, _ = remote.execute_multi(pair, [A, B], ["a", "b", "a", "b"], None)
    assert same(total, A + B)


def test_metadata_of_a_model(pair):
    assert remote.metadata(pair).Name() == b"pair"
    assert remote.get_input_names(pair) == ["a", "b"]
    assert remote.get_output_names(pair) == ["sum", "product"]
    assert remote.get_input_types(pair) == remote.get_output_types(pair) == [np.dtype("f4")] * 2
    assert remote.get_input_shapes(pair) == remote.get_output_shapes(pair) == [[None], [None]]


def test_every_type_through_a_model(onnx):
    """Bool and BFloat16 travel as the types that this client knows."""
    arrays = {name: some(dtype, (4,)) for name, dtype in [
        ("float", "f4"), ("uint8", "u1"), ("int8", "i1"), ("uint16", "u2"), ("int16", "i2"),
        ("int32", "i4"), ("int64", "i8"), ("float16", "f2"), ("double", "f8"), ("uint32", "u4"),
        ("uint64", "u8"), ("bfloat16", "f4")]}
    arrays["bool"] = np.array([1, 0, 0, 1], "u1")
    arrays["string"] = np.array(["a", "", "bc", "d"])
    with onnx("types") as server:
        url = server.url
        types = dict(zip(remote.get_input_names(url), remote.get_input_types(url)))
        assert types["bool"] == np.uint8 and types["bfloat16"] == np.float32
        names = list(arrays)
        back = remote.execute_multi(url, [arrays[n] for n in names], names,
                                    ["out_" + n for n in names])
    for name, array in zip(names, back):
        if name == "string":
            assert [s.decode() for s in array] == arrays[name].tolist()
        else:
            assert same(array, arrays[name]), name


def test_default_inputs_and_outputs_of_the_command_line(onnx):
    with onnx("pair", "--inputs", "b,a", "--outputs", "product") as server:
        back = remote.execute_multi(server.url, [A, B[:1]], None, None)
        assert len(back) == 1 and same(back[0], A * B[0])


# --- errors -----------------------------------------------------------------------------

@pytest.mark.parametrize("call", [
    lambda url: remote.execute(url, A),
    lambda url: remote.execute_multi(url, [A, B], ["a", "nobody"], None),
    lambda url: remote.execute_multi(url, [A, B], None, ["nobody"]),
    lambda url: remote.execute_multi(url, [A, B.astype("f8")], None, None),
    lambda url: remote.execute_multi(url, [A, B.reshape(3, 1)], None, None),
], ids=["too few", "input", "output", "type", "rank"])
def test_what_does_not_fit_raises(pair, call):
    with pytest.raises(requests.HTTPError) as caught:
        call(pair)
    assert caught.value.response.status_code == 400
    assert same(remote.execute_multi(pair, [A, B], None, ["sum"])[0], A + B)


def test_error_is_text_to_this_client(echo):
    request = convert.serialize_infer_request(convert.InferReq(None, [A], ["a"], ["x", "y"]))
    answer = requests.post(echo.url, data=request)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "2 outputs" in answer.text


def test_failing_engine_raises():
    with Server(engine=plugin("faulty")) as server:
        with pytest.raises(requests.HTTPError) as caught:
            remote.execute_multi(server.url, [A], None, None, config="fail")
        assert caught.value.response.status_code == 500
        assert same(remote.execute(server.url, A), A)


def test_one_session_keeps_its_connection(echo):
    """What `requests` does when it is let: the same bytes over one connection."""
    request = convert.serialize_infer_request(convert.InferReq(None, [A]))
    before = echo.metrics()["accepted_connections_total"]
    with requests.Session() as session:
        for _ in range(10):
            answer = session.post(echo.url, data=request)
            (back,), errors = convert.deserialize_infer_response(answer.content)
            assert same(back, A) and not errors
    assert echo.metrics()["accepted_connections_total"] == before + 2
