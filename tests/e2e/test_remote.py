"""The remote engine, which asks another server, and graphpipe-batcher, which joins requests with it."""
import concurrent.futures
import os
import socket
import threading
import time

import pytest

from calls import fails, succeeds
from harness import MODELS, PROGRAM, Server, Tensor, encode, start_fails
from needs import needs
from python_models import PYTHON, floats, strings, write

N_CLIENTS = 8


def remote(target, *arguments):
    return Server("--engine-option", f"url={target.url}", "--instances", 1, *arguments, engine="remote")


@pytest.fixture(scope="module")
def batcher(tmp_path_factory):
    """Runs the program of 2018 for a server."""
    program = tmp_path_factory.mktemp("old") / "graphpipe-batcher"
    program.symlink_to(os.path.abspath(PROGRAM))

    def run(target, *arguments, names=("x", "y")):
        server = Server()
        server.command = [str(program), "--listen", "127.0.0.1:0", "--target-url", getattr(target, "url", target),
                          *map(str, arguments)]
        if names:
            server.command += ["--inputs", names[0], "--outputs", names[1]]
        return server
    return run


def ask_together(server, bodies):
    def ask(body):
        with server.connect() as connection:
            return connection.ask("POST", "/", body)
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(ask, bodies))


@needs("onnx")
def test_it_is_as_the_other_server():
    with Server(engine="auto", model=MODELS / "mlp.onnx") as target, remote(target) as server:
        told = succeeds("inspect", server.url)
        assert told == succeeds("inspect", target.url)
        row = floats([1, 2, 3, 4])
        assert server.infer(row).tensors == target.infer(row).tensors
        answer = server.ask("POST", "/", encode(floats([1, 2, 3])))
        assert answer.status == 400 and "the model wants float32[-1,4]" in answer.text
        answer = server.ask("POST", "/", encode(row, output_names=["z"]))
        assert answer.status == 400


def test_strings_and_what_the_other_says():
    with Server() as target, remote(target) as server:
        sent = strings(b"a", b"", b"b\0c")
        assert server.infer(sent).tensors == [sent]
    with Server("--engine-option", "inputs=x", "--engine-option", "outputs=y",
                "--engine-option", f"url={target.url}", engine="remote") as server:  # it has ended
        answer = server.ask("POST", "/", encode(floats(1)))
        assert answer.status == 503 and f"{target.url}: " in answer.text


@needs("onnx")
def test_other_server_refuses():
    with Server(engine="auto", model=MODELS / "mlp.onnx") as target, \
            Server("--engine-option", "inputs=x", "--engine-option", "outputs=y",
                   "--engine-option", f"url={target.url}", engine="remote") as server:
        answer = server.ask("POST", "/", encode(floats([1, 2, 3])))
        assert answer.status == 400
        assert f'{target.url}: input "x" is float32[1,3]; the model wants float32[-1,4]' in answer.text
        assert server.infer(floats([1, 2, 3, 4])).status == 200


BAD_ANSWERS = [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcd",
               b"nonsense\r\n\r\n", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"]


def test_other_server_that_is_none():
    """Whatever comes back, the request fails with the address in the message, and the next one is asked anew."""
    def answer_badly(listener):
        for answer in BAD_ANSWERS:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_badly, args=(listener,), daemon=True)
        thread.start()
        url = "http://127.0.0.1:%d" % listener.getsockname()[1]
        with Server("--engine-option", "inputs=x", "--engine-option", "outputs=y", "--instances", 1,
                    "--engine-option", f"url={url}", engine="remote") as server:
            for bad in BAD_ANSWERS:
                answer = server.ask("POST", "/", encode(floats(1)))
                assert answer.status in (500, 502, 503) and f"{url}: " in answer.text, (bad, answer)
            thread.join(10)
            assert server.ask("GET", "/control/is_ready").status == 200


def test_deadlines_go_on(tmp_path):
    model = write(tmp_path, "import time\n\ndef infer(inputs):\n    time.sleep(2)\n    return inputs\n")
    with Server(*PYTHON, engine="auto", model=model) as target, \
            Server("--engine-option", "inputs=x", "--engine-option", "outputs=y",
                   "--engine-option", f"url={target.url}", engine="remote") as server:
        answer = server.ask("POST", "/", encode(floats(1)), [("X-GraphPipe-Timeout-Ms", "200")])
        assert answer.status == 504


def test_bad_options():
    for options, words in (((), "which server? Name it with --engine-option url="),
                           (("url=http://127.0.0.1:1", "inputs=x"), "wants both inputs and outputs, or neither"),
                           (("url=http://127.0.0.1:1", "inputs=x,", "outputs=y"), "wants 1 to 64 names"),
                           (("url=http://127.0.0.1:1", "timeout-ms=0"), "timeout-ms wants a number above 0"),
                           (("device=cpu",), 'the remote engine has no option "device=cpu"'),
                           (("url=ftp://x",), "ftp://x"),
                           (("url=http://127.0.0.1:1",), "cannot ask http://127.0.0.1:1 what its model takes")):
        flags = [word for option in options for word in ("--engine-option", option)]
        assert words in start_fails("--engine", "remote", "--listen", "127.0.0.1:0", *flags)


