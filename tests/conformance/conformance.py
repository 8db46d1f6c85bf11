#!/usr/bin/env python3
"""Conformance: serves each model of the onnx package's own tests (node, simple, light) and asks
through the C client. Where ONNX Runtime in this process gives the expected answer, ours has to be
the same, bit for bit, and again when it is asked again. Skipped are models that the protocol has no
types for, that ONNX Runtime itself does not pass, and that draw random numbers; the last line counts
them by reason.

usage: conformance.py [-v] [PART_OF_A_NAME]...      (-v: a line for each test)
"""
import collections
import concurrent.futures
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnx.backend.test
import onnx.numpy_helper
import onnxruntime

import client

PROGRAM = os.environ.get("GP_BIN", "build/release/bin/graphpipe")
DATA = pathlib.Path(onnx.backend.test.__file__).parent / "data"
PATIENCE_S = 60
RTOL, ATOL = 1e-3, 1e-7  # of onnx's own runner
LEAST_PASSED = 1100  # of all; fewer would mean that something skips what it should not

TYPES = {onnx.TensorProto.DataType.Value(ours.upper()): ours for ours in client.DTYPES
         if ours not in ("float32", "float64")}
TYPES |= {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64"}

RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
          "RandomUniformLike"}


class Skip(Exception):
    """Why the test says nothing about us."""


class Fail(Exception):
    """What is wrong with our answer."""


# --- the tests --------------------------------------------------------------------------

class Case:
    """A model's file, and its data sets: (inputs by name, expected outputs)."""

    def __init__(self, name, path, rtol=RTOL, atol=ATOL):
        self.name, self.path, self.rtol, self.atol = name, path, rtol, atol

    def data_sets(self, model):
        for folder in sorted(self.path.parent.glob("test_data_set_*")):
            yield ({value.name: read_tensor(folder / f"input_{i}.pb", value)
                    for i, value in enumerate(model.graph.input)
                    if (folder / f"input_{i}.pb").exists()},
                   [read_tensor(folder / f"output_{i}.pb", value)
                    for i, value in enumerate(model.graph.output)])


class LightCase(Case):
    """Inputs are made as onnx's runner makes them: a ramp from 0 to 1."""

    def data_sets(self, model):
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = {}
        for value in model.graph.input:
            if value.name not in weights:
                shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
                n = np.prod(shape)
                ramp = (np.arange(n).reshape(shape) / n).astype(np.float32)
                inputs[value.name] = "float32", tuple(shape), ramp.tobytes()
        stem = self.path.with_suffix("")
        yield inputs, [read_tensor(pathlib.Path(f"{stem}_output_{i}.pb"), value)
                       for i, value in enumerate(model.graph.output)]


def find_cases():
    for kind in "node", "simple":
        for folder in sorted((DATA / kind).iterdir()):
            if (folder / "model.onnx").exists():
                yield Case(f"{kind}/{folder.name}", folder / "model.onnx",
                           *tolerances(folder / "data.json"))
    for path in sorted((DATA / "light").glob("*.onnx")):
        folder = path.stem.replace("light_", "test_")
        yield LightCase(f"light/{path.stem}", path, *tolerances(DATA / "real" / folder / "data.json"))


def tolerances(path):
    said = json.loads(path.read_text()) if path.exists() else {}
    return said.get("rtol", RTOL), said.get("atol", ATOL)


def read_tensor(path, value):
    """The tensor in a file, which is for an input or output of the model."""
    proto = onnx.TensorProto.FromString(path.read_bytes())
    dtype, shape = TYPES[proto.data_type], tuple(proto.dims)
    if dtype == "string":
        return dtype, shape, list(proto.string_data)
    # the files have bfloat16 as uint16, as numpy has
    if dtype == "uint16" and value.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16:
        dtype = "bfloat16"
    elif dtype == "bfloat16":
        proto.data_type = onnx.TensorProto.UINT16
    return dtype, shape, onnx.numpy_helper.to_array(proto).tobytes()


def check_types(model):
    """The protocol carries tensors of its own types, and nothing else."""
    for value in [*model.graph.input, *model.graph.output]:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise Skip(f"{kind.removesuffix('_type')} as input or output")
        element = value.type.tensor_type.elem_type
        if element not in TYPES:
            raise Skip(f"{onnx.TensorProto.DataType.Name(element).lower()} as input or output")


def check_ops(graph):
    for node in graph.node:
        if node.op_type in RANDOM:
            raise Skip("draws random numbers")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                check_ops(attribute.g)


# --- ONNX Runtime in this process -------------------------------------------------------

def array(tensor):
    """As numpy has it; bfloat16 as float32."""
    dtype, shape, elements = tensor
    if dtype == "string":
        made = np.empty(len(elements), object)
        made[:] = [item.decode() for item in elements]
        return made.reshape(shape)
    if dtype == "bfloat16":
        wide = np.frombuffer(elements, np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    return np.frombuffer(elements, dtype).reshape(shape).copy()


def to_ort(tensor):
    """An OrtValue: numpy has no bfloat16, and OrtValues cannot be made of strings."""
    dtype, shape, elements = tensor
    if dtype == "bfloat16":
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
            np.frombuffer(elements, np.uint16).reshape(shape).copy(), onnx.TensorProto.BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array(tensor))


