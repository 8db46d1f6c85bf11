"""What a process of its own costs an engine: the same requests with and without --isolate.

echo hands its inputs back, so in a child it is the worst case: without, it sends the request's own
bytes; in a child they are copied once, to where a child may write. null (bench/engines) reads
nothing and gives one number, as an engine that writes its outputs where it is told to: there
the body is not copied, and what remains is two switches between processes.
"""
import contextlib
import math
import pathlib
import tempfile

import harness
from harness import Sample

ROUNDS = 5
SECONDS = 3
PICTURES = (128, 224, 224, 3)
OURS, PLAIN = "graphpipe --isolate", "graphpipe"


def latency(server, given, seconds):
    """A measurement: the median time of a request, one at a time, in microseconds."""
    address, process = server

    def measure():
        total = harness.bench(address, given, seconds=seconds, pid=process.pid)
        return Sample(total["latency_us"]["p50"], total["server_cpu_us"] or 0.0,
                      {"p99_us": total["latency_us"]["p99"]})
    return measure


def rate(server, given, seconds):
    address, process = server
    return harness.rate(address, given, "--in-flight", 16, seconds=seconds, pid=process.pid)


def compare(result, engine, given, what, seconds):
    with contextlib.ExitStack() as stack:
        slots = ["--instances", 2]
        servers = {
            OURS: stack.enter_context(harness.graphpipe(engine, *slots, "--isolate")),
            PLAIN: stack.enter_context(harness.graphpipe(engine, *slots)),
        }
        measures = {name: latency(server, given, seconds) for name, server in servers.items()}
        result.compare(f"{engine}-{what}", f"{what} to {engine}, one at a time", "us", measures,
                       rounds=ROUNDS, ours=OURS, better="lower",
                       note="CPU is the server's process's alone")
        if what == "1 KB":
            measures = {name: rate(server, given, seconds) for name, server in servers.items()}
            result.compare(f"{engine}-rate", f"{what} to {engine}, 16 connections", "requests/s",
                           measures, rounds=ROUNDS, ours=OURS)


def main(smoke):
    result = harness.Result("isolate", "Engines in processes of their own", smoke)
    seconds = 0.3 if smoke else SECONDS
    with tempfile.TemporaryDirectory() as folder:
        shape = (1, *PICTURES[1:]) if smoke else PICTURES
        small = harness.zeros(pathlib.Path(folder), 256)
        large = harness.zeros(pathlib.Path(folder), *shape)
        for engine in "echo", "null":
            compare(result, engine, small, "1 KB", seconds)
            compare(result, engine, large, f"{4 * math.prod(shape) / 1e6:.0f} MB", seconds)
    result.save()
