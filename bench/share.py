"""Two models that are busy at once share the cores: what each gets of its rate alone, added up, for
two ONNX models; and what a fast model keeps of its own beside a slow one that has all it can take.

`graphpipe bench` loads each model with a few clients, in turn alone and both at once. Clients take
time of the same cores, and two loads are twice as many, so the sum may be below one without any
loss in the server. With --threads 1 a run has its share of the cores, whatever else goes on."""
import concurrent.futures
import contextlib
import pathlib
import tempfile

import harness
import inference

SLOW = harness.BUILD / "lib/graphpipe-test/graphpipe-engine-slow.so"


@contextlib.contextmanager
def serve(*arguments):
    port = harness.free_port()
    with harness.server([harness.PROGRAM, "serve", "--quiet", "--listen", f"127.0.0.1:{port}",
                         *arguments], port) as process:
        yield f"http://127.0.0.1:{port}", process


def load(server, name, *arguments, seconds):
    address, process = server
    total = harness.bench(f"{address}/{name}", *arguments, seconds=seconds, pid=process.pid)
    return harness.Sample(total["requests_per_s"], total["server_cpu_us"])


def both(server, loads, seconds):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = [pool.submit(load, server, *one, seconds=seconds) for one in loads]
        return [job.result() for job in jobs]


def total(samples):
    """Each has the server's time for all requests, divided by the number of its own."""
    return harness.Sample(sum(one.value for one in samples),
                          1 / sum(1 / one.cpu_us for one in samples))


def shares(server, loads, seconds):
    """The parts of its rate alone that each load keeps beside the others."""
    alone = [load(server, *one, seconds=seconds) for one in loads]
    return [a.value / b.value for a, b in zip(both(server, loads, seconds), alone)]


def measure_sum(result, path, what, seconds, rounds):
    """A server for each way, since a model's sessions are opened at the start."""
    ways = {"graphpipe": [], "--threads 1": ["--threads", "1"]}
    with contextlib.ExitStack() as stack:
        servers = {way: stack.enter_context(serve("--engine", "onnx", f"a={path}", f"b={path}",
                                                  *flags)) for way, flags in ways.items()}
        for n in (1, 4):
            loads = [(name, "--in-flight", n) for name in "ab"]
            clients = "one client" if n == 1 else f"{n} clients"
            result.compare(f"sum_{what}_{n}", f"two models at once, {what}, {clients} each: the sum "
                           "of what each keeps of its rate alone", "",
                           {"graphpipe": lambda: harness.Sample(
                               sum(shares(servers["graphpipe"], loads, seconds)))},
                           rounds=rounds, target=harness.Target(">=", 0.95))
            result.compare(f"rate_{what}_{n}", f"requests to both, {what}, {clients} each",
                           "requests/s",
                           {way: lambda server=server: total(both(server, loads, seconds))
                            for way, server in servers.items()}, rounds=rounds)


def measure_starving(result, seconds, rounds):
    """The slow model waits as one on a device does, or keeps the cores busy, 5 ms each time."""
    config = {"waits": "sleep-ms=5", "computes": "compute-ms=5"}
    with serve("--engine", SLOW, "fast=x", "slow=x", "--instances", "2") as server:
        fast = ("fast", "--in-flight", 4, "--input", "uint8[1]:0")
        for kind, words in config.items():
            slow = ("slow", "--in-flight", 64, "--input", "uint8[1]:0", "--config", words)
            result.compare(f"beside_{kind}", f"a fast model beside a saturated slow one that {kind}: "
                           "what it keeps of its rate alone", "",
                           {"graphpipe": lambda: harness.Sample(
                               shares(server, [fast, slow], seconds)[0])},
                           rounds=rounds, target=harness.Target(">=", 0.4))


def main(smoke):
    seconds, rounds = (0.3, 1) if smoke else (1, 5)
    result = harness.Result("share", "Several busy models", smoke)
    with tempfile.TemporaryDirectory() as folder:
        models = inference.make_models(pathlib.Path(folder), smoke)
        measure_sum(result, models["mlp"], "MLP", seconds, rounds)
        if "efficientnet" in models:
            measure_sum(result, models["efficientnet"], "EfficientNet-Lite0", seconds, rounds)
        measure_starving(result, seconds, rounds)
    result.save()
