"""The TorchScript file of the environment's GP_BENCH_MODEL, run by PyTorch for Python."""
import os

import torch

inputs = {"image": ("float32", [-1, 3, 224, 224])}
outputs = {"probabilities": ("float32", [-1, 1000])}

module = torch.jit.freeze(torch.jit.load(os.environ["GP_BENCH_MODEL"]).eval())
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def infer(given):
    with torch.inference_mode():
        return module(torch.from_numpy(given["image"])).numpy()
