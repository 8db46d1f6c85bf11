"""The process itself: start, idle memory and CPU, size, end, and what idle connections hold.

The limit of a start is what ONNX Runtime alone takes to open the same model (bench/load.c),
both timed from outside, from exec to the first answer. Memory is what the process has for
itself (smaps_rollup), the kernel's part of a connection not counted; nginx is measured alike.
"""
import collections
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import harness
import small

ORT = harness.ROOT / ".deps/onnxruntime/libonnxruntime.so.1"
MODELS = [harness.ROOT / "build/models/efficientnet-lite0.onnx",
          harness.ROOT / "tests/models/mlp.onnx"]
REQUEST = harness.ROOT / "tests/golden/vectors/req_float32.bin"
STEPS = [100, 300, 1000, 3000, 10000]  # idle connections
STARTS = 21     # rounds
SETTLE_S = 1.0  # until all threads have started, and nginx's workers too


# --- start ------------------------------------------------------------------------------

def ask(connection, request):
    """One request; returns once its answer is there, and wants it to be a 200."""
    connection.sendall(request)
    head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not a 200: {head[:200]}")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                  if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            raise RuntimeError(f"the answer ended after {len(body)} of {length} bytes")
        body += more


def until_ready(*arguments):
    """Milliseconds from exec to the first answer. Waits for the line that says where it
    listens: asking again and again would take CPU time from the start."""
    def measure():
        start = time.perf_counter()
        with subprocess.Popen([harness.PROGRAM, "serve", "--listen", "127.0.0.1:0", *arguments],
                              stderr=subprocess.PIPE, text=True) as process:
            try:
                said = next((line for line in process.stderr if "listening on" in line), "")
                if not said:
                    raise RuntimeError(f"serve {arguments} ended before it listened")
                port = re.search(r"127.0.0.1:(\d+)", said)[1]
                with socket.create_connection(("127.0.0.1", port), 60) as connection:
                    ask(connection, b"GET /control/is_ready HTTP/1.1\r\nHost: x\r\n\r\n")
                return harness.Sample((time.perf_counter() - start) * 1e3)
            finally:
                process.terminate()
    return measure


def load_alone(model):
    n_cores = str(len(os.sched_getaffinity(0)))

    def measure():
        start = time.perf_counter()
        with subprocess.Popen([harness.BUILD / "bench/load", ORT, model, n_cores],
                              stdout=subprocess.PIPE) as process:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("bench/load failed")
            return harness.Sample((time.perf_counter() - start) * 1e3)
    return measure


def measure_start(result):
    result.compare("start_echo", "start to ready, echo engine", "ms",
                   {"graphpipe": until_ready("--engine", "echo")}, rounds=STARTS,
                   better="lower", target=harness.Target("<=", 5))
    model = next(model for model in MODELS if model.exists())
    alone, ready = load_alone(model), until_ready("--engine", "onnx", model)
    pairs = [(ready().value, alone().value) for _ in range(1 if result.smoke else STARTS)]
    ours, limit = zip(*pairs)
    result.compare("start_onnx", f"start to ready, {model.stem}", "ms",
                   {"graphpipe": harness.replay(ours), "ONNX Runtime alone": harness.replay(limit)},
                   rounds=STARTS, better="lower")
    result.compare("start_over", "the same, more than ONNX Runtime alone", "ms",
                   {"graphpipe": harness.replay(a - b for a, b in pairs)}, rounds=STARTS,
                   better="lower", target=harness.Target("<=", 5))


# --- idle -------------------------------------------------------------------------------

def memory(process):
    """Bytes by kind, of a process and its children: Rss, Pss, Private."""
    sums = collections.Counter()
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    for pid in [process.pid, *map(int, children.split())]:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, kb = line.split()[:2]
            sums[name.rstrip(":").partition("_")[0]] += int(kb) * 1024
    return sums


def activity(process):
    """(ticks of CPU, times that a thread was woken, threads) so far."""
    ticks, switches, tasks = 0, 0, list(pathlib.Path(f"/proc/{process.pid}/task").iterdir())
    for task in tasks:
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
        switches += sum(int(line.split()[1]) for line in (task / "status").open()
                        if "ctxt_switches" in line)
    return ticks, switches, len(tasks)


def measure_idle(result, idle_s):
    def resident():
        with harness.graphpipe("echo") as (_, process):
            time.sleep(SETTLE_S)
            sums = {name: bytes_ / 1e6 for name, bytes_ in memory(process).items()}
            return harness.Sample(sums["Rss"], extra={
                "pss": sums["Pss"], "private": sums["Private"], "threads": activity(process)[2]})

    def woken():
        with harness.graphpipe("echo") as (_, process):
            time.sleep(SETTLE_S)
            before = activity(process)
            time.sleep(idle_s)
            after = activity(process)
            return harness.Sample(after[1] - before[1], extra={"cpu_ticks": after[0] - before[0]})

    result.compare("idle_memory", "resident memory when idle, echo engine", "MB",
                   {"graphpipe": resident}, rounds=5, better="lower",
                   target=harness.Target("<=", 5))
    result.compare("idle_cpu", f"wake-ups of all threads in {idle_s:g} idle seconds", "wake-ups",
                   {"graphpipe": woken}, rounds=5, better="lower",
                   target=harness.Target("<=", 0, "none"))


