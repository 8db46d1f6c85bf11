"""What serving a model costs: next to ONNX Runtime called in-process, and to Python servers.

The limit is the same runtime and model without a server (bench/inprocess.c), in every setting
of threads that may be the best: of one thread or as many as cores, one run or as many as cores
at a time; the ratio is to the setting whose median is the best. Their threads do not spin, as
ours do not; with one caller the runtime's default, threads that spin, stands beside.
The rivals are bench/rivals/json_server.py. The models are EfficientNet-Lite0 on pictures of
602 KB, and two that bench/models.py makes.
"""
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import operator
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import harness
from harness import ROOT, Sample, Target

PYTHON = ROOT / ".deps/venv/bin/python"
LIBRARY = ROOT / ".deps/onnxruntime/libonnxruntime.so.1"
EFFICIENTNET = ROOT / "build/models/efficientnet-lite0.onnx"
REMEDY = "tools/setup bench"
CORES = len(os.sched_getaffinity(0))
N_PICTURES = 256    # as many rows as a client asks for in a measurement, about 2 s
PICTURE_LIMIT = 32  # the largest batch of them
ROUNDS = 7
NOTE = "In-process: runs at a time x threads of a run; that spin is the runtime's own default."
IN_2018 = {(callers, 1): f" In 2018 it was {ratio} times the rows of a JSON server."
           for callers, ratio in ((1, 10.4), (5, 12.3))}


# --- what is needed ---------------------------------------------------------------------

def run(command, what):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{what} ({REMEDY}):\n{done.stderr[-2000:]}")
    return done.stdout


def make_models(folder, smoke):
    """{name: path}; without "efficientnet" where its weights are not there and it is a smoke
    run."""
    if not LIBRARY.exists() or not PYTHON.exists():
        raise RuntimeError(f"inference needs ONNX Runtime and onnx for Python: {REMEDY}")
    run([PYTHON, "-B", ROOT / "bench/models.py", folder], "bench/models.py failed")
    models = {name: folder / f"{name}.onnx" for name in ("tiny", "mlp", "small")}
    if not EFFICIENTNET.exists() and not (smoke and not (ROOT / ".deps/done/demo").exists()):
        run([PYTHON, "-B", ROOT / "tools/zoo/write_onnx.py", "--folder", EFFICIENTNET.parent],
            "EfficientNet-Lite0 cannot be made")
    if EFFICIENTNET.exists():
        models["efficientnet"] = EFFICIENTNET
    else:
        print(f"  EfficientNet-Lite0 is not set up ({REMEDY}): the tiny model only")
    return models


# --- the subjects -----------------------------------------------------------------------

@contextlib.contextmanager
def served(model, *arguments):
    with harness.graphpipe("onnx", "--model", model, *arguments) as (address, process):
        yield address, process


