"""SIGHUP while clients ask: the configuration file is read again, and the server follows it."""
import json
import re
import shutil
import signal
import threading

import pytest

from calls import serving
from harness import SANITIZE, Server, encode, eventually
from python_models import ECHO, PYTHON, floats, write
from test_reload import BROKEN, SAYS, SLOW, Traffic, ask, entry, measures, says, version
from website import cache, page, site  # noqa: F401


@pytest.fixture
def file(tmp_path):
    return File(tmp_path / "gp.json")


class File:
    def __init__(self, path):
        self.path = path

    def write(self, **settings):
        self.path.write_text(json.dumps(settings, indent=1))

    def serve(self, *arguments, **keywords):
        return Server("--config", self.path, "--pool", "256MiB", *arguments, **keywords)


def outcomes(server):
    """What became of each SIGHUP."""
    return [line for line in server.lines if "SIGHUP: " in line
            and not re.search("SIGHUP: reading|takes effect at the next start", line)]


def hang_up(server):
    """Until the file was read and followed; the line that says so."""
    n = len(outcomes(server))
    server.signal(signal.SIGHUP)
    return eventually(lambda: outcomes(server)[n:], 30)[0]


def follow(server):
    said = hang_up(server)
    assert "is in force" in said, said


def post(server, target, size=5):
    return server.ask("POST", target, encode(floats(*range(size)))).status


def n_opened(server, name):
    return server.stderr.count(f"{name} version 1 is ready")


def n_closed(server, name):
    return server.stderr.count(f"{name} version 1 is closed")


def failed(server):
    return server.metrics()["config_reload_failed"]


# --- what changes -----------------------------------------------------------------------


def test_changes_under_load(file):
    """Models come, go and change while clients ask those that stay; no request fails."""
    stays, a = {"path": "x"}, {"path": "x", "instances": 1}
    file.write(models={"a": a, "b": {"path": "x"}, "stays": stays}, **{"default-model": "a"})
    with file.serve() as server, Traffic(server, "/a", 3) as at_a, \
            Traffic(server, "/stays", 3) as at_stays, Traffic(server, "/", 2) as at_root:
        file.write(models={"a": {**a, "instances": 3}, "c": {"path": "x"}, "stays": stays},
                   **{"default-model": "c"})
        assert post(server, "/b") == 200 and post(server, "/c") == 404
        follow(server)
        assert post(server, "/b") == 404 and post(server, "/c") == post(server, "/a") == 200
        assert server.metrics()['slots{model="a"}'] >= 3
        assert json.loads(server.ask("GET", "/").text)["default"] == "c"
        eventually(lambda: n_closed(server, "a") == n_closed(server, "b") == 1)
        eventually(lambda: server.metrics()['slots{model="a"}'] == 3)
        assert n_opened(server, "a") == n_opened(server, "c") == 1
        for _ in range(3):
            follow(server)
        assert n_opened(server, "a") == n_opened(server, "c") == 1 and n_opened(server, "stays") == 0
        assert min(t.n_asked for t in (at_a, at_stays, at_root)) > 0
    assert not at_a.wrong + at_stays.wrong + at_root.wrong


def test_lone_model_becomes_another(file):
    """What leads to a model before and after is answered in between."""
    file.write(models={"a": {"path": "x"}})
    with file.serve() as server, Traffic(server, "/", 4) as traffic:
        for name, gone in ("b", "a"), ("a", "b"), ("b", "a"):
            file.write(models={name: {"path": "x"}})
            follow(server)
            assert post(server, f"/{name}") == 200 and post(server, f"/{gone}") == 404
            assert json.loads(server.ask("GET", "/").text)["name"] == name
        file.write(models={"b": {"path": "x"}, "c": {"path": "x"}})
        follow(server)
        assert post(server, "/") == post(server, "/c") == 200  # "/" stays with b
    assert not traffic.wrong


def test_aliases_and_limits(file):
    """Aliases need no model to be opened anew, and a limit may be wider than at the start."""
    file.write(models={"a": {"path": "x"}}, **{"max-body": "1000"})
    with file.serve() as server:
        assert post(server, "/a/versions/stable") == 404 and post(server, "/a", 999) == 413
        file.write(models={"a": {"path": "x", "aliases": {"stable": 1}}}, **{"max-body": "1000"})
        follow(server)
        assert post(server, "/a/versions/stable") == 200 and n_opened(server, "a") == 0
        file.write(models={"a": {"path": "x"}}, **{"max-body": "1MiB"})
        follow(server)
        assert post(server, "/a", 999) == 200 and post(server, "/a/versions/stable") == 404
        file.write(models={"a": {"path": "x"}}, **{"max-body": "2000"})
        follow(server)
        assert post(server, "/a", 999) == 413 and "takes effect" not in server.stderr


