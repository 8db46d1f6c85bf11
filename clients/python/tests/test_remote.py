"""The functions of 2018: what tests/e2e/test_python_2018.py says of the client of that time."""

import numpy as np
import pytest

import graphpipe
from graphpipe import remote

A, B = np.array([1, 2, 3], "f4"), np.array([4, 5, 6], "f4")


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def test_execute(echo):
    for array in A, np.zeros((0, 4), "i2"), np.float16(3), np.ones((2, 3))[:, ::-1]:
        assert same(remote.execute(echo.url, array), np.asarray(array))
    assert same(remote.execute(echo.url, A, input_name="x", output_name="y"), A)
    back = remote.execute_multi(echo.url, [A, B[:1]], None, None, "config")
    assert [len(array) for array in back] == [3, 1]


def test_strings_are_bytes(echo):
    back = remote.execute(echo.url, np.array([["x", "grüße"], ["", "z"]]))
    assert back.tolist() == [[b"x", "grüße".encode()], [b"", b"z"]]


def test_names_of_a_model(pair):
    product, total = remote.execute_multi(pair.url, [B, A], ["b", "a"], ["product", "sum"])
    assert same(product, A * B) and same(total, A + B)
    assert [same(a, A * B) for a in remote.execute_multi(
        pair.url, [A, B], ["a", "b", "a", "b"], ["product", "product"])] == [True, True]
    with pytest.raises(graphpipe.InvalidInput, match='"nobody"'):
        remote.execute_multi(pair.url, [A, B], None, ["nobody"])


def test_metadata(pair, echo):
    metadata = remote.metadata(pair.url)
    assert metadata.Name() == b"pair" and metadata.Server().startswith(b"graphpipe")
    assert metadata.Description() == b"test, made by make_models"
    assert metadata.InputsLength() == metadata.OutputsLength() == 2
    io = metadata.Outputs(1)
    assert (io.Name(), io.Type(), io.ShapeLength(), io.Shape(0)) == (b"product", 10, 1, -1)
    assert metadata.Inputs(0).ShapeAsNumpy().tolist() == [-1]
    assert remote.get_input_names(pair.url) == ["a", "b"]
    assert remote.get_output_names(pair.url) == ["sum", "product"]
    for types in remote.get_input_types, remote.get_output_types:
        assert types(pair.url) == [np.dtype("f4")] * 2
    for shapes in remote.get_input_shapes, remote.get_output_shapes:
        assert shapes(pair.url) == [[None], [None]]
    assert remote.get_input_types(echo.url) == [None]


def test_newer_types_are_those_that_stood_for_them(onnx):
    with onnx("types") as server:
        types = dict(zip(remote.get_input_names(server.url), remote.get_input_types(server.url)))
        assert types["bool"] == np.uint8 and types["bfloat16"] == np.float32
        arrays = {name: np.ones(4, "U1" if t.kind == "O" else t) for name, t in types.items()}
        back = dict(zip(arrays, remote.execute_multi(
            server.url, list(arrays.values()), list(arrays), ["out_" + n for n in arrays])))
    assert back["bool"].dtype == np.uint8 and back["bfloat16"].dtype == np.float32


@pytest.mark.parametrize("uri, label", [
    ("http://host", "host:80"), ("http://host/model", "host:80"), ("http://host:9000", "host:9000"),
    ("http://[::1]/", "[::1]:80")])
def test_the_port_was_that_of_http(uri, label):
    assert remote._client(uri)._pool.address.host_field == label
