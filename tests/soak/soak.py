"""Soak: clients of every kind at once for some time, then quiet. Afterwards there has been no error
that a client did not cause, and memory and descriptors are back to where they were. Prints a line
every few seconds and tables at the end, with the p50 and p99 of each quarter of the time, for the
reader to see that they have not grown; exits with 1 when not all is well.

    tests/soak/soak.py --seconds 120 --preset release --engine echo --engine slow --engine onnx

Without --engine all that the build has are taken, one after the other, each for its share of the
time. Memory is the resident set less the pool's idle buffers, which stay warm on purpose for a
while, see pool_bytes{state="idle"} in the metrics."""
import argparse
import collections
import os
import pathlib
import random
import re
import socket
import struct
import sys
import threading
import time
import traceback

SOURCE = pathlib.Path(__file__).parents[2]
SANITIZERS = {"asan": "address,undefined", "tsan": "thread"}
MIB = 1 << 20

# How much more may be resident at the end than before, beside the pool: arenas of malloc that
# are not full; the sanitizers keep records of what was freed.
SLACK = {"release": 12 * MIB, "asan": 64 * MIB, "tsan": 64 * MIB}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float,
                        default=120 if os.environ.get("CI") == "true" else 15)
    parser.add_argument("--preset", default="release", choices=["release", "asan", "tsan"])
    parser.add_argument("--engine", action="append", choices=["echo", "slow", "onnx"])
    parser.add_argument("--seed", type=int, default=2018)
    return parser.parse_args()


OPTIONS = arguments()
os.environ.setdefault("GP_BUILD_DIR", str(SOURCE / "build" / OPTIONS.preset))
os.environ.setdefault("GP_SANITIZE", SANITIZERS.get(OPTIONS.preset, ""))
os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=16")
sys.path.insert(0, str(SOURCE / "tests/e2e"))
from harness import (MODELS, PATIENCE, Closed, Connection, Server, Tensor,  # noqa: E402
                     Truncated, chunked, echoed, encode, http, plugin, uint8)
from needs import lacks  # noqa: E402

GONE = (Closed, Truncated, ConnectionError)


class Wrong(Exception):
    """The server did what it should not have."""


# --- what is asked ----------------------------------------------------------------------

class Question:
    """A message, and the answer's body that it has to get each time."""

    def __init__(self, server, *tensors, config=""):
        self.body = encode(*tensors, config=config)
        answer = server.ask("POST", "/", self.body)
        self.answer = answer.body
        if server.is_echo and echoed(answer) != tensors[0].data:
            raise Wrong("the answer is not what was sent")
        answer.tensors