def test_flags_come_first(file):
    """The command line still names the models, and what it sets; the file's tables hold."""
    file.write(models={"a": {"instances": 2, "path": "y"}, "b": {"path": "y"}}, threads=2)
    with file.serve("a=x", "--threads", "1") as server:
        assert server.metrics()['slots{model="a"}'] == 2
        file.write(models={"a": {"instances": 3, "path": "z"}, "c": {"path": "y"}}, threads=3)
        follow(server)
        eventually(lambda: server.metrics()['slots{model="a"}'] == 3)
        assert post(server, "/c") == 404 and n_opened(server, "a") == 1


def test_model_without_a_name(file):
    file.write(instances=2)
    with file.serve("x.onnx") as server:
        file.write(instances=3)
        follow(server)
        eventually(lambda: server.metrics()['slots{model="x"}'] == 3)
        assert post(server, "/") == post(server, "/x") == 200


def test_engine_alone(file):
    """The file says all there is; then nothing."""
    file.write(engine="echo", instances=1, listen="127.0.0.1:0")
    with serving("serve", "--config", str(file.path)) as server:
        file.write(engine="echo", instances=2, listen="127.0.0.1:0")
        follow(server)
        eventually(lambda: server.metrics()['slots{model="echo"}'] == 2)
        file.write(instances=2, listen="127.0.0.1:0")
        said = hang_up(server)
        assert "neither a model nor a repository; nothing has changed" in said, said
        assert post(server, "/") == post(server, "/echo") == 200


def test_changed_files_are_loaded_too(file, tmp_path):
    path = write(tmp_path, SAYS.format(1))
    file.write(models={"m": {"path": str(path)}})
    with file.serve(*PYTHON, "--instances", 1, engine="auto") as server:
        assert ask(server) == 1
        write(tmp_path, SAYS.format(2))
        follow(server)
        assert ask(server) == 2


def test_unloaded_stays_so(file):
    file.write(models={"a": {"path": "x"}, "b": {"path": "x"}})
    with file.serve() as server:
        assert server.ask("POST", "/control/models/a/unload").status == 200
        file.write(models={"a": {"path": "x", "instances": 7}, "b": {"path": "x"}})
        follow(server)
        assert post(server, "/a") == 503
        assert server.ask("POST", "/control/models/a/load").status == 200
        assert server.metrics()['slots{model="a"}'] == 7


# --- what fails -------------------------------------------------------------------------


@pytest.mark.parametrize("text, words", [
    ('{\n"modles": {}}', '2: "modles" is no setting; did you mean "models"?'),
    ('{"models": {\n"a": {"path": "x", "instances": -1}}}',
     '2: instances wants a number, from 0 to 4096, not -1'),
    ('{"models": {"a": {"path": "x"},\n"a": {"path": "y"}}}', '2: models: two are called "a"'),
    ('{"models": {"a": {"path": "x"}', "1: no JSON"),
    ('{"models": {"b": {"path": "x"}},\n"default-model": "c"}', '2: default-model: no model'),
    (None, "No such file"),
])
def test_broken_file_changes_nothing(file, text, words):
    file.write(models={"a": {"path": "x"}})
    with file.serve() as server:
        assert failed(server) == 0
        if text:
            file.path.write_text(text)
        else:
            file.path.unlink()
        said = hang_up(server)
        assert str(file.path) in said and words in said and "nothing has changed" in said, said
        assert post(server, "/a") == post(server, "/") == 200 and post(server, "/b") == 404
        assert failed(server) == 1 and n_opened(server, "a") == n_closed(server, "a") == 0
        file.write(models={"b": {"path": "x"}})
        follow(server)
        assert post(server, "/b") == 200 and failed(server) == 0


def test_options_that_the_server_refuses(file, tmp_path):
    """What only it can judge, it judges before it changes anything."""
    file.write(models={"a": {"path": "x"}})
    with file.serve() as server:
        file.write(threads=2)  # the engine alone is a model without a name
        assert f"{file.path}: a model has no name" in hang_up(server)
        file.write(models={"b": {"path": "x"}}, repository=str(tmp_path / "none"))
        assert str(tmp_path / "none") in hang_up(server)
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "model.onnx").touch()
        file.write(repository=str(tmp_path), **{"default-model": "x"})
        assert 'the default model is "x"' in hang_up(server)
        assert post(server, "/") == post(server, "/a") == 200 and failed(server) == 1
        assert post(server, "/b") == 404 and n_closed(server, "a") == 0