def ours(server, *, rows=1, callers=1, seconds, n_rows=None):
    """For so long or, where runs are so long that they cannot be cut off fairly, until so many
    rows are done."""
    address, process = server
    return harness.rate(address, "--rows", rows, "--in-flight", callers, key="rows_per_s",
                        seconds=seconds, requests=n_rows and n_rows // rows, pid=process.pid)


def call(model, *arguments, seconds, **options):
    """What bench/inprocess found; options as it takes them."""
    for name, value in options.items():
        arguments += (f"--{name}", value)
    return json.loads(run([harness.BUILD / "bench/inprocess", "--for", seconds, "--warm-up",
                           seconds / 5, *arguments, LIBRARY, model], "bench/inprocess failed"))


def in_process(model, *arguments, key="rows_per_s", **options):
    def measure():
        found = call(model, *arguments, **options)
        return Sample(found[key], found["cpu_us"],
                      {"p50_us": found["p50_us"], "p99_us": found["p99_us"]})
    return measure


def settings(callers):
    """(threads, runs at a time) that may be the best for so many callers."""
    if callers == 1:
        return sorted({(1, 1), (CORES, 1)})
    return sorted({(1, CORES), (CORES, 1), (CORES, CORES)})


def name_of(threads, runs):
    return f"in-process, {runs} x {threads} thread{'s' if threads > 1 else ''}"


# --- the rivals -------------------------------------------------------------------------

@contextlib.contextmanager
def python_server(model):
    port = harness.free_port()
    with harness.server([PYTHON, "-B", ROOT / "bench/rivals/json_server.py", model, port],
                        port) as process:
        yield port, process


def ask_again(port, path, body, end):
    """Sends the same bytes until it is late; gives the latencies."""
    latencies = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        while (begin := time.monotonic()) < end:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            said = reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{path} answered {reply.status}: {said[:500]}")
            latencies.append(time.monotonic() - begin)
    return latencies


def rival(server, path, body, *, callers, seconds):
    port, process = server

    def load(length):
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(callers) as pool:
            lists = list(pool.map(lambda _: ask_again(port, path, body, begin + length),
                                  range(callers)))
        return sum(len(list_) / sum(list_) for list_ in lists), sum(lists, [])

    def measure():
        load(seconds / 5)
        cpu = time.clock_gettime(~process.pid << 3 | 2)  # of that process
        rate, latencies = load(seconds)
        cpu = time.clock_gettime(~process.pid << 3 | 2) - cpu
        return Sample(rate, 1e6 * cpu / len(latencies),
                      {"p50_us": 1e6 * statistics.median(latencies)})
    return measure


# --- EfficientNet-Lite0 -----------------------------------------------------------------

def add_efficientnet(result, model, folder, smoke):
    """The rows of large tensors."""
    seconds = 0.3 if smoke else 2
    with served(model) as server, contextlib.ExitStack() as stack:
        python = None if smoke else stack.enter_context(python_server(model))
        for callers, rows in (1, 1), (5, 1), (1, 8):
            options = {"rows": rows, "callers": callers, "seconds": seconds}
            n_rows = 4 * rows if smoke else N_PICTURES if callers == 1 else None
            subjects = {"graphpipe": ours(server, n_rows=n_rows, **options)}
            for threads, runs in settings(callers):
                subjects[name_of(threads, runs)] = in_process(model, threads=threads, runs=runs,
                                                              **options)
            limits = list(subjects)[1:]
            if callers == 1 and CORES > 1:
                subjects[name_of(CORES, 1) + " that spin"] = in_process(
                    model, "--spin", threads=CORES, **options)
            if python and rows == 1:
                for kind in "npy", "json":
                    subjects[f"FastAPI, {kind}"] = rival(
                        python, f"/{kind}", (folder / f"picture.{kind}").read_bytes(),
                        callers=callers, seconds=seconds)
            what = f"EfficientNet-Lite0, {callers} client{'s' if callers > 1 else ''}"
            result.compare(f"efficientnet-{callers}x{rows}",
                           what + (f", batches of {rows}" if rows > 1 else ""), "rows/s",
                           subjects, rounds=ROUNDS, to=limits, target=Target(">=", 0.97),
                           note=NOTE + IN_2018.get((callers, rows), ""))


# --- one small inference ----------------------------------------------------------------

@contextlib.contextmanager
def cores_awake():
    """Each core has something to do whenever nobody else wants it: what a sleeping core takes
    to wake, which on a virtual machine is more than a small request takes, is left out."""
    program = ("import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"
               "while os.getppid() > 1: pass")
    spinners = [subprocess.Popen([PYTHON, "-c", program]) for _ in range(CORES)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def latency(address, given, seconds, pid):
    def measure():
        total = harness.bench(address, given, seconds=seconds, pid=pid)
        return Sample(total["latency_us"]["p50"], total["server_cpu_us"] or 0)
    return measure


def compare_latency(result, row, what, subjects, note):
    """Two rows: the figures, and ours less the in-process one of the same round."""
    result.compare(row, f"one inference of 4 KB, one client{what}: the median", "us", subjects,
                   rounds=2 * ROUNDS - 1, better="lower", note=note)
    rounds = {name: subject["rounds"]
              for name, subject in result.data["rows"][-1]["subjects"].items()}
    added = map(operator.sub, rounds["graphpipe"], rounds["in-process"])
    result.compare(f"{row}-added", f"what serving adds to it{what}", "us",
                   {"graphpipe": lambda: Sample(next(added))}, rounds=len(rounds["graphpipe"]),
                   better="lower", target=Target("<=", 50),
                   note="The same runs: the server's median less the in-process median.")


def add_latency(result, model, folder, smoke):
    seconds = 0.3 if smoke else 1
    given, reply = harness.zeros(folder, 1, 1024), folder / "tiny.reply"
    with served(model) as (address, process):
        reply.write_bytes(harness.answer(address, harness.message(given)))
        port = harness.free_port()
        with harness.server([harness.BUILD / "bench/limit", port, reply], port) as limit:
            subjects = {"graphpipe": latency(address, given, seconds, process.pid),
                        "limit, the same bytes": latency(f"http://127.0.0.1:{port}", given,
                                                         seconds, limit.pid),
                        "in-process": in_process(model, seconds=seconds, key="p50_us",
                                                 threads=CORES)}
            compare_latency(result, "latency", "", subjects,
                            "The limit gives a fixed answer: what the network and the client "
                            "take by themselves, most of it the waking of sleeping cores.")
            with cores_awake():
                compare_latency(result, "latency-awake", ", cores awake", subjects,
                                "A program of the lowest priority keeps each core from sleeping.")


# --- open loop --------------------------------------------------------------------------

def highest(measure_p99, limit_us, low, high, steps, smoke):
    """The highest rate whose p99 stays under the limit, by bisection. A rate is too high when
    it fails twice: a stall of the machine is no answer."""
    seeds = itertools.count(1)

    def measure():
        good, bad = low, high
        for _ in range(steps):
            rate = (good + bad) / 2
            if any(measure_p99(rate, next(seeds)) < limit_us for _ in range(2)):
                good = rate
            else:
                bad = rate
        if good == low and not smoke:
            raise RuntimeError(f"not even {bad:.0f} requests/s have a p99 under {limit_us:.0f} "
                               "us: is this machine busy?")
        return Sample(good)
    return measure


def add_open_loop(result, model, smoke):
    seconds, steps = (0.3, 1) if smoke else (1.5, 6)
    alone = min((call(model, seconds=seconds, threads=threads) for threads in {1, CORES}),
                key=lambda found: found["p50_us"])
    most = max(call(model, seconds=seconds, threads=threads, runs=runs, callers=4)["runs_per_s"]
               for threads, runs in settings(4))
    limit_us = 10 * alone["p50_us"]
    with served(model) as default, \
            served(model, "--instances", CORES, "--threads", 1) as narrow:
        def p99_of_ours(address, process):
            return lambda rate, seed: harness.bench(
                address, "--rate", f"{rate:.3f}/s", "--poisson", "--seed", seed,
                seconds=seconds, pid=process.pid)["latency_us"]["p99"]

        def p99_of(threads, runs):
            return lambda rate, seed: call(model, seconds=seconds, threads=threads, runs=runs,
                                           rate=rate, seed=seed)["p99_us"]

        limits = {name_of(*setting): p99_of(*setting) for setting in settings(2)
                  if setting != (CORES, CORES) or CORES == 1}
        subjects = {"graphpipe": p99_of_ours(*default)} | limits | {
            "graphpipe, 1 thread a run": p99_of_ours(*narrow)}
        result.compare("open-loop", "an MLP, open loop: the highest rate with a low p99",
                       "requests/s",
                       {name: highest(p99, limit_us, most / 4, most * 1.1, steps, smoke)
                        for name, p99 in subjects.items()},
                       rounds=3, to=list(limits), target=Target(">=", 0.95),
                       note=f"Requests at random (Poisson) times; p99 under 10 runs' time, "
                            f"{limit_us / 1000:.1f} ms; the model alone does {most:.0f}/s at "
                            "the most.")


# --- curves -----------------------------------------------------------------------------

def sweep(result, name, title, x, points, subjects, rounds):
    """subjects: {name: function of x that gives a measurement}."""
    found = {subject: {point: [] for point in points} for subject in subjects}
    for _ in range(rounds):
        for point in points:
            for subject, measurement in subjects.items():
                found[subject][point].append(measurement(point)().value)
    result.curve(name, title, x, {"name": "rate", "unit": "rows/s", "log": False},
                 {subject: [[point, statistics.median(values)] for point, values in of.items()]
                  for subject, of in found.items()})


def draw_batches(result, name, title, model, points, seconds, n_rows=None):
    with served(model) as server:
        sweep(result, f"batch-{name}", f"{title}: rows over the batch, one client",
              {"name": "batch", "unit": "rows", "log": True}, points,
              {"graphpipe": lambda rows: ours(server, rows=rows, seconds=seconds, n_rows=n_rows),
               "in-process": lambda rows: in_process(model, rows=rows, seconds=seconds,
                                                     threads=CORES)}, 2)


def draw_threads(result, model, points, seconds):
    """--instances x --threads, and the defaults, over clients."""
    with contextlib.ExitStack() as stack:
        default = stack.enter_context(served(model))
        subjects = {"graphpipe": lambda n: ours(default, callers=n, seconds=seconds)}
        for threads, runs in settings(2):  # with one client 1 x 1 is as CORES x 1
            server = stack.enter_context(served(model, "--instances", runs, "--threads", threads))
            subjects |= {
                f"graphpipe, {name_of(threads, runs).partition(', ')[2]}":
                    lambda n, s=server: ours(s, callers=n, seconds=seconds),
                name_of(threads, runs):
                    lambda n, t=threads, r=runs: in_process(model, callers=n, seconds=seconds,
                                                            threads=t, runs=r)}
        sweep(result, "threads", "an MLP: rows over clients, by runs at a time x threads",
              {"name": "clients", "unit": "number", "log": False}, points, subjects, 2)


def main(smoke):
    result = harness.Result("inference", "Inference through ONNX Runtime", smoke)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        models = make_models(folder, smoke)
        add_latency(result, models["tiny"], folder, smoke)
        add_open_loop(result, models["mlp"], smoke)
        if "efficientnet" in models:
            add_efficientnet(result, models["efficientnet"], folder, smoke)
        if not smoke:
            batches = [2 ** i for i in range(8)]
            draw_batches(result, "mlp", "an MLP", models["mlp"], batches, 1)
            draw_batches(result, "efficientnet", "EfficientNet-Lite0", models["efficientnet"],
                         [n for n in batches if n <= PICTURE_LIMIT], 2, N_PICTURES)
            draw_threads(result, models["mlp"], [1, 2, 4], 0.8)
    result.save()
