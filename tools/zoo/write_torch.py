"""Writes EfficientNet-Lite0 from PyTorch: as TorchScript, as an AOTInductor package (which compiles
it for this machine's CPU with g++) and, with torch.onnx.export, as ONNX. Beside them the JSON file
that says inputs and outputs, which the two formats of PyTorch lack. Needs torch (tools/setup
test-engines)."""

import json
import logging

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import writing
from efficientnet_lite0 import CLASSES, IMAGE_SIZE, Conv


class EfficientNetLite0(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = [layer._replace(weight=None, bias=None) for layer in layers]
        self.convs = nn.ModuleList(conv_of(layer) for layer in layers if isinstance(layer, Conv))
        self.classifier = with_weights(nn.Linear(1280, CLASSES), layers[-1])
        self.eval()

    def forward(self, x):
        given = []
        for layer, conv in zip(self.layers, self.convs):
            before, after = layer.pads
            x = conv(x if before == after else functional.pad(x, layer.pads * 2))
            if layer.has_relu6:
                x = functional.relu6(x)
            if layer.add is not None:
                x = x + given[layer.add]
            given.append(x)
        return self.classifier(x.mean((2, 3))).softmax(1)


def conv_of(layer):
    before, after = layer.pads
    outputs, inputs, kernel, _ = layer.weight.shape
    return with_weights(nn.Conv2d(inputs * layer.groups, outputs, kernel, layer.stride,
                                  before if before == after else 0, groups=layer.groups), layer)


def with_weights(module, layer):
    module.weight = nn.Parameter(torch.from_numpy(np.array(layer.weight)), False)
    module.bias = nn.Parameter(torch.from_numpy(np.array(layer.bias)), False)
    return module


def make(layers):
    return EfficientNetLite0(layers), torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)


# The three roads of docs/engines.md; tests/docs holds it to these lines. The example has two rows:
# of one it would be taken that it is always one.

def write_torchscript(layers, path):
    model, example = make(layers)
    torch.jit.trace(model, example).save(path)


def write_aotinductor(layers, path):
    model, example = make(layers)
    rows = torch.export.Dim("batch", min=1, max=1024)
    with torch.no_grad():
        program = torch.export.export(model, (example,), dynamic_shapes=({0: rows},))
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def write_onnx(layers, path):
    """With dynamo, since the older exporter leaves of each padding that is not symmetric ten
    operators, which nobody folds away: in a trial 33 ms for three pictures instead of 21."""
    model, example = make(layers)
    rows = torch.export.Dim("batch")
    torch.onnx.export(model, (example,), path, dynamo=True, external_data=False,
                      dynamic_shapes=({0: rows},), verbose=False,
                      input_names=["image"], output_names=["probabilities"])


def write_json(layers, path):
    path.write_text(json.dumps({
        "inputs": [{"name": "image", "dtype": "float32",
                    "shape": [-1, 3, IMAGE_SIZE, IMAGE_SIZE],
                    "description": "RGB, (x - 127) / 128, channels first"}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [-1, CLASSES]}],
    }, indent=1) + "\n")


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # that torchvision is not installed, operator by operator
    writing.main({"efficientnet-lite0.pt": write_torchscript,
                  "efficientnet-lite0.pt2": write_aotinductor,
                  "efficientnet-lite0.json": write_json,
                  "efficientnet-lite0-exported.onnx": write_onnx}, __file__, __doc__)
