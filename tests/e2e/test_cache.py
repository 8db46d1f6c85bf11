"""The row cache: it answers what the model would, bit by bit, and has no more rows run than are missing.
The models here are digests of their rows, so that each answer is right for one row only."""
import collections
import contextlib
import hashlib
import itertools
import os
import random
import signal
import struct
import threading

import pytest

from harness import Closed, Server, Tensor, Truncated, encode, eventually, http
from python_models import PYTHON, strings, tensor, write

MODEL = """
    import hashlib, os, time
    import numpy as np

    inputs = {"x": %(x)r, "s": ("string", [-1])} if %(has_strings)r else {"x": %(x)r}
    outputs = {"sum": ("uint64", [-1]), "wide": ("float32", [-1, 3]), "text": ("string", [-1])}

    def digest(row, text):
        kind = repr((row.dtype.str, row.shape, %(salt)r)).encode()
        return hashlib.sha256(kind + row.tobytes() + text).digest()

    def infer(inputs):
        x = np.ascontiguousarray(inputs["x"])
        texts = inputs.get("s", [b""] * len(x))
        with open(%(log)r, "a") as log:
            print(len(x), file=log)
        while x.size and x.flat[0] == 77 and not os.path.exists(%(log)r + ".go"):
            time.sleep(0.01)
        if x.size and 13 in x:
            raise ValueError("unlucky")
        made = [digest(row, bytes(text)) for row, text in zip(x, texts)]
        return {"sum": np.array([int.from_bytes(d[:8], "little") for d in made], "uint64"),
                "wide": np.array([list(d[8:11]) for d in made], "float32").reshape(-1, 3),
                "text": np.array([d.hex()[:d[0] %% 17].encode() for d in made], object)}
"""
OUTPUTS = ["sum", "wide", "text"]


class Model:
    """Its source, and how many rows it has been given."""

    def __init__(self, folder, x=("float32", [-1, None]), has_strings=False, salt=""):
        x = x if x[1] is None else (x[0], None)
        self.log = folder / f"log{salt}"
        self.log.touch()
        self.path = write(folder, MODEL % {"x": x, "has_strings": has_strings, "salt": salt,
                                           "log": str(self.log)}, f"model{salt}.py")

    def n_rows(self):
        return sum(map(int, self.log.read_text().split()))

    def go(self):
        self.log.with_name(self.log.name + ".go").touch()

    def serve(self, *arguments, **keywords):
        return Server("--instances", 2, "--pool", "256MiB", *PYTHON, *arguments, engine="auto",
                      model=self.path, **keywords)

    def serve_cached(self, *arguments):
        rows = self.path.parent / "rows"
        return self.serve("--cache", "--cache-dir", rows, "--max-batch", 8, *arguments)


@pytest.fixture
def model(tmp_path):
    return Model(tmp_path)


def ask(server, *tensors, fields=(), **keywords):
    with server.connect() as connection:
        return connection.ask("POST", "/", encode(*tensors, **keywords), fields)


def hits(answer):
    """(hits, rows) of the answer, which is one."""
    assert answer.status == 200, answer.text
    return tuple(map(int, answer.fields["x-graphpipe-cache"].split("/")))


def rows(*values):
    return tensor("float32", [[value, value + 0.5] for value in values])


def test_only_missing_rows_are_run(model):
    with model.serve_cached() as server, model.serve() as plain:
        asked = [((1, 2), (0, 2), 2), ((1, 2), (2, 2), 2), ((2, 3, 1), (2, 3), 3),
                 ((4, 4, 5, 4), (2, 4), 5), ((5, 4, 3, 2, 1, 1), (6, 6), 5)]
        for values, wanted, n_rows in asked:
            answer = ask(server, rows(*values))
            # equal rows inside one request are hits too, but for the first
            assert hits(answer) == wanted and model.n_rows() == n_rows
            assert answer.tensors == ask(plain, rows(*values)).tensors
            model.log.write_text(f"{n_rows}\n")  # without those of the other server
        metrics = server.metrics()
    assert metrics['cache_rows_total{result="hit"}'] == 12
    assert metrics['cache_rows_total{result="miss"}'] == 5
    assert metrics["rows_total"] == 17 and metrics["wait_seconds_count"] == len(asked)


@pytest.mark.parametrize("order", list(itertools.permutations(OUTPUTS)))
def test_outputs_are_known_apart(model, order):
    """As in 2018 they were not: there A's bytes came back as B's."""
    with model.serve_cached() as server, model.serve() as plain:
        for names in (order[:1], order[:2], order[1:], order, order[::-1], order[:1] * 2):
            for values in ((1, 2, 3), (3, 1), (4, 2)):
                answer = ask(server, rows(*values), output_names=names)
                assert answer.tensors == ask(plain, rows(*values), output_names=names).tensors


