"""Large tensors: how fast they come in and go out, next to a bare recv loop.

The limit (bench/limit.c) is one thread for each connection that receives into one warm buffer
and checks nothing. It answers what our server answered, and is asked by the same client. The
null engine reads no tensor, the echo engine sends its own back.
"""
import contextlib
import math
import pathlib
import resource
import statistics
import tempfile

import harness
from harness import Sample, Target

ROUNDS = 5
SECONDS = 3
PICTURE = (224, 224, 3)
SIZES = [1 << 10, 16 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30]
ROOM_FOR = 4  # times the largest: two servers' buffers, the client's file, and some air
LARGE = ["--max-body", "1100M", "--pool", "6G"]  # of the pool a client gets a quarter


class Servers:
    """Ours and the limit, each kept until the benchmark is over; as (address, process)."""

    def __init__(self, folder, stack):
        self.folder = folder
        self.stack = stack

    def ours(self, engine, *arguments, path=None):
        return self.stack.enter_context(harness.graphpipe(engine, *arguments, path=path))

    def limit(self, reply, path=None):
        """`reply` is the message that it answers to everything."""
        file = tempfile.NamedTemporaryFile(dir=self.folder, delete=False)
        with file:
            file.write(reply)
        port = None if path else harness.free_port()
        command = [harness.BUILD / "bench/limit", path or port, file.name]
        process = self.stack.enter_context(harness.server(command, port, path))
        return f"unix:{path}" if path else f"http://127.0.0.1:{port}", process


def speed(server, given, seconds):
    """A measurement: GB/s of requests."""
    address, process = server
    return harness.rate(address, given, key="sent_bytes_per_s", per=1e9, seconds=seconds,
                        pid=process.pid)


def round_trip(server, given, seconds):
    """A measurement: milliseconds from the first byte out to the last one back."""
    address, process = server

    def measure():
        total = harness.bench(address, given, seconds=seconds, pid=process.pid)
        return Sample(total["latency_us"]["p50"] / 1e3, total["server_cpu_us"] or 0.0)
    return measure


# --- rows --------------------------------------------------------------------------------

def compare_receiving(result, servers, ours, limit, reply, given, what, seconds):
    by_unix = {"graphpipe": servers.ours("null", path=servers.folder / "ours"),
               "limit": limit,
               "limit over unix": servers.limit(reply, servers.folder / "limit")}
    by_tcp = {"graphpipe": ours, "limit": limit}
    for row, subjects, how, least, note in [
            ("receive-tcp", by_tcp, "TCP", 0.95, ""),
            ("receive-unix", by_unix, "a unix socket", 0.7, "`limit` is over TCP here too.")]:
        result.compare(row, f"receive {what} over {how}", "GB/s",
                       {name: speed(at, given, seconds) for name, at in subjects.items()},
                       rounds=ROUNDS, target=Target(">=", least), note=note)


def compare_echo(result, servers, given, what, seconds):
    ours = servers.ours("echo")
    reply = harness.answer(ours[0], harness.message(given))
    subjects = {"graphpipe": ours, "limit": servers.limit(reply)}
    del reply
    measures = {name: round_trip(at, given, seconds) for name, at in subjects.items()}
    result.compare("echo", f"{what} there and back", "ms", measures, rounds=ROUNDS,
                   better="lower")
    result.compare("echo-time", f"{what} there and back, by itself", "ms",
                   {"graphpipe": measures["graphpipe"]}, rounds=ROUNDS, better="lower",
                   target=Target("<=", 138, "a fifth of 690 ms"),
                   note="The 2018 Go server's echo took 690 to 760 ms in another run.")


def compare_pictures(result, ours, limit, given, seconds):
    for n in (1, 16):
        result.compare(f"picture-{n}", f"602 KB, {n} connection{'s' if n > 1 else ''}",
                       "requests/s",
                       {name: harness.rate(address, given, "--in-flight", n, seconds=seconds,
                                           pid=process.pid)
                        for name, (address, process) in
                        {"graphpipe": ours, "limit": limit}.items()}, rounds=ROUNDS)


