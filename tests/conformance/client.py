"""The C client, for Python: libgraphpipe.so by ctypes. A tensor is (type's name, shape, elements):
the elements are bytes as they lie in memory, or a list of bytes for strings."""
import ctypes
import os
import pathlib

BUILD = pathlib.Path(os.environ.get("GP_BUILD_DIR", "build/release"))

# name: (number on the wire, bytes of an element), as GP_DTYPE_MAP of tensor.h
DTYPES = {"uint8": (1, 1), "int8": (2, 1), "uint16": (3, 2), "int16": (4, 2), "uint32": (5, 4),
          "int32": (6, 4), "uint64": (7, 8), "int64": (8, 8), "float16": (9, 2), "float32": (10, 4),
          "float64": (11, 8), "string": (12, 0), "bool": (13, 1), "bfloat16": (14, 2)}
NAMES = {number: name for name, (number, _) in DTYPES.items()}


class String(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size_bytes", ctypes.c_size_t)]


class Tensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("data", ctypes.c_void_p), ("size_bytes", ctypes.c_size_t),
                ("dtype", ctypes.c_int), ("rank", ctypes.c_uint32)]


class Call(ctypes.Structure):
    _fields_ = [("size_bytes", ctypes.c_uint32), ("n_inputs", ctypes.c_uint32),
                ("inputs", ctypes.POINTER(Tensor)),
                ("output_names", ctypes.POINTER(ctypes.c_char_p)), ("n_outputs", ctypes.c_uint32),
                ("config", ctypes.c_char_p), ("deadline_ns", ctypes.c_int64),
                ("host", ctypes.c_void_p)]


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 508)]


library = ctypes.CDLL(str(BUILD / "lib/libgraphpipe.so"))
library.gp_client_create.restype = ctypes.c_void_p
library.gp_client_create.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(Error)]
library.gp_client_infer.argtypes = [ctypes.c_void_p, ctypes.POINTER(Call),
                                    ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(Error)]
library.gp_client_destroy.argtypes = [ctypes.c_void_p]
library.gp_result_count.argtypes = [ctypes.c_void_p]
library.gp_result_output.restype = ctypes.POINTER(Tensor)
library.gp_result_output.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
library.gp_result_destroy.argtypes = [ctypes.c_void_p]


class Failure(Exception):
    pass


def to_tensor(name, dtype, shape, elements):
    """A Tensor that borrows from what its attribute `keep` holds."""
    tensor = Tensor(name.encode(), (ctypes.c_int64 * len(shape))(*shape), None, 0,
                    DTYPES[dtype][0], len(shape))
    if dtype == "string":
        buffers = [ctypes.create_string_buffer(item, len(item) + 1) for item in elements]
        data = (String * len(elements))(*(String(ctypes.addressof(buffer), len(item))
                                          for buffer, item in zip(buffers, elements)))
    else:
        buffers = None
        data = ctypes.create_string_buffer(elements, len(elements) + 1)
    tensor.data = ctypes.addressof(data)
    tensor.size_bytes = ctypes.sizeof(data) if dtype == "string" else len(elements)
    tensor.keep = (buffers, data)
    return tensor


def from_tensor(tensor):
    dtype = NAMES[tensor.dtype]
    shape = tuple(tensor.shape[i] for i in range(tensor.rank))
    if dtype != "string":
        return dtype, shape, ctypes.string_at(tensor.data, tensor.size_bytes)
    n = tensor.size_bytes // ctypes.sizeof(String)
    strings = ctypes.cast(tensor.data, ctypes.POINTER(String))
    return dtype, shape, [ctypes.string_at(strings[i].data, strings[i].size_bytes)
                          for i in range(n)]


def infer(address, inputs):
    """Asks once, on a connection of its own; `inputs` are pairs of a name, "" for the next by
    position, and a tensor."""
    error, result = Error(), ctypes.c_void_p()
    client = library.gp_client_create(address.encode(), None, error)
    if not client:
        raise Failure(error.message.decode(errors="replace"))
    try:
        tensors = [to_tensor(name, *tensor) for name, tensor in inputs]
        call = Call(size_bytes=ctypes.sizeof(Call), n_inputs=len(tensors),
                    inputs=(Tensor * len(tensors))(*tensors))
        if library.gp_client_infer(client, call, result, error) != 0:
            raise Failure(error.message.decode(errors="replace"))
        return [from_tensor(library.gp_result_output(result, i)[0])
                for i in range(library.gp_result_count(result))]
    finally:
        library.gp_result_destroy(result)
        library.gp_client_destroy(client)
