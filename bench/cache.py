"""What the row cache (--cache) saves, what a hit costs, and what it costs where it is of no use.

A hit stands beside the same bytes sent to an engine that does nothing, half of the rows known, and none,
beside the same server without a cache. The models are those of bench/inference.py.
"""
import contextlib
import http.client
import itertools
import pathlib
import re
import shutil
import struct
import tempfile
import time
import urllib.request

import harness
import inference
from harness import Sample, Target

CACHE = ("--cache", "--max-batch", "64")  # which says that rows do not depend on each other


@contextlib.contextmanager
def cached(model, *arguments):
    with tempfile.TemporaryDirectory() as folder, \
            inference.served(model, *CACHE, "--cache-dir", folder, *arguments) as server:
        yield server


@contextlib.contextmanager
def uncached(model):
    with inference.served(model, *CACHE[1:]) as server:
        yield server


def latency(server, *arguments, seconds):
    """The median, of the same request again and again unless the arguments say otherwise."""
    address, process = server

    def measure():
        sample = harness.rate(address, *arguments, seconds=seconds, pid=process.pid)()
        return Sample(sample.extra["p50_us"], sample.cpu_us)
    return measure


# --- all rows known -----------------------------------------------------------------------

def add_hits(result, models, smoke):
    seconds = 0.3 if smoke else 2
    if "efficientnet" in models and not smoke:
        with cached(models["efficientnet"]) as hit, \
                harness.graphpipe("null") as nothing, tempfile.TemporaryDirectory() as folder:
            picture = [harness.zeros(folder, 1, 3, 224, 224)]
            result.compare("hit-602kb", "a known row of 602 KB", "us",
                           {"a hit": latency(hit, *picture, seconds=seconds),
                            "transport alone": latency(nothing, *picture, seconds=seconds)},
                           rounds=inference.ROUNDS, ours="a hit", better="lower",
                           target=Target("<=", 1.5))
    rows = 64
    with cached(models["tiny"]) as hit, harness.graphpipe("echo") as echo, \
            tempfile.TemporaryDirectory() as folder:
        load = ["--rows", str(rows)]
        zeros = harness.zeros(folder, rows, 1024)
        times = {"hits": latency(hit, *load, seconds=seconds),
                 "echo": latency(echo, zeros, seconds=seconds)}

        def row():
            return Sample((times["hits"]().value - times["echo"]().value) / rows)
        result.compare("hit-4kb", "a known row of 4 KB, of 64, beyond the echo engine's", "us",
                       {"a hit": row}, rounds=inference.ROUNDS, ours="a hit", better="lower",
                       target=Target("<=", 20))


# --- half of them, and none ---------------------------------------------------------------

def ask(connection, message):
    connection.request("POST", "/", message, {"Accept": "application/x-graphpipe"})
    reply = connection.getresponse()
    reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{reply.status}")
    return reply.getheader("X-GraphPipe-Cache")


ROWS = 8  # of a request of which half are known
PICTURE_BYTES = 3 * 224 * 224 * 4


