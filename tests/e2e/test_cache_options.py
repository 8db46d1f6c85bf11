"""How a row cache is turned on, and what the server says of it at its start. What it answers is tested
elsewhere, what models are known by in tests/unit/test_model_digest.c."""
import json
import os
import re
import signal

import pytest

from calls import fails, serving
from harness import MODELS, PROGRAM, Server, encode, eventually, start_fails
from needs import needs
from python_models import PYTHON, floats, write

MEAN = """
    inputs = {"x": ("float32", [-1, 3])}
    outputs = {"y": ("float32", [-1, 3])}

    def infer(inputs):
        return {"y": inputs["x"] - inputs["x"].mean(axis=0)}
"""
BY_ROW = r": cached by row: 5 rows in 13 runs do not depend on each other \(largest difference \S+\)$"
WHOLE = ": whole requests are cached, not rows: "


def said(tmp_path, *arguments, env=None, **keywords):
    """The lines of a start with these arguments."""
    keywords["engine"] = keywords.get("engine", "auto")
    with Server("--cache-dir", tmp_path / "cache", "--instances", 1, *arguments, **keywords) as server:
        return server.lines


def has(lines, pattern):
    return any(re.search(pattern, line) for line in lines)


@needs("onnx")
@pytest.mark.parametrize("name, pattern", [
    ("mlp", "^mlp" + BY_ROW),
    ("fixed", f"^fixed{WHOLE}it runs 2 rows at a time, neither more nor fewer$"),
    ("scalar", f"^scalar{WHOLE}a cache of rows wants every input and output to have the same rows, but "),
])
def test_onnx_models(tmp_path, name, pattern):
    lines = said(tmp_path, "--cache", model=MODELS / f"{name}.onnx")
    assert has(lines, pattern)
    assert has(lines, rf"^rows are cached in {tmp_path}/cache/rows: 0 so far, 0 of 1024 MiB$")
    assert not has(lines, "requests run|batches")


def test_models_in_python(tmp_path):
    python = (*PYTHON, "--pool", "256MiB")
    assert has(said(tmp_path, *python, "--cache", model=write(tmp_path, MEAN)),
               f"^model{WHOLE}output 0 of a row differs when it runs with 4 others$")
    lines = said(tmp_path, *python, "--cache", "--max-batch", 4, model=write(tmp_path, MEAN))
    assert has(lines, "warning: model: --max-batch is for models whose rows do not depend")
    assert has(lines, "^model: cached by row, as --max-batch says$")


def test_off_by_default(tmp_path):
    """A --cache-dir may be for models that URLs name."""
    assert not has(said(tmp_path, engine="echo"), "cached")
    assert not (tmp_path / "cache").exists()
    assert not has(said(tmp_path, "--cache=off", engine="echo"), "cached")


def test_where_it_is(tmp_path):
    assert has(said(tmp_path, "--cache", "--cache-size", "3MiB", engine="echo"), "0 of 3 MiB$")
    with serving("serve", "--engine", "echo", "--cache", "--listen", "127.0.0.1:0",
                 env=["-u", "XDG_CACHE_HOME", f"HOME={tmp_path}"]) as server:
        assert has(server.lines, f"^rows are cached in {tmp_path}/.cache/graphpipe/rows: ")


@pytest.mark.parametrize("arguments, words", [
    (("--cache-dir", "/proc/rows"), "--cache-dir /proc/rows/rows: "),
    (("--engine", "remote", "--engine-option", "url=http://127.0.0.1:1"),
     "--cache is not for the engine remote: the other server may change its model unseen"),
])
def test_refused(tmp_path, arguments, words):
    engine = () if "--engine" in arguments else ("--engine", "echo")
    folder = () if "--cache-dir" in arguments else ("--cache-dir", tmp_path)
    assert words in start_fails("--cache", *engine, *folder, *arguments)