def test_what_counts_at_the_start_only(file):
    file.write(models={"a": {"path": "x"}}, pollers=2, quiet=False)
    with file.serve() as server:
        follow(server)
        assert "takes effect" not in server.stderr
        file.write(models={"a": {"path": "x", "instances": 3}}, pollers=3, listen=":1",
                   **{"pool": "1GiB", "allow-host": "x", "verbose": True})
        follow(server)
        said = [line for line in server.lines if "takes effect" in line]
        assert len(said) == 1 and said[0].endswith(
            f"SIGHUP: {file.path}: allow-host, pollers, verbose takes effect at the next start")
        eventually(lambda: server.metrics()['slots{model="a"}'] == 3)
        assert failed(server) == 0


def test_models_that_do_not_load(file, tmp_path):
    """Those that serve stay, and the others are as the file says."""
    path = write(tmp_path, SAYS.format(1))
    (tmp_path / "bad").mkdir()
    bad = write(tmp_path / "bad", BROKEN)
    file.write(models={"m": {"path": str(path)}})
    with file.serve(*PYTHON, "--instances", 1, engine="auto") as server:
        file.write(models={"m": {"path": str(bad)}, "n": {"path": str(bad)},
                           "o": {"path": str(path)}})
        said = hang_up(server)
        assert 'model "m": ' in said and "not this one" in said
        assert ask(server) == ask(server, "/o") == 1 and failed(server) == 1
        assert "not this one" in entry(server, "m")["versions"][0]["error"]
        assert ask(server, "/n").status == 503 and "not this one" in ask(server, "/n").text
        file.write(models={"m": {"path": str(path)}})
        follow(server)
        assert ask(server) == 1 and ask(server, "/n").status == 404 and failed(server) == 0


def test_ready_while_a_model_joins(file, tmp_path):
    """A server that serves what it did is ready while there is one model more to be opened."""
    gate = tmp_path / "gate"
    path = write(tmp_path, f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n"
                 f"    time.sleep(0.01)\n{ECHO}")
    gate.touch()
    file.write(models={"m": {"path": str(path)}})
    with file.serve(*PYTHON, "--instances", 1, engine="auto") as server:
        gate.unlink()
        file.write(models={"m": {"path": str(path)}, "n": {"path": str(path)}})
        server.signal(signal.SIGHUP)
        eventually(lambda: server.ask("GET", "/control/models/n/is_ready").status == 503)
        for _ in range(50):
            assert server.ask("GET", "/control/is_ready").status == 200
        server.signal(signal.SIGHUP)
        server.signal(signal.SIGHUP)  # both wait for the first, and are one
        gate.touch()
        eventually(lambda: server.stderr.count("is in force") == 2, 30)
        assert server.ask("GET", "/control/models/n/is_ready").status == 200
        assert server.stderr.count("reading ") == 2


# --- the repository ---------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    for number in 1, 2:
        version(folder, "m", number)
    version(folder, "n", 1)
    return folder


def serve_repository(file):
    return file.serve(*PYTHON, engine="auto")


def test_settings_in_a_repository(file, repository):
    """The policy of one model, and what models have that are not listed."""
    common = {"repository": str(repository), "instances": 1}
    file.write(**common)
    with serve_repository(file) as server, Traffic(server, "/m", 2) as traffic:
        assert ask(server) == 2 and ask(server, "/m/versions/1").status == 404
        file.write(models={"m": {"versions": "newest:2", "aliases": {"old": 1}}}, **common)
        follow(server)
        says(server, 1, "/m/versions/old")
        eventually(lambda: server.stderr.count("m version 2 is ready") == n_opened(server, "n") == 1)
        file.write(repository=str(repository), instances=2)
        follow(server)
        eventually(lambda: server.metrics()['slots{model="n"}'] == 2, 20)
        eventually(lambda: not isinstance(ask(server, "/m/versions/1"), float))
        eventually(lambda: server.stderr.count("m version 2 is ready") == n_opened(server, "n") == 2)
    assert not traffic.wrong


