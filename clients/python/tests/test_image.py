"""Pictures as arrays, and scores as labels."""

import sys

import numpy as np
import pytest
from PIL import Image

from graphpipe import image

# four quarters of one colour each, 40 pixels wide and 20 high
QUARTERS = np.zeros((20, 40, 3), "u1")
QUARTERS[:10, :20], QUARTERS[:10, 20:] = (255, 0, 0), (0, 255, 0)
QUARTERS[10:, :20], QUARTERS[10:, 20:] = (0, 0, 255), (255, 255, 255)


def test_a_picture_of_the_size_is_not_touched():
    x = image.prepare(QUARTERS, (20, 40), dtype="u1")
    assert x.shape == (1, 3, 20, 40) and x.flags.c_contiguous
    assert (x[0] == QUARTERS.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("crop, edge", [(1.0, 10), (0.5, 15), (None, 0)])
def test_what_is_kept_of_a_picture(crop, edge):
    """A ramp from left to right: the first column says where the part that is kept begins."""
    ramp = np.repeat(np.arange(40, dtype="u1")[None, :, None], 20, 0).repeat(3, 2) * 6
    x = image.prepare(ramp, 20, crop=crop, layout="NHWC")
    assert x.shape == (1, 20, 20, 3)
    assert abs(x[0, 10, 0, 0] / 6 - edge) < 1 and abs(x[0, 10, -1, 0] / 6 - (39 - edge)) < 1


def test_mean_std_and_the_order_of_channels():
    x = image.prepare(QUARTERS, (20, 40), mean=(255, 0, 5), std=(1, 2, 10), channels="BGR")
    assert x.dtype == np.float32
    assert x[0, :, 0, 0].tolist() == [-255, 0, 25]  # red
    assert x[0, :, 0, 39].tolist() == [-255, 127.5, -0.5]  # green


def test_as_a_model_of_torchvision_wants_it():
    x = image.prepare(QUARTERS, (20, 40), mean=image.IMAGENET_MEAN, std=image.IMAGENET_STD)
    want = (QUARTERS / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(x[0], want.transpose(2, 0, 1), atol=1e-5)


def test_several_files_and_grey(tmp_path):
    Image.fromarray(QUARTERS).save(tmp_path / "a.png")
    Image.fromarray(QUARTERS[:, :, 0]).save(tmp_path / "b.png")
    with open(tmp_path / "b.png", "rb") as b:
        x = image.prepare([tmp_path / "a.png", str(tmp_path / "a.png"), b], 8, channels="L")
    assert x.shape == (3, 1, 8, 8) and (x[0] == x[1]).all() and (x[0] != x[2]).any()


def test_a_picture_that_lies_on_its_side(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    Image.fromarray(QUARTERS).save(tmp_path / "a.png", exif=exif)
    x = image.prepare(tmp_path / "a.png", (40, 20), layout="NHWC", dtype="u1")
    assert x[0, 0, 0].tolist() == [0, 0, 255] and x[0, 0, -1].tolist() == [255, 0, 0]


@pytest.mark.parametrize("arguments, words", [
    ({"layout": "CHW"}, "one of NCHW, NHWC"), ({"channels": "RGBA"}, "one of RGB, BGR, L"),
    ({"crop": 0}, "crop is a part"), ({"crop": 1.5}, "crop is a part"),
    ({"size": 0}, "at least one pixel"), ({"size": (3, -1)}, "at least one pixel"),
    ({"pictures": []}, "no picture"), ({"mean": (1, 2)}, "broadcast"),
])
def test_arguments_that_make_no_sense(arguments, words):
    with pytest.raises(ValueError, match=words):
        image.prepare(**{"pictures": QUARTERS, "size": 8, **arguments})


def test_what_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(OSError, match="a.png"):
        image.prepare(tmp_path / "a.png", 8)


def test_the_best_scores():
    scores = np.float32([0.1, 0.5, 0.25, 0.15])
    assert image.top(scores, n=2) == [(1, 0.5), (2, 0.25)]
    assert image.top(scores, ["a", "b", "c", "d"], n=9)[0] == ("b", 0.5)
    with pytest.raises(ValueError, match="3 labels for 4 scores"):
        image.top(scores, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"scores\[0\]"):
        image.top(scores[None])


def test_pillow_is_wanted_only_here(monkeypatch):
    monkeypatch.delitem(sys.modules, "graphpipe.image")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError):
        import graphpipe.image  # noqa: F401
