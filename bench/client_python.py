"""The Python client: round trips through the echo engine, of 1 KB, 602 KB and 77 MB.

Beside it, in turn: the same bytes, prepared and sent over a plain socket into a buffer that is used
again (the limit of what Python can do here), and the client of 2018. Each is a process of its own,
since both clients are a package `graphpipe`. The 77 MB also show what fresh memory for each answer
costs, which the plain socket does not have. Then the rate of a client that threads share.

Then tritonclient, by HTTP with binary tensors and by gRPC, with a Triton whose back end in C echoes, and
requests with JSON and a FastAPI that echoes: clients and servers as they come, each pair its own, since none
of these servers speaks with another's client. (TensorFlow Serving's protobuf stands in bench/codec.py: no
registry has its server.) `tools/setup bench triton rivalclients` brings them; what is missing is left out.
"""
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import harness
from harness import Sample, Target
from triton import TRITON, triton_command

SIZES = {"1 KB": 256, "602 KB": 224 * 224 * 3, "77 MB": 128 * 224 * 224 * 3}
SECONDS, ROUNDS, N_THREADS = 1.0, 5, 8
CLIENT = harness.ROOT / "clients/python/src"
RIVALS = harness.ROOT / ".deps/rivalclients"


# --- in the process of a subject: functions that give a round trip ------------------------

