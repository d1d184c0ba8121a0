"""NumPy reference of bfloat16 rounding (`core.spec.training.Training.dtype`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Rounding = Callable[[np.ndarray], np.ndarray]
"""Rounding of the inputs of matrix products; shape and dtype are preserved."""


def exactly(x: np.ndarray) -> np.ndarray:
    """Return `x` unchanged: the rounding of every dtype but bfloat16."""
    return x


def round_bfloat16(x: np.ndarray) -> np.ndarray:
    """Round every entry to the nearest bfloat16, ties to even, in the precision of `x`.

    Entries are first rounded to float32. Infinity, NaN and the imaginary part of a complex step are unchanged:
    derivatives pass straight through.
    """
    if np.iscomplexobj(x):
        rounded = x.copy()
        rounded.real = round_bfloat16(np.real(x))
        return rounded
    with np.errstate(over="ignore"):
        bits = x.astype(np.float32).view(np.uint32)
    # Adds half of the last kept place, minus one bit if that place is even: a carry rounds up.
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(x), nearest.view(np.float32), x).astype(x.dtype)


def rounding_of(dtype: str) -> Rounding:
    """Return the rounding of a spec dtype."""
    return round_bfloat16 if dtype == "bfloat16" else exactly


def nearest_jump(x: np.ndarray, least: float) -> float:
    """Return the smallest distance of an entry from a jump of `round_bfloat16`; x float64.

    Jumps lie halfway between two adjacent bfloat16 numbers. Jumps smaller than `least` are ignored, as are entries that
    are exact in float32, which all implementations read identically.
    """
    size = np.abs(x[(x != x.astype(np.float32)) & np.isfinite(x)])
    jump = np.ldexp(1.0, np.frexp(size)[1] - 8)  # distance of adjacent 8-bit numbers
    size, jump = size[jump >= least], jump[jump >= least]
    return float((np.abs(size / jump % 1.0 - 0.5) * jump).min(initial=np.inf))
