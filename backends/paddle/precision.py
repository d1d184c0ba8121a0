"""dtype bfloat16 (`core.spec.training.Training.dtype`): what matrix products read is rounded, and nothing
else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backends.paddle.framework import paddle


class Rounding(paddle.autograd.PyLayer):
    """float32 -> the nearest bfloat16, in float32. Its gradient goes straight through.

    A function of its own, for x + (rounded - x) would make NaN of infinity.
    """

    @staticmethod
    def forward(ctx, x):
        # By its bits, as `core.models.precision` does: on the CPU Paddle 2.6 casts to bfloat16 by cutting off, Paddle 3
        # by rounding to nearest.
        bits = x.contiguous().view("int32")
        odd = paddle.bitwise_and(bits, paddle.full_like(bits, 1 << 16)) // (1 << 16)
        nearest = paddle.bitwise_and(bits + 0x7FFF + odd, paddle.full_like(bits, -1 << 16))
        return paddle.where(paddle.isfinite(x), nearest.view("float32"), x)

    @staticmethod
    def backward(ctx, d_rounded):
        return d_rounded


def rounded(x: paddle.Tensor, wanted: bool) -> paddle.Tensor:
    """What a layer reads: x, or if `wanted` x rounded."""
    return Rounding.apply(x) if wanted else x


@contextmanager
def rounded_weights(weights: list[paddle.Tensor]) -> Iterator[None]:
    """Within, the weights hold rounded values; after it, whatever happened, their own again, the masters.

    So gradients are by the rounded values, and updates are added to what was not rounded.
    """
    with paddle.no_grad():
        masters = [weight.clone() for weight in weights]
    try:
        with paddle.no_grad():
            for weight in weights:
                paddle.assign(Rounding.apply(weight), weight)
        yield
    finally:
        with paddle.no_grad():
            for weight, master in zip(weights, masters, strict=True):
                paddle.assign(master, weight)


def reads_rounded(method: Callable) -> Callable:
    """Of an engine's method that runs the model, forward or both ways: with `product_weights` rounded."""

    @functools.wraps(method)
    def run(self, *arguments):
        with rounded_weights(self.product_weights):
            return method(self, *arguments)

    return run


def prepare(model: paddle.nn.Layer, names: list[str], dtype: str) -> list[paddle.Tensor]:
    """Tell a `Classifier`'s layers whether their inputs are rounded; the weights, by name, to be rounded with them."""
    if dtype != "bfloat16":
        return []
    for layer in model.sublayers():
        if hasattr(layer, "rounds"):
            layer.rounds = True
    return [model.named[name] for name in names]