def test_another_repository(file, repository, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    version(other, "m", 1, says=7)
    version(other, "k", 1)
    file.write(repository=str(repository), instances=1)
    with serve_repository(file) as server, Traffic(server, "/m", 2) as traffic:
        file.write(repository=str(other), instances=1)
        follow(server)
        assert ask(server) == 7 and ask(server, "/k") == 1 and ask(server, "/n").status == 404
        version(other, "m", 3)
        eventually(lambda: ask(server) == 3, 20)
        file.write(repository=str(tmp_path / "none"), instances=1)
        assert str(tmp_path / "none") in hang_up(server)
        assert ask(server) == 3 and failed(server) == 1
        other.rename(tmp_path / "renamed")  # the same files, but a child that starts again needs
        file.write(repository=str(tmp_path / "renamed"), instances=1)  # their path
        follow(server)
        eventually(lambda: server.stderr.count("m version 3 is ready") == 2)
        assert ask(server) == 3
    assert not traffic.wrong


def test_from_a_repository_to_paths_and_back(file, repository, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    path = str(write(own, SAYS.format(9)))
    file.write(repository=str(repository), instances=1)
    with serve_repository(file) as server, Traffic(server, "/m", 2) as traffic:
        file.write(models={"m": {"path": path}}, instances=1)
        follow(server)
        assert ask(server) == 9 and ask(server, "/n").status == 404
        assert json.loads(server.ask("GET", "/").text)["name"] == "m"  # no list of models
        file.write(repository=str(repository), instances=1)
        follow(server)
        assert ask(server) == 2 and ask(server, "/n") == 1
        shutil.rmtree(repository / "n")
        eventually(lambda: not isinstance(ask(server, "/n"), float), 20)
    assert not traffic.wrong


# --- URLs, the end, and what is left ----------------------------------------------------


def test_model_at_a_url(file, site, cache):  # noqa: F811
    site.answers["/m.bin"] = page(b"1")
    file.write(models={"a": {"path": "x"}})
    with file.serve() as server:
        file.write(models={"a": {"path": "x"}, "m": {"path": site.url + "/m.bin"}})
        follow(server)
        assert post(server, "/m") == 200
        file.write(models={"a": {"path": "x"}, "n": {"path": site.url + "/none.bin"}})
        said = hang_up(server)
        assert "404" in said and post(server, "/m") == 200 and failed(server) == 1


def test_end_while_a_model_is_fetched(file, site, cache):  # noqa: F811
    gate = threading.Event()

    def stall(to):
        to.send_response(200)
        to.send_header("Content-Length", "1000000")
        to.end_headers()
        to.wfile.write(b"x")
        gate.wait(300)
    site.answers["/m.bin"] = stall
    file.write(models={"a": {"path": "x"}})
    with file.serve("--fetch-timeout", "600s", "--drain-timeout", "600s") as server:
        file.write(models={"a": {"path": "x"}, "m": {"path": site.url + "/m.bin"}})
        server.signal(signal.SIGHUP)
        assert server.logged("fetching ")
        server.signal()
        assert server.wait(10) == 0
    gate.set()


def test_end_in_the_middle(file, tmp_path):
    """What is not opened yet is left."""
    (tmp_path / "slow").mkdir()
    slow = str(write(tmp_path / "slow", SLOW.format(1)))
    file.write(models={"m": {"path": str(write(tmp_path, SAYS.format(1)))}})
    with file.serve(*PYTHON, "--instances", 1, "--drain-timeout", "600s", engine="auto") as server:
        file.write(models={f"m{n:02}": {"path": slow} for n in range(30)})
        server.signal(signal.SIGHUP)
        assert server.logged("m00 version 1 is ready", within=30)
        server.signal()
        assert server.wait(20) == 0
        assert "m29" not in server.stderr


def test_nothing_is_left_of_many(file):
    """Every other time all is another, and every third is broken."""
    alike = {name: {"path": "x", "aliases": {"stable": 1}} for name in "abcdefgh"}
    others = {name: {"path": "x", "instances": 2, "engine-option": {"k": name * 100}}
              for name in "abcdefgh"}
    file.write(models=alike)
    with file.serve("--instances", 1) as server:
        def reread(n):
            for i in range(n):
                if i % 3 == 2:
                    file.path.write_text('{"models": {"a": {"path": "x", "instances": "y"}}}')
                else:
                    file.write(models=others if i % 2 else alike)
                hang_up(server)
            eventually(lambda: server.stderr.count("is ready") == server.stderr.count("is closed"))
            return measures(server)
        before = reread(60)
        after = reread(200)
        print(before, after)
        assert after["descriptors"] <= before["descriptors"] + 2
        assert after["threads"] <= before["threads"] + 2
        if "address" not in SANITIZE:  # which keeps what was freed for a while
            assert after["memory"] <= before["memory"] * 1.1
        assert post(server, "/a/versions/1") == 200
