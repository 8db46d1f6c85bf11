"""Writes EfficientNet-Lite0 as the two nets of Caffe2 and a value_inputs.json, in a folder. Needs no
Caffe2."""

import caffe2_files
import writing
from efficientnet_lite0 import IMAGE_SIZE, Conv


def convolve(net, arrays, x, layer):
    before, after = layer.pads
    weight, bias = f"{layer.name}_w", f"{layer.name}_b"
    arrays[weight], arrays[bias] = layer.weight, layer.bias
    return net.add("Conv", [x, weight, bias], layer.name, kernel=layer.weight.shape[2],
                   stride=layer.stride, group=layer.groups, pad_t=before, pad_l=before,
                   pad_b=after, pad_r=after, order="NCHW")


def build(layers):
    """The predict net, and the arrays for the init net."""
    net, arrays, given = caffe2_files.Net("efficientnet-lite0", outputs=["probabilities"]), {}, []
    x = "image"
    for layer in layers:
        if not isinstance(layer, Conv):
            continue
        x = convolve(net, arrays, x, layer)
        if layer.has_relu6:
            x = net.add("Clip", x, x, min=0.0, max=6.0)
        if layer.add is not None:
            x = net.add("Add", [x, given[layer.add]], f"{layer.name}_sum")
        given.append(x)
    x = net.add("AveragePool", x, "pooled", global_pooling=1, order="NCHW")
    arrays["fc_w"], arrays["fc_b"] = layers[-1].weight, layers[-1].bias
    x = net.add("FC", [x, "fc_w", "fc_b"], "fc")
    net.add("Softmax", x, "probabilities")
    return net, arrays


def write(layers, path):
    path.mkdir()
    caffe2_files.write(path, *build(layers),
                       {"image": ("float32", [1, 3, IMAGE_SIZE, IMAGE_SIZE])})


if __name__ == "__main__":
    writing.main({"efficientnet-lite0-caffe2": write}, __file__, __doc__)
