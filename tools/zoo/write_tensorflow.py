"""Writes EfficientNet-Lite0 from TensorFlow: as a SavedModel, as a frozen GraphDef, once more with
channels first, and as TFLite, by TensorFlow's converter. But for the one that says so they take
channels last. Needs tensorflow (tools/setup test-engines)."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import writing  # noqa: E402
from efficientnet_lite0 import IMAGE_SIZE, Conv  # noqa: E402

SHAPES = {"NHWC": [None, IMAGE_SIZE, IMAGE_SIZE, 3], "NCHW": [None, 3, IMAGE_SIZE, IMAGE_SIZE]}


def convolve(x, layer, weight, bias, layout):
    """Padding is SAME, which is where the layer's own comes from."""
    strides = [1, layer.stride, layer.stride, 1] if layout == "NHWC" else \
        [1, 1, layer.stride, layer.stride]
    if layer.groups == 1:
        x = tf.nn.conv2d(x, weight, strides, "SAME", data_format=layout)
    else:
        x = tf.nn.depthwise_conv2d(x, weight, strides, "SAME", data_format=layout)
    return tf.nn.bias_add(x, bias, data_format=layout)


def run(x, layers, weights, layout):
    given = []
    for layer, (weight, bias) in zip(layers, weights):
        if isinstance(layer, Conv):
            x = convolve(x, layer, weight, bias, layout)
            if layer.has_relu6:
                x = tf.nn.relu6(x)
            if layer.add is not None:
                x = x + given[layer.add]
            given.append(x)
    x = tf.reduce_mean(x, [1, 2] if layout == "NHWC" else [2, 3])
    weight, bias = weights[-1]
    return tf.nn.softmax(tf.nn.bias_add(tf.matmul(x, weight), bias))


def arrays(layer):
    """Weight and bias as TensorFlow has them: of convolutions [kernel, kernel, inputs, outputs], of
    one for each channel [kernel, kernel, channels, 1]."""
    if not isinstance(layer, Conv):
        return layer.weight.T, layer.bias
    order = (2, 3, 1, 0) if layer.groups == 1 else (2, 3, 0, 1)
    return np.ascontiguousarray(layer.weight.transpose(order)), layer.bias


class Model(tf.Module):
    def __init__(self, layers):
        super().__init__()
        self.weights = [[tf.Variable(array, trainable=False) for array in arrays(layer)]
                        for layer in layers]
        self.serve = tf.function(
            lambda image: {"probabilities": run(image, layers, self.weights, "NHWC")},
            input_signature=[tf.TensorSpec(SHAPES["NHWC"], tf.float32, "image")])


def write_saved_model(layers, path):
    model = Model(layers)
    tf.saved_model.save(model, str(path), signatures=model.serve)


def write_graph(layout):
    def write(layers, path):
        with tf.Graph().as_default() as graph:
            image = tf.compat.v1.placeholder(tf.float32, SHAPES[layout], "image")
            weights = [[tf.constant(array) for array in arrays(layer)] for layer in layers]
            tf.identity(run(image, layers, weights, layout), "probabilities")
        path.write_bytes(graph.as_graph_def().SerializeToString(deterministic=True))
    return write


def write_tflite(layers, path):
    model = Model(layers)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [model.serve.get_concrete_function()], model)
    path.write_bytes(converter.convert())


if __name__ == "__main__":
    writing.main({"efficientnet-lite0-savedmodel": write_saved_model,
                  "efficientnet-lite0.pb": write_graph("NHWC"),
                  "efficientnet-lite0-nchw.pb": write_graph("NCHW"),
                  "efficientnet-lite0.tflite": write_tflite}, __file__, __doc__)
