"""1 KB requests: what a request costs when its tensor costs nothing, next to nginx.

The echo engine is asked for 256 float32 by wrk; nginx gets the same requests and answers a
fixed 200 without a body, from as many workers as there are cores. Then: how much of that is
the load generator's, the access log's, the kernel's (syscalls), and how it goes with the
number of connections. The metrics are counted in every one of these runs: they have no switch.
"""
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import harness
from harness import Sample, Target

ROUNDS = 11
SECONDS = 1
CONNECTIONS = [1, 4, 16, 64, 256, 1000, 4000, 10000]
SPARE_DESCRIPTORS = 200
# Waiting for a request, and the watcher's looks, whose number goes with time: strace makes
# requests many times slower, but not the clock.
WAITS = {"epoll_wait", "epoll_pwait", "futex", "clock_nanosleep", "clock_gettime"}

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_processes {cores};
events {{ worker_connections 20000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_header_buffer_size 4k;   # head and body in one read
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200; }}
    }}
}}
"""

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-graphpipe"
wrk.body = io.open("{body}", "rb"):read("*a")
"""


# --- the rival and the load --------------------------------------------------------------

@contextlib.contextmanager
def nginx(folder):
    port = harness.free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port,
                                   cores=len(os.sched_getaffinity(0))))
    with harness.server(["nginx", "-c", config], port) as process:
        yield f"http://127.0.0.1:{port}", process


def cpu_s(pid):
    """The processor time of a process and its children, by their clocks (nanoseconds)."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(time.clock_gettime(~int(p) << 3 | 2) for p in [pid, *children])


def microseconds(said):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", said).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}[unit]


class Wrk:
    """The load from wrk; called, it gives a measurement."""

    def __init__(self, folder, given):
        body, self.script = folder / "request", folder / "post.lua"
        body.write_bytes(harness.message(given))
        self.script.write_text(SCRIPT.format(body=body))

    def __call__(self, server, n, seconds):
        address, process = server
        command = ["wrk", f"-t{min(2, n)}", f"-c{n}", f"-d{seconds}s", "--timeout", "30s",
                   "--latency", "-s", str(self.script), address]

        def measure():
            before = cpu_s(process.pid)
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            cpu = cpu_s(process.pid) - before
            if "Socket errors" in said or "Non-2xx" in said:
                raise RuntimeError(f"{' '.join(command)}:\n{said}")
            rate, p50, p99 = (re.search(rf"^ *{name} +(\S+)$", said, re.M)[1]
                              for name in ("Requests/sec:", "50%", "99%"))
            n_requests = int(re.search(r"(\d+) requests in", said)[1])
            return Sample(float(rate), 1e6 * cpu / n_requests,
                          {"p50_us": microseconds(p50), "p99_us": microseconds(p99)})
        return measure


class Bench:
    """The same from `graphpipe bench`."""

    def __init__(self, given):
        self.given = given

    def __call__(self, server, n, seconds):
        address, process = server
        return harness.rate(address, self.given, "--in-flight", n, seconds=seconds,
                            pid=process.pid)


# --- rows --------------------------------------------------------------------------------

def compare_with_nginx(result, servers, load, counts, seconds):
    for n in counts:
        note = {1: "The 2018 Go server's echo reached 14.6 k/s in another run.",
                16: "The 2018 Go server's echo reached 41 k/s in another run."}.get(n, "")
        result.compare(f"echo-{n}", f"echo of 1 KB, {connections(n)}", "requests/s",
                       {name: load(server, n, seconds) for name, server in servers.items()},
                       rounds=ROUNDS, note=note,
                       target=Target(">=", 0.9) if "nginx" in servers else None)


def connections(n):
    return f"{n} connection{'s' if n > 1 else ''}"


def compare_clients(result, server, loads, counts, seconds):
    for n in counts:
        result.compare(f"client-{n}", f"the load generators, {connections(n)}", "requests/s",
                       {name: load(server, n, seconds) for name, load in loads.items()},
                       rounds=ROUNDS, ours="graphpipe bench",
                       note="How much the client limits: ours has one thread, wrk up to two.")


def compare_access_log(result, load, seconds):
    with harness.graphpipe("echo") as off, \
            harness.graphpipe("echo", level="--verbose") as on:
        result.compare("log", "access log on and off, 16 connections", "requests/s",
                       {"log on": load(on, 16, seconds), "log off": load(off, 16, seconds)},
                       rounds=15, ours="log on", target=Target(">=", 0.99),
                       note="The log goes to a file. Metrics are counted in both.")
        size = [os.stat(f"/proc/{process.pid}/fd/2").st_size for _, process in (on, off)]
    if size[0] == 0 or size[1] > 0:
        raise RuntimeError(f"the logs have {size} bytes")


# --- syscalls ----------------------------------------------------------------------------

def wait_until_traced(pid, tracer):
    tasks = pathlib.Path(f"/proc/{pid}/task")
    for _ in range(500):
        if tracer.poll() is not None:
            raise PermissionError(tracer.stderr.read().strip())
        if all("TracerPid:\t0\n" not in (task / "status").read_text()
               for task in tasks.iterdir()):
            return
        time.sleep(0.01)
    raise RuntimeError("strace does not begin")


def count_syscalls(server, given, n, n_requests):
    """By name, for each request; what the connections' beginning and end cost is in it."""
    address, process = server
    with tempfile.NamedTemporaryFile("r") as table:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-qq", "-o", table.name, "-p",
                                   str(process.pid)], stderr=subprocess.PIPE, text=True)
        try:
            wait_until_traced(process.pid, tracer)
            harness.bench(address, given, "--in-flight", n, requests=n_requests, warm_up_s=0)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=10)
        lines = [line.split() for line in table.read().splitlines()]
    return {words[-1]: int(words[3]) / n_requests for words in lines
            if len(words) >= 5 and words[3].isdigit() and words[-1] != "total"}


