"""Several models of one server: their addresses, what is said about them, loading by control."""
import json
import subprocess

import pytest

from harness import (PROGRAM, SMALL, Server, begun, echoed, encode, eventually, held, http,
                     plugin, slow, uint8)
from python_models import PYTHON


def serve(*arguments, **keywords):
    return Server("a=x", "b=y", *arguments, **keywords)


def post(server, target, tensor=SMALL):
    return server.ask("POST", target, encode(tensor))


def models(server):
    return {m["name"]: m for m in json.loads(server.ask("GET", "/").text)["models"]}


def control(server, name, what):
    return server.ask("POST", f"/control/models/{name}/{what}")


def test_each_has_its_address():
    with serve() as server:
        for target in ("/a", "/b", "/a?x=1", "/b/versions/1", "/b/versions/1?x"):
            assert echoed(post(server, target)) == b"small"
            assert json.loads(server.ask("GET", target).text)["name"] == target[1]


@pytest.mark.parametrize("target, said", [
    ("/c", 'no model is named "c"; there are: a, b'),
    ("/aa", 'no model is named "aa"; there are: a, b'),
    ("/", 'none of the models is the one for "/" (default-model); ask for /NAME of: a, b'),
    ("/a/versions/2", 'model "a" has no version or alias "2"; there are: 1'),
    ("/a/versions/18446744073709551617", 'has no version or alias'),
    ("/a/versions/stable", 'model "a" has no version or alias "stable"; there are: 1'),
    ("/a/versions/", "no such path; a model is at /NAME, /NAME/versions/N"),
    ("/a/b", "no such path; a model is at /NAME, /NAME/versions/N"),
    ("/a/versions/1/x", "no such path"), ("//a", "no such path"), ("/../a", "no such path"),
])
def test_other_addresses_are_not_found(target, said):
    """Before the body: one that never comes is not waited for."""
    with serve() as server, server.connect() as connection:
        connection.send(http("POST", target, fields={"Content-Length": "100000000"}))
        answer = connection.answer()
        assert answer.status == 404 and said in answer.text, answer
        assert_serves_a(server)


def assert_serves_a(server):
    assert echoed(post(server, "/a")) == b"small"


def test_default_model():
    with serve("--default-model", "b") as server:
        assert echoed(post(server, "/")) == b"small"
        assert json.loads(server.ask("GET", "/").text)["default"] == "b"
    assert 'no model is called "c"' in start_error("a=x", "b=y", "--default-model", "c")


def test_lone_model_is_named_and_default():
    with Server("a=x") as server:
        assert echoed(post(server, "/")) == echoed(post(server, "/a")) == b"small"
        assert json.loads(server.ask("GET", "/").text)["name"] == "a"
        assert post(server, "/x").status == 404


def test_list_of_models():
    with serve() as server:
        answer = server.ask("GET", "/")
        assert answer.fields["content-type"] == "application/json"
        both = models(server)
        assert list(both) == ["a", "b"]
        assert both["a"]["state"] == "ready" and both["a"]["version"] == 1
        assert both["a"]["inputs"] == [{"name": "input0", "type": "null", "shape": [-1]}]
        assert both["a"]["versions"][0]["state"] == "ready"


def test_limits_of_one_model(tmp_path):
    """Its own, where they are lower than the server's."""
    gate = tmp_path / "gate"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"models": {
        "a": {"path": "x", "max-body": "1KiB", "timeout": "50ms"}, "b": {"path": "y"}}}))
    with Server("--config", config, engine=plugin("slow")) as server:
        large = encode(uint8(bytes(5000)))
        assert server.ask("POST", "/a", large).status == 413
        assert server.ask("POST", "/b", large).status == 200
        with server.connect() as connection:
            connection.send(held(gate).replace(b"POST / ", b"POST /a ", 1))
            assert connection.answer().status == 504


def test_unloaded_and_loaded_again():
    with serve() as server:
        assert control(server, "a", "unload").text == "ok\n"
        answer = post(server, "/a")
        assert answer.status == 503 and "it is unloaded" in answer.text
        assert models(server)["a"]["state"] == "unloaded"
        assert server.ask("GET", "/control/models/a/is_ready").status == 503
        assert server.ask("GET", "/control/models/b/is_ready").status == 200
        assert server.ask("GET", "/control/is_ready").status == 200
        assert echoed(post(server, "/b")) == b"small"
        assert control(server, "a", "load").text == "ok\n"
        assert_serves_a(server)
        assert server.ask("GET", "/control/models/a/is_ready").status == 200


