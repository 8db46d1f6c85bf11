"""What a message makes the server take is paid for from the pool: however it points at the same bytes
again and again, whatever has to be copied of it, converted or written.

Each engine is asked by many clients at a time with a corpus of such bodies, beside a client that
asks for its health. Resident memory stays below what the server took before, the pool and 64 MiB,
and comes back."""
import contextlib
import json
import pathlib
import sys
import threading
import time

import pytest
from harness import (MESSAGE, MODELS, SANITIZE, Closed, Server, Tensor, Truncated, encode,
                     eventually, http, plugin, read_all, settle, uint8)
from messages import Modules2018, finish
from needs import need

import flatbuffers

FB = Modules2018()
MIB = 1 << 20
POOL = 64 * MIB
BESIDE = 64 * MIB
TYPES = {"uint8": (1, 1), "float32": (10, 4), "float64": (11, 8), "string": (12, 4), "bfloat16": (14, 2)}

# Sanitizers have memory of their own, and keep what was freed.
pytestmark = pytest.mark.skipif(bool(SANITIZE), reason="a sanitizer's own memory hides the server's")


# --- bodies -----------------------------------------------------------------------------

def vector(builder, start, values, prepend):
    start(builder, len(values))
    for value in reversed(values):
        prepend(value)
    return builder.EndVector(len(values))


def message(write, names=(), output_names=()):
    """A request for the tensors that write(builder) gives the offsets of."""
    builder = flatbuffers.Builder(1 << 16)
    tensors = write(builder)
    infer = FB.InferRequest
    texts = {}
    for setter, list_ in (("InputNames", names), ("OutputNames", output_names)):
        known = {name: builder.CreateString(name) for name in set(list_)}
        texts[setter] = vector(builder, getattr(infer, f"InferRequestStart{setter}Vector"),
                               [known[name] for name in list_], builder.PrependUOffsetTRelative)
    inputs = vector(builder, infer.InferRequestStartInputTensorsVector, tensors,
                    builder.PrependUOffsetTRelative)
    infer.InferRequestStart(builder)
    infer.InferRequestAddInputTensors(builder, inputs)
    for setter, offset in texts.items():
        getattr(infer, f"InferRequestAdd{setter}")(builder, offset)
    end = infer.InferRequestEnd(builder)
    FB.Request.RequestStart(builder)
    FB.Request.RequestAddReqType(builder, 1)
    FB.Request.RequestAddReq(builder, end)
    return bytes(finish(builder, FB.Request.RequestEnd(builder)))


def tensor(builder, kind, shape, payload=None, strings=None):
    m = FB.Tensor
    data = builder.CreateByteVector(payload) if payload is not None else None
    texts = strings(builder) if strings else None
    dims = vector(builder, m.TensorStartShapeVector, shape, builder.PrependInt64)
    m.TensorStart(builder)
    m.TensorAddType(builder, TYPES[kind][0])
    m.TensorAddShape(builder, dims)
    if data:
        m.TensorAddData(builder, data)
    if texts:
        m.TensorAddStringVal(builder, texts)
    return m.TensorEnd(builder)


def aliased(n, kind, size, **keywords):
    """n times one tensor of `size` bytes of zeros."""
    count = size // TYPES[kind][1]
    return message(lambda b: n * [tensor(b, kind, [count], bytes(size))], **keywords)


