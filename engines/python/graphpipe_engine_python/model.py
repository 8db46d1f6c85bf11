"""A user's model: the file, the object in it to call, and its declarations. Errors are one line
that begins with the file's name."""
import inspect
import operator
import os
import struct
import sys
import traceback
import types

import numpy as np

from .link import (ANY_INPUTS, ANY_OUTPUT, ANY_RANK, DTYPES, ENGINE, INVALID, MAX_RANK, NOT_FOUND,
                   STRING, WRITES_OUTPUTS, Failure, text, u32, u64)


def error_text(error):
    """ "ValueError: words"; only the type if the exception cannot be printed."""
    try:
        words = str(error)
    except Exception:
        words = ""
    return type(error).__name__ + (": " + words if words else "")


def run_code(code, names):
    exec(code, names)


def dtype_number(what):
    """The number for GraphPipe's name of a type, or anything numpy accepts; 0, any, for None."""
    if what is None:
        return 0
    if isinstance(what, str) and what in DTYPES[1:]:
        return DTYPES.index(what)
    dtype = np.dtype(what)
    return STRING if dtype.kind in "SUO" else DTYPES.index(dtype.name)


def read_io(name, value):
    """(type, sizes, description) of ("float32", [-1, 3]) or ("float32", [-1, 3], "words"); sizes
    are None if any shape will do."""
    try:
        dtype, shape, description = value if len(value) == 3 else (*value, "")
        sizes = None if shape is None else [-1 if n is None else operator.index(n) for n in shape]
        if not isinstance(name, str) or not isinstance(description, str) or \
                isinstance(value, str) or min(sizes or [0]) < -1 or len(sizes or []) > MAX_RANK:
            raise ValueError
        return dtype_number(dtype), sizes, description
    except (TypeError, ValueError):
        raise ValueError(f'[{name!r}] is {value!r}; wanted is ("float32", [-1, 3])')


