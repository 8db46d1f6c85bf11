"""The pytorch engine with the files of tests/models/make_torch.py, asked over HTTP. Skipped where it
is not built (tools/setup pytorch)."""
import collections
import concurrent.futures
import os
import shutil
import struct
import threading

import pytest

from harness import (MESSAGE, MODELS, Server, Tensor, decode_metadata, encode,
                     encode_metadata_request, eventually, http, start_fails, uint8)
from needs import needs
from test_bad_input import aliased_tensors

pytestmark = needs("pytorch")

FILES = MODELS / "pytorch"
LISTEN = ("--listen", "127.0.0.1:0")


def serve(name, *options, **keywords):
    words = [word for option in options for word in ("--engine-option", option)]
    path = name if os.path.isabs(name) else FILES / f"{name}.pt"
    return Server(*words, *keywords.pop("arguments", ()), engine="pytorch", model=path, **keywords)


def fails(path, *options):
    words = [word for option in options for word in ("--engine-option", option)]
    return start_fails("--engine", "pytorch", *LISTEN, *words, "--model", path)


def floats(*values, shape=None):
    return Tensor("float32", shape or [len(values)], struct.pack(f"<{len(values)}f", *values))


def ints(*values, shape=None):
    return Tensor("int64", [len(values)] if shape is None else shape,
                  struct.pack(f"<{len(values)}q", *values))


def numbers(tensor):
    return [value for (value,) in struct.iter_unpack("<f", tensor.data)]


def metadata(server):
    return decode_metadata(server.ask("POST", "/", encode_metadata_request()).body)


X = floats(1, 2, 3, 4, 5, 6, shape=[2, 3])
Y = [15, 18, 21.25, 25.125]


# --- what is right ----------------------------------------------------------------------

@pytest.mark.parametrize("name", ["mlp", "traced"])
def test_one_tensor(name):
    with serve(name) as server:
        (answer,) = server.infer(X).tensors
        assert answer.shape == [2, 2] and numbers(answer) == Y
        (empty,) = server.infer(floats(shape=[0, 3])).tensors
        assert empty.shape == [0, 2] and empty.data == b""


def test_named_tuple_inside_tuple():
    with serve("fields") as server:
        said = metadata(server)
        assert [io["name"] for io in said["inputs"]] == ["x", "y"]
        assert [io["name"] for io in said["outputs"]] == ["sum", "parts.0", "parts.1"]
        x, y = floats(1, 2, 3, 4, shape=[2, 2]), floats(10, 20, 30, 40, shape=[2, 2])
        total, same, turned = server.infer(x, y).tensors
        assert numbers(total) == [11, 22, 33, 44]
        assert same == x
        assert numbers(turned) == [10, 30, 20, 40]
        turned, total = server.infer(y, x, input_names=["y", "x"],
                                     output_names=["parts.1", "sum"]).tensors
        assert numbers(turned) == [10, 30, 20, 40] and numbers(total) == [11, 22, 33, 44]


def test_arguments_that_are_numbers_and_have_defaults():
    with serve("options") as server:
        x, three = floats(1, 2), ints(3, shape=[])
        assert numbers(*server.infer(x, three).tensors) == [3.5, 6.5]
        assert numbers(*server.infer(x, ints(3)).tensors) == [3.5, 6.5]

        def ask(**more):
            return server.infer(x, three, *more.values(), input_names=["x", "times", *more])
        assert numbers(*ask(plus=Tensor("float64", [], struct.pack("<d", 2))).tensors) == [5, 8]
        assert numbers(*ask(negate=Tensor("uint8", [1], b"\1")).tensors) == [-3.5, -6.5]
        assert numbers(*ask(other=floats(100, 200)).tensors) == [103.5, 206.5]
        (total,) = ask(axes=ints(0)).tensors
        assert total.shape == [] and numbers(total) == [10]
        two = server.infer(x, ints(3, 4))
        assert two.status == 400 and "times" in two.text and "2 elements" in two.text


@pytest.mark.parametrize("options", [['inputs=[{"dtype":"float32","shape":[-1]}]'],
                                     ['outputs=[{"name":"twice"},{"name":"half"}]']],
                         ids=["shown by a run", "said"])
def test_dict_by_its_keys(options):
    with serve("mapped", *options) as server:
        twice, half = server.infer(floats(1, 3)).tensors
        assert numbers(twice) == [2, 6] and numbers(half) == [0.5, 1.5]