class Questions:
    def __init__(self, server, kind):
        dice = random.Random(OPTIONS.seed)
        server.is_echo = kind != "onnx"
        config = "sleep-ms=2" if kind == "slow" else ""
        if kind == "onnx":
            def tensor(size):
                rows = max(1, size // 16)
                return Tensor("float32", [rows, 4], struct.pack("<f", dice.random()) * 4 * rows)
        else:
            def tensor(size):
                return uint8(dice.randbytes(size))
        self.small = [Question(server, tensor(size), config=config)
                      for size in (1, 16, 100, 1000, 5000, 20_000)]
        self.large = [Question(server, tensor(size))
                      for size in (200_000, 1 << 20, 3 << 20, 9 << 20)]


# --- clients: each does one thing once, on a connection that it may keep ------------------

def check(answer, question, kind):
    if answer.status != 200:
        raise Wrong(f"{kind}: {answer.status} {answer.body[:200]!r}")
    if answer.body != question.answer:
        raise Wrong(f"{kind}: the answer is not the same as before")


def small(c, q, dice):
    question = dice.choice(q.small)
    check(c.ask("POST", "/", question.body), question, "small")


def large(c, q, dice):
    question = dice.choice(q.large)
    sender = threading.Thread(target=quietly_send, args=[c, http("POST", "/", question.body)])
    sender.start()
    answer = c.answer()
    sender.join()
    check(answer, question, "large")


def quietly_send(c, data):
    try:
        c.send(data)
    except OSError:
        pass  # who reads will see


def coded(c, q, dice):
    question = dice.choice(q.small + q.large[:2])
    body = chunked(question.body, dice.choice([None, 999, 65_536]))
    check(c.ask("POST", "/", body, {"Transfer-Encoding": "chunked"}), question, "chunked")


def pipeline(c, q, dice):
    questions = [dice.choice(q.small[:4]) for _ in range(20)]
    c.send(b"".join(http("POST", "/", question.body) for question in questions))
    for question in questions:
        check(c.answer(), question, "pipeline")


def slow(c, q, dice):
    """Slow both ways, but within the limits."""
    question = dice.choice(q.small)
    request = http("POST", "/", question.body)
    step = max(1, len(request) // 8)
    for at in range(0, len(request), step):
        c.send(request[at:at + step])
        time.sleep(dice.random() * 0.02)
    time.sleep(dice.random() * 0.05)
    check(c.answer(), question, "slow")


def broken(c, q, dice):
    """Heads, chunks and messages that are wrong; refused, and nothing else."""
    question = dice.choice(q.small)
    message = bytearray(question.body)
    for _ in range(dice.randint(1, 4)):
        message[dice.randrange(min(len(message), 64))] ^= 1 << dice.randrange(8)
    c.send(dice.choice([
        lambda: http("POST", "/", bytes(message)),
        lambda: http("POST", "/", dice.randbytes(dice.randint(0, 300))),
        lambda: http("POST", "/", question.body[:dice.randrange(len(question.body))]),
        lambda: http("POST", "/", fields={"Content-Length": 1 << 31}),
        lambda: http("POST", "/", fields={"Transfer-Encoding": "chunked"}) + b"zz\r\n",
        lambda: http("GET", "/v2/" + "x" * dice.choice([1, 70_000])),
        lambda: dice.randbytes(dice.randint(1, 200)) + b"\r\n\r\n",
    ])())
    c.socket.shutdown(socket.SHUT_WR)
    answer = c.answer()
    if answer.status not in (200, 400, 404, 405, 413, 431, 499):  # 499: half-closed while it waited
        raise Wrong(f"broken: {answer.status} {answer.body[:200]!r}")
    return "200" if answer.status == 200 else "4xx"


def leaving(c, q, dice):
    """Goes at any point of a request or of its answer."""
    question = dice.choice(q.small + q.large[:3])
    request = http("POST", "/", question.body)
    c.send(request[:dice.randrange(len(request) + 1)] if dice.random() < 0.5 else request)
    time.sleep(dice.choice([0, 0, 0.001, 0.01, 0.05]))
    if dice.random() < 0.3:
        c.socket.settimeout(0.05)
        try:
            c.socket.recv(dice.choice([1, 100, 100_000]))
        except OSError:
            pass
    (c.reset if dice.random() < 0.7 else c.close)()


def late(c, q, dice):
    """A deadline that is over before the slow engine is done."""
    fields = {"X-GraphPipe-Timeout-Ms": 10}
    answer = c.ask("POST", "/", encode(uint8(b"late"), config="sleep-ms=200"), fields)
    if answer.status != 504:
        raise Wrong(f"late: {answer.status} {answer.body[:200]!r}")
    return "504"


def health(c, q, dice):
    answer = c.ask("GET", "/control/is_ready")
    if answer.status != 200 or answer.body != b"ok\n":
        raise Wrong(f"health: {answer.status}")


# kind: threads, whether the connection is kept, seconds of rest between two
KINDS = {small: (3, True, 0.001), large: (1, True, 0.05), coded: (1, True, 0.01),
         pipeline: (1, True, 0.02), slow: (3, True, 0.0), broken: (2, False, 0.005),
         leaving: (2, False, 0.005), health: (1, False, 0.02)}
TIMED = ("small", "health")


# --- one engine -------------------------------------------------------------------------

def statistics_of(server):
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    metrics = server.metrics()
    idle = int(metrics['pool_bytes{state="idle"}'])
    return {"rss": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024, "idle": idle,
            "used": int(metrics['pool_bytes{state="used"}']), "descriptors": server.descriptors(),
            "connections": int(metrics["connections"]), "waiting": int(metrics["waiting"]),
            "in_flight": int(metrics["in_flight"]), "metrics": metrics}


def beside_pool(numbers):
    return numbers["rss"] - numbers["idle"]


class Soak:
    def __init__(self, server, kind, seconds):
        self.server, self.seconds = server, seconds
        self.questions = Questions(server, kind)
        self.kinds = dict(KINDS) | ({late: (1, True, 0.02)} if kind == "slow" else {})
        self.lock = threading.Lock()
        self.outcomes = collections.Counter()
        self.times = collections.defaultdict(list)  # (kind, quarter): seconds
        self.problems = []

    def client(self, do, is_kept, rest, seed, end):
        dice, connection = random.Random(seed), None
        name = do.__name__
        while time.monotonic() < end and len(self.problems) < 20:
            start = time.monotonic()
            try:
                connection = connection or Connection(self.server.address)
                outcome = do(connection, self.questions, dice) or "ok"
            except GONE as error:
                outcome = "closed"  # that is an answer to what is broken, and no other
                if do not in (broken, leaving):
                    self.problem(f"{name}: {error!r}")
            except Exception as error:
                outcome = "wrong"
                self.problem(f"{name}: {error}" if isinstance(error, Wrong)
                             else traceback.format_exc())
            if outcome in ("closed", "wrong") or not is_kept or dice.random() < 0.01:
                if connection:
                    connection.close()
                connection = None
            self.note(name, outcome, start)
            time.sleep(rest)
        if connection:
            connection.close()

    def note(self, name, outcome, start):
        now = time.monotonic()
        with self.lock:
            self.outcomes[name, outcome] += 1
            if name in TIMED:
                quarter = min(3, int(4 * (now - self.began) / self.seconds))
                self.times[name, quarter].append(now - start)

    def problem(self, text):
        with self.lock:
            self.problems.append(text)

    def load(self, seconds, seed):
        """All the clients at once."""
        self.began, end = time.monotonic(), time.monotonic() + seconds
        clients = [threading.Thread(target=self.client,
                                    args=[do, kept, rest, seed + 97 * n + i, end])
                   for n, (do, (threads, kept, rest)) in enumerate(self.kinds.items())
                   for i in range(threads)]
        for client in clients:
            client.start()
        step = max(2.0, seconds / 8)
        while any(client.is_alive() for client in clients):
            deadline = time.monotonic() + step
            while time.monotonic() < deadline and any(client.is_alive() for client in clients):
                time.sleep(0.05)
            now = statistics_of(self.server)
            print(f"  {time.monotonic() - self.began:5.0f} s  "
                  f"{sum(self.outcomes.values()):7} done  {len(self.problems)} wrong  rss {now['rss'] / MIB:.0f} MiB "
                  f"(pool: {now['used'] / MIB:.0f} used, {now['idle'] / MIB:.0f} idle)  "
                  f"{now['descriptors']} descriptors", flush=True)
            if time.monotonic() > end + 60 * PATIENCE:
                self.problem("clients did not come to their end")
                return

    def quiet(self):
        """Waits until nobody else is connected; what there is then."""
        end = time.monotonic() + 15 * PATIENCE
        while True:
            now = statistics_of(self.server)
            if now["connections"] == now["in_flight"] == 1 and now["used"] == 0:
                time.sleep(0.2)  # for the connection that asked
                return now | {"descriptors": self.server.descriptors()}
            if time.monotonic() > end:
                self.problem(f"not quiet: {now}")
                return now
            time.sleep(0.1)

    def run(self):
        self.load(max(1.5, 0.15 * self.seconds), OPTIONS.seed)  # until all is warm
        before = self.quiet()
        self.outcomes.clear()
        self.times.clear()
        self.load(self.seconds, OPTIONS.seed + 1)
        loaded = statistics_of(self.server)
        time.sleep(1)
        after = self.quiet()
        self.judge(before, after)
        self.table(before, loaded, after)

    def p(self, name, quarter, q):
        times = sorted(self.times[name, quarter])
        return 1e3 * times[int(q * len(times))] if times else float("nan")

    def judge(self, before, after):
        grown = beside_pool(after) - beside_pool(before)
        if grown > SLACK[OPTIONS.preset]:
            self.problem(f"memory beside the pool has grown by {grown / MIB:.1f} MiB")
        if after["descriptors"] > before["descriptors"]:
            self.problem(f"{after['descriptors']} descriptors, {before['descriptors']} before")
        if after["waiting"]:
            self.problem(f"{after['waiting']} requests still wait")
        for code in ("500", "501", "502", "503", "505", "other"):
            n = after["metrics"].get(f'requests_total{{code="{code}"}}', 0)
            if n:
                self.problem(f"{n:.0f} answers with status {code}")
        for name in TIMED:
            if not self.times[name, 3]:
                self.problem(f"no {name} request came to an end in the last quarter")

    def table(self, before, loaded, after):
        print("  requests by outcome:")
        for name in sorted({name for name, _ in self.outcomes}):
            row = {outcome: n for (kind, outcome), n in sorted(self.outcomes.items())
                   if kind == name}
            print(f"    {name:9}" + "  ".join(f"{outcome} {n}" for outcome, n in row.items()))
        print("  ms by quarter of the time:   " + "".join(f"{i + 1:>16}" for i in range(4)))
        for name in TIMED:
            print(f"    {name:9} p50 / p99         " + "".join(
                f"{self.p(name, i, 0.5):8.1f} /{self.p(name, i, 0.99):6.1f}" for i in range(4)))
        print(f"  {'':24}{'before':>10}{'loaded':>10}{'after':>10}")
        for label, value in (("rss, MiB", lambda n: f"{n['rss'] / MIB:.1f}"),
                             ("pool idle, MiB", lambda n: f"{n['idle'] / MIB:.1f}"),
                             ("rss less idle, MiB", lambda n: f"{beside_pool(n) / MIB:.1f}"),
                             ("pool used, bytes", lambda n: n["used"]),
                             ("descriptors", lambda n: n["descriptors"])):
            print(f"    {label:22}" + "".join(f"{value(n):>10}" for n in (before, loaded, after)))


def available():
    kinds = ["echo", "slow"]
    return kinds if lacks("onnx") else kinds + ["onnx"]


def serve(kind):
    if kind == "onnx":
        return Server(engine="onnx", model=MODELS / "mlp.onnx")
    return Server("--instances", 4, engine=plugin("slow") if kind == "slow" else "echo")


def main():
    kinds = OPTIONS.engine or available()
    n_problems = 0
    for kind in kinds:
        seconds = OPTIONS.seconds / len(kinds)
        print(f"soak: {kind}, {OPTIONS.preset}, {seconds:.0f} s", flush=True)
        try:
            with serve(kind) as server:
                soak = Soak(server, kind, seconds)
                soak.run()
                problems = soak.problems
        except AssertionError as error:  # the server's end: its status, a sanitizer's report
            problems = [str(error)]
        n_problems += len(problems)
        for text in problems[:10]:
            print(f"  WRONG: {text}", flush=True)
    print("soak: " + (f"{n_problems} things are wrong" if n_problems else "all is well"))
    return 1 if n_problems else 0


if __name__ == "__main__":
    sys.exit(main())
