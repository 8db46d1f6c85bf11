"""From one model to a hundred, all of them the same small ONNX file: the start, memory, threads, and
the rate of requests that go to all in turn next to the rate of as many to one. What going round costs
of the processor stands next to what it costs without a server: sessions of the runtime, run in turn.

Requests come pipelined over a few connections, a hundred in one write, so that the client takes
little of the cores. Memory is the process's own (process.py)."""
import concurrent.futures
import pathlib
import socket
import tempfile
import time

import harness
import inference
import process
import share

NULL = str(harness.BUILD / "lib/graphpipe-bench/graphpipe-engine-null.so")
STEPS = [1, 3, 10, 30, 100]
N_AT_A_TIME = 100
N_CONNECTIONS = 4


class Load:
    """Pipelined requests to paths in turn, from as many threads as connections."""

    def __init__(self, address, body, paths):
        self.port = int(address.rpartition(":")[2])
        head = "POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.block = b"".join(head.format(paths[i % len(paths)]).encode() + body
                              for i in range(N_AT_A_TIME))

    def connection(self, seconds):
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            process.ask(connection, self.block[:len(self.block) // N_AT_A_TIME])
            size, n = None, 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                connection.sendall(self.block)
                got = b""
                while got.count(b"HTTP/1.1 ") < N_AT_A_TIME or len(got) < size * N_AT_A_TIME:
                    got += connection.recv(1 << 20)
                    size = size or self.size_of(got)
                if got.count(b"HTTP/1.1 200") != N_AT_A_TIME:
                    raise RuntimeError(f"not all were answered: {got[:300]}")
                n += N_AT_A_TIME
            return n

    @staticmethod
    def size_of(got):
        """Of the first answer, as all have the same."""
        head = got.partition(b"\r\n\r\n")[0]
        return len(head) + 4 + int(head.lower().partition(b"content-length:")[2].split()[0])

    def rate(self, seconds):
        with concurrent.futures.ThreadPoolExecutor(N_CONNECTIONS) as pool:
            start = time.monotonic()
            jobs = [pool.submit(self.connection, seconds) for _ in range(N_CONNECTIONS)]
            return sum(job.result() for job in jobs) / (time.monotonic() - start)


def cpu_us_of(server, load, seconds):
    """Of the server, for each request."""
    def spent_ns():
        return sum(int(task.joinpath("schedstat").read_text().split()[0])
                   for task in pathlib.Path(f"/proc/{server.pid}/task").iterdir())
    before, begin = spent_ns(), time.monotonic()
    rate = load.rate(seconds)
    return (spent_ns() - before) / 1e3 / (rate * (time.monotonic() - begin))


def names(n):
    return [f"m{i:03}" for i in range(n)]


def measure(model, body, n, seconds, rounds, engine="onnx"):
    """(ms of a start, MB, threads, [ratio of each round], [us that going round adds to a request])"""
    words = [f"{name}={model}" for name in names(n)]
    starts = [process.until_ready("--engine", engine, *words)().value for _ in range(rounds)]
    with share.serve("--engine", engine, *words) as (address, server):
        spread, one = Load(address, body, names(n)), Load(address, body, ["m000"])
        spread.rate(0.1)
        ratios = [spread.rate(seconds) / one.rate(seconds) for _ in range(rounds)]
        added = [cpu_us_of(server, spread, seconds) - cpu_us_of(server, one, seconds)
                 for _ in range(rounds)]
        memory = process.memory(server)["Private"] / 1e6
        return min(starts), memory, process.activity(server)[2], ratios, added


def added_in_process(model, n, seconds, rounds):
    """The last of these of the runtime alone, as many callers as cores."""
    def cpu_us(n_sessions):
        return inference.call(model, seconds=seconds, sessions=n_sessions,
                              callers=inference.CORES, runs=inference.CORES)["cpu_us"]
    return [cpu_us(n) - cpu_us(1) for _ in range(rounds)]


def main(smoke):
    seconds, rounds = (0.1, 1) if smoke else (0.7, 5)
    result = harness.Result("models_curve", "From one model to a hundred", smoke)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = inference.make_models(folder, True)["tiny"]
        body = harness.message(harness.zeros(folder, 1, 1024))
        found = {n: measure(model, body, n, seconds, rounds)
                 for n in (STEPS[:2] if smoke else STEPS)}
        empty = measure(model, body, max(found), seconds, rounds, engine=NULL)
        beside = added_in_process(model, max(found), seconds, rounds)
    most = max(found)
    result.compare("spread_null", f"the same requests to {most} models of an engine that does "
                   "nothing, next to as many to one of them", "",
                   {"graphpipe": harness.replay(empty[3])}, rounds=rounds,
                   target=harness.Target(">=", 0.95))
    result.compare("spread", f"requests spread over {most} models, next to as many to one of them",
                   "", {"graphpipe": harness.replay(found[most][3])}, rounds=rounds,
                   target=harness.Target(">=", 0.95))
    result.compare("added", f"processor time that going round {most} models adds to a request", "us",
                   {"graphpipe": harness.replay(found[most][4]),
                    "in process": harness.replay(beside),
                    "an engine that does nothing": harness.replay(empty[4])},
                   rounds=rounds, better="lower", to="in process")
    of = {"name": "models", "unit": "", "log": True}
    for i, name, unit in ((0, "start", "ms"), (1, "memory", "MB"), (2, "threads", "")):
        result.curve(name, f"{name.capitalize()} over the number of models", of,
                     {"name": name, "unit": unit, "log": True},
                     {"graphpipe": [[n, values[i]] for n, values in found.items()]})
    result.save()
