"""Fixtures: servers that many tests share. The tests that need settings of their own start one."""
import pytest

from harness import MODELS, Server, assert_serves
from needs import need


def pytest_configure(config):
    config.addinivalue_line("markers", "tsan: also run under ThreadSanitizer")


@pytest.fixture(scope="module")
def echo():
    with Server() as server:
        yield server


@pytest.fixture
def server(echo):
    """The shared server, which serves after each test as before it."""
    yield echo
    assert_serves(echo)


@pytest.fixture
def gate(tmp_path):
    """A path where no file is: held() has runs that wait for one, gate.touch() ends them."""
    return tmp_path / "gate"


@pytest.fixture(scope="session")
def onnx():
    """Serves one of tests/models, by its name."""
    need("onnx")

    def serve(name, *arguments):
        return Server(*arguments, engine="onnx", model=MODELS / f"{name}.onnx")

    return serve