def compare_access_log(result, given, seconds):
    """As in small.py, for requests of a size that is worth serving."""
    with harness.graphpipe("null") as off, harness.graphpipe("null", level="--verbose") as on:
        result.compare("log", "access log on and off, 602 KB, 16 connections", "requests/s",
                       {name: harness.rate(address, given, "--in-flight", 16, seconds=seconds,
                                           pid=process.pid)
                        for name, (address, process) in (("log on", on), ("log off", off))},
                       rounds=31, ours="log on", target=Target(">=", 0.99),
                       note="The log goes to a file.")


def minor_faults(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


def resident_mib(pid):
    n_pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return n_pages * resource.getpagesize() / 2**20


def add_faults(result, ours, given, what, seconds):
    """The server is warm: this comes after the others."""
    address, process = ours

    def measure():
        before, resident = minor_faults(process.pid), resident_mib(process.pid)
        total = harness.bench(address, given, seconds=seconds, warm_up_s=0)
        faults = minor_faults(process.pid) - before
        return Sample(faults / total["requests"],
                      extra={"resident_mib": resident_mib(process.pid),
                             "grown_mib": resident_mib(process.pid) - resident})
    result.compare("faults", f"page faults of the server, {what} again and again",
                   "for each request", {"graphpipe": measure}, rounds=ROUNDS, better="lower",
                   target=Target("<=", 1))


# --- over sizes --------------------------------------------------------------------------

def available_bytes():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file
                    if line.startswith("MemAvailable"))


def draw_sizes(result, servers, reply, sizes, rounds, seconds):
    fitting = [size for size in sizes if size * ROOM_FOR <= available_bytes()]
    if fitting != sizes:
        print(f"  memory leaves out tensors of {sizes[len(fitting):]} bytes")
    subjects = {"graphpipe": servers.ours("null", *LARGE), "limit": servers.limit(reply)}
    found = {name: [] for name in subjects}
    for size in fitting:
        given = harness.zeros(servers.folder, size // 4)
        samples = {name: [] for name in subjects}
        length = {"requests": 5} if size >= 64 << 20 else {"seconds": seconds}
        for _ in range(rounds):
            for name, (address, process) in subjects.items():
                total = harness.bench(address, given, warm_up_s=0.2, pid=process.pid, **length)
                samples[name].append(total["latency_us"]["p50"])
        for name, list_ in samples.items():
            found[name].append([size, statistics.median(list_)])
    x = {"name": "tensor", "unit": "bytes", "log": True}
    result.curve("size-time", "One request over its tensor's size, null engine", x,
                 {"name": "median time", "unit": "us", "log": True}, found)
    result.curve("size-speed", "Speed over the tensor's size, null engine", x,
                 {"name": "speed", "unit": "GB/s", "log": False},
                 {name: [[size, size / us / 1e3] for size, us in points]
                  for name, points in found.items()})


def main(smoke):
    result = harness.Result("large", "Large tensors", smoke)
    batch = (8 if smoke else 128, *PICTURE)
    seconds = 0.3 if smoke else SECONDS
    what = f"{4 * math.prod(batch) / 1e6:.0f} MB"
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = Servers(folder, stack)
        pictures = harness.zeros(folder, *batch)
        picture = harness.zeros(folder, 1, *PICTURE)
        ours = servers.ours("null")
        reply = harness.answer(ours[0], harness.message(picture))
        limit = servers.limit(reply)
        compare_receiving(result, servers, ours, limit, reply, pictures, what, seconds)
        compare_echo(result, servers, pictures, what, seconds)
        compare_pictures(result, ours, limit, picture, 0.3 if smoke else 2)
        compare_access_log(result, picture, 0.3 if smoke else 0.5)
        add_faults(result, ours, pictures, what, seconds)
        draw_sizes(result, servers, reply, SIZES[:4] if smoke else SIZES,
                   1 if smoke else 3, 0.2 if smoke else 1)
    result.save()