def from_ort(value):
    return (TYPES[value.element_type()], tuple(value.shape()),
            ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()))


def from_numpy(made):
    if made.dtype == object:
        return "string", made.shape, [item.encode() for item in made.ravel()]
    return made.dtype.name, made.shape, made.tobytes()


def open_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options,
                                            providers=["CPUExecutionProvider"])
    except Exception:
        raise Skip("ONNX Runtime cannot load it") from None


def run_here(session, inputs):
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    types = [value.type for value in session.get_inputs() + session.get_outputs()]
    try:
        if "tensor(bfloat16)" in types:
            values = {name: to_ort(tensor) for name, tensor in inputs.items()}
            return [from_ort(value) for value in session.run_with_ort_values(None, values, options)]
        arrays = {name: array(tensor) for name, tensor in inputs.items()}
        return [from_numpy(np.asarray(made)) for made in session.run(None, arrays, options)]
    except Exception:
        raise Skip("ONNX Runtime cannot run it") from None


def check_expected(case, outputs, expected):
    """As onnx's runner compares."""
    for ours, theirs in zip(outputs, expected):
        a, b = array(ours), array(theirs)
        if ours[0] != theirs[0] or a.shape != b.shape or not (
                (a == b).all() if a.dtype == object
                else np.allclose(a, b, case.rtol, case.atol, equal_nan=True)):
            raise Skip("ONNX Runtime answers differently from what the test expects")
    if len(outputs) != len(expected):
        raise Skip("ONNX Runtime answers differently from what the test expects")


# --- ours -------------------------------------------------------------------------------

class Server:
    """The program serving a model on a socket in `folder`."""

    def __init__(self, path, folder):
        self.address = f"unix:{folder}/socket"
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--model", path, "--engine", "onnx", "--listen", self.address],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")

    def __enter__(self):
        lines = []
        for line in self.process.stderr:
            if "listening on" in line:
                return self
            lines.append(line)
        self.process.wait(PATIENCE_S)
        raise Fail("the server did not start: " + "".join(lines).strip())

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Fail("the server did not end") from None
        if status != 0:
            raise Fail(f"the server ended with {status}: {self.process.stderr.read().strip()}")


def check_same(ours, here):
    """Bit for bit; a NaN is as good as another."""
    if len(ours) != len(here):
        raise Fail(f"{len(ours)} outputs instead of {len(here)}")
    for i, (got, wanted) in enumerate(zip(ours, here)):
        if got == wanted:
            continue
        if got[:2] != wanted[:2]:
            raise Fail(f"output {i} is {got[:2]} instead of {wanted[:2]}")
        a, b = array(got), array(wanted)
        is_nan = a.dtype.kind == "f" and np.isnan(a) & np.isnan(b)
        bits = np.frombuffer(got[2], f"V{a.itemsize}") == np.frombuffer(wanted[2], f"V{a.itemsize}") \
            if a.dtype != object and got[0] != "bfloat16" else (a == b).ravel()
        if not (bits.reshape(a.shape) | is_nan).all():
            raise Fail(f"output {i} differs: {a.ravel()[:8]} instead of {b.ravel()[:8]}")


def check(case):
    model = onnx.load(case.path, load_external_data=False)
    check_types(model)
    check_ops(model.graph)
    session = open_session(case.path)
    asked = []
    for inputs, expected in case.data_sets(model):
        here = run_here(session, inputs)
        check_expected(case, here, expected)
        asked.append((inputs, here))
    if not asked:
        raise Skip("it has no data")
    with tempfile.TemporaryDirectory(prefix="gp-conformance-") as folder, \
            Server(case.path, folder) as server:
        # the second time, outputs of known shape are written into the server's memory
        for inputs, here in asked * 2:
            try:
                check_same(client.infer(server.address, inputs.items()), here)
            except client.Failure as failure:
                raise Fail(str(failure)) from None


def outcome(case):
    try:
        check(case)
        return "passed", ""
    except Skip as reason:
        return "skipped", str(reason)
    except Fail as what:
        return "FAILED", str(what)


def main(words):
    is_verbose = "-v" in words
    parts = [word for word in words if word != "-v"]
    cases = [case for case in find_cases() if not parts or any(part in case.name for part in parts)]
    counts, reasons = collections.Counter(), collections.Counter()
    n_cores = len(os.sched_getaffinity(0))
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(n_cores) as pool:
        for case, (what, why) in zip(cases, pool.map(outcome, cases)):
            counts[what] += 1
            reasons.update([why] if what == "skipped" else [])
            if is_verbose or what == "FAILED":
                print(f"{what} {case.name}{': ' if why else ''}{why}", flush=True)
    for reason, n in reasons.most_common():
        print(f"SKIPPED [{n}] conformance: {reason}")
    print(f"{counts['FAILED']} failed, {counts['passed']} passed, {counts['skipped']} skipped"
          f" in {time.monotonic() - start:.1f}s")  # as pytest says it, for tools/test
    if counts["passed"] < (1 if parts else LEAST_PASSED):
        print("conformance: too few passed")
        return 1
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
