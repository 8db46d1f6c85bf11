"""Writes a model of CNTK 2, NAME.model, without CNTK, whose Python package is for Python 3.6 and older: a
protobuf of dictionaries within dictionaries, with the variables and the functions of a network. Shapes
are as in Python; CNTK's own are the other way around, and the bytes are then the same."""
import os
import pathlib
import struct
import subprocess

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARIES = ROOT / ".deps/cntk"

INPUT, _, PARAMETER, CONSTANT, PLACEHOLDER = range(5)
OPS = {"Sigmoid": 1, "Tanh": 2, "ReLU": 3, "Softmax": 10, "Plus": 19, "ElementTimes": 21, "Times": 31,
       "PastValue": 37, "Combine": 44}
TYPES = {"float32": 1, "float64": 2}
ROWS, STEPS = "defaultBatchAxis", "defaultDynamicAxis"
FREE = 2 ** 64 - 3  # a size that is not known
DYNAMIC = 2 ** 31 - 1


class Shape(tuple):
    """Of a variable."""


class Axis(str):
    """A dynamic one."""


class Int(int):
    """With a sign; other numbers are sizes."""


# --- protobuf ---------------------------------------------------------------------------

def varint(number):
    number &= 2 ** 64 - 1
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number, body):
    """A message or text by its bytes, a number as it is."""
    if isinstance(body, bytes):
        return varint(number << 3 | 2) + varint(len(body)) + body
    return varint(number << 3) + varint(body)


# --- values of dictionaries -------------------------------------------------------------

def shape_bytes(shape):
    return field(1, b"".join(map(varint, reversed(shape))))


def array_bytes(array, shape=None):
    """With another shape, an array that cannot be."""
    kind = TYPES[array.dtype.name]
    shape = array.shape if shape is None else shape
    return (field(1, kind) + field(3, shape_bytes(shape))
            + field(3 + kind, field(1, array.tobytes())))


def dictionary_bytes(items):
    return field(1, 1) + b"".join(
        field(2, field(1, key.encode()) + field(2, value_bytes(value))) for key, value in items.items())


def value_bytes(value):
    """The type's number, then the value in the field of that type."""
    kinds = [(bool, 1, int), (Int, 2, int), (int, 3, int), (float, 5, None), (Shape, 7, shape_bytes),
             (Axis, 8, lambda axis: field(1, DYNAMIC) + field(2, axis.encode())
              + field(3, int(axis != ROWS))),
             (str, 6, str.encode),
             (list, 9, lambda items: b"".join(field(1, value_bytes(item)) for item in items)),
             (dict, 10, dictionary_bytes), (np.ndarray, 11, array_bytes),
             (bytes, 11, bytes)]
    kind, encode = next(of[1:] for of in kinds if isinstance(value, of[0]))
    head = field(1, 1) + field(2, kind)
    if isinstance(value, float):
        return head + varint(7 << 3 | 1) + struct.pack("<d", value)
    return head + field(kind + 2, encode(value))


# --- a network --------------------------------------------------------------------------

class Network:
    """Variables, and functions in the order of their computation. Each is known by its uid."""

    def __init__(self):
        self.variables = []
        self.functions = []

    def variable(self, kind, name, shape, axes=(), dtype="float32", **more):
        uid = f"{['Input', '', 'Parameter', 'Constant', 'Placeholder'][kind]}{len(self.variables)}"
        self.variables.append({
            "version": 1, "type": "Variable", "uid": uid, "kind": kind, "data_type": TYPES[dtype],
            "dynamic_axis": list(map(Axis, axes)), "is_sparse": False, "name": name,
            "needs_gradient": False, "shape": Shape(shape)} | more)
        return self.variables[-1]["uid"]

    def input(self, name, shape, axes=(ROWS,), **more):
        return self.variable(INPUT, name, shape, axes, **more)

    def placeholder(self, uid, shape, axes):
        """For the output of a function that comes later, in a circle."""
        return self.variable(PLACEHOLDER, "", shape, axes, uid=uid)

    def parameter(self, array, kind=PARAMETER):
        return self.variable(kind, "", array.shape, dtype=array.dtype.name, value=array)

    def function(self, op, inputs, name="", **attributes):
        self.functions.append({
            "version": 1, "type": "PrimitiveFunction", "uid": f"{op}{len(self.functions)}",
            "op": OPS[op], "name": name, "attributes": attributes, "inputs": list(inputs)})
        return self.functions[-1]["uid"] + "_Output_0"

    def times(self, x, weights, name=""):
        """x @ weights.T, with the inputs in CNTK's order."""
        return self.function("Times", [self.parameter(np.ascontiguousarray(weights.T)), x], name,
                             outputRank=1, inferInputRankToMap=Int(-1))

    def root(self, *outputs):
        """The dictionary of it all."""
        if len(outputs) > 1:
            self.function("Combine", outputs)
        return {"version": 1, "type": "CompositeFunction", "root": self.functions[-1]["uid"],
                "name": "", "uid": "CompositeFunction0", "inputs": self.variables,
                "primitive_functions": self.functions, "state": {}}

    def write(self, path, *outputs):
        path.write_bytes(dictionary_bytes(self.root(*outputs)))
        return path


# --- from ONNX --------------------------------------------------------------------------

def converter():
    """The program of cntk_convert.cc, built when it is first needed."""
    source, program = HERE / "cntk_convert.cc", ROOT / "build/cntk_convert"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(exist_ok=True)
        part = program.with_suffix(f".{os.getpid()}")
        subprocess.run(["g++", "-std=c++14", "-O1", source, "-o", part,
                        "-Wl,--unresolved-symbols=ignore-in-shared-libs", f"-Wl,-rpath,{LIBRARIES}",
                        *LIBRARIES.glob("libCntk.Core-*.so")], check=True)
        part.rename(program)
    return program


def convert(source, path):
    """CNTK itself makes a model of an ONNX file, or ONNX of a model."""
    run = subprocess.run([converter(), source, path], capture_output=True, text=True)
    if run.returncode:
        raise ValueError(run.stderr or f"cntk_convert ended with {run.returncode}")
    return path