def add_syscalls(result, server, given, counts, n_requests):
    for n in counts:
        try:
            calls = count_syscalls(server, given, n, n_requests)
        except PermissionError as why:  # not root, or a container that forbids it
            print(f"  syscalls are not counted: {why}")
            return
        most = sorted(calls.items(), key=lambda item: -item[1])
        said = ", ".join(f"{name} {x:.2f}" for name, x in most if x >= 0.005)
        sample = Sample(sum(x for name, x in calls.items() if name not in WAITS), extra=calls)
        result.compare(f"syscalls-{n}", f"syscalls that do not wait, {connections(n)}",
                       "for each request", {"graphpipe": lambda s=sample: s}, rounds=1,
                       better="lower", note=f"All that strace counts: {said}.",
                       target=Target("<=", 3.05, "one read, one write, one arming"))


# --- over connections --------------------------------------------------------------------

def raise_descriptor_limit():
    """Connections are descriptors, of the servers and of wrk, which inherit this."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - SPARE_DESCRIPTORS


def draw_connections(result, servers, load, counts, rounds, seconds):
    found = {name: {} for name in servers}
    for n in counts:
        samples = {name: [] for name in servers}
        for _ in range(rounds):
            for name, server in servers.items():
                samples[name].append(load(server, n, seconds)())
        for name, list_ in samples.items():
            found[name][n] = (statistics.median(s.value for s in list_),
                              statistics.median(s.extra["p99_us"] for s in list_))
    x = {"name": "connections", "unit": "number", "log": True}
    for i, (curve, title, y) in enumerate([
            ("rate", "1 KB echo: rate over connections",
             {"name": "rate", "unit": "requests/s", "log": False}),
            ("p99", "1 KB echo: p99 latency over connections",
             {"name": "p99 latency", "unit": "us", "log": True})]):
        result.curve(curve, title, x, y,
                     {name: [[n, figures[i]] for n, figures in points.items()]
                      for name, points in found.items()},
                     note="" if i == 0 else "A closed loop: more connections wait in line.")


def main(smoke):
    result = harness.Result("small", "1 KB requests", smoke)
    os.environ["PATH"] += ":/usr/sbin"  # where nginx is
    tools = {name for name in ("wrk", "nginx", "strace") if shutil.which(name)}
    if not smoke and len(tools) < 3:
        sys.exit("bench: small needs wrk, nginx and strace: tools/setup bench")
    most = raise_descriptor_limit()
    counts = [16] if smoke else [1, 16, 64]
    seconds = 1 if smoke else SECONDS
    points = [1, 16] if smoke else [n for n in CONNECTIONS if n <= most]
    if not smoke and points != CONNECTIONS:
        print(f"  ulimit -n leaves out {CONNECTIONS[len(points):]} connections")
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        given = harness.zeros(folder, 256)
        ours = stack.enter_context(harness.graphpipe("echo"))
        loads = {"graphpipe bench": Bench(given)}
        servers = {"graphpipe": ours}
        if "wrk" in tools:
            loads["wrk"] = Wrk(folder, given)
        if {"wrk", "nginx"} <= tools:  # our own client wants tensors in the answer
            servers["nginx"] = stack.enter_context(nginx(folder))
        load = loads.get("wrk", loads["graphpipe bench"])
        compare_with_nginx(result, servers, load, counts, seconds)
        if "wrk" in tools:
            compare_clients(result, ours, loads, counts, seconds)
        if smoke:  # by our own client, whose runs may be shorter
            load, servers, seconds = loads["graphpipe bench"], {"graphpipe": ours}, 0.3
        compare_access_log(result, load, seconds)
        if "strace" in tools:
            add_syscalls(result, ours, given, [16] if smoke else [1, 16], 5000)
        draw_connections(result, servers, load, points, 1 if smoke else 3, seconds)
    result.save()
