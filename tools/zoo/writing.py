"""What the writers share: each makes its files in a folder, and only those that are missing or
older than the code and the weights that they come from. A file has its name when it is whole."""

import argparse
import os
import pathlib
import shutil
import sys
import time

import efficientnet_lite0

HERE = pathlib.Path(__file__).parent


def size(path):
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def main(writers, script, about):
    """`writers` maps the name of a file, or of a folder, to a function that takes the layers and
    the path to write."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build/models"))
    parser.add_argument("names", nargs="*", help=f"of {', '.join(writers)} (default: all)")
    options = parser.parse_args()
    for name in options.names:
        if name not in writers:
            parser.error(f"no {name}; there are {', '.join(writers)}")
    layers = None
    try:
        sources = [script, __file__, efficientnet_lite0.__file__,
                   efficientnet_lite0.installed_weights()]
        newest = max(os.stat(source).st_mtime for source in sources)
        for name in options.names or writers:
            path = options.folder / name
            if path.exists() and path.stat().st_mtime > newest:
                continue
            begun = time.monotonic()
            layers = layers or efficientnet_lite0.trained_layers()
            part = options.folder / ("part-" + name)  # writers look at the suffix
            options.folder.mkdir(parents=True, exist_ok=True)
            remove(part)
            writers[name](layers, part)
            remove(path)
            part.rename(path)
            print(f"{path}: {size(path) / 1e6:.1f} MB, {time.monotonic() - begun:.0f} s",
                  flush=True)
    except (OSError, ValueError) as error:
        sys.exit(f"{pathlib.Path(script).name}: {error}")