def test_list_that_is_too_short():
    with serve("listed", "outputs=[{},{}]") as server:
        rows = server.infer(floats(1, 2, 3, shape=[3, 1])).tensors
        assert [numbers(row) for row in rows] == [[1], [2]]
        short = server.infer(floats(1, shape=[1, 1]))
        assert short.status == 500 and "output_1" in short.text


def test_texts():
    with serve("words") as server:
        upper, sizes, joined, n = server.infer(Tensor("string", [2], [b"ab", b"cde"])).tensors
        assert upper == Tensor("string", [2], [b"AB", b"CDE"])
        assert sizes == ints(2, 3) and n == ints(2, shape=[])
        assert joined == Tensor("string", [], [b"ab:cde"])
        *_, joined, n = server.infer(Tensor("string", [0], []), Tensor("string", [], [b"-"]),
                                     input_names=["words", "by"]).tensors
        assert joined.data == [b""] and n == ints(0, shape=[])
        assert server.logged("words: 2")  # what forward prints


def test_json_beside_the_model(tmp_path):
    path = shutil.copy(FILES / "mlp.pt", tmp_path / "m.v1.pt")
    (tmp_path / "m.v1.json").write_text("""{
  "inputs": [{"name": "rows", "dtype": "float32", "shape": [-1, 3],
              "description": "what to multiply"}],
  "outputs": [{"name": "products", "dtype": "float32", "shape": [-1, 2]}]
}
""")
    with serve(path) as server:
        (rows,), (products,) = metadata(server)["inputs"], metadata(server)["outputs"]
        assert rows["description"] == "what to multiply"
        assert (rows["name"], rows["shape"], rows["type"]) == ("rows", [-1, 3], "float32")
        assert (products["name"], products["shape"]) == ("products", [-1, 2])
        assert numbers(*server.infer(X, input_names=["rows"]).tensors) == Y
        wrong = server.infer(floats(1, 2))
        assert wrong.status == 400 and "float32[-1,3]" in wrong.text
        assert server.infer(ints(1, 2, 3, shape=[1, 3])).status == 400


def test_input_that_forward_writes_into_is_copied():
    """Both inputs are the same bytes of the message; forward writes into the first."""
    with serve("writes") as server:
        written, same = server.ask("POST", "/", aliased_tensors(2, 100)).tensors
        assert written == uint8(b"\1" * 100) and same == uint8(bytes(100))


def test_misaligned_tensors():
    """Writers of 2018 align to four bytes only: the second tensor lies anywhere."""
    with serve("fields") as server:
        for n in range(1, 20):
            odd = Tensor("uint8", [1, n], bytes(n))
            x = Tensor("float64", [1, n], struct.pack(f"<{n}d", *range(n)))
            total, same, turned = server.infer(odd, x).tensors
            assert total == x and same == odd
            assert turned.shape == [n, 1] and turned.data == x.data


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64",
                                   "int64", "float16", "float32", "float64", "bool", "bfloat16"])
def test_types(dtype):
    with serve("same") as server:
        size = {"8": 1, "6": 2, "2": 4, "4": 8, "l": 1}[dtype[-1]]
        for sent in (Tensor(dtype, [2, 0], b""), Tensor(dtype, [3], (b"\1" + bytes(size - 1)) * 3)):
            answer = server.infer(sent, fields={"Accept": MESSAGE})
            assert answer.tensors == [sent]


def test_module_that_was_traced_in_training_mode():
    with serve("drops") as server:
        assert server.logged("forward was saved in training mode: aten::dropout goes on as in training")
    with serve("mlp") as server:
        server.ask("GET")
        assert not any("training mode" in line for line in server.lines)


# --- many at a time ---------------------------------------------------------------------