def test_refused_sizes():
    assert "--cache-size wants a size such as 64M or 1GiB, at least 1MiB, not \"1000\"" in \
        fails(2, "serve", "--engine", "echo", "--cache-size", "1000")
    assert "--cache-ttl wants a duration" in fails(2, "serve", "--engine", "echo", "--cache-ttl", "1x")


def test_no_home():
    env = {"PATH": os.environ["PATH"]}
    assert start_fails("--engine", "echo", "--cache", env=env) == \
        "graphpipe: a cache needs a folder for its rows: --cache-dir"


def test_reload_turns_it_on_and_off(tmp_path):
    """For one of two models; the other is not opened anew."""
    path, rows = tmp_path / "gp.json", tmp_path / "cache/rows"

    def follow(server, **settings):
        path.write_text(json.dumps({"engine": "echo", "cache-dir": str(tmp_path / "cache"), **settings}))
        n = server.stderr.count("is in force")
        server.signal(signal.SIGHUP)
        eventually(lambda: server.stderr.count("is in force") > n, 20)

    path.write_text(json.dumps({"engine": "echo", "cache-dir": str(tmp_path / "cache"),
                                "models": {"a": {"path": "x"}, "b": {"path": "x"}}}))
    with Server("--config", path) as server:
        assert not rows.exists()
        follow(server, models={"a": {"path": "x", "cache": True}, "b": {"path": "x"}})
        assert rows.is_dir() and has(server.lines, rf"^rows are cached in {rows}: ") and has(server.lines, "^a" + BY_ROW)
        follow(server, models={"a": {"path": "x"}, "b": {"path": "x"}}, **{"cache-size": "3MiB"})
        assert has(server.lines, "cache-size takes effect at the next start$")
        eventually(lambda: server.stderr.count("a version 1 is ready") == 2)
        assert "b version 1 is ready" not in server.stderr


def test_a_folder_that_cannot_be_used_fails_the_load(tmp_path):
    """And nothing else; once it can be, the next reload goes well."""
    path, folder = tmp_path / "gp.json", tmp_path / "cache"
    folder.write_text("a file")
    settings = {"engine": "echo", "cache-dir": str(folder)}
    path.write_text(json.dumps({**settings, "models": {"a": {"path": "x"}}}))
    with Server("--config", path) as server:
        path.write_text(json.dumps({**settings, "models": {"a": {"path": "x", "cache": True}}}))
        server.signal(signal.SIGHUP)
        eventually(lambda: has(server.lines, f'SIGHUP: .*model "a": --cache-dir {folder}/rows: '), 20)
        assert server.ask("POST", "/a", encode(floats([1]))).status == 200
        folder.unlink()
        server.signal(signal.SIGHUP)
        eventually(lambda: has(server.lines, "is in force"), 20)
        assert has(server.lines, "^a" + BY_ROW)


@needs("onnx")
@pytest.mark.parametrize("flags, env", [(("-c",), ()), (("--cache",), ()), ((), ("GP_CACHE=1",))])
def test_flags_of_2018(tmp_path, flags, env):
    program = tmp_path / "graphpipe-onnx"
    program.symlink_to(os.path.abspath(PROGRAM))
    with serving("-m", str(MODELS / "mlp.onnx"), "-l", "127.0.0.1:0", "-d", str(tmp_path / "cache"), *flags,
                 program=program, env=env) as server:
        assert has(server.lines, "^mlp" + BY_ROW)
        assert has(server.lines, f"^rows are cached in {tmp_path}/cache/rows: ")
        assert not has(server.lines, "warning")


def test_the_batcher_has_none(tmp_path):
    program = tmp_path / "graphpipe-batcher"
    program.symlink_to(os.path.abspath(PROGRAM))
    with Server() as target, serving("--target-url", target.url, "-l", "127.0.0.1:0", "-c", "-d", str(tmp_path),
                                     program=program) as server:
        assert has(server.lines, "warning: --cache does nothing: rows are cached by the server of the model")
        assert not (tmp_path / "rows").exists()
