"""The engine of OpenVINO, through the wire: formats, names, shapes, outputs that its answers keep,
stopping, and what it refuses before it listens. The models that no package here can write are
written here, field by field. Skipped where OpenVINO or its plug-in is not there, and under the
sanitizers: one refuses how it loads a library of its own (RTLD_DEEPBIND), another does not see how
its threads wait for each other."""
import pathlib
import struct
import time

import flatbuffers
import onnx
import pytest
from onnx import TensorProto, helper

from harness import MESSAGE, MODELS, Server, Tensor
from harness import decode_metadata, encode, encode_metadata_request, eventually, http, start_fails
from needs import needs
from test_shapes import floats, load

LISTEN = ("--engine", "openvino", "--listen", "127.0.0.1:0")

pytestmark = needs("openvino")


def serve(path, *arguments, engine="openvino"):
    path = path if isinstance(path, pathlib.Path) else MODELS / path
    return Server(*arguments, engine=engine, model=path)


def values(tensor):
    return list(struct.unpack(f"<{len(tensor.data) // 4}f", tensor.data))


# --- models written here ----------------------------------------------------------------

def write_tflite(path):
    """y = -x over [1,4]: one operator, by the numbers of TFLite's schema."""
    b = flatbuffers.Builder(256)

    def table(n_fields, *fields):
        b.StartObject(n_fields)
        for slot, prepend, value, default in fields:
            prepend(slot, value, default)
        return b.EndObject()

    def vector(items, prepend, size=4):
        b.StartVector(size, len(items), size)
        for item in reversed(items):
            prepend(item)
        return b.EndVector(len(items))

    offset, uint32 = b.PrependUOffsetTRelativeSlot, b.PrependUint32Slot
    tensors = []
    for name in ("x", "y"):
        text, shape = b.CreateString(name), vector([1, 4], b.PrependInt32)
        tensors.append(table(9, (0, offset, shape, 0), (2, uint32, 0, 0), (3, offset, text, 0)))
    inputs, outputs = vector([0], b.PrependInt32), vector([1], b.PrependInt32)
    negate = table(9, (1, offset, inputs, 0), (2, offset, outputs, 0))
    graph = table(5, (0, offset, vector(tensors, b.PrependUOffsetTRelative), 0),
                  (1, offset, inputs, 0), (2, offset, outputs, 0),
                  (3, offset, vector([negate], b.PrependUOffsetTRelative), 0))
    neg = 59
    code = table(4, (0, b.PrependInt8Slot, neg, 0), (2, b.PrependInt32Slot, 1, 1),
                 (3, b.PrependInt32Slot, neg, 0))
    parts = [vector([part], b.PrependUOffsetTRelative) for part in (code, graph, table(1))]
    model = table(8, (0, uint32, 3, 0), (1, offset, parts[0], 0), (2, offset, parts[1], 0),
                  (4, offset, parts[2], 0))
    b.Finish(model, b"TFL3")
    path.write_bytes(b.Output())
    return path


