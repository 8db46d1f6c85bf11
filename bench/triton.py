"""602 KB in, one number out: NVIDIA Triton's HTTP front end next to ours. Not in `make bench`.

Both models are null: float32[1,3,224,224] goes in unread, one float32 comes out. Triton is the
server in the wheel of nvidia-pytriton (tools/setup triton), on the processor, with gRPC and
metrics off. The wheel's only back end runs Python, which makes Triton slower and its memory
larger, so its model is a back end in C too (bench/rivals/triton_null.c). wrk sends the same
tensor to both: as a GraphPipe message, and as KServe's v2 inference request with Triton's
binary extension. Then what the servers are at rest: start, memory, end, size.
"""
import contextlib
import dataclasses
import http.client
import json
import math
import os
import pathlib
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import typing

import harness
from harness import Sample, Target
from small import Wrk, connections

WHEEL = harness.ROOT / ".deps/triton"
TRITON = WHEEL / "pytriton/tritonserver/bin/tritonserver"
NULL_ENGINE = harness.BUILD / "lib/graphpipe-bench/graphpipe-engine-null.so"
SHAPE = [1, 3, 224, 224]
ROUNDS, SECONDS = 5, 3
LIVES = 3           # rounds of the rows at rest: Triton takes half a minute to end
IDLE_CLIENTS = 10

# as many instances as our null engine has slots
MODEL = """
backend: "null"
input { name: "x" data_type: TYPE_FP32 dims: [1, 3, 224, 224] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }
instance_group { kind: KIND_CPU count: 16 }
"""

SCRIPT = """
wrk.method = "POST"
wrk.headers = {fields}
wrk.body = io.open("{body}", "rb"):read("*a")
"""


# --- the two servers ---------------------------------------------------------------------

