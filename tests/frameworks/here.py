"""How each framework runs a model in this process: the answers that the served ones are held to.
Each function opens a model and gives infer(inputs) -> outputs, lists of arrays in the model's order;
strings are arrays of bytes objects. A framework is imported when it is first needed."""
import functools
import importlib.metadata
import importlib.util
import os
import warnings

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's greeting, and more


def version_of(framework):
    name = {"ONNX Runtime": "onnxruntime", "TensorFlow": "tensorflow_cpu", "PyTorch": "torch",
            "TensorFlow Lite": "tensorflow_cpu"}.get(framework, framework)
    return importlib.metadata.version(name)


@functools.cache
def onnx(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs)))


def saved_model(path):
    """The signature serving_default, inputs and outputs in the order of their names, by the loader
    that needs no Keras."""
    import tensorflow as tf
    tf.get_logger().setLevel("ERROR")  # it would have another loader used
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
    signature = loaded.signature_def["serving_default"]
    inputs, outputs = ([of[name].name for name in sorted(of)]
                       for of in (signature.inputs, signature.outputs))
    return lambda given: session.run(outputs, dict(zip(inputs, given)))


def graph(path, inputs, outputs):
    """A frozen graph, from the tensors `inputs` to the tensors `outputs`."""
    import tensorflow as tf
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    wrapped = tf.compat.v1.wrap_function(
        lambda: tf.import_graph_def(definition, name=""), [])
    pruned = wrapped.prune([wrapped.graph.get_tensor_by_name(name) for name in inputs],
                           [wrapped.graph.get_tensor_by_name(name) for name in outputs])
    return lambda given: [y.numpy() for y in pruned(*map(tf.constant, given))]


def tflite(path):
    import tensorflow as tf
    with warnings.catch_warnings(action="ignore"):  # of its successor
        interpreter = tf.lite.Interpreter(str(path))

    def infer(inputs):
        for place, x in zip(interpreter.get_input_details(), inputs):
            interpreter.resize_tensor_input(place["index"], x.shape)
        interpreter.allocate_tensors()
        for place, x in zip(interpreter.get_input_details(), inputs):
            interpreter.set_tensor(place["index"], x)
        interpreter.invoke()
        return [interpreter.get_tensor(place["index"])
                for place in interpreter.get_output_details()]
    return infer


def python(path):
    """What the file of a user of the python engine defines, in this process."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda inputs: list(module.infer(dict(enumerate(inputs))).values())


def torchscript(path):
    """Numbers are arguments as they are, other arrays as tensors."""
    import torch
    module = torch.jit.load(str(path)).eval()

    def infer(inputs):
        with torch.inference_mode():
            answer = module(*(torch.from_numpy(np.array(x)) if x.ndim else x.item()
                              for x in inputs))
        return [answer.numpy()]
    return infer


def channels_last(infer):
    """What takes channels first, for inputs that have them last."""
    return lambda inputs: infer([x.transpose(0, 3, 1, 2) for x in inputs])
