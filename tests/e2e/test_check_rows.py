"""Whether rows depend on each other is found out before they run together: `graphpipe check-rows`, and
--max-batch auto. All kinds of models are in tests/unit/test_row_check.c."""
import pytest

from calls import call, fails, succeeds
from harness import MODELS, Server, encode
from needs import needs
from python_models import PYTHON, floats, tensor, write

MEAN = """
    inputs = {"x": ("float32", [-1, 3])}
    outputs = {"y": ("float32", [-1, 3])}

    def infer(inputs):
        return {"y": inputs["x"] - inputs["x"].mean(axis=0)}
"""
WORDS = """
    import numpy as np

    inputs = {"ids": ("int64", [-1, 3])}
    outputs = {"y": ("float32", [-1, 3])}

    def infer(inputs):
        return {"y": np.float32([0.5, 1.5, 2.5])[inputs["ids"]]}
"""


def check(*words):
    done = call("check-rows", *PYTHON, *words)
    return done.returncode, done.stdout.decode()


def served(model, max_batch):
    """What a server says of its model."""
    with Server(*PYTHON, "--instances", 1, "--max-batch", max_batch, engine="auto", model=model) as server:
        assert server.infer(floats([1, 2, 3], [5, 6, 9])).status == 200
        return server.stderr


@needs("onnx")
@pytest.mark.parametrize("name, rows", [("mlp", 32), ("fixed", 2), ("pair", 32), ("types", 32)])
def test_models_with_rows(name, rows):
    told = succeeds("check-rows", MODELS / f"{name}.onnx")
    assert f"{name}.onnx: rows do not depend on each other: serve it with --max-batch {rows}\n" in told
    assert "\n5 rows in 13 runs; largest difference " in told


def test_model_that_mixes_rows(tmp_path):
    model = write(tmp_path, MEAN)
    assert check(model) == (1, f"{model}: rows depend on each other, so do not use --max-batch: output 0 "
                               "of a row differs when it runs with 4 others\n")
    assert check("--requests", MODELS, model)[0] == 1


def test_rows_as_clients_send_them(tmp_path):
    """Generated ones are no words of its."""
    model, requests = write(tmp_path, WORDS), tmp_path / "requests"
    status, told = check(model)
    assert status == 1 and "cannot tell whether rows depend on each other: a row alone fails: " in told
    requests.mkdir()
    for i, ids in enumerate(([0, 1, 2], [2, 2, 0], [1, 1, 1])):
        (requests / str(i)).write_bytes(encode(tensor("int64", [ids])))
    status, told = check("--requests", requests, model)
    assert status == 0 and "\n3 rows in 10 runs; largest difference 0 of" in told
    (requests / "3").write_bytes(b"no request")
    assert "cannot tell whether rows depend on each other: request 4, " in check("--requests", requests, model)[1]


def test_no_model(tmp_path):
    assert "no/such.onnx" in fails(1, "check-rows", "no/such.onnx")
    assert "check-rows wants: " in fails(2, "check-rows")


@needs("onnx")
def test_auto():
    with Server("--max-batch", "auto", engine="auto", model=MODELS / "fixed.onnx") as server:
        assert "fixed: --max-batch auto: 5 rows in 13 runs do not depend on each other (largest difference 0), " \
               "so up to 2 run together\n" in server.stderr
        assert "batches of up to 2 rows" in server.stderr
        assert server.infer(floats(*([i, 0, -i] for i in range(5)))).tensors[0].shape == [5, 3]
    with Server("--max-batch", "auto", engine="auto", model=MODELS / "scalar.onnx") as server:
        assert "scalar: --max-batch auto: requests run one at a time: --max-batch wants every input and output " \
               "to have the same rows, but input \"x\" is float32[]\n" in server.stderr


def test_model_that_mixes_rows_is_believed_if_told_so(tmp_path):
    model = write(tmp_path, MEAN)
    told = served(model, "auto")
    assert "model: --max-batch auto: requests run one at a time: output 0 of a row differs" in told
    assert "batches of" not in told
    told = served(model, 8)
    assert "warning: model: --max-batch is for models whose rows do not depend on each other, but here they do: " \
           "output 0 of a row differs when it runs with 4 others\n" in told
    assert "batches of up to 8 rows" in told
