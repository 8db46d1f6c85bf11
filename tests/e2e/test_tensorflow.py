"""The tensorflow engine through the wire, with the models of tests/models/make_tensorflow.py."""
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harness import (MESSAGE, MODELS, PROGRAM, Server, Tensor,
                     begun, decode_metadata, encode, encode_metadata_request, http, settle_empty,
                     start_fails)
from needs import needs

FOLDER = MODELS / "tensorflow"
LISTEN = ("--listen", "127.0.0.1:0")

pytestmark = needs("tensorflow")


def serve(name, *arguments):
    return Server(*arguments, engine="tensorflow", model=FOLDER / name)


@pytest.fixture(scope="module")
def conv():
    with serve("conv.pb") as server:
        yield server


@pytest.fixture(scope="module")
def pair():
    with serve("pair.pb") as server:
        yield server


@pytest.fixture(scope="module")
def types():
    with serve("types.pb") as server:
        yield server


@pytest.fixture(scope="module")
def saved():
    with serve("saved") as server:
        yield server


def tensor(values, dtype=np.float32):
    array = np.asarray(values, dtype)
    return Tensor(array.dtype.name, list(array.shape), array.tobytes())


def array(tensor):
    return np.frombuffer(tensor.data, tensor.type).reshape(tensor.shape)


def strings(*values):
    return Tensor("string", [len(values)], list(values))


def refused(answer, *words, status=400):
    assert answer.status == status, answer
    assert all(word in answer.text for word in words), answer.text


# --- models in each form ----------------------------------------------------------------

def convolved(x):
    """What conv.pb computes, in NumPy."""
    w = (np.arange(72, dtype=np.float32).reshape(3, 3, 2, 4) % 7) - 3
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    y = np.zeros((len(x), 4, 6, 7), np.float32)
    for i in range(3):
        for k in range(3):
            y += np.einsum("nchw,cd->ndhw", padded[:, :, i:i + 6, k:k + 7], w[i, k])
    return np.maximum(y + np.array([0, 1, 2, -3], np.float32)[:, None, None], 0)


@pytest.mark.parametrize("rows", [1, 2, 7, 33])
def test_channels_first_convolution(conv, rows):
    x = np.random.default_rng(rows).integers(-3, 4, (rows, 2, 6, 7)).astype(np.float32)
    y, = conv.infer(tensor(x)).tensors
    assert np.array_equal(array(y), convolved(x))


