"""What tests skip for. The reasons name the set-up that mends it: `make test` lists them at its end,
and takes those for failures that GP_MUST_RUN names (tools/test)."""
import pytest

from harness import BUILD, SANITIZE, SOURCE


def lacks(engine):
    """Why tests of an engine cannot run here, with the set-up that mends it, or None."""
    there = {"onnx": "onnxruntime"}.get(engine, engine)
    if (not (BUILD / f"lib/graphpipe/graphpipe-engine-{engine}.so").exists()
            or not (SOURCE / f".deps/{there}/VERSION").exists()):
        return f"the {engine} engine is not built: tools/setup {engine}, then make"
    if SANITIZE and engine == "openvino":
        return "OpenVINO does not load under the sanitizers"
    return None


def need(engine):
    """Skips the test where it cannot have the engine."""
    why = lacks(engine)
    if why:
        pytest.skip(why)


def needs(engine):
    """need() for all tests of a file, or as a decorator."""
    return pytest.mark.skipif(bool(lacks(engine)), reason=lacks(engine) or "")
