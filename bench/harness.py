"""What every benchmark uses: a private network namespace, servers, the client, rounds that
alternate between the subjects, and results as JSON.

A measurement is a callable without arguments that gives one Sample. compare() calls the
subjects in turn, A B C A B C ..., and keeps every round; the ratio of a row is the median of
the ratios within the rounds, so that what the machine does to a whole round cancels out.
"""
import contextlib
import dataclasses
import http.client
import http.server
import json
import math
import os
import pathlib
import platform
import signal
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("GP_BUILD_DIR", ROOT / "build/release"))
PROGRAM = BUILD / "bin/graphpipe"
RESULTS = ROOT / "bench/results"


@dataclasses.dataclass
class Sample:
    value: float           # in the row's unit
    cpu_us: float = 0.0    # of the server, for each request; 0: not known
    extra: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Target:
    op: str         # ">=" or "<="
    value: float    # of the ratio, or of ours where a row has no rival
    said: str = ""  # in words, where the number alone does not say it

    def is_met(self, figure):
        return figure >= self.value if self.op == ">=" else figure <= self.value


# --- the network ------------------------------------------------------------------------

def enter_namespace():
    """Runs this program again in a network namespace of its own with reno, since bbr paces
    the loopback; returns where it is: in it already, or where it may not be made."""
    if os.environ.get("GP_BENCH_NAMESPACE"):
        return
    script = ("ip link set lo up && sysctl -qw net.ipv4.tcp_congestion_control=reno && "
              'exec env GP_BENCH_NAMESPACE=1 "$@"')
    unshare = ["unshare", "--net", "sh", "-c", script, "sh"]
    if subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.execvp("unshare", [*unshare, sys.executable, *sys.argv])
    print("bench: no network namespace may be made here (run as root): the loopback keeps "
          f"{congestion()}, and other traffic of this machine is in the way", file=sys.stderr)
    os.environ["GP_BENCH_NAMESPACE"] = ""


def congestion():
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as file:
        return file.read().strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- servers ----------------------------------------------------------------------------

@contextlib.contextmanager
def server(command, port=None, path=None, ready_s=60, env=None):
    """Starts a server, waits until it listens, gives its process, and ends it (SIGTERM, then
    SIGKILL). Its output goes to a file, shown when it dies."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log,
                                   env={**os.environ, **(env or {})})
        try:
            _wait_until_it_listens(process, port, path, ready_s, log)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_listens(process, port, path, ready_s, log):
    end = time.monotonic() + ready_s
    while time.monotonic() < end:
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"{process.args[0]} ended: {log.read().decode()[-2000:]}")
        with contextlib.suppress(OSError):
            if path:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(path))
            else:
                socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args[0]} does not listen after {ready_s} s")


@contextlib.contextmanager
def graphpipe(engine, *arguments, path=None, level="--quiet", env=None):
    """Our server; gives (address, process). `engine` is a name, or "null" (bench/engines);
    `path` a unix socket's, in place of a port."""
    port = free_port()
    if engine == "null":
        engine = BUILD / "lib/graphpipe-bench/graphpipe-engine-null.so"
    listen = ["--listen", f"unix:{path}" if path else f"127.0.0.1:{port}"]
    with server([PROGRAM, "serve", level, "--engine", engine, *listen, *arguments],
                None if path else port, path, env=env) as process:
        yield (f"unix:{path}" if path else f"http://127.0.0.1:{port}"), process


# --- the client -------------------------------------------------------------------------

def bench(address, *arguments, seconds=3.0, warm_up_s=None, requests=None, pid=None,
          timeout_s=120):
    """Runs `graphpipe bench` for so long, or for so many requests; gives its JSON's "total".
    Warm-up is a fifth of the time unless it is said."""
    if warm_up_s is None:
        warm_up_s = max(0.1, seconds / 5)
    length = ["--requests", requests] if requests else ["--for", f"{seconds * 1e3:.0f}ms"]
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [PROGRAM, "bench", address, *length, "--warm-up",
                   f"{warm_up_s * 1e3:.0f}ms", "--json", file.name, *arguments]
        if pid:
            command += ["--pid", str(pid)]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                              timeout=timeout_s)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
                               f"{done.stderr or done.stdout}")
        total = json.load(file)["total"]
    if total["failed"]:
        raise RuntimeError(f"{total['failed']} requests to {address} failed: {total['errors']}")
    return total


def rate(address, *arguments, key="requests_per_s", per=1, **options):
    """A measurement: the rate that `graphpipe bench` gets from a server, in units of `per`."""
    def measure():
        total = bench(address, *arguments, **options)
        return Sample(total[key] / per, total["server_cpu_us"] or 0.0,
                      {"p50_us": total["latency_us"]["p50"], "p99_us": total["latency_us"]["p99"]})
    return measure


def replay(values):
    """A measurement that gives what was measured before, a round at a time."""
    values = iter(values)
    return lambda: Sample(next(values))


