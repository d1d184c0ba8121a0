"""Rounding of matrix-product inputs for dtype bfloat16 (`core.spec.training.Training`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backends.torch.framework import torch


class Rounding(torch.autograd.Function):
    """Rounding of float32 to the nearest bfloat16, in float32, with a straight-through gradient.

    An autograd function is needed, as x + (rounded - x) would turn infinity into NaN.
    """

    @staticmethod
    def forward(ctx, x):
        return x.to(torch.bfloat16).to(x.dtype)

    @staticmethod
    def backward(ctx, d_rounded):
        return d_rounded


def rounded(x: torch.Tensor, wanted: bool) -> torch.Tensor:
    """Return x, rounded if `wanted`."""
    return Rounding.apply(x) if wanted else x


@contextmanager
def rounded_weights(weights: list[torch.Tensor]) -> Iterator[None]:
    """Round the weights within the block, and restore the master weights afterwards.

    Gradients are thus those at the rounded weights, while updates apply to the master weights.
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
    """Decorate an engine method that runs the model, to round `product_weights`."""

    @functools.wraps(method)
    def run(self, *arguments):
        with rounded_weights(self.product_weights):
            return method(self, *arguments)

    return run


def prepare(model: torch.nn.Module, names: list[str], dtype: str) -> list[torch.Tensor]:
    """Enable rounding of inputs in all layers for bfloat16.

    Return the weights to round, by `names`.
    """
    if dtype != "bfloat16":
        return []
    for layer in model.modules():
        if hasattr(layer, "rounds"):
            layer.rounds = True
    return [model.named[name] for name in names]