class Model:
    def __init__(self, path):
        self.path, self.loop = path, None
        self.module = self.execute()
        self.object = self.choose()
        self.infer = self.to_the_end(self.object.infer)
        if hasattr(self.object, "load"):
            self.call(self.to_the_end(self.object.load))
        self.inputs, self.outputs = self.read_ios("inputs"), self.read_ios("outputs")
        self.description = self.describe()

    # --- the file ---

    def refuse(self, words, trace=""):
        raise Failure(INVALID, f"{self.path}: {words}", trace)

    def call(self, function, *arguments):
        """Runs the user's code: any exception, even SystemExit, is reported with its line."""
        try:
            return function(*arguments)
        except BaseException as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                     if frame.filename == self.path]
            words = error_text(error)
            if isinstance(error, SyntaxError) and error.filename == self.path:
                lines, words = [error.lineno], f"{type(error).__name__}: {error.msg}"
            if isinstance(error, ImportError):
                words += f" (in {sys.executable})"
            at = f"line {lines[-1]}: " if lines else ""
            failure = Failure(INVALID, f"{self.path}: {at}{words}", traceback.format_exc())
        raise failure  # without the user's frames

    def to_the_end(self, function):
        """What is `async def` runs in a loop of this process, which keeps the model's tasks and
        connections from one run to the next."""
        if not inspect.iscoroutinefunction(function):
            return function
        import asyncio
        if not self.loop:
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        return lambda *arguments: self.loop.run_until_complete(function(*arguments))

    def close(self):
        if hasattr(self.object, "close"):
            self.to_the_end(self.object.close)()

    def execute(self):
        """Without import: no bytecode is left beside the model, and its file may have any name."""
        try:
            with open(self.path, "rb") as file:
                source = file.read()
        except OSError as error:
            raise Failure(NOT_FOUND, f"cannot read the model {self.path}: {error.strerror}")
        name = os.path.splitext(os.path.basename(self.path))[0]
        module = types.ModuleType(name if name not in sys.modules else "graphpipe_model")
        module.__file__ = self.path
        # pickle looks there: by the file's name, and as __main__, which a script or notebook that
        # wrote it was
        self.worker, sys.modules["__main__"] = sys.modules["__main__"], module
        sys.modules[module.__name__] = module
        code = self.call(compile, source, self.path, "exec", 0, True)
        self.call(run_code, code, module.__dict__)
        return module

    def choose(self):
        """The object with infer: a class Model, or the module, or the only class that has it."""
        things = vars(self.module)
        found = [thing for thing in things.values() if isinstance(thing, type)
                 and thing.__module__ == self.module.__name__ and hasattr(thing, "infer")]
        if isinstance(things.get("Model"), type) and hasattr(things["Model"], "infer"):
            return self.call(things["Model"])
        if callable(things.get("infer")):
            return types.SimpleNamespace(infer=things["infer"])
        if len(found) > 1:
            self.refuse("several classes have an infer; call the one to be served Model")
        if not found:
            self.refuse("defines neither a function infer(inputs) nor a class with one")
        return self.call(found[0])

    # --- what it declares ---

    def declared(self, name, kind, default):
        value = getattr(self.object, name, vars(self.module).get(name, default))
        if not isinstance(value, kind):
            self.refuse(f"{name} is {value!r}; wanted is {kind.__name__}")
        return value

    def read_ios(self, field):
        """{name: (type, sizes, description)}; None if nothing is declared."""
        if self.declared(field, object, None) is None:
            return None
        try:
            return {name: read_io(name, io) for name, io in self.declared(field, dict, {}).items()}
        except ValueError as error:
            self.refuse(f"{field}{error}")

    def describe(self):
        """The part of OPENED after the engine's name and version."""
        max_batch = self.declared("max_batch", int, 0)
        if not 0 <= max_batch < 1 << 63:
            self.refuse(f"max_batch is {max_batch}; wanted is a number of rows, 0: any")
        inputs, outputs = self.inputs or {}, self.outputs or {}
        flags = (ANY_INPUTS if self.inputs is None else 0) | \
            (ANY_OUTPUT if self.outputs is None else 0) | WRITES_OUTPUTS  # empty clears
        body = u32(flags) + u32(len(inputs)) + u32(len(outputs)) + u32(1) + u64(max_batch)
        body += text("numpy " + np.__version__)
        for name in "version", "description", "name":
            body += text(self.declared(name, str, ""))
        for name, (dtype, sizes, description) in [*inputs.items(), *outputs.items()]:
            body += text(name) + text(description) + u32(dtype)
            body += u32(ANY_RANK if sizes is None else 0) + u32(len(sizes or []))
            body += struct.pack(f"<{len(sizes or [])}q", *sizes or [])
        return body + text(os.fsencode(self.path))

    # --- its answers ---

    def check_names(self, asked):
        for name in asked:
            if self.outputs is not None and name not in self.outputs:
                raise Failure(INVALID, f'no output is named "{name}"; the model has: '
                                       f'{", ".join(self.outputs) or "none"}')

    def wanted(self, result, asked):
        """[(name, value)] of the requested outputs, or of all if none are named. infer returns a
        dict, a tuple of outputs in order, or the only output."""
        if not isinstance(result, dict):
            values = result if isinstance(result, tuple) else (result,)
            names = list(self.outputs or (f"output_{i}" for i in range(len(values))))
            if len(names) != len(values):
                raise Failure(ENGINE, f"infer gave {len(values)} outputs; the model declares "
                                      f"{len(names)}")
            result = dict(zip(names, values))
        names = asked or self.outputs or result
        for name in names:
            if name not in result:
                raise Failure(ENGINE if self.outputs else INVALID,
                              f'infer gave no output "{name}", but: '
                              f'{", ".join(map(str, result)) or "none"}')
        return [(name, result[name]) for name in names]
