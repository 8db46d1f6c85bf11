"""A repository whose versions change while clients ask: nobody notices but by the answers."""
import json
import os
import pathlib
import re
import shutil
import signal
import threading

import numpy as np
import pytest

from harness import (MODELS, PATIENCE, SANITIZE, Server, encode, eventually, plugin,
                     start_fails)
from needs import need
from python_models import ECHO, PYTHON, floats, tensor, write

SAYS = """
    import numpy
    def infer(inputs):
        return numpy.float32([{}])
"""
BROKEN = "raise RuntimeError('not this one')\n"


def version(repository, name, number, says=None, source=None):
    """A version that answers with a number, copied in one step."""
    folder = repository / f".{name}.{number}"
    folder.mkdir()
    write(folder, source or SAYS.format(number if says is None else says))
    target = repository / name / str(number)
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)
    return target


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    version(folder, "m", 1)
    return folder


def serve(repository, *arguments, n=1, **keywords):
    return Server("--repository", repository, "--instances", n, "--pool", "256MiB", *PYTHON,
                  *arguments, engine="auto", **keywords)


def ask(server, target="/m"):
    answer = server.ask("POST", target, encode(floats(0)))
    if answer.status != 200:
        return answer
    return float(np.frombuffer(answer.tensors[0].data, "float32")[0])


def says(server, number, target="/m"):
    eventually(lambda: ask(server, target) == number, 20, f"the answer {number}")


def entry(server, name="m"):
    (found,) = [m for m in json.loads(server.ask("GET", "/").text)["models"] if m["name"] == name]
    return found


def test_newest_version_is_served(repository):
    version(repository, "m", 2)
    version(repository, "other", 7)
    with serve(repository) as server:
        assert ask(server) == 2 and ask(server, "/other") == 7
        assert ask(server, "/m/versions/2") == 2
        assert ask(server, "/m/versions/1").status == 404
        assert [v["version"] for v in entry(server)["versions"]] == [2]


def test_new_version_takes_over(repository):
    with serve(repository) as server:
        assert ask(server) == 1
        version(repository, "m", 2)
        says(server, 2)
        assert server.logged("m version 1 is closed")
        assert ask(server, "/m/versions/1").status == 404


def test_named_and_several_versions(repository):
    version(repository, "m", 2)
    version(repository, "m", 3)
    with serve(repository, "--versions", "newest:2") as server:
        assert ask(server, "/m/versions/2") == 2 and ask(server) == 3
        assert ask(server, "/m/versions/1").status == 404
    with serve(repository, "--versions", "1,3") as server:
        assert ask(server, "/m/versions/1") == 1 and ask(server) == 3
        assert ask(server, "/m/versions/2").status == 404


def test_broken_version_changes_nothing(repository):
    with serve(repository) as server:
        version(repository, "m", 2, source=BROKEN)
        assert server.logged("m version 2 does not load", within=20)
        assert ask(server) == 1
        found = {v["version"]: v for v in entry(server)["versions"]}
        assert found[2]["state"] == "failed" and "not this one" in found[2]["error"]
        assert found[1]["state"] == "ready" and entry(server)["version"] == 1
        assert server.ask("GET", "/control/is_ready").status == 200
        answer = ask(server, "/m/versions/2")
        assert answer.status == 503 and "not this one" in answer.text
        version(repository, "m", 2)  # mended in place
        says(server, 2)
        assert server.stderr.count("m version 2 does not load") == 1


def test_half_copied_version_is_waited_for(repository):
    """A copy that goes on is never loaded."""
    with serve(repository) as server:
        target = repository / "m" / "2"
        target.mkdir()
        path = target / "model.py"
        for n in range(12):
            path.write_text("import numpy\n" + "#" * n)
            assert ask(server) == 1
            threading.Event().wait(0.25)
        write(target, SAYS.format(2))
        says(server, 2)
        assert "does not load" not in server.stderr


