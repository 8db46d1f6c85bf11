"""What requests gain that run together (--max-batch), and what it costs those that are alone.

Beside the same server without it, and the same runtime in-process with as many rows a run as the
server's runs had. The models are those of bench/inference.py: an MLP of 25 MB, whose run takes a
row or dozens in little more time; one of 0.5 MB with rows of 1 KB, for high rates, of which what a request
takes beyond the engine counts; one product, which is next to nothing; and EfficientNet-Lite0, whose
rows take their time each.
"""
import pathlib
import re
import tempfile
import urllib.request

import harness
import inference
from harness import Sample, Target

MOST = 64


def rows_of_runs(address):
    """(runs, their rows) so far."""
    text = urllib.request.urlopen(f"{address}/metrics").read().decode()
    return [int(re.search(rf"^graphpipe_batch_rows_{what}{{.*}} (\d+)$", text, re.M)[1])
            for what in ("count", "sum")]


def mean_rows(server, **load):
    before = rows_of_runs(server[0])
    inference.ours(server, **load)()
    runs, rows = (after - early for after, early in zip(rows_of_runs(server[0]), before))
    return max(1, round(rows / runs))


def engine_us(model, rows, seconds):
    """Processor time of a row in the best setting in-process."""
    found = [inference.call(model, rows=rows, threads=threads, runs=runs, callers=runs,
                            seconds=seconds)
             for threads, runs in inference.settings(MOST)]
    return min(one["cpu_us"] / rows for one in found)


def bare_us(address, model, load, folder):
    """Processor time of a request in a loop of recv and send, as many threads as connections, which gives
    our server's answer to a row."""
    n_values = inference.call(model, seconds=0.01)["row_bytes"] // 4
    given, reply = harness.zeros(folder, 1, n_values), pathlib.Path(folder) / "reply"
    reply.write_bytes(harness.answer(address, harness.message(given)))
    port = harness.free_port()
    with harness.server([harness.BUILD / "bench/limit", port, reply], port) as process:
        return harness.rate(f"http://127.0.0.1:{port}", given, "--in-flight", load["callers"],
                            seconds=load["seconds"], pid=process.pid)().cpu_us


def add_many(result, name, model, callers, smoke, target, limit=None):
    """So many callers of single rows; `limit` is the target beside the runtime in-process."""
    load = {"callers": callers, "seconds": 0.3 if smoke else 2}
    with inference.served(model) as alone, \
            inference.served(model, "--max-batch", MOST) as together:
        rows = mean_rows(together, **load)
        subjects = {"batches": inference.ours(together, **load),
                    "each alone": inference.ours(alone, **load)}
        result.compare(f"{name}-{callers}", f"{name}, {callers} clients, {rows} rows a run",
                       "rows/s", subjects, rounds=inference.ROUNDS, ours="batches",
                       target=target)
        limits = {inference.name_of(threads, runs): inference.in_process(
            model, threads=threads, runs=runs, rows=rows, callers=runs,
            seconds=load["seconds"]) for threads, runs in inference.settings(MOST)}
        result.compare(f"{name}-{callers}-limit", f"{name}, the same {rows} rows a run",
                       "rows/s", {"batches": subjects["batches"]} | limits,
                       rounds=inference.ROUNDS, ours="batches", to=list(limits),
                       target=limit,
                       note="The client that asks is on the same cores.")

        def beyond():
            sample = subjects["batches"]()
            return Sample(sample.cpu_us - engine_us(model, rows, load["seconds"]))
        result.compare(f"{name}-{callers}-beyond",
                       f"{name}, processor time a request beyond the engine's", "us",
                       {"batches": beyond}, rounds=3, ours="batches", better="lower",
                       target=Target("<=", 10))
        with tempfile.TemporaryDirectory() as folder:
            result.compare(f"{name}-{callers}-bare",
                           f"{name}, processor time a request, engine and all", "us",
                           {"batches": lambda: Sample(subjects["batches"]().cpu_us),
                            "a bare recv loop": lambda: Sample(bare_us(together[0], model, load, folder))},
                           rounds=3, ours="batches", better="lower")


def add_few(result, name, model, callers, smoke, better, key, target):
    """So few that hardly any run together."""
    load = {"callers": callers, "seconds": 0.3 if smoke else 2}
    with inference.served(model) as alone, \
            inference.served(model, "--max-batch", MOST) as together:
        def measure(server):
            def latency():
                sample = inference.ours(server, **load)()
                return Sample(sample.extra["p50_us"], sample.cpu_us)
            return latency if key == "us" else inference.ours(server, **load)
        result.compare(f"{name}-{callers}",
                       f"{name}, {callers} client{'s' if callers > 1 else ''}", key,
                       {"batches": measure(together), "each alone": measure(alone)},
                       rounds=inference.ROUNDS, ours="batches", better=better, target=target)


def add_open(result, name, model, smoke):
    """Independent clients, whose requests come at random intervals: up to 0.9 of what each serves."""
    seconds = 0.3 if smoke else 2
    series = {}
    for what, arguments in ("each alone", ()), ("batches", ("--max-batch", MOST)):
        with inference.served(model, *arguments) as server:
            most = inference.ours(server, callers=MOST, seconds=seconds)().value
            series[what] = points = []
            for share in (0.9,) if smoke else (0.1, 0.3, 0.5, 0.7, 0.8, 0.9):
                total = harness.bench(server[0], "--rate", f"{share * most:.0f}/s", "--poisson",
                                      seconds=2 * seconds)
                points.append([share * most, total["latency_us"]["p99"] / 1e3])
    result.curve(f"{name}-poisson", f"{name}, requests at random intervals",
                 {"name": "requests", "unit": "/s", "log": True},
                 {"name": "latency, p99", "unit": "ms", "log": True}, series,
                 note="Each up to 0.9 of the rate that it has with 64 clients.")


def main(smoke):
    result = harness.Result("batching", "Requests that run together", smoke)
    with tempfile.TemporaryDirectory() as name:
        models = inference.make_models(pathlib.Path(name), smoke)
        add_many(result, "mlp", models["mlp"], 64, smoke, Target(">=", 2), Target(">=", 0.9))
        for callers in (64,) if smoke else (64, 256):
            add_many(result, "small", models["small"], callers, smoke, Target(">=", 1))
        add_few(result, "mlp", models["mlp"], 1, smoke, "lower", "us", Target("<=", 1.02))
        add_few(result, "tiny", models["tiny"], 1, smoke, "lower", "us", Target("<=", 1.02))
        add_open(result, "mlp", models["mlp"], smoke)
        for callers in (1, 5, 16) if "efficientnet" in models and not smoke else ():
            add_few(result, "efficientnet", models["efficientnet"], callers, smoke, "higher",
                    "rows/s", Target(">=", 0.97))
    result.save()
