"""Writes and reads the nets of Caffe2, init_net.pb and predict_net.pb, without Caffe2, for which no
Python of today has a package: a NetDef is a message of protobuf with few fields that matter."""
import json
import struct

import numpy as np

# TensorProto.DataType of caffe2.proto, as value_inputs.json has it
TYPES = {"float32": 1, "int32": 2, "bool": 5, "uint8": 6, "int8": 7, "uint16": 8, "int16": 9,
         "int64": 10, "float16": 12, "float64": 13}
FILLERS = {"float32": "GivenTensorFill", "float64": "GivenTensorDoubleFill",
           "int32": "GivenTensorIntFill", "int64": "GivenTensorInt64Fill",
           "bool": "GivenTensorBoolFill", "int16": "GivenTensorInt16Fill"}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """A text, the bytes of a message, or a whole number."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(number << 3 | BYTES) + varint(len(value)) + value
    return varint(number << 3 | VARINT) + varint(int(value))


def floats(number, values):
    """One field for each, as Caffe2 writes them."""
    values = np.asarray(values, "<f4").ravel()
    each = np.empty(len(values), [("tag", "u1"), ("value", "<f4")])
    each["tag"], each["value"] = number << 3 | FIXED32, values
    return each.tobytes()


def argument(name, value):
    out = field(1, name)
    if isinstance(value, (list, tuple, np.ndarray)):
        values = np.asarray(value)
        if values.dtype.kind == "f":
            return out + floats(5, values)
        return out + b"".join(field(6, int(number)) for number in values.ravel())
    if isinstance(value, Net):
        return out + field(8, value.serialize())
    if isinstance(value, float):
        return out + floats(2, [value])
    return out + field(4 if isinstance(value, (str, bytes)) else 3, value)


def operator(kind, inputs, outputs, *, engine="", device=None, **arguments):
    out = b"".join([*(field(1, name) for name in inputs), *(field(2, name) for name in outputs),
                    field(4, kind),
                    *(field(5, argument(*pair)) for pair in arguments.items())])
    if device is not None:
        out += field(6, field(1, device))
    return out + (field(7, engine) if engine else b"")


class Net:
    """Operators in the order of their computation, and what the net's callers give and get."""

    def __init__(self, name="", inputs=(), outputs=()):
        self.name, self.inputs, self.outputs = name, list(inputs), list(outputs)
        self.operators = []

    def add(self, kind, inputs, outputs, **more):
        """Gives the name of the first output."""
        outputs = [outputs] if isinstance(outputs, str) else outputs
        inputs = [inputs] if isinstance(inputs, str) else inputs
        self.operators.append(operator(kind, inputs, outputs, **more))
        return outputs[0] if outputs else None

    def fill(self, name, array):
        """An operator that gives a blob the array's values."""
        array = np.asarray(array)
        return self.add(FILLERS[array.dtype.name], [], name, shape=list(array.shape), values=array)

    def serialize(self):
        return b"".join([field(1, self.name), *(field(2, each) for each in self.operators),
                         *(field(7, name) for name in self.inputs),
                         *(field(8, name) for name in self.outputs)])


def init_net(arrays, name="init"):
    net = Net(name)
    for blob, array in arrays.items():
        net.fill(blob, array)
    return net


def write(folder, predict, arrays, value_inputs=None, prefix=""):
    """Writes the files and returns the predict net's path. `value_inputs` is {"data": ("float32",
    [1, 3, 224, 224])}; what they and the arrays name are the net's external inputs."""
    path = folder / f"{prefix}predict_net.pb"
    predict.inputs = predict.inputs or [*(value_inputs or {}), *arrays]
    path.write_bytes(predict.serialize())
    (folder / f"{prefix}init_net.pb").write_bytes(init_net(arrays).serialize())
    if value_inputs is not None:
        (folder / f"{prefix}value_inputs.json").write_text(json.dumps(
            {name: [TYPES[kind], shape] for name, (kind, shape) in value_inputs.items()}))
    return path


# --- reading ----------------------------------------------------------------------------

def fields(message):
    """(number, value) of each: a number, bytes, or the bytes of a float."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = number()
        kind = tag & 7
        if kind == VARINT:
            yield tag >> 3, number()
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(kind) or number()
        yield tag >> 3, message[at:at + size]
        at += size


def read_argument(message):
    """(name, value); lists of numbers come as lists."""
    name, value, listed = "", None, []
    for number, data in fields(message):
        if number == 1:
            name = data.decode()
        elif number == 2:
            value, = struct.unpack("<f", data)
        elif number == 3:
            value = data - (1 << 64) if data >> 63 else data
        elif number == 4:
            value = data.decode(errors="replace")
        elif number == 5:
            listed += struct.unpack(f"<{len(data) // 4}f", data)
        elif number == 6:
            listed.append(data)
    return name, listed if value is None else value


def read(path):
    """([(type, inputs, outputs, {name: value})], external inputs, external outputs)"""
    operators, inputs, outputs = [], [], []
    for number, data in fields(path.read_bytes()):
        if number == 2:
            parts = list(fields(data))
            texts = {n: [value.decode() for m, value in parts if m == n] for n in (1, 2, 4)}
            operators.append((texts[4][-1], texts[1], texts[2],
                              dict(read_argument(value) for n, value in parts if n == 5)))
        elif number in (7, 8):
            (inputs if number == 7 else outputs).append(data.decode())
    return operators, inputs, outputs