def differing():
    """Requests of the same or nearly the same bytes."""
    data = bytes(range(48))
    numbers = [struct.pack("f", value) for value in (0.0, -0.0, float("nan"), float("inf"))]
    numbers += [b"\x01\x00\xc0\x7f", b"\x01\x00\x80\x7f", b"\x00\x00\xc0\xff"]  # other NaNs
    for dtype, size in (("uint8", 1), ("int8", 1), ("int16", 2), ("float32", 4), ("int32", 4),
                        ("float64", 8), ("uint64", 8)):
        n = len(data) // size
        for shape in ([1, n], [n, 1], [2, n // 2], [n], [1, 1, n], [1, n, 1], [0, n], [n // 2, 2], [3, 2, n // 6]):
            if shape[0] == 0:
                yield (Tensor(dtype, shape, b""),)
            elif n >= 6:
                yield (Tensor(dtype, shape, data),)
    for bits in numbers:
        yield (Tensor("float32", [1, 1], bits),)
        yield (Tensor("float32", [1, 2], bits + bits),)
        yield (Tensor("float32", [2, 1], bits + numbers[0]),)


def test_same_bytes_as_something_else(tmp_path):
    model = Model(tmp_path, x=(None, None))
    with model.serve_cached() as server, model.serve() as plain:
        rng = random.Random(0)
        asked = list(differing()) * 2
        rng.shuffle(asked)
        for tensors in asked:
            names = rng.sample(OUTPUTS, rng.randint(1, 3))
            answer = ask(server, *tensors, output_names=names)
            wanted = ask(plain, *tensors, output_names=names)
            assert (answer.status, answer.body) == (wanted.status, wanted.body)


def test_strings_by_their_lengths(tmp_path):
    """The same letters, cut at other places, in other rows."""
    model = Model(tmp_path, has_strings=True)
    with model.serve_cached() as server, model.serve() as plain:
        for texts in ([b"ab", b"c"], [b"a", b"bc"], [b"", b"abc"], [b"abc", b""], [b"ab", b"c"],
                      [b"c", b"ab"], [b"\0", b""], [b"", b"\0"], [b"", b""], [b"a" * 100_000, b"b"]):
            asked = (rows(1, 1), strings(*texts))
            assert ask(server, *asked).tensors == ask(plain, *asked).tensors
        assert hits(ask(server, rows(1, 1), strings(b"c", b"abc"))) == (2, 2)


def test_config_and_names_are_part_of_it(model):
    with model.serve_cached() as server:
        assert hits(ask(server, rows(1))) == (0, 1)
        assert hits(ask(server, rows(1), config="a")) == (0, 1)
        assert hits(ask(server, rows(1), config="b")) == (0, 1)
        assert hits(ask(server, rows(1), config="a")) == (1, 1)
        assert hits(ask(server, rows(1), input_names=["x"])) == (1, 1)  # by its name or by its place


def test_off_for_a_request(model):
    with model.serve_cached() as server:
        ask(server, rows(1))
        for keywords in ({"config": "cache=off"}, {"config": "a;cache=off"},
                         {"fields": [("X-GraphPipe-Cache", "off")]}):
            before = model.n_rows()
            answer = ask(server, rows(1), **keywords)
            assert answer.status == 200 and "x-graphpipe-cache" not in answer.fields
            assert model.n_rows() == before + 1
        assert hits(ask(server, rows(1), fields=[("X-GraphPipe-Cache", "on")])) == (1, 1)
        assert hits(ask(server, rows(1), config="nocache=off")) == (0, 1)  # is not the word
        answer = ask(server, rows(1), fields=[("X-GraphPipe-Cache", "maybe")])
        assert answer.status == 400 and 'X-GraphPipe-Cache is "maybe"' in answer.text


class Asking:
    """A request that is being answered, in a thread."""

    def __init__(self, server, *tensors, **keywords):
        self.connection = server.connect(timeout=20)
        self.connection.send(http("POST", "/", encode(*tensors, **keywords.pop("asked", {})),
                                  keywords.pop("fields", ())))

    def answer(self):
        with self.connection:
            return self.connection.answer()


def test_a_row_in_flight_is_run_once(model):
    with model.serve_cached() as server:
        first = Asking(server, rows(77, 1))
        eventually(lambda: model.n_rows() == 2, what="the first run")
        others = [Asking(server, rows(1, 77)) for _ in range(3)] + [Asking(server, rows(77, 2, 1))]
        eventually(lambda: model.n_rows() == 3, what="the row that is the last one's own")
        model.go()
        assert hits(first.answer()) == (0, 2)
        answers = [other.answer() for other in others]
        assert [hits(answer) for answer in answers] == [(2, 2)] * 3 + [(2, 3)]
        assert model.n_rows() == 3
        answers.append(ask(server, rows(1, 77), fields=[("X-GraphPipe-Cache", "off")]))
        assert all(answer.tensors == answers[4].tensors for answer in answers[:3])


def test_awaited_rows_and_deadlines(model):
    """Who awaits another's row has its own deadline, and its client may leave."""
    with model.serve_cached() as server:
        first = Asking(server, rows(77))
        eventually(lambda: model.n_rows() == 1, what="the first run")
        late = Asking(server, rows(77), fields=[("X-GraphPipe-Timeout-Ms", "200")])
        left = Asking(server, rows(77))
        left.connection.reset()
        assert late.answer().status == 504
        eventually(lambda: server.metrics().get('requests_total{code="499"}', 0) == 1)
        model.go()
        assert hits(first.answer()) == (0, 1)
        assert hits(ask(server, rows(77))) == (1, 1) and model.n_rows() == 1


def test_owner_that_leaves_or_fails(model):
    """Another one runs the row then; one that fails fails for each who asks, with its own words."""
    with model.serve_cached() as server:
        first = Asking(server, rows(77, 1), fields=[("X-GraphPipe-Timeout-Ms", "500")])
        eventually(lambda: model.n_rows() == 2, what="the first run")
        other = Asking(server, rows(1))
        assert first.answer().status == 504
        assert hits(other.answer()) == (0, 1)
        model.go()
        for _ in range(2):
            answer = ask(server, rows(1, 13))
            assert answer.status == 500 and "unlucky" in answer.text
        assert hits(ask(server, rows(1, 2))) == (1, 2)


def test_a_crash_loses_no_request(model):
    """Code that is started anew may have read other files, so what it computed before is not answered."""
    with model.serve_cached() as server:
        ask(server, rows(1, 2))
        first = Asking(server, rows(77, 3))
        eventually(lambda: model.n_rows() == 4, what="the run")
        waiting = Asking(server, rows(3))
        for pid in server.children():
            os.kill(pid, signal.SIGKILL)
        model.go()
        assert first.answer().status in (200, 503)
        assert waiting.answer().status in (200, 503)
        eventually(lambda: ask(server, rows(9)).status == 200, 20)
        assert hits(ask(server, rows(1, 2))) == (0, 2)
        # the second process may start only now, and it too may have read other files
        eventually(lambda: hits(ask(server, rows(1, 2))) == (2, 2), 20, "rows that are known")


def wrong_rows(answer, values, names):
    """The values whose rows in the answer are not the model's: MODEL's digest, once more."""
    wrong = []
    for name, got in zip(names, answer.tensors, strict=True):
        for at, value in enumerate(values):
            data = struct.pack("2f", value, value + 0.5)
            d = hashlib.sha256(repr(("<f4", (2,), "")).encode() + data).digest()
            if name == "text":
                is_right = got.data[at] == d.hex()[:d[0] % 17].encode()
            elif name == "sum":
                is_right = got.data[8 * at:8 * at + 8] == d[:8]
            else:
                is_right = got.data[12 * at:12 * at + 12] == struct.pack("3f", *d[8:11])
            if not is_right:
                wrong.append((name, value))
    return wrong


def ask_at_random(server, seed, is_over, seen, wrong):
    """Any rows and outputs; now and then with a deadline, and now and then the client leaves."""
    rng = random.Random(seed)
    while not is_over.is_set():
        with contextlib.suppress(Closed, Truncated, ConnectionError), \
                server.connect(timeout=60) as connection:
            for _ in range(20):
                values = [rng.randrange(100, 140) for _ in range(rng.randint(1, 6))]
                names = rng.sample(OUTPUTS, rng.randint(1, 3))
                fields = [("X-GraphPipe-Timeout-Ms", str(rng.randint(1, 20)))] * (rng.random() < 0.2)
                connection.send(http("POST", "/", encode(rows(*values), output_names=names), fields))
                if rng.random() < 0.05:
                    connection.reset()
                    break
                answer = connection.answer()
                seen[answer.status] += 1
                if answer.status == 200:
                    wrong += wrong_rows(answer, values, names)


@pytest.mark.tsan
def test_sixteen_clients_at_random(model):
    """Each answer is the model's, bit by bit, while processes are killed and the model is loaded anew."""
    seen, wrong, is_over, rng = collections.Counter(), [], threading.Event(), random.Random(0)
    with model.serve_cached("--max-delay", "1ms") as server:
        threads = [threading.Thread(target=ask_at_random, args=(server, seed, is_over, seen, wrong))
                   for seed in range(16)]
        for thread in threads:
            thread.start()
        for turn in range(24):
            is_over.wait(0.2)
            if turn % 4 == 0:
                assert server.ask("POST", "/control/models/model/load").status == 200
            elif turn % 4 == 2 and (children := server.children()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(children), signal.SIGKILL)
        is_over.set()
        for thread in threads:
            thread.join()
        metrics = server.metrics()
    assert not wrong
    assert set(seen) <= {200, 503, 504} and seen[200] > seen[503] + seen[504], seen
    assert metrics['cache_rows_total{result="hit"}'] > metrics['cache_rows_total{result="miss"}'] > 0