def test_convolution_without_onednn(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    x = np.ones((3, 2, 6, 7), np.float32)
    with serve("conv.pb") as server:
        answer = server.infer(tensor(x))
    assert np.array_equal(array(*answer.tensors), convolved(x)), answer.text


def test_graph_def_describes_itself(pair):
    answer = pair.ask("POST", "/", encode_metadata_request())
    metadata = decode_metadata(answer.body)
    assert [(io["name"], io["shape"]) for io in metadata["inputs"]] == [
        ("a:0", [-1, 2]), ("b:0", [-1, 2]), ("scale:0", [])]
    assert [(io["name"], io["shape"]) for io in metadata["outputs"]] == [
        ("sum:0", [-1, 2]), ("halves:0", [-1, 1]), ("halves:1", [-1, 1])]


A, B = tensor([[1, 2]]), tensor([[3, 5]])


def test_several_inputs_and_outputs(pair):
    expected = [tensor([[13, 25]]), tensor([[7]]), tensor([[15]])]
    assert pair.infer(A, B).tensors == expected
    assert pair.infer(B, A, input_names=["b:0", "a:0"]).tensors == expected
    assert pair.infer(A, B, tensor(1), input_names=["a:0", "b:0", "scale:0"]).tensors == [
        tensor([[4, 7]]), tensor([[-2]]), tensor([[-3]])]


def test_names_without_the_output_number(pair):
    answer = pair.infer(B, A, input_names=["b", "a"], output_names=["halves:1", "sum", "sum:0"])
    assert answer.tensors == [tensor([[15]]), tensor([[13, 25]]), tensor([[13, 25]])]


def test_any_operation_can_be_asked_for_and_given(pair):
    assert pair.infer(A, input_names=["a"], output_names=["scaled:0", "ten"]).tensors == [
        tensor([[10, 20]]), tensor(10)]
    answer = pair.infer(A, B, input_names=["scaled", "b"], output_names=["sum"])
    assert answer.tensors == [tensor([[4, 7]])]


def test_requests_that_cannot_be(pair):
    refused(pair.infer(A), "1 tensor", "2 default inputs")
    refused(pair.infer(A, input_names=["a"]), "b")
    refused(pair.infer(A, B, input_names=["a", "nix"]), '"nix"')
    refused(pair.infer(A, B, output_names=["sum:1"]), '"sum:1"')
    refused(pair.infer(A, B, output_names=["sum:"]), '"sum:"')
    refused(pair.infer(A, B, A, input_names=["a", "b", "a:0"]), "more than once")
    refused(pair.infer(A, tensor([[1, 2]], np.float64)), "float64[1,2]", "float32[-1,2]")
    refused(pair.infer(A, tensor([[1, 2]], np.float64), input_names=["a", "b"]),
            "float64[1,2]", "float32[-1,2]")
    refused(pair.infer(A, tensor([1, 2]), input_names=["a", "b"]), "float32[2]")
    refused(pair.infer(A, B, config="signatur=x"), "signatur=x", "signature=NAME")
    refused(pair.infer(tensor([[1, 2]] * 2), tensor([[1, 2]] * 3)), "Incompatible shapes")
    assert len(pair.infer(A, B).tensors) == 3


# --- types, empty, misaligned -----------------------------------------------------------

NAMES = ("float32 float64 float16 bfloat16 uint8 int8 uint16 int16 uint32 int32 uint64 int64 "
         "string bool").split()
WORDS = [b"", b"a\0b", "größe".encode(), b"\xff\xfe", b"x" * 100_000]


def sample(name, shape):
    count = int(np.prod(shape))
    if name == "string":
        return Tensor(name, shape, (WORDS * count)[:count])
    size = {"bool": 1, "bfloat16": 2}.get(name) or np.dtype(name).itemsize
    data = bytes(i % 2 if name == "bool" else i % 50 for i in range(count * size))
    return Tensor(name, shape, data)


@pytest.mark.parametrize("shape", [[5], [2, 3], [], [0], [3, 0, 2]], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_type_there_and_back(types, name, shape):
    x = sample(name, shape)
    answer = types.infer(x, input_names=[name], output_names=["out_" + name],
                         fields={"Accept": MESSAGE})
    assert answer.tensors == [x]


def test_all_types_at_once(types):
    tensors = [sample(name, [i]) for i, name in enumerate(NAMES)]
    assert types.infer(*tensors, fields={"Accept": MESSAGE}).tensors == tensors


def test_misaligned_tensors(types):
    """Writers of 2018 align to four bytes only: the second tensor lies anywhere."""
    for n in range(1, 20):
        odd, x = sample("uint8", [n]), sample("float64", [1000])
        answer = types.infer(odd, x, input_names=["uint8", "float64"],
                             output_names=["out_float64", "out_uint8"])
        assert answer.tensors == [x, odd]


@pytest.mark.tsan
def test_no_memory_is_left_in_use(types):
    with ThreadPoolExecutor(16) as pool:
        def ask(i):
            name = NAMES[i % len(NAMES)]
            x = sample(name, [20_000 if name != "string" else 20])
            answer = types.infer(x, input_names=[name], output_names=["out_" + name],
                                 fields={"Accept": MESSAGE})
            return answer.tensors == [x]
        assert all(pool.map(ask, range(160)))
    settle_empty(types)


# --- SavedModels ------------------------------------------------------------------------

X = tensor([[1, 2], [3, 4]])
Y = tensor([[6, 9, 12], [12, 19, 26]])


def test_default_signature(saved):
    rows, y = saved.infer(X).tensors
    assert rows == tensor(2, np.int32) and y == Y
    assert saved.infer(X, input_names=["x"], output_names=["y"]).tensors == [Y]
    assert saved.infer(X, input_names=["serving_default_x:0"], output_names=["y"]).tensors == [Y]
    assert saved.infer(tensor(np.zeros((0, 2))), output_names=["y"]).tensors == [
        tensor(np.zeros((0, 3)))]


def test_signature_of_a_request(saved):
    words = strings(b"dog", b"cat", b"a\0b")
    german, length = saved.infer(words, config="signature=translate").tensors
    assert german == strings(b"hund", b"katze", b"?")
    assert array(length).tolist() == [3, 3, 3]
    answer = saved.infer(words, input_names=["words"], output_names=["german"],
                         config="signature=translate")
    assert answer.tensors == [german]
    refused(saved.infer(X, config="signature=translate"), "float32[2,2]", "string[-1]")
    refused(saved.infer(words, words, config="signature=translate"), "2 tensors", "1 input")
    refused(saved.infer(words, config="signature=nix"), '"nix"', "translate")


def test_signature_of_the_server():
    for words in ("--engine-option", "signature=translate"), ("--signature", "translate"):
        with serve("saved", *words) as server:
            german, _ = server.infer(strings(b"cat")).tensors
            assert german == strings(b"katze")
            assert server.infer(X, config="signature=serving_default").tensors[1] == Y


def test_state_is_kept_between_runs():
    with serve("saved") as server:
        for total in (2, 4, 6):
            answer = server.infer(tensor(2, np.int64), config="signature=count")
            assert answer.tensors == [tensor(total, np.int64)]


def test_folder_and_file_of_a_saved_model_are_guessed():
    for path in (FOLDER / "saved", f"{FOLDER}/saved/", FOLDER / "saved/saved_model.pb",
                 FOLDER / "conv.pb"):
        text = subprocess.run([PROGRAM, "inspect", path], capture_output=True, text=True)
        assert text.returncode == 0 and text.stderr == "" and "tensorflow" in text.stdout


# --- variables and tables of a GraphDef -------------------------------------------------

def test_variables_and_tables_are_initialised():
    with serve("state.pb") as server:
        assert server.infer(tensor([1, 2]), input_names=["x"],
                            output_names=["times_five"]).tensors == [tensor([5, 10])]
        answer = server.infer(strings(b"two", b"six"), input_names=["word"],
                              output_names=["number"])
        assert array(answer.tensors[0]).tolist() == [2, -1]


def test_a_variable_does_not_keep_the_requests_memory(tmp_path):
    """What it was given is still there when the request's memory has other bytes in it. Our own
    client asks: it aligns tensors as TensorFlow wants memory that it takes as it lies."""
    def ask(server, x, output):
        np.save(tmp_path / "x.npy", x)
        subprocess.run([PROGRAM, "infer", server.url, f"x:0={tmp_path}/x.npy", "-o", output,
                        "--save", tmp_path / "y.npy"], check=True)
        return np.load(tmp_path / "y.npy")

    with serve("state.pb") as server:
        for value in (1, 2, 3):
            kept, other = (np.full(300_000, v, np.float32) for v in (value, -value))
            assert ask(server, kept, "keep") == 300_000
            for _ in range(3):
                ask(server, other, "times_five")
            assert np.array_equal(ask(server, other, "kept_now"), kept)


# --- deadlines and clients that leave ---------------------------------------------------

LONG = tensor(10**12, np.int64)


def test_deadline_stops_the_run():
    with serve("loop.pb", "--instances", 1) as server:
        assert server.infer(tensor(7, np.int64)).tensors == [tensor(7, np.int64)]
        answer = server.infer(LONG, fields={"X-GraphPipe-Timeout-Ms": 300, "Accept": MESSAGE})
        assert answer.status == 504 and answer.error[0] == 16
        assert server.infer(tensor(8, np.int64)).tensors == [tensor(8, np.int64)]


def test_client_that_leaves_cannot_stop_its_run():
    """TensorFlow's C interface stops no run: it goes on, and the slot is free afterwards."""
    with serve("loop.pb", "--instances", 1) as server:
        with server.connect() as connection:
            connection.send(http("POST", "/", encode(tensor(300_000, np.int64))))
            begun(server, 1)
        assert server.infer(tensor(8, np.int64)).tensors == [tensor(8, np.int64)]


# --- models that cannot be --------------------------------------------------------------

@pytest.mark.parametrize("option, words", [
    ("signature=nix", ["nix", "translate", "serving_default", "--signature NAME"]), ("colour=red", ["colour=red"]),
    ("library=/nonexistent", ["/nonexistent", "tools/setup tensorflow"])])
def test_options_that_cannot_be(option, words):
    line = start_fails(*LISTEN, "--model", FOLDER / "saved", "--engine-option", option)
    assert all(word in line for word in words), line


def test_model_that_is_not_there():
    for arguments in ([], ["--engine", "tensorflow"]):
        line = start_fails(*LISTEN, *arguments, "--model", FOLDER / "nix.pb")
        assert "nix.pb" in line and "No such file" in line
    assert "needs a model" in start_fails(*LISTEN, "--engine", "tensorflow")


def test_nothing_is_said_but_our_own_lines():
    with serve("saved") as server:
        server.infer(tensor([[1, 2, 3]]), input_names=["x"])
        server.infer(X)
        server.signal()
        server.wait(10)
        ours = "saved  tensorflow", server.place, "listening on", "draining"
        assert not [line for line in server.lines if not line.startswith(ours)], server.stderr


# --- graphpipe-tf of 2018 ---------------------------------------------------------------

def test_program_of_2018(tmp_path):
    program = tmp_path / "graphpipe-tf"
    program.symlink_to(PROGRAM)

    def run(*arguments):
        return subprocess.run([program, *arguments], capture_output=True, text=True)

    assert run("-V").stdout.startswith("graphpipe ")
    assert "graphpipe-tf --help" in run().stderr and "--init-net" not in run("--help").stdout
    everything = ["-m", "nix.pb", "-l", "127.0.0.1:0", "-i", "a:0,b:0", "-o", "sum:0", "-c", "-d",
                  "/tmp", "-v", "--disable-cuda", "--profile", "p"]
    assert "nix.pb" in run(*everything).stderr.splitlines()[-1]
    server = Server(model=FOLDER / "pair.pb")
    server.command = [program, "-m", FOLDER / "pair.pb", "-l", "127.0.0.1:0", "-i", "b:0,a:0",
                      "-o", "scaled:0,sum:0"]
    with server:
        assert server.infer(B, A).tensors == [tensor([[10, 20]]), tensor([[13, 25]])]
        assert server.infer(B, A, output_names=["sum"]).tensors == [tensor([[13, 25]])]
