"""Requests that a model runs before clients may: its first run is never theirs."""
import json
import re
import shutil

import numpy as np
import pytest

from harness import Server, encode, eventually, plugin, start_fails
from python_models import PYTHON, floats, write

# answers [version, how many runs there were, the sum of all inputs]
COUNTS = """
    import numpy
    n, total = 0, 0.0
    def infer(inputs):
        global n, total
        n, total = n + 1, total + float(inputs[0].sum())
        return numpy.float32([{}, n, total])
"""
FAILS = """
    def infer(inputs):
        raise ValueError("not warm")
"""
DIES = """
    import os
    def infer(inputs):
        os._exit(3)
"""
HANGS = """
    import time
    def infer(inputs):
        open({!r}, "w").close()
        while True:
            time.sleep(0.01)
"""


def version(repository, number, source=COUNTS):
    """Copied in one step."""
    folder = repository / f".m.{number}"
    folder.mkdir()
    write(folder, source.format(number))
    target = repository / "m" / str(number)
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    version(folder, 1)
    return folder


def serve(*arguments, n=1):
    return Server("--instances", n, "--pool", "256MiB", *PYTHON, *arguments, engine="auto")


def ask(server, target="/m", value=0):
    answer = server.ask("POST", target, encode(floats(value)))
    assert answer.status == 200, answer
    return np.frombuffer(answer.tensors[0].data, "float32").tolist()


def ready(number):
    return rf"m version {number} is ready: loaded in \d+ ms, warmed up in \d+ ms"


def test_first_request_is_not_the_first_run(repository):
    with serve("--repository", repository, "--warm-up", 3) as server:
        assert ask(server) == [1, 4, 0]
        version(repository, 2)
        first = eventually(lambda: (a := ask(server))[0] == 2 and a, 20, "version 2")
        assert first == [2, 4, 0]
        for number in 1, 2:
            eventually(lambda: re.search(ready(number), server.stderr))


def test_its_time_is_told(repository):
    with serve("--repository", repository, "--warm-up", 1) as server:
        (model,) = json.loads(server.ask("GET", "/").text)["models"]
        (told,) = model["versions"]
        assert told["warm_up_ms"] >= 0
        seconds = 'graphpipe_model_warm_up_seconds{model="m",version="1"} '
        assert float(server.ask("GET", "/metrics").text.partition(seconds)[2].split()[0]) > 0
    with serve("--repository", repository) as server:
        (model,) = json.loads(server.ask("GET", "/").text)["models"]
        assert "warm_up_ms" not in model["versions"][0]
        assert seconds not in server.ask("GET", "/metrics").text


def test_every_child_is_warm(repository):
    with serve("--repository", repository, "--warm-up", 2, n=3) as server:
        for _ in range(9):
            assert ask(server)[1] > 2


@pytest.mark.parametrize("source, why", [(FAILS, "not warm"), (DIES, "status 3")],
                         ids=["raises", "ends"])
def test_failing_warm_up_keeps_the_version_before(repository, source, why):
    with serve("--repository", repository, "--warm-up", 2) as server:
        version(repository, 2, source)
        assert server.logged("m version 2 does not load", within=20)
        assert ask(server)[0] == 1
        text = server.ask("GET", "/").text
        assert "warm-up request 1 of 2: " in text and why in text
        answer = server.ask("POST", "/m/versions/2", encode(floats(0)))
        assert answer.status == 503 and "warm-up request 1 of 2: " in answer.text
        assert server.ask("GET", "/control/is_ready").status == 200
        server.fall_asleep()  # a child that nobody waits for any more keeps nobody awake
        version(repository, 2)
        eventually(lambda: ask(server)[0] == 2, 20, "version 2")


def test_recorded_requests(tmp_path):
    folder = tmp_path / "requests"
    folder.mkdir()
    (folder / "b").write_bytes(encode(floats(2, 3)))
    (folder / "a").write_bytes(encode(floats(4)))
    path = write(tmp_path, COUNTS.format(1))
    with serve("--warm-up", folder, f"m={path}") as server:
        assert ask(server, value=1) == [1, 3, 10]
        assert server.ask("POST", "/control/models/m/load").status == 200
        assert ask(server, value=1) == [1, 3, 10]
        (folder / "c").write_bytes(b"no message")
        answer = server.ask("POST", "/control/models/m/load")
        assert answer.status == 400 and "warm-up request 3 of 3" in answer.text
        assert f"{folder}/c" in answer.text
        assert server.logged("does not load, and the one before goes on")
        assert ask(server) == [1, 4, 10]
    said = start_fails("--warm-up", folder, *PYTHON, "--pool", "256MiB", path)
    assert f"warm-up request 3 of 3, {folder}/c: " in said
    said = start_fails("--warm-up", tmp_path / "none", *PYTHON, "--pool", "256MiB", path)
    assert f'warm-up: cannot read "{tmp_path}/none": No such file' in said


def test_lone_model(tmp_path):
    path = write(tmp_path, COUNTS.format(1))
    with serve("--warm-up", 2, path) as server:
        assert ask(server, "/") == [1, 3, 0]
        eventually(lambda: re.search(r"ready in \d+ ms, \d+ of them for its warm-up",
                                     server.stderr))


@pytest.mark.parametrize("engine", ["echo", plugin("pinned")])
def test_engines_that_take_anything(engine):
    with Server("--warm-up", 2, "--pool", "256MiB", engine=engine) as server:
        assert server.logged("of them for its warm-up")
        assert server.infer(floats(5)).tensors == [floats(5)]


def test_end_during_a_warm_up(repository, tmp_path):
    """The end of the context asks for it: the warm-up is not waited for."""
    begun = tmp_path / "begun"
    with serve("--repository", repository, "--warm-up", 1) as server:
        version(repository, 2, HANGS.replace("{!r}", repr(str(begun))))
        eventually(begun.exists, 20)
        assert ask(server)[0] == 1
