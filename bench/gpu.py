#!/usr/bin/env python3
"""Models on a GPU: are the answers those of the CPU, how many rows a second, and what does the
server cost next to the framework in-process? Run by hand, by a Python that has numpy:

  python3 bench/gpu.py [--device cuda:0] [--torch MODEL.pt] [--onnx MODEL.onnx] [--short]

Each model takes one float32 input, of --shape after the number of rows. Without --torch a network
of convolutions is made; without --onnx it is EfficientNet-Lite0, where `make demo` has made that.
In-process are torch and onnxruntime of the Python that runs this, from host memory to host memory;
they stand beside the served ones where they are there. For the same libtorch in both, build with
-DGP_TORCH=DIR, the folder torch/ of that Python; --library is the ONNX Runtime that is served with.
With --device cpu it shows that it works, no more. Nobody has run it on a GPU yet.
"""
import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

import harness
from harness import ROOT, Sample

BATCHES, ROUNDS, SECONDS = (1, 8, 32, 128), 5, 5
IN_FLIGHT = 4       # two slots that run, and their successors
MOST_OFF = 1e-2     # of the largest value: a GPU's convolutions may round to 10 bits
ENGINES = {"torch": "pytorch", "onnx": "onnx"}


# --- in-process -------------------------------------------------------------------------

def torch_runner(model, device):
    import torch
    module = torch.jit.load(model, map_location=device).eval()

    def run(batch):
        with torch.inference_mode():
            result = module(torch.from_numpy(batch).to(device))
            results = result if isinstance(result, (list, tuple)) else [result]
            return [tensor.cpu() for tensor in results]
    return run


def onnx_runner(model, device):
    import onnxruntime
    number = device.partition(":")[2] or "0"
    providers = ["CPUExecutionProvider"] if device == "cpu" else \
        [("CUDAExecutionProvider", {"device_id": number})]
    session = onnxruntime.InferenceSession(model, providers=providers)
    if device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
        raise RuntimeError("onnxruntime of this Python has no CUDA")
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})


def in_process_main(kind, model, device):
    """Reads lines of "FILE.npy SECONDS"; for each it writes the rows a second. A module compiles
    itself in its first runs."""
    run = {"torch": torch_runner, "onnx": onnx_runner}[kind](model, device)
    print("ready", flush=True)
    for line in sys.stdin:
        path, seconds = line.split()
        batch = np.load(path)
        for warm_up in (float(seconds) / 5, float(seconds)):
            begun, n = time.monotonic(), 0
            while n < 3 or time.monotonic() - begun < warm_up:
                run(batch)
                n += 1
            taken = time.monotonic() - begun
        print(n * len(batch) / taken, flush=True)