# --- graphpipe-batcher ------------------------------------------------------------------

@needs("onnx")
def test_batcher_joins_requests(batcher):
    """Each caller gets its own rows, in far fewer requests to the other server."""
    with Server(engine="auto", model=MODELS / "mlp.onnx") as target, \
            batcher(target, "--batch-size", N_CLIENTS, "--timeout", 10000) as server:
        rows = [floats([i, 2 * i, 0, 1]) for i in range(N_CLIENTS)]
        together = [answer.tensors for answer in ask_together(server, [encode(row) for row in rows])]
        assert server.metrics()['batches_total{reason="full"}'] == 1  # they were enough
        assert target.metrics()["rows_total"] == N_CLIENTS
        assert target.metrics()["requests_total"] == 1
        assert together == [target.infer(row).tensors for row in rows]


@needs("onnx")
def test_batcher_waits_no_longer_than_it_is_told(batcher):
    with Server(engine="auto", model=MODELS / "mlp.onnx") as target, \
            batcher(target, "--timeout", 300, names=None) as server:
        began = time.monotonic()
        assert server.infer(floats([1, 2, 3, 4])).status == 200
        assert time.monotonic() - began >= 0.3


def test_batcher_keeps_apart_what_differs(batcher):
    """In 2018 a request that did not fit was answered and stayed in the batch, and strings were lost."""
    with Server() as target, batcher(target, "--timeout", 100, "--batch-size", 64) as server:
        sent = [floats([1, 2]), floats([1, 2, 3]), strings(b"a", b"b"), floats(5),
                Tensor("int8", [1, 2], b"\1\2")] * 3
        answers = ask_together(server, [encode(tensor) for tensor in sent])
        assert [answer.tensors for answer in answers] == [[tensor] for tensor in sent]
        assert target.metrics()["requests_total"] < len(sent)


@needs("onnx")
def test_batcher_gives_each_the_outputs_it_named(batcher):
    """In 2018 those of the first were taken for all."""
    with Server(engine="auto", model=MODELS / "pair.onnx") as target, \
            batcher(target, "--timeout", 100, "--batch-size", 64, names=("a,b", "sum,product")) as server:
        named = [("sum",), ("product",), ("product", "sum"), ()] * 3
        answers = ask_together(server, [encode(floats(i), floats(7), output_names=names)
                                        for i, names in enumerate(named)])
        for i, (names, answer) in enumerate(zip(named, answers)):
            values = {"sum": floats(i + 7), "product": floats(7 * i)}
            assert answer.tensors == [values[name] for name in names or ("sum", "product")]


@needs("onnx")
def test_batcher_fails_the_bad_one_alone(batcher, tmp_path):
    model = write(tmp_path, """
        def infer(inputs):
            x, = inputs.values()
            assert (x != 13).all()
            return {"y": 2 * x}
    """)
    with Server(*PYTHON, engine="auto", model=model) as target, \
            batcher(target, "--timeout", 200, "--batch-size", 64) as server:
        answers = ask_together(server, [encode(floats(i)) for i in range(10, 10 + N_CLIENTS)])
        for i, answer in enumerate(answers, 10):
            if i == 13:
                assert answer.status != 200 and "AssertionError" in answer.text
            else:
                assert answer.tensors == [floats(2 * i)]


@needs("onnx")
def test_batcher_starts_before_the_other_server(batcher, tmp_path):
    socket = tmp_path / "target.sock"
    with batcher(f"unix:{socket}", "--timeout", 0) as server:
        assert server.ask("POST", "/", encode(floats([1, 2, 3, 4]))).status == 503
        with Server(engine="auto", model=MODELS / "mlp.onnx", listen=(f"unix:{socket}",)) as _:
            assert server.infer(floats([1, 2, 3, 4])).status == 200
        assert server.ask("POST", "/", encode(floats([1, 2, 3, 4]))).status == 503
        with Server(engine="auto", model=MODELS / "mlp.onnx", listen=(f"unix:{socket}",)) as _:
            assert server.infer(floats([1, 2, 3, 4])).status == 200


def test_batcher_flags(batcher):
    program = batcher("x").command[0]
    assert succeeds("--version", program=program).startswith("graphpipe ")
    assert "--target-url URL" in succeeds("--help", program=program)
    assert "which server? Set --target-url" in fails(2, program=program)
    assert "--batch-size wants a number, from 1 to 65536" in fails(2, "--batch-size", "0", program=program)
