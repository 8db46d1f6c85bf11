"""Pictures as the arrays that image models take, and scores as labels. Needs Pillow, which
`pip install graphpipe[image]` brings.

    from graphpipe import Client, image

    x = image.prepare("mug.png", 224, mean=127, std=128)
    with Client("http://127.0.0.1:9000") as client:
        for label, score in image.top(client.infer(x)[0], labels):
            print(f"{score:.3f} {label}")
"""

import os
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
from PIL import Image, ImageOps

LAYOUTS = {"NCHW": (2, 0, 1), "NHWC": (0, 1, 2)}  # where rows, columns and channels go
MODES = {"RGB": "RGB", "BGR": "RGB", "L": "L"}

#: What torchvision's models were trained with, in units of a pixel from 0 to 255.
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

Picture = Union[str, "os.PathLike[str]", Image.Image, Any]
PerChannel = Union[float, Sequence[float]]


def prepare(pictures: Union[Picture, Sequence[Picture]], size: Union[int, tuple[int, int]], *,
            crop: Optional[float] = 1.0, mean: PerChannel = 0.0, std: PerChannel = 1.0,
            layout: str = "NCHW", channels: str = "RGB", dtype: Any = np.float32) -> Any:
    """Pictures as one batch: an array of `dtype`, [N,3,height,width], or as `layout` says.

    pictures  a path, an open file, a PIL image, an array [height,width,3] of uint8, or a list of
              these. Pictures lie as their EXIF data says, and transparent ones on black.
    size      height and width in pixels, or one number for both
    crop      the part that is kept of the largest rectangle in the picture's middle that has the
              proportions of `size`: 1.0 all of it, 0.875 what torchvision keeps (a shorter side of
              256, and of that 224). None squeezes the whole picture instead.
    mean, std a pixel, 0 to 255, becomes (pixel - mean) / std; one number, or one a channel
    layout    "NCHW", or "NHWC" as TensorFlow has it
    channels  "RGB", "BGR", or "L" for one channel of grey

    Raises ValueError for arguments that
    make no sense, and what Pillow raises (an OSError) for what it cannot read as a picture."""
    if layout not in LAYOUTS or channels not in MODES:
        raise ValueError(f"layout is one of {', '.join(LAYOUTS)}, channels one of "
                         f"{', '.join(MODES)}, not {layout!r} and {channels!r}")
    if crop is not None and not 0 < crop <= 1:
        raise ValueError(f"crop is a part of the picture, over 0 and up to 1, not {crop!r}")
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"size is a height and a width of at least one pixel, not {size!r}")
    listed = pictures if isinstance(pictures, (list, tuple)) else [pictures]
    rows = [_pixels(picture, (width, height), crop, channels) for picture in listed]
    if not rows:
        raise ValueError("there is no picture to prepare")
    batch = np.stack(rows)
    if np.any(mean) or np.any(np.not_equal(std, 1)):
        batch = (batch.astype(np.float32) - np.asarray(mean, np.float32)) \
            / np.asarray(std, np.float32)
    order = (0, *(1 + axis for axis in LAYOUTS[layout]))
    return np.ascontiguousarray(batch.transpose(order), dtype)


def _pixels(picture: Any, size: tuple[int, int], crop: Optional[float], channels: str) -> Any:
    """uint8 [height,width,channels] of one picture; `size` is (width, height), as Pillow has it."""
    if isinstance(picture, np.ndarray):
        image = Image.fromarray(picture)
    elif isinstance(picture, Image.Image):
        image = picture
    else:
        image = Image.open(picture)
    image = ImageOps.exif_transpose(image).convert(MODES[channels])
    if crop is None:
        image = image.resize(size, Image.Resampling.BICUBIC)
    elif image.size != size or crop < 1:
        image = ImageOps.fit(image, size, Image.Resampling.BICUBIC, bleed=(1 - crop) / 2)
    pixels = np.asarray(image).reshape(size[1], size[0], -1)
    return pixels[:, :, ::-1] if channels == "BGR" else pixels


def top(scores: Any, labels: Optional[Sequence[str]] = None, n: int = 5) -> list[tuple[Any, float]]:
    """The `n` best of one row of scores, the best first, as (label, score). Without `labels`, a
    label is the number of its class."""
    row = np.asarray(scores)
    if row.ndim != 1:
        raise ValueError(f"one row of scores is wanted, float[classes]; this has the shape "
                         f"{row.shape}: take a row of it, scores[0]")
    if labels is not None and len(labels) != len(row):
        raise ValueError(f"there are {len(labels)} labels for {len(row)} scores")
    best = row.argsort(kind="stable")[::-1][:n]
    return [(int(i) if labels is None else labels[i], float(row[i])) for i in best]