@dataclasses.dataclass
class Server:
    command: list
    port: int
    ready: str              # answers 200 when it is
    target: str             # where requests go
    fields: dict
    request: bytes
    number: typing.Callable  # (fields, body) of an answer: the number in it

    def ask(self, method, target, body=None):
        """One request on a connection of its own, which stays open: (connection, answer, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, target, body, self.fields if body else {})
        answer = connection.getresponse()
        return connection, answer, answer.read()


def graphpipe(folder):
    port = harness.free_port()

    def number(_, body):
        said = subprocess.run([harness.PROGRAM, "decode", "-"], input=body, capture_output=True,
                              check=True).stdout.decode()
        return float(re.search(r"\[0\] float32\[1\]  4 bytes  \[(\S+)\]", said)[1])

    return Server([harness.PROGRAM, "serve", "--quiet", "--engine", NULL_ENGINE, "--listen",
                   f"127.0.0.1:{port}"], port, "/control/is_ready", "/",
                  {"Content-Type": "application/x-graphpipe"},
                  harness.message(harness.zeros(folder, *SHAPE)), number)


def triton_command(folder, name, config):
    """Triton with one model of our back end in C, to which its addresses are added."""
    backend, model = folder / "backends/null", folder / "models" / name
    backend.mkdir(parents=True)
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(config)
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
                    backend / "libtriton_null.so", harness.ROOT / "bench/rivals/triton_null.c"],
                   check=True)
    return [TRITON, "--model-repository", model.parent, "--backend-directory", backend.parent]


def triton(folder):
    port = harness.free_port()
    command = triton_command(folder, "null", MODEL)
    size = 4 * math.prod(SHAPE)
    head = json.dumps({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": SHAPE,
                    "parameters": {"binary_data_size": size}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}).encode()

    def number(fields, body):
        return struct.unpack("<f", body[int(fields["Inference-Header-Content-Length"]):])[0]

    return Server([*command, "--http-address", "127.0.0.1", "--http-port", port, "--allow-grpc",
                   "false", "--allow-metrics", "false"], port, "/v2/health/ready", "/v2/models/null/infer",
                  {"Content-Type": "application/octet-stream",
                   "Inference-Header-Content-Length": str(len(head))}, head + bytes(size), number)


# --- under load --------------------------------------------------------------------------

class Load(Wrk):
    """Wrk with the request of a server; called with (address, process), n and seconds."""

    def __init__(self, folder, name, server):
        body, self.script = folder / f"{name}.request", folder / f"{name}.lua"
        body.write_bytes(server.request)
        fields = ", ".join(f'["{key}"] = "{value}"' for key, value in server.fields.items())
        self.script.write_text(SCRIPT.format(fields="{" + fields + "}", body=body))


def check(name, server):
    connection, answer, body = server.ask("POST", server.target, server.request)
    connection.close()
    if answer.status != 200 or server.number(answer.headers, body) != 1.0:
        raise RuntimeError(f"{name} answered {answer.status}: {body[:300]}")


def compare_rates(result, folder, servers):
    with contextlib.ExitStack() as stack:
        running = {}
        for name, server in servers.items():
            process = stack.enter_context(harness.server(server.command, server.port))
            running[name] = (f"http://127.0.0.1:{server.port}{server.target}", process)
            check(name, server)
        version = json.loads(servers["Triton"].ask("GET", "/v2")[2])["version"]
        loads = {name: Load(folder, name, server) for name, server in servers.items()}
        for n in (1, 16):
            result.compare(f"rate-{n}", f"602 KB in, one number out, {connections(n)}",
                           "requests/s",
                           {name: load(running[name], n, 1 if result.smoke else SECONDS)
                            for name, load in loads.items()},
                           rounds=ROUNDS, target=Target(">=", 3),
                           note=f"Triton {version} with a null back end in C, quicker than the "
                                "Python one of its wheel.")


# --- at rest -----------------------------------------------------------------------------

def wait_until_ready(server, process):
    while process.poll() is None:
        with contextlib.suppress(OSError):
            connection, answer, _ = server.ask("GET", server.ready)
            connection.close()
            if answer.status == 200:
                return
        time.sleep(0.0005)
    raise RuntimeError(f"{server.command[0]} ended with {process.returncode}")


def live(server):
    """Starts it, leaves it alone for a second, and ends it while clients are connected."""
    begin = time.monotonic()
    process = subprocess.Popen([str(c) for c in server.command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(server, process)
        life = {"start": 1e3 * (time.monotonic() - begin)}
        time.sleep(1)
        pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        life["memory"] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        clients = [server.ask("GET", server.ready)[0] for _ in range(IDLE_CLIENTS)]
        end = os.pidfd_open(process.pid)  # tells at once, where Popen.wait(90) looks now and then
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        if not select.select([end], [], [], 90)[0]:
            raise RuntimeError(f"{server.command[0]} does not end")
        life["end"] = 1e3 * (time.monotonic() - begin)
        os.close(end)
        for client in clients:
            client.close()
        return life
    finally:
        process.kill()
        process.wait()


def compare_lives(result, servers):
    lives = [{name: live(server) for name, server in servers.items()}
             for _ in range(1 if result.smoke else LIVES)]
    for row, what, unit in [
            ("start", "start to ready", "ms"),
            ("memory", "resident memory without a request yet", "MB"),
            ("end", f"SIGTERM to the end with {IDLE_CLIENTS} idle clients", "ms")]:
        figures = {name: iter([life[name][row] for life in lives]) for name in servers}
        result.compare(row, what, unit, {name: lambda of=of: Sample(next(of))
                                         for name, of in figures.items()},
                       rounds=LIVES, better="lower")


def size(*files):
    """A measurement: MB of the files when stripped."""
    with tempfile.NamedTemporaryFile() as stripped:
        total = 0
        for file in files:
            subprocess.run(["strip", "-o", stripped.name, file], check=True)
            total += os.path.getsize(stripped.name)
    return lambda: Sample(total / 1e6)


def main(smoke):
    if not TRITON.exists() or not shutil.which("wrk"):
        sys.exit("bench: triton needs Triton and wrk: tools/setup triton")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        servers = {"graphpipe": graphpipe(folder), "Triton": triton(folder)}
        result = harness.Result("triton", "NVIDIA Triton, a null model", smoke)
        compare_rates(result, folder, servers)
        compare_lives(result, servers)
    library = next((WHEEL / "nvidia_pytriton.libs").glob("libtritonserver-*.so"))
    result.compare("size", "the program, stripped", "MB",
                   {"graphpipe": size(harness.PROGRAM), "Triton": size(TRITON, library)},
                   rounds=1, better="lower", note="Triton's with libtritonserver, without the "
                   "other libraries in its wheel; ours without a plug-in.")
    result.save()
