"""Rounding of matrix-product inputs for dtype bfloat16 (`core.spec.training.Training`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backends.paddle.framework import paddle


class Rounding(paddle.autograd.PyLayer):
    """Rounding of float32 to the nearest bfloat16, in float32, with a straight-through gradient.

    An autograd function is needed, as x + (rounded - x) would turn infinity into NaN.
    """

    @staticmethod
    def forward(ctx, x):
        # On the bits, as in `core.models.precision`: on the CPU, Paddle 2.6 casts to bfloat16 by truncation, Paddle 3
        # by rounding to nearest.
        bits = x.contiguous().view("int32")
        odd = paddle.bitwise_and(bits, paddle.full_like(bits, 1 << 16)) // (1 << 16)
        nearest = paddle.bitwise_and(bits + 0x7FFF + odd, paddle.full_like(bits, -1 << 16))
        return paddle.where(paddle.isfinite(x), nearest.view("float32"), x)

    @staticmethod
    def backward(ctx, d_rounded):
        return d_rounded


def rounded(x: paddle.Tensor, wanted: bool) -> paddle.Tensor:
    """Return x, rounded if `wanted`."""
    return Rounding.apply(x) if wanted else x


@contextmanager
def rounded_weights(weights: list[paddle.Tensor]) -> Iterator[None]:
    """Round the weights within the block, and restore the master weights afterwards.

    Gradients are thus those at the rounded weights, while updates apply to the master weights.
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
    """Decorate an engine method that runs the model, to round `product_weights`."""

    @functools.wraps(method)
    def run(self, *arguments):
        with rounded_weights(self.product_weights):
            return method(self, *arguments)

    return run


def prepare(model: paddle.nn.Layer, names: list[str], dtype: str) -> list[paddle.Tensor]:
    """Enable rounding of inputs in all layers for bfloat16.

    Return the weights to round, by `names`.
    """
    if dtype != "bfloat16":
        return []
    for layer in model.sublayers():
        if hasattr(layer, "rounds"):
            layer.rounds = True
    return [model.named[name] for name in names]