@contextlib.contextmanager
def in_process(kind, model, device):
    """Gives a measurement of (file of a batch, seconds), or None where it cannot run."""
    command = [sys.executable, __file__, "--in-process", kind, str(model), device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        def measure(path, seconds):
            process.stdin.write(f"{path} {seconds}\n")
            process.stdin.flush()
            return Sample(float(process.stdout.readline()))
        is_ready = process.stdout.readline().strip() == "ready"
        if not is_ready:
            print(f"  no {kind} in-process: {process.stderr.read().strip().splitlines()[-1]}")
        yield measure if is_ready else None
        process.stdin.close()


# --- served -----------------------------------------------------------------------------

@contextlib.contextmanager
def served(kind, model, device, options):
    arguments = ["--engine-option", f"device={device}"]
    if kind == "onnx" and options.library:
        arguments += ["--engine-option", f"library={options.library}"]
    with harness.graphpipe(ENGINES[kind], "--model", model, *arguments) as (address, process):
        yield address, process


def ask(address, path, folder):
    """The outputs for one batch, by their names."""
    folder.mkdir()
    subprocess.run([harness.PROGRAM, "infer", address, path, "--save-dir", folder], check=True,
                   stdout=subprocess.DEVNULL)
    return {file.stem: np.load(file) for file in sorted(folder.iterdir())}


def compare_answers(kind, address, model, batches, folder, options):
    """How far the answers are from the CPU's, of the largest value; it ends where that is much."""
    with served(kind, model, "cpu", options) as (cpu, _):
        for rows, path in batches.items():
            wanted = ask(cpu, path, folder / f"{kind}-{rows}-cpu")
            came = ask(address, path, folder / f"{kind}-{rows}")
            assert wanted.keys() == came.keys() and wanted
            for name, right in wanted.items():
                assert came[name].shape == right.shape and np.isfinite(came[name]).all()
                off = float(abs(came[name] - right).max() / max(abs(right).max(), 1e-30))
                print(f"  {name}, {rows} rows: off by {off:.2g} of the largest value")
                if off > MOST_OFF:
                    raise SystemExit(f"gpu: the answers differ by more than {MOST_OFF}")


def measure(result, kind, model, batches, folder, options):
    seconds = 0.3 if options.short else SECONDS
    with contextlib.ExitStack() as stack:
        address, process = stack.enter_context(served(kind, model, options.device, options))
        compare_answers(kind, address, model, batches, folder, options)
        beside = stack.enter_context(in_process(kind, model, options.device))
        for rows, path in batches.items():
            def rate(n):
                return harness.rate(address, path, "--in-flight", n, key="requests_per_s",
                                    per=1 / rows, seconds=seconds, pid=process.pid,
                                    requests=8 if options.short else None)
            subjects = {"graphpipe": rate(1), f"graphpipe, {IN_FLIGHT} in flight": rate(IN_FLIGHT)}
            if beside:
                subjects["in-process"] = lambda: beside(path, seconds)
            result.compare(f"{kind}-{rows}", f"{kind}, {rows} rows at a time", "rows/s", subjects,
                           rounds=ROUNDS, to="in-process" if beside else None,
                           note=f"on {options.device}; one run at a time, but where it says so")


# --- what is given ----------------------------------------------------------------------

def make_torch(path):
    """A network like a small ResNet; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    from torch import nn
    torch.manual_seed(1)
    layers, width = [nn.Conv2d(3, 32, 7, 2, 3), nn.ReLU()], 32
    for _ in range(4):
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(),
                   nn.Conv2d(2 * width, 2 * width, 3, 1, 1), nn.ReLU()]
        width *= 2
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                           nn.Linear(width, 1000)).eval()
    torch.jit.script(module).save(str(path))
    return path


def make_batches(folder, shape, short):
    random, batches = np.random.default_rng(1), {}
    for rows in BATCHES[:2] if short else BATCHES:
        batches[rows] = folder / f"rows-{rows}.npy"
        np.save(batches[rows], random.standard_normal((rows, *shape), dtype=np.float32))
    return batches


def main():
    if sys.argv[1:2] == ["--in-process"]:
        return in_process_main(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:N or cpu (default cuda:0)")
    parser.add_argument("--torch", type=pathlib.Path, help="a TorchScript file")
    parser.add_argument("--onnx", type=pathlib.Path, help="an ONNX file")
    parser.add_argument("--shape", default="3,224,224", help="of a row (default 3,224,224)")
    parser.add_argument("--library", help="ONNX Runtime's folder")
    parser.add_argument("--short", action="store_true", help="one round of 1 and 8 rows, unsaved")
    options = parser.parse_args()
    harness.enter_namespace()
    result = harness.Result("gpu", "On a GPU", options.short)
    result.data["command"] = f"bench/gpu.py {' '.join(sys.argv[1:])}"
    with contextlib.suppress(OSError):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        result.data["machine"]["gpu"] = subprocess.run(query, capture_output=True,
                                                       text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        zoo = ROOT / "build/models/efficientnet-lite0.onnx"
        models = {"torch": options.torch or make_torch(folder / "made.pt"),
                  "onnx": options.onnx or (zoo if zoo.exists() else None)}
        batches = make_batches(folder, [int(n) for n in options.shape.split(",")], options.short)
        if not any(models.values()):
            parser.error("there is no model: name one with --torch or --onnx")
        for kind, model in models.items():
            if model:
                measure(result, kind, model, batches, folder, options)
            else:
                print(f"  no model for {kind}: name one with --{kind}")
    print(json.dumps(result.data["machine"]))
    result.save()


if __name__ == "__main__":
    main()
