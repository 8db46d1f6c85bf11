"""Writes EfficientNet-Lite0 as a symbol of MXNet and its params, in a folder, as a Gluon network is
exported: without the shape of its input. Needs no MXNet."""

import mxnet_files
import writing
from efficientnet_lite0 import CLASSES, Conv


def convolve(symbol, arrays, x, layer):
    """Padding that differs before and after is an operator of its own."""
    before, after = layer.pads
    if before != after:
        x = symbol.operator("Pad", f"{layer.name}_pad", [x], mode="constant", constant_value=0,
                            pad_width=(0, 0, 0, 0, before, after, before, after))
        before = 0
    arrays[f"arg:{layer.name}_weight"] = layer.weight
    arrays[f"arg:{layer.name}_bias"] = layer.bias
    return symbol.operator(
        "Convolution", layer.name,
        [x, symbol.variable(f"{layer.name}_weight"), symbol.variable(f"{layer.name}_bias")],
        kernel=layer.weight.shape[2:], stride=(layer.stride, layer.stride), pad=(before, before),
        num_filter=layer.weight.shape[0], num_group=layer.groups)


def build(layers):
    """The symbol's graph and the arrays of its params."""
    symbol, arrays, given = mxnet_files.Symbol(), {}, []
    x = symbol.variable("image")
    for layer in layers:
        if not isinstance(layer, Conv):
            continue
        x = convolve(symbol, arrays, x, layer)
        if layer.has_relu6:
            x = symbol.operator("clip", f"{layer.name}_relu6", [x], a_min=0, a_max=6)
        if layer.add is not None:
            x = symbol.operator("elemwise_add", f"{layer.name}_sum", [x, given[layer.add]])
        given.append(x)
    x = symbol.operator("Pooling", "pooled", [x], global_pool=True, pool_type="avg", kernel=(1, 1))
    x = symbol.operator("Flatten", "features", [x])
    x = symbol.operator("FullyConnected", "fc", [x, symbol.variable("fc_weight"),
                                                 symbol.variable("fc_bias")], num_hidden=CLASSES)
    arrays["arg:fc_weight"], arrays["arg:fc_bias"] = layers[-1].weight, layers[-1].bias
    return symbol.graph(symbol.operator("softmax", "probabilities", [x], axis=-1)), arrays


def write(layers, path):
    path.mkdir()
    mxnet_files.write(path, "efficientnet-lite0", *build(layers))


if __name__ == "__main__":
    writing.main({"efficientnet-lite0-mxnet": write}, __file__, __doc__)
