"""Single rows that run together, next to Triton's dynamic batcher and mosec. Not in `make bench`.

All have the same ONNX file and the same release of ONNX Runtime, whose threads do not spin, batches of
up to 64 rows and no delay (mosec: its least, 1 ms). wrk sends each the same row in what is the shortest
form there: a GraphPipe message, KServe's v2 request with Triton's binary extension, bare bytes for mosec.
Ours is tried as it comes, and with one run at a time.
Triton has a back end in C (bench/rivals/triton_onnx.c), since the wheel of nvidia-pytriton brings Python's
only. Each rival is tried with the threads and runs at a time that may be the best; the ratio is to the best.
"""
import contextlib
import http.client
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import harness
import inference
from harness import Target
from inference import PYTHON
from small import connections
from triton import TRITON, Load, Server

ROUNDS, SECONDS = 5, 2
CLIENTS = (64, 256)
WIDTH = 1024
VALUES = {"mlp": WIDTH, "tiny": 8}

MODEL = """
backend: "onnx_rows"
max_batch_size: 64
input {{ name: "x" data_type: TYPE_FP32 dims: [{width}] }}
output {{ name: "{output}" data_type: TYPE_FP32 dims: [{values}] }}
dynamic_batching {{ }}
instance_group {{ kind: KIND_CPU count: {runs} }}
"""


def environment(name, model, threads, runs):
    return {"GP_BENCH_LIBRARY": str(inference.LIBRARY), "GP_BENCH_MODEL": str(model),
            "GP_BENCH_THREADS": str(threads), "GP_BENCH_VALUES": str(VALUES[name]),
            "GP_BENCH_RUNS": str(runs)}


def ours(folder, model, *options):
    port = harness.free_port()
    return Server([harness.PROGRAM, "serve", "--quiet", "--engine", "onnx", "--model", model, "--max-batch",
                   "64", *options, "--listen", f"127.0.0.1:{port}"], port, "/control/is_ready", "/",
                  {"Content-Type": "application/x-graphpipe"},
                  harness.message(harness.zeros(folder, 1, WIDTH)), None)


def triton(folder, name, runs):
    port = harness.free_port()
    backend, model = folder / f"{port}/backends/onnx_rows", folder / f"{port}/models/rows"
    backend.mkdir(parents=True)
    (model / "1").mkdir(parents=True)
    output = "y5" if name == "mlp" else "y"
    (model / "config.pbtxt").write_text(MODEL.format(width=WIDTH, output=output, values=VALUES[name],
                                                     runs=runs))
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror",
                    "-shared", "-fPIC", "-I", harness.ROOT / "engines/onnx", "-I", harness.ROOT / "include", "-o",
                    backend / "libtriton_onnx_rows.so", harness.ROOT / "bench/rivals/triton_onnx.c"], check=True)
    head = json.dumps({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, WIDTH],
                    "parameters": {"binary_data_size": 4 * WIDTH}}],
        "outputs": [{"name": output, "parameters": {"binary_data": True}}]}).encode()
    return Server([TRITON, "--model-repository", model.parent, "--backend-directory", backend.parent,
                   "--http-address", "127.0.0.1", "--http-port", port, "--allow-grpc", "false",
                   "--allow-metrics", "false"], port, "/v2/health/ready", "/v2/models/rows/infer",
                  {"Content-Type": "application/octet-stream",
                   "Inference-Header-Content-Length": str(len(head))}, head + bytes(4 * WIDTH), None)


def mosec():
    port = harness.free_port()
    return Server([PYTHON, "-B", harness.ROOT / "bench/rivals/mosec_server.py", "--port", port, "--address",
                   "127.0.0.1", "--log-level", "error"], port, "/", "/inference",
                  {"Content-Type": "application/octet-stream"}, bytes(4 * WIDTH), None)


def check(name, server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", server.target, server.request, server.fields)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{name} answered {answer.status}: {body[:300]}")


def compare(result, folder, name, model):
    with contextlib.ExitStack() as stack:
        loads, rivals = {}, []

        def add(what, server, threads=1, runs=1):
            process = stack.enter_context(harness.server(server.command, server.port,
                                                         env=environment(name, model, threads, runs)))
            check(what, server)
            loads[what] = (Load(folder, f"{server.port}", server),
                           (f"http://127.0.0.1:{server.port}{server.target}", process))

        add("graphpipe", ours(folder, model))
        add("graphpipe, one run", ours(folder, model, "--instances", "1"))
        for threads, runs in inference.settings(64):
            setting = f"{runs} x {threads} thread{'s' if threads > 1 else ''}"
            add(f"Triton, {setting}", triton(folder, name, runs), threads, runs)
            add(f"mosec, {setting}", mosec(), threads, runs)
        rivals = [what for what in loads if not what.startswith("graphpipe")]
        for n in CLIENTS:
            result.compare(f"{name}-{n}", f"{name}, single rows of 4 KB, {connections(n)}", "rows/s",
                           {what: load(server, n, 1 if result.smoke else SECONDS)
                            for what, (load, server) in loads.items()},
                           rounds=ROUNDS, to=rivals, target=Target(">=", 1),
                           note="The load generator is on the same cores.")


def main(smoke):
    if not TRITON.exists() or not shutil.which("wrk"):
        sys.exit("bench: batchers needs Triton, mosec and wrk: tools/setup triton bench")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        models = inference.make_models(folder, smoke)
        result = harness.Result("batchers", "Single rows that run together", smoke)
        for model in VALUES:
            compare(result, folder, model, models[model])
    result.save()
