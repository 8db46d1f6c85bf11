"""The row cache on disk: what outlives a server is known to the next one, and to others on the same folder;
another model never sees it; and whoever is killed at whatever moment, nobody gets a wrong row."""
import os
import random
import signal
import struct
import threading

import pytest

from harness import MODELS, SANITIZE, Server, Tensor, encode, eventually
from needs import needs

pytestmark = needs("onnx")
N_KILLS = int(os.environ.get("GP_KILLS", 5 if SANITIZE else 40))
N_ROWS = 300


def serve(folder, *arguments, model=MODELS / "mlp.onnx", cache=True):
    cached = ("--cache", "--cache-dir", folder, "--max-batch", 1) if cache else ()
    return Server("--instances", 1, "--pool", "64MiB", *cached, *arguments, engine="onnx", model=model)


def row(value):
    return Tensor("float32", [1, 4], struct.pack("4f", value, value / 3, -value, 1))


def rows(*values):
    return Tensor("float32", [len(values), 4], b"".join(row(value).data for value in values))


def ask(server, tensor):
    with server.connect() as connection:
        answer = connection.ask("POST", "/", encode(tensor))
    assert answer.status == 200, answer.text
    return answer


def hits(answer):
    return answer.fields["x-graphpipe-cache"]


def settle(server, n):
    """Until so many rows are on disk."""
    eventually(lambda: server.metrics()["cache_stored_total"] >= n, what=f"{n} rows on disk")


def test_the_next_server_knows(tmp_path):
    with serve(tmp_path) as server:
        first = ask(server, rows(1, 2, 3))
        assert hits(first) == "0/3"
    with serve(tmp_path) as server:
        again = ask(server, rows(3, 1, 2, 4))
        assert hits(again) == "3/4"
        assert again.tensors[0].data[12:24] == first.tensors[0].data[:12]


def test_servers_share_a_folder(tmp_path):
    with serve(tmp_path) as one, serve(tmp_path) as other:
        ask(one, rows(1, 2))
        settle(one, 2)
        assert hits(ask(other, rows(2, 1))) == "2/2"
        ask(other, rows(3))
        settle(other, 1)
        assert hits(ask(one, rows(3, 2))) == "2/2"


def retrained(tmp_path):
    """The model with another bias, of the same shape: tests/models/make_models.py."""
    content = (MODELS / "mlp.onnx").read_bytes()
    bias = struct.pack("3f", 0, 1, -100)
    assert content.count(bias) == 1
    path = tmp_path / "retrained/mlp.onnx"
    path.parent.mkdir()
    path.write_bytes(content.replace(bias, struct.pack("3f", 5, 1, -100)))
    return path


def test_a_retrained_model_sees_no_old_rows(tmp_path):
    other = retrained(tmp_path)
    with serve(tmp_path) as server:
        old = ask(server, rows(1)).tensors
    with serve(tmp_path, model=other) as server, serve(tmp_path, model=other, cache=False) as plain:
        answer = ask(server, rows(1))
        assert hits(answer) == "0/1"
        assert answer.tensors == ask(plain, rows(1)).tensors != old
    with serve(tmp_path) as server:  # and neither takes the other's place
        answer = ask(server, rows(1))
        assert hits(answer) == "1/1" and answer.tensors == old


def test_two_models_on_one_server(tmp_path):
    other = retrained(tmp_path)
    with Server("--cache", "--cache-dir", tmp_path, "--max-batch", 1, f"a={MODELS / 'mlp.onnx'}",
                f"b={other}", engine="onnx") as server, server.connect() as connection:
        answers = {name: connection.ask("POST", f"/{name}", encode(rows(1, 2)))
                   for name in ("a", "b", "a", "b")}
        assert all(hits(answer) == "2/2" for answer in answers.values())
        assert answers["a"].tensors != answers["b"].tensors


def test_an_age_limit(tmp_path):
    with serve(tmp_path, "--cache-ttl", "1s") as server:
        ask(server, rows(1))
        eventually(lambda: hits(ask(server, rows(1))) == "0/1", what="its end")


@pytest.fixture(scope="module")
def wanted():
    """The model's answer to each row."""
    with serve(None, cache=False) as plain:
        return [ask(plain, row(value)).tensors for value in range(N_ROWS)]


def ask_some(server, seed, wanted, wrong):
    """Rows that keep coming are written after half a second; so they stop, and are written while the server
    may be killed."""
    rng = random.Random(seed)
    try:
        with server.connect() as connection:
            for _ in range(rng.randrange(1, 40)):
                value = rng.randrange(N_ROWS)
                if connection.ask("POST", "/", encode(row(value))).tensors != wanted[value]:
                    wrong.append(value)
    except Exception:  # the connection's end, in whatever state it was
        return


def test_killed_at_any_moment(tmp_path, wanted):
    """By `kill -9`, under load, beside another server on the same folder. GP_KILLS=300 is what was run
    when this was written."""
    rng, wrong = random.Random(1), []
    with serve(tmp_path) as witness:
        for kill in range(N_KILLS):
            with serve(tmp_path) as server:
                server.expect_status(-signal.SIGKILL)
                threads = [threading.Thread(target=ask_some, args=(server, 4 * kill + i, wanted, wrong))
                           for i in range(3)]
                for thread in threads:
                    thread.start()
                for _ in range(rng.randrange(8)):
                    value = rng.randrange(N_ROWS)
                    assert ask(witness, row(value)).tensors == wanted[value]
                threading.Event().wait(rng.random() * 0.15)
                server.process.kill()
                for thread in threads:
                    thread.join()
        assert not wrong
        n_known = 0
        for value in range(N_ROWS):
            answer = ask(witness, row(value))
            assert answer.tensors == wanted[value]
            n_known += hits(answer) == "1/1"
        assert n_known > min(N_KILLS, N_ROWS / 4)
    with serve(tmp_path) as server:  # and nothing had to be set aside
        assert [hits(ask(server, row(value))) for value in range(N_ROWS)] == ["1/1"] * N_ROWS
        assert "damaged" not in server.stderr
