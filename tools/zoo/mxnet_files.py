"""Writes the two files of an MXNet model, NAME-symbol.json and NAME-0000.params, without MXNet, for
which no Python of today has a package that works: a symbol is a list of nodes as JSON, params are
arrays one after the other."""
import json
import struct

import numpy as np

TYPES = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool", "int16",
         "uint16", "uint32", "uint64", "bfloat16"]


class Symbol:
    """Nodes in the order of their computation. A node is known by its number, one of several
    outputs by (number, output)."""

    def __init__(self, **attributes):
        self.nodes = []
        self.attributes = attributes

    def variable(self, name, **attributes):
        return self.operator("null", name, [], **attributes)

    def operator(self, op, name, inputs, **attributes):
        node = {"op": op, "name": name, "inputs": [[*self.place(at), 0] for at in inputs]}
        if attributes:
            node["attrs"] = {key: str(value) for key, value in attributes.items()}
        self.nodes.append(node)
        return len(self.nodes) - 1

    @staticmethod
    def place(at):
        return at if isinstance(at, tuple) else (at, 0)

    def graph(self, *heads):
        return {"nodes": self.nodes,
                "arg_nodes": [i for i, node in enumerate(self.nodes) if node["op"] == "null"],
                "node_row_ptr": list(range(len(self.nodes) + 1)),
                "heads": [[*self.place(at), 0] for at in heads],
                "attrs": {"mxnet_version": ["int", 10901],
                          **{key: ["int", value] for key, value in self.attributes.items()}}}


def params_bytes(arrays, magic=0xF993FAC9):
    """A params file's bytes, of {"arg:fc1_weight": array, "aux:bn_moving_mean": array}."""
    out = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    for array in map(np.asarray, arrays.values()):
        out += [struct.pack("<IiI", magic, 0, array.ndim),
                struct.pack(f"<{array.ndim}q", *array.shape),
                struct.pack("<iii", 1, 0, TYPES.index(array.dtype.name)),
                np.ascontiguousarray(array).tobytes()]
    out.append(struct.pack("<Q", len(arrays)))
    for name in map(str.encode, arrays):
        out.append(struct.pack("<Q", len(name)) + name)
    return b"".join(out)


def write(folder, name, graph, arrays=None, epoch=0):
    """Writes the files and returns the symbol's path; without arrays no params file."""
    symbol = folder / f"{name}-symbol.json"
    symbol.write_text(json.dumps(graph, indent=1))
    if arrays is not None:
        (folder / f"{name}-{epoch:04d}.params").write_bytes(params_bytes(arrays))
    return symbol
