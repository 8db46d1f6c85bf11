"""What the tests of the engine python share: models as source code, served by the interpreter that runs
the tests, and tensors as numpy's arrays."""
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from harness import PATIENCE, PROGRAM, Server, Tensor

PYTHON = ("--engine-option", f"python={sys.executable}")
ECHO = "def infer(inputs):\n    return inputs\n"


def write(folder, source, name="model.py"):
    path = folder / name
    path.write_text(textwrap.dedent(source))
    return path


@pytest.fixture
def serve(tmp_path):
    """Serves source code, in one process unless said otherwise."""
    def serve(source, *arguments, python=PYTHON, n=1):
        return Server("--instances", n, "--pool", "256MiB", *python, *arguments, engine="auto",
                      model=write(tmp_path, source))
    return serve


def tensor(dtype, values):
    values = np.array(values, dtype)
    return Tensor(dtype, list(values.shape), values.tobytes())


def floats(*values):
    return tensor("float32", values)


def strings(*values):
    return Tensor("string", [len(values)], list(values))


def numbers(answer):
    """Of the only tensor of an answer."""
    (got,) = answer.tensors
    return np.frombuffer(got.data, got.type).reshape(got.shape).tolist()


def words(answer):
    (got,) = answer.tensors
    return b" ".join(got.data).decode()


def refused(answer, status, *parts):
    assert answer.status == status, answer.text
    for part in parts:
        assert part in answer.text
    return True


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True,
                          timeout=10 * PATIENCE)
