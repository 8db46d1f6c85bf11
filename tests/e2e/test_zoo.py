"""The model that the demo serves: the state dict reader refuses what it should, and the ONNX
file made from the weights knows a coffee mug when run in this process by ONNX Runtime."""

import collections
import os
import pickle
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from PIL import Image

SOURCE = os.environ.get("GP_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(SOURCE, "tools", "zoo"))

import efficientnet_lite0  # noqa: E402
import torch_state_dict  # noqa: E402
import write_onnx  # noqa: E402

COFFEE_MUG = 504


@pytest.fixture(scope="module")
def model():
    return write_onnx.build(efficientnet_lite0.trained_layers())


def picture():
    path = os.path.join(SOURCE, "examples", "mug.png")
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)
    return ((pixels - 127) / 128).transpose(2, 0, 1)[np.newaxis]


def test_knows_the_mug_in_every_batch(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    batch = np.concatenate([picture(), np.zeros_like(picture()), picture()])
    probabilities, = session.run(["probabilities"], {"image": batch})
    assert probabilities.shape == (3, 1000)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    for row in (0, 2):
        assert probabilities[row].argmax() == COFFEE_MUG
        assert probabilities[row, COFFEE_MUG] == pytest.approx(0.573, abs=0.005)


def test_gives_the_same_bytes_every_time(model):
    again = write_onnx.build(efficientnet_lite0.trained_layers())
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True)


def test_file_is_written_when_missing_or_old(tmp_path):
    def write():
        subprocess.run([sys.executable, "-B", write_onnx.__file__, "--folder", tmp_path], check=True)
        (path,) = tmp_path.iterdir()
        return path, path.stat().st_mtime
    path, made = write()
    assert write() == (path, made)
    os.utime(path, (0, 0))
    assert write()[1] >= made


def test_weights_that_do_not_fit_are_named():
    weights = torch_state_dict.read(efficientnet_lite0.installed_weights())
    with pytest.raises(ValueError, match="more than the architecture: extra.weight"):
        efficientnet_lite0.layers({**weights, "extra.weight": np.zeros(1)})
    del weights["_blocks.3._bn1.bias"]
    with pytest.raises(ValueError, match=r"_blocks\.3\._bn1\.bias should .* is missing"):
        efficientnet_lite0.layers(weights)


# --- the reader, on files of three elements made here -----------------------------------

class Global:
    """Pickles as a call of module.name, which need not exist."""

    def __init__(self, module, name, args=()):
        self.module, self.name, self.args = module, name, args


class Storage:
    def __init__(self, key, count):
        self.key, self.count = key, count


class Pickler(pickle._Pickler):
    """Writes Global and Storage as torch.save does."""

    def save_global_name(self, module, name):
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.save_global_name(obj.module, obj.name)
            self.save(obj.args)
            self.write(pickle.REDUCE)
        elif isinstance(obj, Storage):
            self.write(pickle.MARK)
            self.save("storage")
            self.save_global_name("torch", "FloatStorage")
            for part in (obj.key, "cpu", obj.count, None):
                self.save(part)
            self.write(pickle.TUPLE + pickle.BINPERSID)
        else:
            super().save(obj, save_persistent_id)


def tensor(offset, shape, strides):
    return Global("torch._utils", "_rebuild_tensor_v2",
                  (Storage("7", 3), offset, shape, strides, False, collections.OrderedDict()))


def write(path, state, keys=("7",)):
    with open(path, "wb") as file:
        for part in (torch_state_dict.MAGIC, torch_state_dict.PROTOCOL_VERSION,
                     {"little_endian": True}, state, list(keys)):
            Pickler(file, 2).dump(part)
        file.write((3).to_bytes(8, "little") + np.array([1, 2, 3], "<f4").tobytes())
    return path


def test_reads_views_with_offset_and_strides(tmp_path):
    state = {"whole": tensor(0, (3,), (1,)), "every_other": tensor(0, (2, 1), (2, 5)),
             "scalar": tensor(2, (), ())}
    tensors = torch_state_dict.read(write(tmp_path / "good.pth", state))
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "whole": [1, 2, 3], "every_other": [[1], [3]], "scalar": 3}


@pytest.mark.parametrize("module, name", [
    ("os", "system"), ("builtins", "eval"), ("torch", "load"), ("collections", "Counter")])
def test_refuses_other_globals(tmp_path, module, name):
    path = write(tmp_path / "evil.pth", {"w": Global(module, name, ("echo",))})
    with pytest.raises(torch_state_dict.StateDictError, match=f"asks for {module}.{name}"):
        torch_state_dict.read(path)


def test_refuses_views_beyond_the_storage(tmp_path):
    for state in (tensor(1, (3,), (1,)), tensor(0, (2,), (3,)), tensor(-1, (1,), (1,)),
                  tensor(0, (2,), (-1,)), tensor(0, (1, 1), (1,))):
        path = write(tmp_path / "far.pth", {"w": state})
        with pytest.raises(torch_state_dict.StateDictError, match="far.pth: w: "):
            torch_state_dict.read(path)


def test_refuses_every_truncation(tmp_path):
    whole = write(tmp_path / "whole.pth", {"w": tensor(0, (3,), (1,))}).read_bytes()
    cut = tmp_path / "cut.pth"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(torch_state_dict.StateDictError, match="truncated|unpickled"):
            torch_state_dict.read(cut)


def test_refuses_other_files(tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(b"PK\x03\x04 a newer file of torch.save is a zip")
    with pytest.raises(torch_state_dict.StateDictError, match="magic number"):
        torch_state_dict.read(path)
    with pytest.raises(torch_state_dict.StateDictError, match="list of storages"):
        torch_state_dict.read(write(path, {"w": tensor(0, (3,), (1,))}, keys=("8",)))