def zeros(folder, *shape):
    """An input as the client takes it: float32 zeros of a file that is one hole, which costs
    no disk and is read from memory."""
    path = pathlib.Path(folder) / ("zeros-" + "x".join(map(str, shape)))
    with open(path, "wb") as file:
        file.truncate(4 * math.prod(shape))
    return f"float32[{','.join(map(str, shape))}]:@{path}"


def message(*arguments):
    """The request that our client sends for inputs and flags, for clients that are not ours."""
    bodies = []

    class Catch(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *arguments):
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Catch) as listener:
        listener.timeout = 30
        client = subprocess.Popen([PROGRAM, "infer", "127.0.0.1:%d" % listener.server_address[1],
                                   *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        listener.handle_request()
    said = client.communicate()[1].decode()
    if not bodies:
        raise RuntimeError(f"graphpipe infer {arguments} asked nothing: {said}")
    return bodies[0]


def answer(address, request):
    """What a server answers to a message, as a message."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/", request, {"Content-Type": "application/x-graphpipe"})
        reply = connection.getresponse()
        body = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{address} answered {reply.status}: {body[:200]}")
    return body


# --- rows and curves --------------------------------------------------------------------

class Result:
    """What one benchmark found; rows and curves as docs/performance.md shows them."""

    def __init__(self, name, title, smoke):
        self.data = {"name": name, "title": title, "command": f"bench/run {name}",
                     "smoke": smoke, "machine": machine(), "rows": [], "curves": []}
        self.smoke = smoke
        print(f"\n{title}")

    def compare(self, row, what, unit, subjects, *, rounds, target=None, better="higher",
                ours="graphpipe", to=None, note=""):
        """Measures {name: measurement} in turn. The ratio is of `ours` to `to` (the first
        other subject; of a list, the one of the best median); without another one the target
        is for our own figure."""
        samples = {name: [] for name in subjects}
        for _ in range(1 if self.smoke else rounds):
            for name, measure in subjects.items():
                samples[name].append(measure())
        to = to or next((name for name in subjects if name != ours), None)
        entry = {"row": row, "what": what, "unit": unit, "better": better, "note": note,
                 "subjects": {name: _summary(list_) for name, list_ in samples.items()}}
        if isinstance(to, list):
            best = max if better == "higher" else min
            to = best(to, key=lambda name: entry["subjects"][name]["median"])
        figure = entry["subjects"][ours]["median"]
        if to:
            ratios = [a.value / b.value for a, b in zip(samples[ours], samples[to])]
            figure = statistics.median(ratios)
            entry["ratio"] = {"of": ours, "to": to, "median": figure,
                              "low": min(ratios), "high": max(ratios)}
        if target:
            entry["target"] = dataclasses.asdict(target)
            entry["met"] = target.is_met(figure)
        self.data["rows"].append(entry)
        _print(entry)

    def curve(self, name, title, x, y, series, note=""):
        """x and y: {"name", "unit", "log"}; series: {name: [[x, y], ...]}."""
        self.data["curves"].append({"curve": name, "title": title, "x": x, "y": y,
                                    "series": series, "note": note})
        print(f"  {title} ({x['name']}, {x['unit']} -> {y['name']}, {y['unit']})")
        for subject, points in series.items():
            print(f"    {subject:24}", "  ".join(f"{at:g}: {value:.4g}" for at, value in points))

    def save(self):
        if self.smoke:
            return
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.data['name']}.json"
        path.write_text(json.dumps(self.data, indent=1) + "\n")
        print(f"  -> {path.relative_to(ROOT)}")


def _summary(samples):
    values = [sample.value for sample in samples]
    summary = {"median": statistics.median(values), "rounds": values}
    if any(sample.cpu_us for sample in samples):
        summary["cpu_us"] = statistics.median(sample.cpu_us for sample in samples)
    for key in samples[0].extra:
        summary[key] = statistics.median(sample.extra[key] for sample in samples)
    return summary


def _print(entry):
    print(f"  {entry['what']} ({entry['unit']})")
    for name, summary in entry["subjects"].items():
        cpu = f"   {summary['cpu_us']:.4g} us of server CPU" if "cpu_us" in summary else ""
        print(f"    {name:24} {summary['median']:12.5g}{cpu}")
    said = ""
    if ratio := entry.get("ratio"):
        said = (f"    {ratio['of']} / {ratio['to']}: {ratio['median']:.4g} "
                f"({ratio['low']:.4g} to {ratio['high']:.4g})")
    if target := entry.get("target"):
        words = target["said"] or f"{target['op']} {target['value']:g}"
        said += f"   target {words}: {'met' if entry['met'] else 'MISSED'}"
    if said:
        print(said)
    if entry["note"]:
        print(f"    {entry['note']}")


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
            "namespace": bool(os.environ.get("GP_BENCH_NAMESPACE")), "tcp": congestion(),
            "date": time.strftime("%Y-%m-%d"), "version": _version()}


def _version():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                          capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