def misaligned(n, kind, size, **keywords):
    """The same, its data where no number of its type may lie."""
    for pad in range(8):
        def write(builder, pad=pad):
            builder.Pad(pad)
            return n * [tensor(builder, kind, [size // TYPES[kind][1]], b"\xa5" * size)]
        body = message(write, **keywords)
        if body.index(b"\xa5" * size) % TYPES[kind][1]:
            return body
    raise AssertionError("all are aligned")


def shared_strings(n, n_strings, text=b"", **keywords):
    """n tensors of one vector of strings, all of them the same text."""
    def strings(builder):
        string = builder.CreateString(text)
        return vector(builder, FB.Tensor.TensorStartStringValVector, n_strings * [string],
                      builder.PrependUOffsetTRelative)
    return message(lambda b: n * [tensor(b, "string", [n_strings], strings=strings)], **keywords)


def shared_shapes(n):
    """n tensors of rank 32."""
    return message(lambda b: n * [tensor(b, "uint8", 32 * [1], b"x")])


def long_names(n):
    """Names that differ at their ends, and every one of them twice, as the batcher of 2018 sends."""
    names = ["n" * 250 + f"{i:06}" for i in range(n)]
    return message(lambda b: n * [tensor(b, "uint8", [1], b"x")], names=names + names[::-1],
                   output_names=["y" * 250 + f"{i:06}" for i in range(n)][:100])


CORPUS = {
    "misaligned": misaligned(4096, "float64", 256 << 10),
    "misaligned, within": misaligned(8, "float64", 256 << 10),
    "misaligned, long": misaligned(1, "float64", 6 * MIB),
    "strings": shared_strings(4096, 16_000),
    "strings, within": shared_strings(6, 16_000),
    "strings of 200 bytes": shared_strings(40, 1000, b"x" * 200),
    "strings, many": shared_strings(1, 1_000_000),
    "shapes": shared_shapes(4096),
    "names": long_names(1900),
    "bfloat16": aliased(4000, "bfloat16", 250_000),
    "bfloat16, within": aliased(8, "bfloat16", 250_000),
    "floats": aliased(4096, "float32", 280_000),
}


# --- the server beside which they are asked -----------------------------------------------

def resident(server):
    """Bytes that the server and its children hold, what they share counted once."""
    own, *others = [pathlib.Path(f"/proc/{pid}/status") for pid in [server.pid, *server.children()]]
    total = 0
    for path, status in read_all([own, *others]).items():
        sizes = dict(line.split(":", 1) for line in status.splitlines())
        for name in ["RssAnon", "RssFile"] + ["RssShmem"] * (path == own):
            total += int(sizes[name].split()[0]) * 1024
    return total


class Watch:
    """Looks at the resident memory until it is left."""

    def __init__(self, server):
        self.server = server
        self.most = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self):
        while not self.is_over.is_set():
            self.most = max(self.most, resident(self.server))
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


def ask_all(server, bodies, n_clients, rounds, statuses):
    """Each client asks for all the bodies, beginning with another one."""
    def client(first):
        for i in range(rounds * len(bodies)):
            body = bodies[(first + i) % len(bodies)]
            fields = {} if i % 2 else {"Accept": MESSAGE}
            try:
                with server.connect(timeout=60) as connection:
                    connection.send(http("POST", "/", body, fields))
                    statuses.append(connection.answer().status)
            except (Closed, Truncated, ConnectionError) as error:
                statuses.append(error)

    clients = [threading.Thread(target=client, args=(i,)) for i in range(n_clients)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()


def stay_bounded(server, bodies, n_clients=6, rounds=2):
    """Asks for the bodies, watching; the statuses of the answers."""
    statuses = []
    before = resident(server)
    with Watch(server) as watch:
        ask_all(server, bodies, n_clients, rounds, statuses)
    print(f"{before / MIB:.0f} MiB before, at most {watch.most / MIB:.0f}, "
          f"{resident(server) / MIB:.0f} after; "
          f"{ {s: statuses.count(s) for s in set(statuses)} }")
    assert watch.most <= before + POOL + BESIDE
    assert set(statuses) <= {200, 400, 413, 503}, statuses
    metrics = settle(server)
    assert metrics['pool_bytes{state="used"}'] == metrics['pool_bytes{state="reserved"}'] == 0
    # what the pool keeps warm for a while goes back then; the rest is back now
    idle = metrics['pool_bytes{state="idle"}']
    assert resident(server) - idle <= 1.1 * before + 8 * MIB
    return statuses


@contextlib.contextmanager
def warm(*arguments, **keywords):
    """A server that has answered before."""
    with Server("--pool", POOL, *arguments, **keywords) as server:
        server.infer(uint8(bytes(16)))
        yield server


ENGINES = {
    "echo": {},
    "isolated": {"arguments": ["--isolate", "--instances", 2]},
    "slow": {"engine": plugin("slow")},
}


@pytest.mark.parametrize("name", ENGINES)
def test_corpus(name):
    keywords = dict(ENGINES[name])
    with warm(*keywords.pop("arguments", ()), **keywords) as server:
        statuses = stay_bounded(server, list(CORPUS.values()))
        assert 200 in statuses and 413 in statuses


@pytest.mark.parametrize("arguments", [[], ["--isolate", "--instances", 2]],
                         ids=["plain", "isolated"])
def test_corpus_onnx(arguments):
    """A model that wants none of it: what is refused has cost nothing but its body."""
    need("onnx")
    with warm("--instances", 2, *arguments, engine="onnx", model=MODELS / "mlp.onnx") as server:
        statuses = stay_bounded(server, list(CORPUS.values()))
        assert set(statuses) <= {400, 413, 503}
    with warm("--instances", 2, *arguments, engine="onnx", model=MODELS / "types.onnx") as server:
        stay_bounded(server, list(CORPUS.values()))


def test_corpus_python(tmp_path):
    (tmp_path / "model.py").write_text("def infer(inputs):\n    return inputs\n")
    with warm("--instances", 2, "--python", sys.executable, engine="python",
              model=tmp_path / "model.py") as server:
        stay_bounded(server, list(CORPUS.values()), n_clients=4, rounds=1)


def test_bodies_of_2018():
    """Float64 at 4 bytes, as the Python client of 2018 sends it: the copy is paid for as the body."""
    body = misaligned(1, "float64", 5 * MIB)
    with warm() as server:
        statuses = stay_bounded(server, [body], n_clients=8, rounds=6)
        assert 200 in statuses
        assert server.metrics()["pool_refused_total"] + \
            server.metrics()["pool_over_share_total"] == statuses.count(503)


def work_ns(server, body, n=10):
    """The processor time of the server for one request with this body, on average: what a thread is kept
    busy with, whatever else the machine does."""
    with server.connect(timeout=60) as connection:
        connection.ask("GET", "/control/is_alive")
        before = server.run_ns()
        for _ in range(n):
            with contextlib.suppress(Closed, Truncated, ConnectionError), \
                    server.connect(timeout=60) as other:
                other.send(http("POST", "/", body))
                other.answer()
        return (server.run_ns() - before) / n


def test_no_message_is_much_work():
    """None keeps a thread busy for as long as 50 honest ones of a MiB."""
    with warm() as server:
        honest = work_ns(server, encode(uint8(bytes(MIB))))
        hostile = {name: work_ns(server, body) for name, body in CORPUS.items()}
        name = max(hostile, key=hostile.get)
        print(f"a body of 1 MiB is {honest / 1e6:.2f} ms of work, {name} {hostile[name] / 1e6:.2f} ms")
        assert 0 < hostile[name] < 50 * honest


def test_long_targets():
    """Requests that wait hold their targets, in the pool."""
    with warm("--max-waiting", 2000, engine=plugin("slow")) as server:
        before = resident(server)
        body = encode(uint8(b"x"), config="sleep-ms=20000")
        clients = [server.connect() for _ in range(600)]
        for client in clients:
            client.send(http("POST", "/?" + "t" * 60_000, body))
        eventually(lambda: server.metrics()["in_flight"] > 300)
        assert resident(server) - server.metrics()['pool_bytes{state="used"}'] < \
            before + 600 * 32_000
        for client in clients:
            client.close()
        settle(server)


def test_repeated_output():
    """An output that is named again and again makes an answer in proportion to its request."""
    need("onnx")
    rows = 20_000
    tensor_ = Tensor("float32", [rows, 4], bytes(rows * 16))
    with warm(engine="onnx", model=MODELS / "mlp.onnx") as server:
        (output,) = json.loads(server.ask("GET", "/").text)["outputs"]
        name = output["name"]
        few = server.infer(tensor_, output_names=[name] * 5)
        assert len(few.tensors) == 5 and few.tensors[0] == few.tensors[4]
        answer = server.ask("POST", "/", encode(tensor_, output_names=[name] * 4000))
        assert answer.status == 413 and "asked for again" in answer.text