def test_deleted_version_and_model(repository):
    version(repository, "m", 2)
    version(repository, "other", 1)
    with serve(repository, "--versions", "newest:2") as server:
        shutil.rmtree(repository / "m" / "2")
        says(server, 1)
        shutil.rmtree(repository / "other")
        eventually(lambda: ask(server, "/other").status == 404 if ask(server, "/other") != 1
                   else False, 20)
        assert ask(server) == 1


def test_repository_that_goes_and_returns(repository):
    with serve(repository) as server:
        repository.rename(repository.with_name("away"))
        assert server.logged("what is served stays", within=20)
        assert ask(server) == 1
        repository.with_name("away").rename(repository)
        version(repository, "m", 2)
        says(server, 2)


def test_problem_of_one_leaves_the_others(repository, tmp_path):
    version(repository, "good", 1)
    (tmp_path / "outside").mkdir()
    write(tmp_path / "outside", SAYS.format(9))
    (repository / "link").mkdir()
    (repository / "link" / "1").symlink_to(tmp_path / "outside")
    (repository / "bad name").mkdir()
    write(repository / "bad name", SAYS.format(1))
    with serve(repository) as server:
        assert ask(server) == 1 and ask(server, "/good") == 1
        assert ask(server, "/link").status in (404, 503)
        assert server.logged("link") and server.logged("bad name")


