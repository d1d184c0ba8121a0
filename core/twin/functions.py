"""Functions without parameters that models apply between layers, to be tried on recorded arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

SPREAD = 1e-9
"""Largest relative error of a constant factor."""


def activations() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return activations by name."""
    erf = np.vectorize(math.erf, otypes=[float])
    root = math.sqrt(2.0 / math.pi)
    return {
        "relu": lambda x: np.maximum(x, 0.0),
        "tanh": np.tanh,
        "sigmoid": lambda x: 0.5 * (1.0 + np.tanh(0.5 * x)),
        "gelu": lambda x: 0.5 * x * (1.0 + erf(x / math.sqrt(2.0))),
        "gelu with tanh": lambda x: 0.5 * x * (1.0 + np.tanh(root * (x + 0.044715 * x**3))),
        "silu": lambda x: x * 0.5 * (1.0 + np.tanh(0.5 * x)),
        "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
        "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
        "softplus": lambda x: np.logaddexp(x, 0.0),
        "exp": np.exp,
        "negation": np.negative,
    }


def softmax(array: np.ndarray, axis: int) -> np.ndarray:
    """Return the softmax over an axis."""
    powers = np.exp(array - array.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def unary(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what functions make of an array, with the same shape, and their names."""
    for name, function in activations().items():
        yield name, function(array)
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            yield f"softmax over axis {axis}", softmax(array, axis)
            yield f"log_softmax over axis {axis}", np.log(np.maximum(softmax(array, axis), 1e-300))
            yield f"order reversed along axis {axis}", np.flip(array, axis)
    size = np.sqrt((array**2).sum(axis=-1, keepdims=True)) if array.ndim else np.abs(array)
    yield "division by the norm", array / np.maximum(size, 1e-12)


def pooled(array: np.ndarray, masks: list[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what is left of an array without its axis 1 or 2, plain and under masks `[B, L]`."""
    for axis in range(1, array.ndim):
        yield f"mean over axis {axis}", array.mean(axis)
        yield f"sum over axis {axis}", array.sum(axis)
        yield f"maximum over axis {axis}", array.max(axis)
        yield f"last entry of axis {axis}", np.take(array, -1, axis)
        yield f"first entry of axis {axis}", np.take(array, 0, axis)
    for name, mask in masks:
        if array.ndim != 3 or mask.shape != array.shape[:2]:
            continue
        count = np.maximum(mask.sum(1), 1)[:, None]
        kept = array * mask[..., None]
        last = np.maximum(mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1), 0)
        yield f"mean over axis 1 within {name}", kept.sum(1) / count
        yield f"sum over axis 1 within {name}", kept.sum(1)
        yield f"sum over axis 1 within {name}, divided by its size", kept.mean(1)
        yield f"maximum over axis 1 within {name}", np.where(mask[..., None], array, -np.inf).max(1)
        yield f"maximum over axis 1 of zeros outside {name}", kept.max(1)
        yield f"last entry of axis 1 within {name}", array[np.arange(len(array)), last]


def combined(one: np.ndarray, two: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what two arrays of one shape, or two that are joined at their last axis, make together."""
    if one.shape == two.shape:
        yield "sum", one + two
        yield "product", one * two
        yield "difference", one - two
    if one.ndim == two.ndim and one.shape[:-1] == two.shape[:-1] and one.ndim:
        yield "concatenation", np.concatenate([one, two], -1)


def factor(one: np.ndarray, two: np.ndarray) -> float | None:
    """Return c of `one = c two`, None if there is none."""
    square = float((two * two).sum())
    if one.shape != two.shape or one.size < 2 or not square or not np.isfinite(square):
        return None
    ratio = float((one * two).sum()) / square
    size = float(np.abs(one).max())
    return ratio if size and float(np.abs(one - ratio * two).max()) <= SPREAD * size else None


def factor_text(ratio: float) -> str:
    """Return a factor as a root of an integer, or as a number."""
    for value, form in ((ratio * ratio, "sqrt({})"), (1.0 / (ratio * ratio), "1 / sqrt({})")):
        near = round(value)
        if ratio > 0 and 2 <= near <= 4096 and abs(value - near) <= 1e-9 * near and math.isqrt(near) ** 2 != near:
            return form.format(near)
    near = round(1.0 / ratio) if abs(ratio) < 1 else 0
    return f"1 / {near}" if near and abs(1.0 / ratio - near) <= 1e-9 * abs(near) else f"{ratio:.6g}"
