"""The messages of bench/codec.c as others write and read them, in Python: the client of 2018,
TensorFlow Serving's protobuf, and JSON. Each as its users do, which copies where they do: for
protobuf what tf.make_tensor_proto and tf.make_ndarray do. JSON has a tenth of the rows, since
all of them would take half a minute and gigabytes. Prints one line of JSON, times in
microseconds; each time is the median of a few calls.

  python bench/rivals/codec_rivals.py
"""
import json
import statistics
import time

import numpy
import ujson
from google.protobuf.internal import api_implementation
from graphpipe import convert
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

SHAPES = {"request": (128, 224, 224, 3), "response": (128, 7, 7, 512)}
JSON_PART = 10
BUDGET_S = 0.3


# --- the client of 2018 -------------------------------------------------------------------

def graphpipe_2018(kind, array):
    if kind == "request":
        return (lambda: convert.serialize_infer_request(convert.InferReq(None, [array])),
                lambda message: convert.deserialize_request(message).input_tensors[0])
    return (lambda: convert.serialize_infer_response([array]),
            lambda message: convert.deserialize_infer_response(message)[0][0])


# --- TensorFlow Serving's protobuf --------------------------------------------------------

def make_tensor_proto(array):
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=n) for n in array.shape]
    return tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=array.tobytes(),
                                  tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=dims))


def make_ndarray(tensor):
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    return numpy.frombuffer(tensor.tensor_content, numpy.float32).copy().reshape(shape)


def protobuf(kind, array):
    message_type, field = {
        "request": (predict_pb2.PredictRequest, "inputs"),
        "response": (predict_pb2.PredictResponse, "outputs"),
    }[kind]

    def encode():
        message = message_type()
        message.model_spec.name = "model"
        getattr(message, field)["x"].CopyFrom(make_tensor_proto(array))
        return message.SerializeToString()

    return encode, lambda bytes_: make_ndarray(
        getattr(message_type.FromString(bytes_), field)["x"])


# --- JSON ---------------------------------------------------------------------------------

def json_(kind, array):
    field = {"request": "instances", "response": "predictions"}[kind]
    return (lambda: ujson.dumps({field: array.tolist()}),
            lambda text: numpy.array(ujson.loads(text)[field], numpy.float32))


# ------------------------------------------------------------------------------------------

def median_us(call):
    call()
    took = []
    while len(took) < 3 or (sum(took) < BUDGET_S and len(took) < 1000):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1e6


def measure(codec, kind, array):
    encode, decode = codec(kind, array)
    message = encode()
    if not numpy.allclose(decode(message), array):
        raise RuntimeError(f"{codec.__name__} does not give back what it got")
    return {"bytes": array.nbytes, "encode": median_us(encode),
            "decode": median_us(lambda: decode(message))}


def main():
    if api_implementation.Type() == "python":
        raise RuntimeError("protobuf runs without its C part, which nobody would do")
    found = {}
    for kind, shape in SHAPES.items():
        array = numpy.random.default_rng(1).random(shape, numpy.float32)
        part = array[: len(array) // JSON_PART]
        found[kind] = {"client of 2018, Python": measure(graphpipe_2018, kind, array),
                       "protobuf, Python": measure(protobuf, kind, array),
                       "JSON, Python": measure(json_, kind, part)}
    print(json.dumps(found))


main()