def measure_size(result):
    lib = harness.BUILD / "lib"
    program, library = harness.PROGRAM, lib / "libgraphpipe.so"
    rows = [("size", "program and libgraphpipe.so, stripped", [program, library], 1),
            ("size_program", "the program alone, stripped", [program], None),
            ("size_server", "libgraphpipe-server.so, stripped", [lib / "libgraphpipe-server.so"],
             None),
            *((f"size_{path.stem}", f"{path.name}, stripped", [path], None)
              for path in sorted((lib / "graphpipe").glob("*.so")))]
    with tempfile.TemporaryDirectory() as folder:
        def stripped(path):
            copy = pathlib.Path(folder) / path.name
            shutil.copy(path, copy)
            subprocess.run(["strip", copy], check=True)
            return copy.stat().st_size

        for row, what, paths, limit in rows:
            size = sum(map(stripped, paths)) / 1e6
            result.compare(row, what, "MB", {"graphpipe": lambda: harness.Sample(size)},
                           rounds=1, better="lower",
                           target=limit and harness.Target("<=", limit))


# --- connections ------------------------------------------------------------------------

class Crowd:
    """Kept-alive connections, each of which has asked once."""

    def __init__(self, address):
        body = REQUEST.read_bytes()
        self.port, self.connections = int(address.rpartition(":")[2]), []
        self.request = (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
                        + body)

    def grow(self, n):
        while len(self.connections) < n:
            connection = socket.create_connection(("127.0.0.1", self.port), 10)
            self.connections.append(connection)
            ask(connection, self.request)

    def close(self):
        for connection in self.connections:
            connection.close()


def our_server():
    return harness.graphpipe("echo", "--idle-timeout", "600s")


@contextlib.contextmanager
def nginx():
    with tempfile.TemporaryDirectory() as folder, small.nginx(pathlib.Path(folder)) as found:
        yield found


def until_exit(n):
    def measure():
        with our_server() as (address, process), \
                contextlib.closing(Crowd(address)) as crowd:
            crowd.grow(n)
            start = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            if process.wait() != 0:
                raise RuntimeError(f"graphpipe ended with {process.returncode}")
            return harness.Sample((time.perf_counter() - start) * 1e3)
    return measure


def grown(server, steps):
    """[n, bytes for each of n idle connections more than without]; the first one does not
    count, with which code and buffers come that are kept."""
    with server() as (address, process), contextlib.closing(Crowd(address)) as crowd:
        crowd.grow(1)
        time.sleep(SETTLE_S)
        before, points = memory(process)["Private"], []
        for n in steps:
            crowd.grow(n)
            points.append([n, (memory(process)["Private"] - before) / (n - 1)])
    return points


def measure_connections(result, n_most):
    for n in sorted({min(1000, n_most), n_most}):
        result.compare(f"exit_{n}", f"SIGTERM to exit with {n} idle connections", "ms",
                       {"graphpipe": until_exit(n)}, rounds=5, better="lower",
                       target=harness.Target("<=", 100))
    steps = [n for n in STEPS if n <= n_most]
    servers = {"graphpipe": our_server} | ({} if result.smoke else {"nginx": nginx})
    curves = {name: grown(server, steps) for name, server in servers.items()}
    what = f"memory of each of {steps[-1]} idle connections"
    result.compare("connection", what, "bytes",
                   {"graphpipe": harness.replay([curves["graphpipe"][-1][1]])}, rounds=1,
                   better="lower", target=harness.Target("<=", 1000))
    if "nginx" in curves:
        result.compare("connection_nginx", "the same, next to nginx", "bytes",
                       {name: harness.replay([points[-1][1]]) for name, points in curves.items()},
                       rounds=1, better="lower",
                       note="what nginx sets aside for connections when it starts is not in it")
    result.curve("idle_connections", "Memory of an idle connection",
                 {"name": "connections", "unit": "", "log": True},
                 {"name": "memory of each", "unit": "bytes", "log": False}, curves)


def main(smoke):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n_most = max(n for n in STEPS if n + 200 < min(hard, 2000 if smoke else hard))
    result = harness.Result("process", "The process itself", smoke)
    measure_start(result)
    measure_idle(result, 0.5 if smoke else 2)
    measure_size(result)
    measure_connections(result, n_most)
    result.save()