def plain_socket(address, array):
    import socket

    from graphpipe._arrays import to_tensor
    from graphpipe._message import encode_infer
    host, port = address.removeprefix("http://").split(":")
    body = b"".join(encode_infer([to_tensor(array, "x")], [], [], ""))
    request = (f"POST / HTTP/1.1\r\nHost: {host}\r\nAccept: application/x-graphpipe\r\n"
               f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    sock = socket.create_connection((host, int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(len(request) + 65536))

    def ask():
        sock.sendall(request)
        n, end = 0, None
        while end is None or n < end:
            n += sock.recv_into(buffer[n:])
            if end is None and b"\r\n\r\n" in bytes(buffer[:min(n, 4096)]):
                head, _, _ = bytes(buffer[:min(n, 4096)]).partition(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].split()[0]
                end = len(head) + 4 + int(length)
    return ask


def graphpipe_client(address, array):
    import graphpipe
    client = graphpipe.Client(address)
    return lambda: client.infer(array)


def client_of_2018(address, array):
    from graphpipe import remote
    return lambda: remote.execute(address, array)


def tritonclient(module, address, array):
    """`module`: tritonclient.http or .grpc, which are used alike."""
    client = module.InferenceServerClient(address)
    binary = {"binary_data": True} if module.__name__.endswith("http") else {}

    def ask():
        x = module.InferInput("x", list(array.shape), "FP32")
        x.set_data_from_numpy(array, **binary)
        outputs = [module.InferRequestedOutput("y", **binary)]
        return client.infer("echo", [x], outputs=outputs).as_numpy("y")
    return ask


def triton_http(address, array):
    import tritonclient.http as module
    return tritonclient(module, address, array)


def triton_grpc(address, array):
    import tritonclient.grpc as module
    return tritonclient(module, address, array)


def requests_json(address, array):
    import numpy as np
    import requests
    session = requests.Session()

    def ask():
        answer = session.post(f"http://{address}/", json={"inputs": array.tolist()})
        answer.raise_for_status()
        return np.asarray(answer.json()["outputs"], np.float32)
    return ask


SUBJECTS = {"graphpipe": graphpipe_client, "plain socket": plain_socket, "2018": client_of_2018,
            "tritonclient HTTP": triton_http, "tritonclient gRPC": triton_grpc,
            "requests, JSON": requests_json}


def measure_here(subject, address, n_floats, seconds):
    """Prints the microseconds of a round trip."""
    import numpy as np
    ask = SUBJECTS[subject](address, np.random.RandomState(1).rand(n_floats).astype("f4"))
    answer = ask()
    if answer is not None and np.asarray(answer).size != n_floats:
        raise RuntimeError(f"{subject} gives back {np.shape(answer)}")
    ask()
    n, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or n < 2:
        ask()
        n += 1
    print(1e6 * spent / n)


def rate_here(address, n_threads, seconds):
    """Prints the requests per second of one client that threads share."""
    from concurrent.futures import ThreadPoolExecutor

    import graphpipe
    import numpy as np
    client, array = graphpipe.Client(address), np.zeros(256, "f4")
    end = time.perf_counter() + seconds

    def ask(_):
        n = 0
        while time.perf_counter() < end:
            client.infer(array)
            n += 1
        return n
    with ThreadPoolExecutor(n_threads) as threads:
        print(sum(threads.map(ask, range(n_threads))) / seconds)


# --- each in its process ------------------------------------------------------------------

def in_a_process(subject, *arguments):
    environment = dict(os.environ)
    if subject != "2018":
        environment["PYTHONPATH"] = f"{CLIENT}:{RIVALS}"
    return subprocess.run([sys.executable, __file__, subject, *map(str, arguments)], text=True,
                          env=environment, stdout=subprocess.PIPE, check=True).stdout


def round_trip(subject, address, n_floats, seconds):
    return lambda: Sample(float(in_a_process(subject, address, n_floats, seconds)))


def has_2018():
    return subprocess.run([sys.executable, "-c", "import graphpipe.convert"],
                          capture_output=True).returncode == 0


# --- the rivals' servers ------------------------------------------------------------------

ECHO_MODEL = """
backend: "null"
input { name: "x" data_type: TYPE_FP32 dims: [-1] }
output { name: "y" data_type: TYPE_FP32 dims: [-1] }
instance_group { kind: KIND_CPU count: 1 }
"""


@contextlib.contextmanager
def triton(folder):
    """The addresses of HTTP and gRPC."""
    http, grpc = harness.free_port(), harness.free_port()
    command = triton_command(folder, "echo", ECHO_MODEL)
    command += ["--http-address", "127.0.0.1", "--http-port", http, "--grpc-address", "127.0.0.1",
                "--grpc-port", grpc, "--allow-metrics", "false"]
    with harness.server(command, http, env={"GP_BENCH_ECHO": "1"}):
        yield f"127.0.0.1:{http}", f"127.0.0.1:{grpc}"


@contextlib.contextmanager
def json_echo():
    port = harness.free_port()
    with harness.server([sys.executable, "-B", harness.ROOT / "bench/rivals/json_echo.py", port], port):
        yield f"127.0.0.1:{port}"


# --- the benchmark ------------------------------------------------------------------------

def compare_rivals(result, address, folder, seconds):
    with contextlib.ExitStack() as stack:
        servers = {"graphpipe": address}
        if TRITON.exists():
            http, grpc = stack.enter_context(triton(folder))
            servers |= {"tritonclient HTTP": http, "tritonclient gRPC": grpc}
        servers["requests, JSON"] = stack.enter_context(json_echo())
        for name, n_floats in SIZES.items():
            subjects = {subject: at for subject, at in servers.items()
                        if name != "77 MB" or "JSON" not in subject}
            others = [subject for subject in subjects if subject.startswith("triton")] or None
            result.compare(f"{name} rivals", f"float32[{n_floats}], each client with its own server", "us",
                           {subject: round_trip(subject, at, n_floats, seconds)
                            for subject, at in subjects.items()},
                           rounds=ROUNDS, better="lower", to=others,
                           target=Target("<=", 1 / 3, "three times its rate") if name == "1 KB" else None)


def main(smoke):
    seconds = 0.1 if smoke else SECONDS
    subjects = [name for name in list(SUBJECTS)[:3] if name != "2018" or (has_2018() and not smoke)]
    targets = {"602 KB": Target("<=", 1.3, "within 1.3 times the plain socket")}
    result = harness.Result("client_python", "The Python client", smoke)
    with harness.graphpipe("echo") as (address, _), tempfile.TemporaryDirectory() as folder:
        for name, n_floats in SIZES.items():
            result.compare(name, f"a round trip of float32[{n_floats}]", "us",
                           {subject: round_trip(subject, address, n_floats, seconds)
                            for subject in subjects},
                           rounds=ROUNDS, better="lower", to="plain socket",
                           target=targets.get(name))
        result.compare("threads", f"1 KB, a client that {N_THREADS} threads share", "requests/s",
                       {"graphpipe": lambda: Sample(float(
                           in_a_process("threads", address, N_THREADS, seconds)))}, rounds=ROUNDS)
        if RIVALS.exists() and not smoke:
            compare_rivals(result, address, pathlib.Path(folder), seconds)
    result.save()


if __name__ == "__main__":
    if sys.argv[1] == "threads":
        rate_here(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        measure_here(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
