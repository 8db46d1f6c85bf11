"""Models that the caffe2 engine refuses, each in one line that says what and where."""
import json
import re

import numpy as np
import pytest

import caffe2_models
from caffe2_models import MLP, NO_WEIGHTS, Net, W, init_net, mlp_net, operator, write
from harness import SANITIZE, start_fails
from needs import needs
from test_caffe2 import changed, fails, option, served

pytestmark = needs("caffe2")

@pytest.mark.parametrize("text, words", [
    ("{", ["is not JSON"]), ("[]", ["should be an object"]), ('{"data": 1}', ['"data" should be [TYPE']),
    ('{"data": [1]}', ['"data" should be [TYPE']), ('{"data": ["f", [1]]}', ["begin with a type"]),
    ('{"data": [11, [1]]}', ["begin with a type", "caffe2.proto"]),
    ('{"data": [4, [1]]}', ["strings"]), ('{"data": [1, 3]}', ["end with a shape"]),
    ('{"data": [1, [1, 0.5]]}', ["shape[1]", "whole number"]),
    ('{"data": [1, [1, -2]]}', ["shape[1]"]), ('{"data": [1, [1, 4294967296]]}', ["shape[1]"]),
    ('{"data": [1, [1, 65536, 65536]]}', ["over the limit"]),
    (json.dumps({"data": [1, [1] * 33]}), ["at most 32"]), ('{"x\\u0000": [1, [1]]}', ["zero byte"]),
    ('{"data_0": [1, [1, 3]]}', ['nothing about "data"', "init_net.pb"]),
    ('{"data": [1, [1, 3]], "fc2": [1, [1]]}', ['"fc2"', "external_input"]), ("", ["is empty"])])
def test_value_inputs_that_cannot_be(tmp_path, text, words):
    folder = caffe2_models.mlp(tmp_path)
    (folder / "value_inputs.json").write_text(text)
    line = fails(folder)
    assert "value_inputs.json" in line and all(word in line for word in words), line


# --- nets ---------------------------------------------------------------------------------

def filler(kind="ConstantFill", **arguments):
    net = init_net(MLP)
    net.add(kind, [], "more", **arguments)
    return net


def nested(depth):
    inner = mlp_net("Nix")
    for _ in range(depth):
        net = Net("outer", ["data", *MLP], ["prob"])
        net.add("If", ["data"], ["prob"], then_net=inner)
        inner = net
    return inner


WHOLE = init_net(MLP).serialize()
NETS = {
    "empty": ({"predict": b""}, ["is empty"]),
    "text": ({"predict": b"no net at all\n" * 9}, ["predict_net.pb", "is no net of Caffe2"]),
    "zeros": ({"init": bytes(100)}, ["init_net.pb", "is no net of Caffe2"]),
    "cut": ({"init": WHOLE[:-7]}, ["init_net.pb", "is cut off"]),
    "cut operator": ({"init": b"\x12\x04\x22\x08Co"}, ["init_net.pb", "op[0] is cut off"]),
    "no operators": ({"predict": Net("none", ["data"], ["prob"])}, ["has no operators"]),
    "an operator without a type": ({"predict": b"\x12\x00"}, ["op[0] has no type"]),
    "an unknown operator": ({"predict": mlp_net("Wheel")}, ["op[0]", '"Wheel"', "1.7.1"]),
    "one in the init net": ({"init": filler("Wheel")}, ["op[2]", '"Wheel"', "init_net.pb"]),
    "one within another": ({"predict": nested(3)}, ['"Nix"']),
    "too deep": ({"predict": nested(20)}, ["deep in each other"]),
    "a huge filler": ({"init": filler(shape=[1 << 20, 1 << 20])}, ["op[2], ConstantFill", "2147483647"]),
    "an overflowing filler": ({"init": filler(shape=[1 << 32, 1 << 32])}, ["op[2], ConstantFill"]),
    "a blob that nobody writes": ({"predict": changed(operators=[operator("Relu", ["nix"], ["prob"])])}, ["op Relu", "nix"]),
    "values that are too few": ({"init": filler("GivenTensorFill", shape=[3], values=[1.0])}, ["GivenTensorFill"]),
    "no external inputs": ({"predict": changed(inputs=[])}, ['"data"', "external_input"]),
    "no external outputs": ({"predict": changed(outputs=[])}, ["external_output is empty"]),
    "an output that nobody writes": ({"predict": changed(outputs=["nix"])}, ["nix"]),
    "a weight that is not declared": ({"predict": changed(inputs=["data", "fc1_w"])}, ["fc1_b"]),
    "an empty name": ({"predict": changed(outputs=["prob", ""])}, ["name is empty"]),
    "a weight that nobody fills": ({"init": init_net({"fc1_w": W})}, ['nothing about "fc1_b"']),
}


@pytest.mark.parametrize("what", NETS)
def test_nets_that_cannot_be(tmp_path, what):
    nets, words = NETS[what]
    line = fails(served(tmp_path, **nets))
    assert all(word in line for word in words), line


def test_files_that_are_not_there(tmp_path):
    folder = caffe2_models.mlp(tmp_path)
    (folder / "init_net.pb").unlink()
    assert "there is no" in fails(folder) and "init-net=FILE" in fails(folder)
    (folder / "predict_net.pb").unlink()
    assert "predict_net.pb" in fails(folder)


def test_output_with_a_shape_that_cannot_be(tmp_path):
    net = Net("endless", outputs=["y"])
    net.add("MaxPool", "x", "y", kernel=1, stride=0)
    write(tmp_path, net, NO_WEIGHTS, {"x": ("float32", [1, 2, 4, 4])})
    assert 'output "y" came with a shape that cannot be' in fails(tmp_path)


@pytest.mark.skipif(bool(SANITIZE), reason="the framework is not instrumented")
def test_net_that_crashes_the_framework(tmp_path):
    """An index that Caffe2 does not check."""
    net = Net("wild", outputs=["x"])
    net.add("ScatterAssign", ["x", "index", "row"], "x")
    write(tmp_path, net, {"index": np.array([1 << 40]), "row": np.ones((1, 2), np.float32)},
          {"x": ("float32", [1, 2])})
    line = fails(tmp_path)
    assert re.search(r"process of slot 0 ended \(signal \d+: .*\) when it opened", line), line


@pytest.mark.parametrize("text, words", [
    ("colour=red", ["colour=red", "init-net=FILE"]), ("init-net=/nix.pb", ["/nix.pb"]),
    ("value-inputs=/nix.json", ["/nix.json"]),
    ("library=/nonexistent", ["/nonexistent", "tools/setup caffe2"])])
def test_options_that_cannot_be(tmp_path, text, words):
    line = start_fails("--engine", "caffe2", "--listen", "127.0.0.1:0", *option(text),
                       "--model", caffe2_models.mlp(tmp_path))
    assert all(word in line for word in words), line
