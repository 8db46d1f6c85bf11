"""Models that are Python code import this package too: in a server, with the client installed."""

import sys
import textwrap

import numpy as np
import pytest
from harness import SOURCE, Server

import graphpipe
from graphpipe import Client

MODEL = """
    import graphpipe, numpy as np

    other = graphpipe.Client(URL)

    def infer(inputs):
        try:
            x = inputs["x"]
        except graphpipe.InvalidInput as error:
            assert isinstance(error, KeyError)
            return inputs["nothing"]
        if x.size > 3:
            raise graphpipe.InvalidInput(f"{x.size} numbers are too many")
        if x[0] == 7:
            other.infer(x, outputs=["p", "q"])  # more than there are: refused there
        if x[0] == 8:
            other.infer(x, model="nobody")
        y = graphpipe.empty(x.shape, x.dtype)
        np.multiply(other.infer(x), 2, out=y)
        return {"y": y}
"""


@pytest.fixture(scope="module")
def client(echo, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.py"
    path.write_text(textwrap.dedent(MODEL).replace("URL", repr(echo.url)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SOURCE / "clients/python/src"))
        server = Server("--instances", 1, "--python", sys.executable, engine="auto", model=path)
        with server, Client(server.url) as client:
            yield client


def test_a_model_asks_another(client):
    assert client.infer(np.array([1, 2, 3], "f4")).tolist() == [2, 4, 6]


@pytest.mark.parametrize("x, kind, words", [
    ({"x": np.zeros(4)}, graphpipe.InvalidInput, "^4 numbers are too many$"),
    ({"z": np.zeros(1), "y": np.zeros(1)}, graphpipe.InvalidInput, '"nothing".* has: z, y'),
    ({"x": np.full(1, 7)}, graphpipe.InvalidInput, "2 outputs"),
    ({"x": np.full(1, 8)}, graphpipe.ModelError, "infer raised NotFound: no model is named"),
])
def test_what_a_model_raises(client, x, kind, words):
    with pytest.raises(kind, match=words):
        client.infer(x, outputs="y")


def test_outside_a_server():
    assert graphpipe.empty((2, 3), "int16").tolist() == np.zeros((2, 3)).tolist()