def test_start_without_models(tmp_path):
    assert str(tmp_path / "none") in start_fails("--repository", tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in start_fails("--repository", empty)


def test_load_and_unload(repository):
    with serve(repository) as server:
        assert server.ask("POST", "/control/models/m/unload").status == 200
        assert ask(server).status == 503
        version(repository, "m", 2)
        assert server.ask("POST", "/control/models/m/load").status == 200
        assert ask(server) == 2
        assert server.ask("POST", "/control/models/no/load").status == 404
        version(repository, "late", 4)
        assert server.ask("POST", "/control/models/late/load").status == 200
        assert ask(server, "/late") == 4


def test_load_of_what_is_not_there(repository):
    """Neither a model whose folder went while it was unloaded, nor one of a repository that went."""
    version(repository, "other", 1)
    with serve(repository) as server:
        assert server.ask("POST", "/control/models/m/unload").status == 200
        shutil.rmtree(repository / "m")
        answer = server.ask("POST", "/control/models/m/load")
        assert answer.status == 404 and '"m"' in answer.text
        # it is unloaded as before: nothing is missing, and only a request loads it
        assert server.ask("GET", "/control/is_ready").status == 200
        version(repository, "m", 1)
        version(repository, "other", 2)
        says(server, 2, "/other")
        assert ask(server).status == 503
        repository.rename(repository.with_name("away"))
        answer = server.ask("POST", "/control/models/other/load")
        assert answer.status == 404 and str(repository) in answer.text
        assert ask(server, "/other") == 2


def test_largest_version(repository):
    version(repository, "m", 2**64 - 1, says=5)
    with serve(repository) as server:
        assert ask(server) == ask(server, f"/m/versions/{2**64 - 1}") == 5
        assert ask(server, f"/m/versions/{2**64}").status == 404
        assert ask(server, f"/m/versions/{2**64 + 1}").status == 404


def test_default_model_that_goes_and_returns(repository):
    with serve(repository) as server:
        assert ask(server, "/") == 1
        version(repository, "other", 1)
        eventually(lambda: ask(server, "/other") == 1, 20)
        shutil.rmtree(repository / "m")
        assert server.logged("m version 1 is closed", within=20)
        assert ask(server, "/").status == ask(server).status == 404
        version(repository, "m", 3)
        says(server, 3, "/")


def test_readiness_in_json(repository):
    version(repository, "n", 1, source=BROKEN)
    with serve(repository) as server:
        answer = server.ask("GET", "/control/is_ready", fields={"Accept": "application/json"})
        assert answer.status == 503 and '"n"' in json.loads(answer.text)["status"]


SLOW = """
    import time
    time.sleep({})
    def infer(inputs):
        return inputs
"""


def test_end_in_the_middle_of_a_look(tmp_path):
    """What is not loaded yet is left."""
    repository = tmp_path / "repository"
    repository.mkdir()
    version(repository, "m", 1)
    with serve(repository, "--drain-timeout", "600s") as server:
        for n in range(30):
            version(repository, f"m{n:02}", 1, source=SLOW.format(1))
        assert server.logged("m00 version 1 is ready", within=30)
        server.signal()
        server.wait(20)
        assert "m29" not in server.stderr


def test_hangups_while_a_model_loads(tmp_path):
    """However many, they are one look more."""
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    path = write(tmp_path, f"import os, time\nopen({str(begun)!r}, 'w').close()\n"
                 f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n{ECHO}")
    gate.touch()
    with Server("--pool", "256MiB", "--instances", 1, *PYTHON, f"m={path}", engine="auto") as server:
        gate.unlink()
        begun.unlink()
        loading = threading.Thread(target=server.ask, args=("POST", "/control/models/m/load"))
        loading.start()
        eventually(begun.exists)
        for _ in range(50):
            server.signal(signal.SIGHUP)
            threading.Event().wait(0.002)
        gate.touch()
        loading.join()
        assert server.ask("POST", "/control/models/m/load").status == 200
        assert server.logged("looking at the models' files again")
        assert server.ask("POST", "/control/models/m/load").status == 200
        assert server.stderr.count("looking at the models' files again") == 1


def test_hangup_reloads_a_file(tmp_path):
    path = write(tmp_path, SAYS.format(1))
    with Server("--pool", "256MiB", "--instances", 1, *PYTHON, f"m={path}", engine="auto") as server:
        assert ask(server) == 1
        server.signal(signal.SIGHUP)
        assert server.logged("looking at the models' files again")
        write(tmp_path, SAYS.format(2))
        server.signal(signal.SIGHUP)
        says(server, 2)
        write(tmp_path, BROKEN)
        server.signal(signal.SIGHUP)
        assert server.logged("does not load, and the one before goes on", within=20)
        assert ask(server) == 2


def test_what_is_replaced_is_closed_before_the_next_is_loaded(tmp_path):
    """However many are reloaded in one look, one of them at a time is open twice."""
    paths = {name: write(tmp_path, SAYS.format(1), name=f"{name}.py") for name in "abc"}
    with Server("--pool", "256MiB", "--instances", 1, *PYTHON,
                *(f"{name}={path}" for name, path in paths.items()), engine="auto") as server:
        for name in paths:
            write(tmp_path, SAYS.format(2), name=f"{name}.py")
        server.signal(signal.SIGHUP)
        eventually(lambda: server.stderr.count(" is closed") == 3, 20)
        happened = re.findall(r"(\w) version 1 is (ready|closed)", server.stderr)[-6:]
        assert [what for _, what in happened] == 3 * ["ready", "closed"]
        assert [name for name, _ in happened[::2]] == [name for name, _ in happened[1::2]]
        assert all(ask(server, f"/{name}") == 2 for name in paths)


def measures(server):
    status = open(f"/proc/{server.pid}/status").read()
    return {"descriptors": server.descriptors(), "processes": len(server.children()),
            "threads": int(status.split("Threads:")[1].split()[0]),
            "memory": int(status.split("RssAnon:")[1].split()[0])}


def is_back(now, before):
    """Within a tenth, and the free ends of the threads' heaps, which stay: 1.5 MiB in all."""
    is_kept = bool(SANITIZE)  # what was freed
    return (is_kept or now["memory"] <= before["memory"] * 1.1 + 1536) and all(
        now[kind] <= before[kind] * 1.1 for kind in ("descriptors", "processes", "threads"))


@pytest.mark.skipif(bool(SANITIZE), reason="sanitizers have a malloc of their own")
def test_memory_of_a_model_goes_with_it():
    """Even where the allocator would keep it."""
    with Server("m=x", "o=y", "--pool", "64MiB", engine=plugin("crumbs")) as server:
        for _ in range(3):
            before = measures(server)["memory"]
            assert server.ask("POST", "/control/models/m/unload").status == 200
            eventually(lambda: measures(server)["memory"] < before - 50 * 1024, what="the memory")
            assert server.ask("POST", "/control/models/m/load").status == 200


class Traffic:
    """Clients that ask without a pause; what was no answer."""

    def __init__(self, server, target, n=8, question=None):
        self.wrong, self.n_asked, self.is_over = [], 0, False
        self.question = encode(question or floats(0))
        self.threads = [threading.Thread(target=self.run, args=(server, target)) for _ in range(n)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for thread in self.threads:
            thread.join(30 * PATIENCE)
            assert not thread.is_alive()

    def run(self, server, target):
        with server.connect() as connection:
            while not self.is_over:
                answer = connection.ask("POST", target, self.question)
                self.n_asked += 1
                if answer.status != 200:
                    self.wrong.append(answer)
                    return


N_RELOADS = {"echo": 60, "onnx": 20, "python": 10}
N_LONG = int(os.environ.get("GP_RELOADS", 0))


@pytest.mark.parametrize("engine", N_RELOADS)
@pytest.mark.timeout(300 + 10 * N_LONG)
def test_reloads_under_load(engine, tmp_path):
    """Not one request fails, and nothing is left of the models before. GP_RELOADS makes it long, and
    with -s its progress is seen."""
    n = N_LONG or N_RELOADS[engine]
    model, question, arguments = "x", floats(0), ()
    if engine == "onnx":
        need("onnx")
        model, question = MODELS / "mlp.onnx", tensor("float32", [[1, 2, 3, 4]])
    elif engine == "python":
        model, arguments = write(tmp_path, SAYS.format(1)), PYTHON
    with Server("--pool", "256MiB", "--instances", 2, *arguments, f"m={model}", f"o={model}",
                engine="auto" if engine == "python" else engine) as server:
        def reload(times):
            for _ in range(times):
                assert server.ask("POST", "/control/models/m/load").status == 200
                assert not traffic.wrong
                n_done[0] += 1
                if n_done[0] % 100 == 0:
                    print(engine, n_done[0], "reloads,", traffic.n_asked, "requests,",
                          measures(server), flush=True)
            eventually(lambda: server.stderr.count("m version 1 is closed") == n_done[0], 20)

        n_done = [0]
        with Traffic(server, "/m", 8, question) as traffic:
            reload(5)
            before = measures(server)
            assert before["processes"] == (4 if engine == "python" else 0)  # of two slots each
            reload(n)
            eventually(lambda: is_back(measures(server), before), 5,
                       f"what there was before, {before}, after {measures(server)},")
            print(engine, n, "reloads,", traffic.n_asked, "requests:", before, measures(server))
        assert not traffic.wrong and traffic.n_asked > n


@pytest.mark.skipif(bool(SANITIZE), reason="sanitizers have a malloc of their own")
def test_threads_that_come_and_go_touch_little():
    """Those of 16 slots have 96 KiB each to read into, which most of them never do."""
    with Server("--instances", 16) as server:
        before = measures(server)["memory"]
        for _ in range(10):
            assert server.ask("POST", "/control/models/echo/load").status == 200
        assert measures(server)["memory"] < before + 1500


def test_child_that_is_killed_while_a_version_loads(repository):
    with serve(repository, n=2) as server, Traffic(server, "/m", 4) as traffic:
        version(repository, "m", 2)
        os.kill(server.children()[0], signal.SIGKILL)
        says(server, 2)
    assert len(traffic.wrong) <= 1  # what ran in that child
    assert server.logged("ended: signal 9")

