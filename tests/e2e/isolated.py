"""What the tests of the engines that are always isolated share: each model has one input, `rows(n)`, whose
answer is known."""
import concurrent.futures
import os
import signal

import numpy as np
import pytest

from harness import eventually, settle_empty
from test_tensorflow import array, tensor


def rows(n, width=3):
    return np.random.default_rng(n).normal(size=(n, width)).astype(np.float32)


def ask(server, *inputs, **keywords):
    return [array(y) for y in server.infer(*map(tensor, inputs), **keywords).tensors]


def assert_answers(server, answer, *numbers):
    for n in numbers:
        y, = ask(server, rows(n))
        assert y == pytest.approx(answer(rows(n)), abs=1e-6)


def assert_serves_many_clients(server, answer):
    """Sixteen, each with batches of its own."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: assert_answers(server, answer, *[n] * 8), range(1, 17)))
    settle_empty(server)


def assert_joins_rows(server, answer):
    """Batches of several clients at a time."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: assert_answers(server, answer, n % 7 + 1), range(1, 65)))


def assert_starts_again(server, answer):
    child, = server.children()
    os.kill(child, signal.SIGKILL)
    y = eventually(lambda: (given := server.infer(tensor(rows(3)))).status == 200 and given,
                   what="an answer after the end of the process").tensors
    assert array(*y) == pytest.approx(answer(rows(3)), abs=1e-6)


def assert_says_nothing(server, name):
    """But our own lines."""
    server.infer(tensor(rows(1)))
    server.signal()
    server.wait(10)
    ours = name, server.place, "listening on", "draining"
    assert not [line for line in server.lines if not line.startswith(ours)], server.stderr
