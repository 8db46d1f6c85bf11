"""Writes EfficientNet-Lite0 as a model of CNTK 2, which CNTK's own loader makes from ONNX of its time."""
import cntk_files
import onnx
from onnx import TensorProto, helper

import write_onnx
import writing


class OldGraph(write_onnx.Graph):
    """ONNX as CNTK 2.7 reads it: bounds are attributes, and constants are inputs, too."""

    opset = 7
    ir_version = 3

    def bound(self):
        pass

    def relu6(self, x):
        return self.node("Clip", [x], f"{x}.relu6", min=0.0, max=6.0)

    def inputs(self):
        return super().inputs() + [
            helper.make_tensor_value_info(constant.name, TensorProto.FLOAT, constant.dims)
            for constant in self.constants]


def write(layers, path):
    source = path.with_suffix(".onnx")
    onnx.save(write_onnx.build(layers, OldGraph()), source)
    cntk_files.convert(source, path)
    source.unlink()


if __name__ == "__main__":
    writing.main({"efficientnet-lite0.model": write}, __file__, __doc__)
