"""Reads a PyTorch state dict, as torch.save wrote it before 1.6, without PyTorch.

Such a file is five pickles (magic number, protocol version, facts of the machine, the state
dict, the keys of its storages) and then the storages: for each key, in that order, a count and
the raw elements. The pickled tensors are only views (storage, offset, shape, strides). A pickle
can name any function to call, so the unpickler here knows the few names that a state dict needs
and refuses all others.
"""

import collections
import pickle

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
STORAGE_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

View = collections.namedtuple("View", "key offset shape strides")


class StateDictError(ValueError):
    """The file is not a state dict that this reader takes; the message says why."""


def read(path):
    """Returns an ordered dict of name -> numpy array (contiguous copies)."""
    with open(path, "rb") as file:
        try:
            return _read(file)
        except StateDictError as error:
            raise StateDictError(f"{path}: {error}") from None


def _read(file):
    if _unpickle(file, "magic number") != MAGIC:
        raise StateDictError("no legacy PyTorch file: the magic number is another")
    version = _unpickle(file, "protocol version")
    if version != PROTOCOL_VERSION:
        raise StateDictError(f"protocol version {version!r}, expected {PROTOCOL_VERSION}")
    machine = _unpickle(file, "facts of the machine")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise StateDictError("not written on a little-endian machine")

    dtypes = {}
    views = _unpickle(file, "state dict", dtypes)
    if not isinstance(views, dict):
        raise StateDictError(f"a state dict was expected, not a {type(views).__name__}")
    keys = _unpickle(file, "list of storages")
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(dtypes):
        raise StateDictError("the list of storages is not that of the tensors")
    storages = {key: _read_storage(file, key, dtypes[key]) for key in keys}
    return collections.OrderedDict(
        (name, _tensor(name, view, storages)) for name, view in views.items())


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, dtypes):
        super().__init__(file)
        self.dtypes = dtypes  # storage key -> dtype, filled while reading

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in STORAGE_TYPES:
            return name
        raise StateDictError(f"the pickle asks for {module}.{name}, which a state dict "
                             "does not need")

    def persistent_load(self, pid):
        kind, storage_type, key, _device, _count, view = pid
        if kind != "storage" or view is not None or not isinstance(key, str):
            raise StateDictError(f"persistent object {pid!r} is not a plain storage")
        self.dtypes[key] = STORAGE_TYPES[storage_type]
        return key


def _view(key, offset, shape, strides, *_gradient_and_hooks):
    return View(key, offset, shape, strides)


def _unpickle(file, what, dtypes=None):
    try:
        return _Unpickler(file, dtypes if dtypes is not None else {}).load()
    except StateDictError:
        raise
    except EOFError:
        raise StateDictError(f"truncated: the file ends in the {what}") from None
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise StateDictError(f"the {what} cannot be unpickled: {error}") from None


def _read_storage(file, key, dtype):
    head = file.read(8)
    n_elements = int.from_bytes(head, "little")
    data = file.read(n_elements * dtype.itemsize) if n_elements < 1 << 40 else b""
    if len(head) < 8 or len(data) < n_elements * dtype.itemsize:
        raise StateDictError(f"truncated: the file ends in storage {key}")
    return np.frombuffer(data, dtype)


def _tensor(name, view, storages):
    if not isinstance(view, View) or view.key not in storages:
        raise StateDictError(f"{name} is not a tensor")
    numbers = (view.offset, *view.shape, *view.strides)
    if len(view.shape) != len(view.strides) or any(
            not isinstance(n, int) or n < 0 for n in numbers):
        raise StateDictError(f"{name}: bad offset, shape or strides")
    storage = storages[view.key]
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides))
    if 0 not in view.shape and last >= storage.size:
        raise StateDictError(f"{name}: reaches element {last} of a storage of {storage.size}")
    strides = [s * storage.itemsize for s in view.strides]
    return np.lib.stride_tricks.as_strided(
        storage[view.offset:], view.shape, strides, writeable=False).copy(order="C")
