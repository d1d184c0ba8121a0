"""What dtype bfloat16 rounds (`core.spec.training.Training.dtype`), in NumPy: backends are held against
it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Rounding = Callable[[np.ndarray], np.ndarray]
"""Of what a layer's matrix product reads: the same shape and kind of numbers."""


def exactly(x: np.ndarray) -> np.ndarray:
    """The rounding of every other dtype: none."""
    return x


def round_bfloat16(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of every entry, of two as near the even one, in the precision of `x`.

    Entries are float32, or are taken for the float32 next to them. Infinity and NaN stay. The imaginary part of a
    complex step stays too: the derivative goes straight through.
    """
    if np.iscomplexobj(x):
        rounded = x.copy()
        rounded.real = round_bfloat16(x.real)
        return rounded
    with np.errstate(over="ignore"):
        bits = x.astype(np.float32).view(np.uint32)
    # Half of the last place kept, less one where that place is even: the sum carries where rounding is up.
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(x), nearest.view(np.float32), x).astype(x.dtype)


def rounding_of(dtype: str) -> Rounding:
    """By the spec's dtype."""
    return round_bfloat16 if dtype == "bfloat16" else exactly


def nearest_jump(x: np.ndarray, least: float) -> float:
    """How far the entry nearest to a jump of `round_bfloat16`, the middle of two neighbours, is from it; x float64.

    Passed over are jumps below `least`, and entries that float32 holds: they are what every side reads.
    """
    size = np.abs(x[(x != x.astype(np.float32)) & np.isfinite(x)])
    jump = np.ldexp(1.0, np.frexp(size)[1] - 8)  # between two neighbours of 8 bits
    size, jump = size[jump >= least], jump[jump >= least]
    return float((np.abs(size / jump % 1.0 - 0.5) * jump).min(initial=np.inf))
