"""What the tests of the client share: the real server, of tests/e2e/harness.py."""

import json
import pathlib
import subprocess

import pytest
from harness import BUILD, MODELS, Server
from needs import need


@pytest.fixture
def written_by_c(tmp_path):
    """written_by_c(kind, message): the same message as the C library writes it."""

    def recode(kind, message):
        read, written = tmp_path / "read", tmp_path / "written"
        read.write_bytes(message)
        subprocess.run([BUILD / "tests/golden_codec", "recode", kind, read, written], check=True)
        return written.read_bytes()

    return recode


@pytest.fixture
def read_by_c(tmp_path):
    """read_by_c(kind, messages): what the C library reads in each, as JSON."""

    def decode(kind, messages):
        paths = [tmp_path / str(i) for i in range(len(messages))]
        for path, message in zip(paths, messages):
            path.write_bytes(message)
        done = subprocess.run([BUILD / "tests/golden_codec", "decode", kind, *paths], check=True,
                              stdout=subprocess.PIPE)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return decode


@pytest.fixture(scope="session")
def echo():
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def onnx():
    """onnx("pair"): serves one of tests/models."""
    need("onnx")
    return lambda name, *arguments: Server(*arguments, engine="onnx",
                                           model=pathlib.Path(MODELS) / f"{name}.onnx")


@pytest.fixture(scope="session")
def pair(onnx):
    """sum and product of the float32[-1] a and b."""
    with onnx("pair") as server:
        yield server
