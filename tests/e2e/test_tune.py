"""graphpipe tune: what it measures, shows and writes. How it chooses is in tests/unit/test_cli_tune.c."""
import json
import re

from calls import call, fails, succeeds
from harness import MODELS, Server
from needs import needs
from python_models import PYTHON, floats, write

CELL = re.compile(r" +(\d+) +(\d+) +(\d+) +(\d+) +[\d.]+ [mun]?s +[\d.]+ [mun]?s  #*( best)?")
BEST = re.compile(r"best: --instances (\d+) --threads (\d+)(?: --max-batch (\d+))?   (\d+) rows/s.*")


def tune(*words):
    """The cells, and the best as its line says it."""
    lines = succeeds("tune", "--time", "100ms", *words).splitlines()
    cells = [tuple(map(int, cell.groups()[:4])) for cell in map(CELL.fullmatch, lines) if cell]
    best, = (found for found in map(BEST.fullmatch, lines) if found)
    return cells, tuple(int(number or 1) for number in best.groups())


@needs("onnx")
def test_model_with_rows():
    cells, best = tune("--max-batch", 12, "--instances", 1, "--threads", 1, MODELS / "mlp.onnx")
    assert [cell[:3] for cell in cells] == [(1, 1, n) for n in (1, 2, 4, 8, 12)]
    assert best in cells


@needs("onnx")
def test_model_of_two_rows():
    cells, _ = tune("--instances", 2, MODELS / "fixed.onnx")
    assert [(cell[0], cell[2]) for cell in cells] == [(2, 2)]


def test_model_whose_requests_run_alone(tmp_path):
    model = write(tmp_path, "def infer(inputs):\n    return [inputs[0].mean()]\n")
    told = succeeds("tune", "--time", "100ms", *PYTHON, model)
    assert told.startswith("a request a run, since they may not run together: ")
    assert all(int(cell[2]) == 1 for cell in CELL.findall(told))


@needs("onnx")
def test_what_it_writes_can_be_served(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('// of ours\n{"models": {"m": {"path": "%s"}}}\n' % (MODELS / "mlp.onnx"))
    _, (instances, threads, rows, _) = tune("--config", config, "--name", "m", "--instances", 1,
                                            MODELS / "mlp.onnx")
    written = config.read_text()
    assert written.startswith("// of ours\n")
    model = json.loads(written.partition("\n")[2])["models"]["m"]
    assert (model["instances"], model["threads"]) == (instances, threads)
    assert model.get("max-batch", 1) == rows
    with Server("--config", config, engine="auto") as server:
        assert server.infer(floats([1, 2, 3, 4])).status == 200


@needs("onnx")
def test_trouble(tmp_path):
    assert "--name needs --config" in fails(2, "tune", "--name", "m", "model.onnx")
    assert "no/such.onnx" in fails(1, "tune", "no/such.onnx")
    done = call("tune", "--time", "100ms", "--p99", "0us", MODELS / "mlp.onnx")
    assert done.returncode == 0  # no bound
    done = call("tune", "--time", "100ms", "--instances", 1, "--p99", "1us", MODELS / "slow.onnx")
    assert done.returncode == 1 and b"no runs are as short as --p99 wants them" in done.stderr
    assert b"rows/s" in done.stdout
    config = tmp_path / "config.json"
    config.write_text("[]")
    assert "no table of settings" in fails(1, "tune", "--time", "100ms", "--config", config,
                                           MODELS / "fixed.onnx")