def half_known(server, message, at, n):
    """Requests whose first half of rows is always the same, and whose other half is new each time."""
    address, _ = server
    body, number = bytearray(message), 0

    def measure():
        nonlocal number
        with contextlib.closing(http.client.HTTPConnection(
                address.removeprefix("http://"), timeout=60)) as connection:
            for i in range(n + 1):
                for row in range(ROWS // 2, ROWS):
                    number += 1  # a tiny float, whatever it is
                    struct.pack_into("<I", body, at + row * PICTURE_BYTES, number)
                said = ask(connection, body)
                if i == 0:
                    began = time.monotonic()
                elif said not in (None, f"{ROWS // 2}/{ROWS}"):
                    raise RuntimeError(f"{said} instead of {ROWS // 2}/{ROWS}")
            return Sample(ROWS * n / (time.monotonic() - began))
    return measure


def add_half(result, model, smoke):
    n = 3 if smoke else 15
    with tempfile.TemporaryDirectory() as folder, cached(model) as known, uncached(model) as alone:
        message = harness.message(harness.zeros(folder, ROWS, 3, 224, 224))
        at = message.index(bytes(PICTURE_BYTES)) + 1024  # in the first row
        result.compare("half", f"EfficientNet-Lite0, {ROWS // 2} of {ROWS} rows known", "rows/s",
                       {"with a cache": half_known(known, message, at, n),
                        "without": half_known(alone, message, at, n)},
                       rounds=inference.ROUNDS, ours="with a cache", target=Target(">=", 1.9))


def add_useless(result, name, model, n_distinct, smoke):
    """One client that never asks for the same row again."""
    seconds = 0.3 if smoke else 2
    seeds = itertools.count(1, 1_000_000)  # requests that follow each other have seeds that do

    def fresh(server):
        def measure():
            return latency(server, "--distinct", str(n_distinct), "--seed", str(next(seeds)),
                           seconds=seconds)()
        return measure
    with cached(model) as useless, uncached(model) as alone:
        result.compare(f"useless-{name}", f"{name}, one client, no row known", "us",
                       {"with a cache": fresh(useless), "without": fresh(alone)},
                       rounds=inference.ROUNDS, ours="with a cache", better="lower",
                       target=Target("<=", 1.02))


# --- rows of other hosts ------------------------------------------------------------------

@contextlib.contextmanager
def redis(folder):
    """Gives its URL. The program of redis-tools is the server under another name."""
    (folder / "redis-server").symlink_to(shutil.which("redis-check-rdb"))
    path = folder / "redis.sock"
    with harness.server([folder / "redis-server", "--port", "0", "--unixsocket", path, "--save", ""], path=path):
        yield f"unix://{path}"


def add_shared(result, model, n):
    """Rows that another server has computed, asked for once each."""
    load = ["--distinct", str(n)]
    with tempfile.TemporaryDirectory() as folder, redis(pathlib.Path(folder)) as url:
        shared = ["--cache-url", url, "--cache-ttl", "1h"]

        def ask(arguments, seed):
            with cached(model, *arguments) as (address, _):
                if arguments:
                    time.sleep(0.5)  # Redis is asked once the connection is up
                total = harness.bench(address, *load, "--seed", str(seed), requests=n, warm_up_s=0.001)
                said = urllib.request.urlopen(f"{address}/metrics").read().decode()
                hits = re.search(r'^graphpipe_cache_rows_total{.*result="hit"} (\d+)$', said, re.M)
                return Sample(total["latency_us"]["p50"], extra={"hits": int(hits[1])})

        ask(shared, 1)
        time.sleep(1)  # its last rows are on their way
        result.compare("redis", f"mlp, {n} rows, one client", "us",
                       {"in Redis": lambda: ask(shared, 1), "known nowhere": lambda: ask([], 1)},
                       rounds=5, ours="in Redis", better="lower",
                       note="What comes after 5 ms is computed.")


# --- how it grows -------------------------------------------------------------------------

def rows_kept(address):
    said = urllib.request.urlopen(f"{address}/metrics").read().decode()
    return int(re.search(r"^graphpipe_cache_rows (\d+)$", said, re.M)[1])


def add_growth(result, model, smoke):
    """A hit among so many rows that are kept."""
    points, seeds, rows, at_a_time = [], itertools.count(2), 250, 40
    with cached(model, "--cache-size", "8GiB") as server:
        for wanted in (1000,) if smoke else (1000, 10_000, 100_000, 1_000_000, 10_000_000):
            while rows_kept(server[0]) < wanted:
                n = min(at_a_time, wanted // rows)
                harness.bench(server[0], "--rows", str(rows), "--distinct", str(n), "--seed",
                              str(next(seeds) * 1000), "--in-flight", "2", requests=n, warm_up_s=0.001)
            points.append([wanted, latency(server, "--distinct", "500", seconds=0.3 if smoke else 2)().value])
    result.curve("rows", "A hit among so many rows", {"name": "rows kept", "unit": "", "log": True},
                 {"name": "latency", "unit": "us", "log": False}, {"a hit": points})


def main(smoke):
    result = harness.Result("cache", "Rows that are known", smoke)
    with tempfile.TemporaryDirectory() as name:
        models = inference.make_models(pathlib.Path(name), smoke)
        add_hits(result, models, smoke)
        if "efficientnet" in models:
            add_half(result, models["efficientnet"], smoke)
        add_useless(result, "mlp", models["mlp"], 5000, smoke)
        if not smoke:
            add_useless(result, "tiny", models["tiny"], 50_000, smoke)
        if shutil.which("redis-check-rdb"):
            add_shared(result, models["mlp"], 100 if smoke else 2000)
        add_growth(result, models["tiny"], smoke)
    result.save()