def message(*fields):
    """A message of protobuf, of (number, bytes or text or a small number)."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += bytes([number << 3, value])
        else:
            value = value.encode() if isinstance(value, str) else value
            assert len(value) < 1 << 14
            out += bytes([number << 3 | 2, len(value) & 127 | 128, len(value) >> 7]) + value
    return out


def graph_def():
    """y = -x over [?,4], as TensorFlow freezes it."""
    float32 = message((1, "T"), (2, message((6, 1))))
    rows = bytes.fromhex("08ffffffffffffffffff01")
    shape = message((7, message((2, rows), (2, message((1, 4))))))
    placeholder = message((1, "x"), (2, "Placeholder"),
                          (5, message((1, "dtype"), (2, message((6, 1))))),
                          (5, message((1, "shape"), (2, shape))))
    return message((1, placeholder),
                   (1, message((1, "y"), (2, "Neg"), (3, "x"), (5, float32))))


def write_saved_model(folder):
    """The same, with a signature that calls them "pixels" and "negated"."""
    def entry(key, tensor):
        return message((1, key), (2, message((1, tensor), (2, 1))))

    signature = message((1, entry("pixels", "x:0")), (2, entry("negated", "y:0")),
                        (3, "tensorflow/serving/predict"))
    graph = message((1, message((4, "serve"))), (2, graph_def()),
                    (5, message((1, "serving_default"), (2, signature))))
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(message((1, 1), (2, graph)))
    return folder


def write_onnx(path, nodes, inputs, outputs):
    def infos(list_):
        return [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in list_]

    graph = helper.make_graph(nodes, "test", infos(inputs), infos(outputs))
    onnx.save(helper.make_model(graph, ir_version=8,
                                opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


SIZE = 512


def write_long(path, rows):
    """A second of work for each row, in many operators."""
    nodes, last = [], "x"
    for i in range(400):
        nodes.append(helper.make_node("MatMul", [last, last], [f"product{i}"]))
        nodes.append(helper.make_node("Tanh", [f"product{i}"], [f"x{i}"]))
        last = f"x{i}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    shape = [rows, SIZE, SIZE]
    return write_onnx(path, nodes, [("x", TensorProto.FLOAT, shape)],
                      [("y", TensorProto.FLOAT, shape)])


# --- formats, names, types --------------------------------------------------------------

def test_tflite_chosen_by_its_name(tmp_path):
    with serve(write_tflite(tmp_path / "neg.tflite"), engine="auto") as server:
        assert server.infer(floats([1, 4], [1, 2, 3, 4])).tensors == [
            floats([1, 4], [-1, -2, -3, -4])]


def test_frozen_graph_and_saved_model(tmp_path):
    (tmp_path / "neg.pb").write_bytes(graph_def())
    x, y = floats([2, 4], range(1, 9)), floats([2, 4], range(-1, -9, -1))
    with serve(tmp_path / "neg.pb") as server:
        assert server.infer(x).tensors == [y]
    with serve(write_saved_model(tmp_path / "saved")) as server:
        assert server.infer(x, input_names=["pixels"], output_names=["negated"]).tensors == [y]


def test_ir_with_several_names_or_none():
    with serve("bounded.xml", engine="auto") as server:
        metadata = decode_metadata(server.ask("POST", "/", encode_metadata_request()).body)
        assert [io["name"] for io in metadata["inputs"] + metadata["outputs"]] == [
            "another_x", "scaled", "output1"]
        scaled, total = server.infer(floats([2, 4], [1] * 8)).tensors
        assert values(scaled) == [1, 2, 3, 4] * 2
        assert total == floats([], [20])
        assert server.infer(floats([1, 4], [1] * 4), output_names=["output1"]).tensors == [
            floats([], [10])]
        answer = server.infer(floats([9, 4], [1] * 36))
        assert answer.status == 400 and "another_x" in answer.text and "8" in answer.text


def test_every_type_there_and_back(tmp_path):
    types = {"FLOAT": ("float32", "f", 1.5), "UINT8": ("uint8", "B", 255),
             "INT8": ("int8", "b", -128), "UINT16": ("uint16", "H", 65535),
             "INT16": ("int16", "h", -32768), "INT32": ("int32", "i", -2**31),
             "INT64": ("int64", "q", -2**31), "BOOL": ("bool", "?", True),
             "FLOAT16": ("float16", "e", 0.5), "DOUBLE": ("float64", "d", 0.1),
             "UINT32": ("uint32", "I", 2**31), "UINT64": ("uint64", "Q", 2**31),
             "BFLOAT16": ("bfloat16", "H", 0x3F80)}
    path = write_onnx(tmp_path / "types.onnx",
                      [helper.make_node("Identity", [n], ["out_" + n]) for n in types],
                      [(n, TensorProto.DataType.Value(n), ["N"]) for n in types],
                      [("out_" + n, TensorProto.DataType.Value(n), ["N"]) for n in types])
    tensors = [Tensor(ours, [2], struct.pack("<2" + code, 0, value))
               for ours, code, value in types.values()]
    with serve(path) as server:
        assert server.infer(*tensors, fields={"Accept": MESSAGE}).tensors == tensors


def test_misaligned_inputs():
    with serve("fixed.onnx") as server:
        for n in range(17):  # moves the tensor in the message
            answer = server.infer(floats([2, 3], range(1, 7)), config="x" * n)
            assert answer.tensors == [floats([2, 3], range(-1, -7, -1))]


def test_outputs_in_all_combinations():
    """Of fixed shape and of free shape."""
    with serve("passed.onnx") as server, server.connect() as connection:
        x, c = floats([3], [4, 5, 6]), floats([3], [1, 2, 3])
        whole = {"y": x, "x": x, "z": x, "w": x, "c": c, "d": c}
        for names in ([], ["c"], ["y"], ["d"], ["c", "d"], ["w", "c"], ["d", "x", "y"], []):
            answer = connection.ask("POST", "/", encode(x, output_names=names))
            assert answer.tensors == [whole[name] for name in names or whole]


# --- many at a time ---------------------------------------------------------------------

@pytest.mark.parametrize("flags", [(), ("--instances", 4, "--threads", 1), ("--instances", 1)])
def test_batches_of_all_sizes(flags):
    columns = [((0, 3, 6, 9), 0), ((1, 4, 7, 10), 1), ((2, 5, 8, 11), -100)]  # of the model

    def ask(connection, dice):
        rows = dice.choice([0, 1, 7, 341, 342, 2000, 20_000])
        x = dice.choices(range(4), k=4)
        row = [max(0, sum(a * w for a, w in zip(x, weights)) + b) for weights, b in columns]
        answer = connection.ask("POST", "/", encode(floats([rows, 4], x * rows)))
        assert answer.tensors == [floats([rows, 3], row * rows)]

    with serve("mlp.onnx", *flags) as server:
        load(server, ask)


def test_shapes_that_are_not_as_the_model_says():
    def ask(connection, dice):
        x, shape = dice.choices(range(4), k=6), dice.choice([[2, 3], [3, 2], [1, 6]])
        body = encode(floats([2, 3], x), Tensor("int64", [2], struct.pack("<2q", *shape)))
        turned, fixed, found, honest = connection.ask("POST", "/", body).tensors
        assert turned == fixed == floats(shape, x)
        assert values(honest) == [-value for value in x]
        assert found.shape == [2, sum(value != 0 for value in x)]

    with serve("lies.onnx", "--instances", 4) as server:
        load(server, ask)


def test_answers_keep_their_memory_while_others_run():
    """Nobody reads the first answers while the same model writes others."""
    rows = 1_000_000  # more than sockets hold
    with serve("mlp.onnx", "--instances", 2) as server:
        slow_ones = []
        for i in range(3):
            connection = server.connect()
            connection.send(http("POST", "/", encode(floats([rows, 4], [0, 0, 0, i] * rows))))
            slow_ones.append(connection)
        time.sleep(0.3)
        for _ in range(4):
            assert server.infer(floats([rows, 4], [7] * (4 * rows))).status == 200
        for i, connection in enumerate(slow_ones):
            (tensor,) = connection.answer().tensors
            row = struct.pack("<3f", 9 * i, 10 * i + 1, max(0, 11 * i - 100))
            assert tensor.data == row * rows, f"answer {i} was written over"
            connection.close()


# --- stopping and failing ---------------------------------------------------------------

def long_rows(rows):
    return floats([rows, SIZE, SIZE], [0.001] * rows * SIZE * SIZE)


def with_cost(server, *tensors, **keywords):
    """The answer, and the ticks of CPU time that the server took for it."""
    before = server.cpu_ticks()
    return server.infer(*tensors, **keywords), server.cpu_ticks() - before


@pytest.mark.parametrize("flags", [(), ("--instances", 2, "--threads", 1)],
                         ids=["alone", "in streams"])
def test_deadline_stops_a_run(tmp_path, flags):
    x = long_rows(1)
    with serve(write_long(tmp_path / "long.onnx", 1), *flags) as server:
        answer, whole = with_cost(server, x)
        for ms in (100, 1):
            late, cost = with_cost(server, x, fields={"X-GraphPipe-Timeout-Ms": ms})
            assert late.status == 504
            assert cost < 0.75 * whole, f"{cost} ticks, else {whole}"
        assert server.infer(x).tensors == answer.tensors


def test_client_that_leaves_stops_its_run(tmp_path):
    """With one slot, the next client waits until the run is over."""
    rows = 8
    x = long_rows(rows)
    with serve(write_long(tmp_path / "long.onnx", rows), "--instances", 1) as server:
        _, whole = with_cost(server, x)
        before = server.cpu_ticks()
        with server.connect() as connection:
            connection.send(http("POST", "/", encode(x)))
            eventually(lambda: server.metrics()["in_flight"] >= 2, what="the request")
            time.sleep(0.1)
        server.infer(x, fields={"X-GraphPipe-Timeout-Ms": 1})
        eventually(lambda: server.metrics()["run_seconds_count"] >= 2, what="the end of the run")
        cost = server.cpu_ticks() - before
        assert cost < 0.75 * whole, f"{cost} ticks until the slot was free, a run takes {whole}"


def test_run_of_free_shapes_ends_late_and_harms_no_other(tmp_path):
    """OpenVINO would leave the shapes of a stopped run behind for the next."""
    with serve(write_long(tmp_path / "long.onnx", "B")) as server:
        small = server.infer(long_rows(1)).tensors
        answer = server.infer(long_rows(2), fields={"X-GraphPipe-Timeout-Ms": 100})
        assert answer.status == 504
        assert server.infer(long_rows(1)).tensors == small


@pytest.mark.parametrize("flags", [(), ("--threads", 1), ("--threads", 1, "--instances", 1)])
def test_shapes_that_do_not_fit_each_other_harm_no_other(tmp_path, flags):
    """Each input has an operator of its own before they meet."""
    rows = [(name, TensorProto.FLOAT, [f"rows of {name}", 4]) for name in "ab"]
    path = write_onnx(tmp_path / "meet.onnx",
                      [helper.make_node("Softmax", ["a"], ["c"]),
                       helper.make_node("Softmax", ["b"], ["d"]),
                       helper.make_node("Add", ["c", "d"], ["y"])], rows,
                      [("y", TensorProto.FLOAT, None), ("c", TensorProto.FLOAT, None)])
    with serve(path, *flags) as server:
        def ask(a, b):
            return server.infer(floats([a, 4], [1] * 4 * a), floats([b, 4], [1] * 4 * b))

        for _ in range(3):
            y, c = ask(2, 2).tensors
            assert values(y) == [0.5] * 8 and values(c) == [0.25] * 8
            answer = ask(3, 5)
            assert answer.status == 400 and "shapes" in answer.text


def test_values_that_make_a_run_fail_harm_no_other():
    """The shape comes as a value, so only the run can tell."""
    with serve("lies.onnx") as server:
        def ask(*shape):
            return server.infer(floats([2, 3], range(1, 7)),
                                Tensor("int64", [2], struct.pack("<2q", *shape)))

        for _ in range(3):
            turned, _, found, honest = ask(3, 2).tensors
            assert turned == floats([3, 2], range(1, 7)) and found.shape == [2, 6]
            assert honest == floats([2, 3], range(-1, -7, -1))
            answer = ask(4, 4)
            assert answer.status == 500 and "the model failed" in answer.text
        eventually(lambda: server.stderr.count("compiled anew") >= 2)


# --- options ----------------------------------------------------------------------------

def test_warm_up_and_precision():
    with serve("mlp.onnx", "--engine-option", "warm-up=1,8,32") as server:
        assert server.infer(floats([1, 4], [1] * 4)).status == 200
    line = start_fails(*LISTEN, "--model", MODELS / "fixed.onnx",
                       "--engine-option", "warm-up=4")
    assert "warm-up" in line and "4" in line


@pytest.mark.parametrize("option, words", [
    ("warm-up=", ["warm-up=1,8,32"]), ("warm-up=0", ["warm-up=0"]),
    ("warm-up=1;2", ["warm-up=1;2"]), ("precision=f64", ["f32 or bf16"]),
    ("streams=2", ['"streams=2"', "precision", "library=PATH"]),
    ("library=/nonexistent", ["/nonexistent", "tools/setup openvino"])])
def test_options_that_cannot_be(option, words):
    line = start_fails(*LISTEN, "--model", MODELS / "mlp.onnx", "--engine-option", option)
    for word in words:
        assert word in line