@pytest.mark.tsan
def test_module_that_keeps_state():
    """Runs one at a time, whatever --instances says: each adds one, and each answer is a total
    that no other has."""
    with serve("counter", arguments=["--instances", 4]) as server:
        assert server.logged("changes the module") and server.metrics()["slots"] == 1

        def ask(_):
            with server.connect() as connection:
                return [numbers(*connection.ask("POST", "/", encode(floats(1, 1))).tensors)
                        for _ in range(25)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            totals = [tuple(total) for totals in pool.map(ask, range(8)) for total in totals]
        assert sorted(totals) == [(n, n) for n in range(1, 201)]


@pytest.mark.tsan
def test_state_is_not_sent_while_the_next_run_changes_it():
    """The first client does not read before the second has its answer."""
    n = 4_000_000
    with serve("counter") as server, server.connect(receive_buffer=4096) as slow:
        message = http("POST", "/", encode(Tensor("float32", [n], struct.pack("<f", 1) * n)))
        slow.send(message)
        eventually(lambda: server.metrics()["run_seconds_count"] == 1, 20)
        with server.connect() as quick:
            quick.send(message)
            assert quick.answer().tensors[0].data == struct.pack("<f", 2) * n
        assert slow.answer().tensors[0].data == struct.pack("<f", 1) * n


def test_slots_have_the_threads_that_were_asked_for():
    with serve("mlp", arguments=["--instances", 2, "--threads", 3]) as server:
        assert server.logged("3 threads")
        assert numbers(*server.infer(X).tensors) == Y
    with serve("mlp", arguments=["--threads", 1]) as server:
        assert server.logged("1 thread ")


def test_deadline_is_answered_while_the_run_goes_on():
    """libtorch cannot be stopped: the client has its answer in time all the same, and the slot is
    free when the run has ended."""
    with serve("slow", arguments=["--instances", 1, "--timeout", "300ms"]) as server:
        late = server.infer(floats(1), ints(600000, shape=[]))
        assert late.status in (503, 504, 408), late
        eventually(lambda: server.infer(floats(1), ints(1, shape=[])).status == 200, 20)


def test_end_waits_for_the_run():
    with serve("slow", arguments=["--drain-timeout", "10m"]) as server:
        answers = collections.deque()
        thread = threading.Thread(target=lambda: answers.append(
            server.infer(floats(1), ints(1000000, shape=[]))))
        thread.start()
        eventually(lambda: server.metrics()["in_flight"] >= 2, what="the run")
        server.signal()
        thread.join()
        assert numbers(*answers[0].tensors) == [1000001]
        assert server.wait(10) == 0


# --- what is wrong ----------------------------------------------------------------------

def test_failed_run_says_why_in_one_line():
    with serve("mlp") as server:
        failed = server.infer(floats(1, 2, shape=[1, 2]))
        assert failed.status == 500
        assert failed.text == \
            "the model failed: mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)\n"
        assert server.infer(Tensor("string", [1], [b"x"])).status == 400
        assert numbers(*server.infer(X).tensors) == Y


def test_output_of_an_unknown_type():
    with serve("complex") as server:
        assert "ComplexFloat" in server.infer(floats(1)).text


def test_native_code_needs_leave(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(b"PK\3\4")
    assert "--allow-native-code" in fails(path)
    assert "aoti_compile_and_package" in fails(path, "allow-native-code=1")
    line = start_fails(*LISTEN, "--allow-native-code", "--model", path)
    assert "aoti_compile_and_package" in line


@pytest.mark.parametrize("option, words", [
    ("nosuch=1", ["nosuch=1", "inputs=LIST"]),
    ("inputs=[{}, {}]", ["2 inputs", "takes 1"]),
    ("outputs=[{}, {}]", ["2 outputs", "gives 1"]),
    ('inputs=[{"dtype": "float33"}]', ["inputs[0].dtype", "float33"]),
    ('inputs=[{"dtype": "string"}]', ['"x"', "strings"]),
    ('inputs=[{"type": "float32"}]', ["inputs[0].type", "not known"]),
    ('inputs=[{"shape": [-2]}]', ["inputs[0].shape[0]", "-2"]),
    ('inputs=[{"shape": [1.5]}]', ["inputs[0].shape[0]", "whole number"]),
    ('inputs=[{"shape": 3}]', ["inputs[0].shape", "list"]),
    ('inputs={"name": "x"}', ["inputs", "list"]),
    ('inputs=[{"name": "x"', ["inputs", "not JSON"]),
    ("inputs=[] []", ["inputs"]), ("inputs=", ["inputs"]), ("inputs=[x]", ["inputs[0]"])])
def test_options_that_are_wrong(option, words):
    line = fails(FILES / "mlp.pt", option)
    assert all(word in line for word in words), line


def test_number_whose_type_is_said_wrong():
    assert "float64" in fails(FILES / "options.pt",
                              'inputs=[{},{},{"dtype":"float32"}]')
