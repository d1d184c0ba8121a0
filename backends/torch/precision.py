"""dtype bfloat16 (`core.spec.training.Training.dtype`): what matrix products read is rounded, and nothing
else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backends.torch.framework import torch


class Rounding(torch.autograd.Function):
    """float32 -> the nearest bfloat16, in float32. Its gradient goes straight through.

    A function of its own, for x + (rounded - x) would make NaN of infinity.
    """

    @staticmethod
    def forward(ctx, x):
        return x.to(torch.bfloat16).to(x.dtype)

    @staticmethod
    def backward(ctx, d_rounded):
        return d_rounded


def rounded(x: torch.Tensor, wanted: bool) -> torch.Tensor:
    """What a layer reads: x, or if `wanted` x rounded."""
    return Rounding.apply(x) if wanted else x


@contextmanager
def rounded_weights(weights: list[torch.Tensor]) -> Iterator[None]:
    """Within, the weights hold rounded values; after it, whatever happened, their own again, the masters.

    So gradients are by the rounded values, and updates are added to what was not rounded.
    """
    with torch.no_grad():
        masters = [weight.clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(Rounding.apply(weight))
        yield
    finally:
        with torch.no_grad():
            for weight, master in zip(weights, masters, strict=True):
                weight.copy_(master)


def reads_rounded(method: Callable) -> Callable:
    """Of an engine's method that runs the model, forward or both ways: with `product_weights` rounded."""

    @functools.wraps(method)
    def run(self, *arguments):
        with rounded_weights(self.product_weights):
            return method(self, *arguments)

    return run


def prepare(model: torch.nn.Module, names: list[str], dtype: str) -> list[torch.Tensor]:
    """Tell a `Classifier`'s layers whether their inputs are rounded; the weights, by name, to be rounded with them."""
    if dtype != "bfloat16":
        return []
    for layer in model.modules():
        if hasattr(layer, "rounds"):
            layer.rounds = True
    return [model.named[name] for name in names]
