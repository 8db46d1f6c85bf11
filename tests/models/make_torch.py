#!/usr/bin/env python3
"""Writes the TorchScript files of pytorch/. They are kept in the repository, since PyTorch is too
large to install for tests: run it with any Python that has torch 2 (these are of 2.7.1).
"""
import pathlib
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor


class Mlp(torch.nn.Module):
    """relu(x a) b with weights that are known."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4) - 6)
        self.b = torch.nn.Parameter(torch.arange(8.0).reshape(4, 2) / 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.a) @ self.b


class Pair(NamedTuple):
    sum: Tensor
    parts: Tuple[Tensor, Tensor]


class Fields(torch.nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Pair:
        return Pair(x + y, (x, y.t()))  # one as it came, one that is not contiguous


class Options(torch.nn.Module):
    """Numbers, a text and a list as arguments, most of them optional."""

    def forward(self, x: Tensor, times: int, plus: float = 0.5, negate: bool = False,
                other: Optional[Tensor] = None, axes: Optional[List[int]] = None) -> Tensor:
        y = x * times + plus
        if negate:
            y = -y
        if other is not None:
            y = y + other
        return y if axes is None else y.sum(axes)


class Mapped(torch.nn.Module):
    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        return {"twice": x * 2, "half": x / 2}


class Listed(torch.nn.Module):
    """As many tensors as x has rows."""

    def forward(self, x: Tensor) -> List[Tensor]:
        return [row for row in x]


class Words(torch.nn.Module):
    def forward(self, words: List[str], by: str = ":") -> Tuple[List[str], List[int], str, int]:
        print("words:", len(words))
        sizes: List[int] = []
        for word in words:
            sizes.append(len(word))
        return [word.upper() for word in words], sizes, by.join(words), len(words)


class Counter(torch.nn.Module):
    """Adds up all that it was ever given, and takes its time between reading and writing."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.total.size(0) != x.size(0):
            self.total = torch.zeros_like(x)
        total = self.total.clone()
        for _ in range(100):
            total = total + 1
        self.total.copy_(total - 100 + x)
        return self.total


class Writes(torch.nn.Module):
    """Changes the first that it is given."""

    def forward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        x.add_(1)
        return x, y


class Same(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Slow(torch.nn.Module):
    """Sums n times: as long as one likes."""

    def forward(self, x: Tensor, n: int) -> Tensor:
        for _ in range(n):
            x = x + 1
        return x


class Complex(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.complex(x, x)


class Deep(torch.nn.Module):
    def forward(self, x: Tensor) -> Tuple[Tensor, Tuple[Tensor, Tuple[Tensor, Tensor]]]:
        return x, (x, (x, x))


class Drops(torch.nn.Module):
    """As a trace does that was made in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.dropout(x, 0.5, True)


class TakesDict(torch.nn.Module):
    def forward(self, x: Dict[str, Tensor]) -> Tensor:
        return x["x"]


def main():
    folder = pathlib.Path(__file__).parent / "pytorch"
    folder.mkdir(exist_ok=True)
    scripted = {"mlp": Mlp(), "fields": Fields(), "options": Options(), "mapped": Mapped(),
                "listed": Listed(), "words": Words(), "counter": Counter(), "writes": Writes(),
                "same": Same(), "slow": Slow(), "complex": Complex(), "deep": Deep(),
                "takes_dict": TakesDict(), "drops": Drops()}
    for name, module in scripted.items():
        torch.jit.script(module).save(folder / f"{name}.pt")
    traced = torch.jit.trace(Mlp(), torch.ones(2, 3))
    traced.save(folder / "traced.pt")
    torch.save(Mlp().state_dict(), folder / "weights.pt")
    torch.save(Mlp().state_dict(), folder / "legacy.pt",
               _use_new_zipfile_serialization=False)


main()
