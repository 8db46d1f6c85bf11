"""A function that is served: in a process of its own, since serve() blocks."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from harness import PATIENCE, PROGRAM, SOURCE, eventually

import graphpipe
from graphpipe import Client

PROGRAMS = {
    "lambda": "graphpipe.serve(lambda x: x * 2, listen=WHERE)",
    "names": """
        def pair(a, b, factor=10):
            if len(a) != len(b):
                raise graphpipe.InvalidInput(f"{len(a)} and {len(b)} numbers")
            return {"sum": a + b, "tens": factor * a, "text": np.array(["a", "b"])}
        graphpipe.serve(pair, WHERE, inputs={"a": ("float64", [-1]), "b": ("float64", [-1])},
                        instances=2, options=["--timeout", "30s"])""",
    "ufunc": "graphpipe.serve(np.negative, WHERE, name='minus')",
}


def answers(client):
    with contextlib.suppress(graphpipe.Unavailable):
        return client.metadata()


@pytest.fixture
def serve(tmp_path):
    """serve(name): a client of that program's function; it is interrupted at the end."""
    where, children = f"unix:{tmp_path}/socket", []

    def start(name):
        code = "import graphpipe, numpy as np\n" + textwrap.dedent(PROGRAMS[name])
        environment = {**os.environ, "PYTHONPATH": str(SOURCE / "clients/python/src"),
                       "PATH": os.path.dirname(PROGRAM) + ":" + os.environ["PATH"]}
        child = subprocess.Popen([sys.executable, "-c", code.replace("WHERE", repr(where))],
                                 env=environment, stderr=subprocess.PIPE, text=True)
        children.append(child)
        client = Client(where)
        eventually(lambda: answers(client), 10, "the server")
        return client

    yield start
    for child in children:
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20 * PATIENCE)
        assert child.returncode == 0, said
    assert not (tmp_path / "socket").exists()


def test_lambda(serve):
    with serve("lambda") as client:
        assert client.infer([1, 2, 3]).tolist() == [2, 4, 6]
        assert client.infer({"x": np.ones((300, 300))})["output_0"].tolist() == [[2] * 300] * 300
        assert client.infer(1.5) == 3


def test_names_and_errors(serve):
    with serve("names") as client:
        metadata = client.metadata()
        assert metadata.name == "pair" and [io.type for io in metadata.inputs] == ["float64"] * 2
        both = {"a": np.arange(2.0), "b": np.ones(2)}
        back = client.infer(both, outputs=["sum", "tens", "text"])
        assert back["sum"].tolist() == [1, 2] and back["tens"].tolist() == [0, 10]
        assert back["text"].tolist() == ["a", "b"]
        with pytest.raises(graphpipe.InvalidInput, match="^2 and 1 numbers$"):
            client.infer({"a": np.zeros(2), "b": np.zeros(1)})
        assert len(list(client.map([both] * 20, outputs="sum"))) == 20


def test_ufunc(serve):
    with serve("ufunc") as client:
        assert client.infer(np.arange(3)).tolist() == [0, -1, -2]
        with pytest.raises(graphpipe.ModelError, match="TypeError"):
            client.infer(["a"])
        assert client.metadata().name == "minus"


def test_without_the_program():
    with pytest.raises(FileNotFoundError, match="no program nobody"):
        graphpipe.serve(abs, program="nobody")
    with pytest.raises(RuntimeError, match="status 1"):
        graphpipe.serve(abs, "not:an:address", program=PROGRAM)