def test_load_that_fails_changes_nothing(tmp_path):
    """Of one that is served, and of one that was unloaded."""
    model = tmp_path / "model.py"
    model.write_text("def infer(inputs):\n    return inputs\n")
    with Server("--pool", "256MiB", *PYTHON, f"m={model}", engine="auto") as server:
        model.write_text("raise RuntimeError('broken')\n")
        for is_ready in (200, 200):
            assert "broken" in control(server, "m", "load").text
            assert server.ask("GET", "/control/is_ready").status == is_ready
        assert control(server, "m", "unload").status == 200
        assert "broken" in control(server, "m", "load").text
        assert server.ask("GET", "/control/is_ready").status == 200
        assert models_state(server, "m") == "unloaded"


def models_state(server, name):
    answer = server.ask("GET", f"/control/models/{name}/is_ready")
    return "unloaded" if answer.status == 503 and "unloaded" in answer.text else answer.text


@pytest.mark.parametrize("what", ["load", "unload"])
def test_control_of_models_is_guarded(what):
    with serve() as server:
        assert control(server, "c", what).status == 404
        assert server.ask("GET", f"/control/models/a/{what}").status == 405
        path = f"/control/models/a/{what}"
        assert server.ask("POST", path, fields={"Origin": "http://localhost"}).status == 403
        assert server.ask("POST", path, fields={"Host": "example.com"}).status == 403
        assert server.ask("POST", "/control/models//load").status == 404
        assert server.ask("POST", "/control/models/a/load/x").status == 404
        assert_serves_a(server)


def test_what_has_begun_ends_with_the_model_that_it_began_with(tmp_path):
    """One runs, one waits for a slot: both are answered though their model is unloaded."""
    gate = tmp_path / "gate"
    with Server("a=x", "b=y", "--instances", 1, engine=plugin("slow")) as server:
        with server.connect() as running, server.connect() as waiting:
            for connection in (running, waiting):
                connection.send(held(gate).replace(b"POST / ", b"POST /a ", 1))
            begun(server, 2)
            eventually(lambda: server.metrics()["waiting"] == 1)
            assert control(server, "a", "unload").status == 200
            assert post(server, "/a").status == 503
            gate.touch()
            assert running.answer().status == waiting.answer().status == 200
        assert server.logged("a version 1 is closed")
        assert control(server, "a", "load").status == 200


def test_requests_behind_control_are_kept():
    with serve() as server, server.connect() as connection:
        connection.send(http("POST", "/control/models/a/load")
                        + http("POST", "/a", encode(SMALL))
                        + http("POST", "/control/models/a/unload")
                        + http("GET", "/control/models/a/is_ready"))
        assert [connection.answer().status for _ in range(4)] == [200, 200, 200, 503]


def test_model_that_is_closed_with_a_late_child(gate):
    """Nobody waits for the child any more: the server falls asleep."""
    with Server("a=x", "b=y", "--isolate", "--instances", 1, "--hang-timeout", "600s",
                engine=plugin("slow")) as server:
        late = slow(f"deaf until={gate}", fields={"X-GraphPipe-Timeout-Ms": 200})
        with server.connect() as connection:
            connection.send(late.replace(b"POST / ", b"POST /a ", 1))
            assert connection.answer().status == 504
        assert control(server, "a", "unload").status == 200
        assert server.logged("a version 1 is closed", within=20)
        server.fall_asleep()


def test_two_of_one_name_are_refused():
    assert "two" in start_error("a=x", "a=y")
    assert "has none" in start_error("a/b=x", "c=y")
    assert "uses that address itself" in start_error("control=x", "c=y")


def start_error(*words):
    run = subprocess.run([PROGRAM, "serve", "--engine", "echo", *words], capture_output=True,
                         text=True, timeout=60)
    assert run.returncode in (1, 2)
    return run.stderr


def test_pipelined_requests_to_several():
    with serve() as server, server.connect() as connection:
        body = encode(uint8(b"1"))
        connection.send(b"".join(http("POST", target, body)
                                 for target in ("/a", "/b", "/c", "/a/versions/1")))
        assert [connection.answer().status for _ in range(4)] == [200, 200, 404, 200]


def test_commands_take_addresses_of_models(tmp_path):
    listen = ("127.0.0.1:0", f"unix:{tmp_path}/socket")
    with serve(listen=listen) as server:
        for address in (server.url + "a", server.url + "b/versions/1",
                        f"unix:{tmp_path}/socket:/a"):
            for command in (["inspect", address], ["infer", address, "-i", "float32[1]:1"],
                            ["bench", address, "-i", "float32[1]:1", "--requests", "5", "--warm-up", "10ms"]):
                run = subprocess.run([PROGRAM, *command], capture_output=True, text=True, timeout=60)
                assert run.returncode == 0, (command, run.stderr)
        run = subprocess.run([PROGRAM, "infer", server.url + "c", "-i", "float32[1]:1"],
                             capture_output=True, text=True, timeout=60)
        assert run.returncode != 0 and "there are: a, b" in run.stderr
