"""Difference of two arrays, up to a permutation of axes and axes of size 1."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

FLOOR = 1e-12
"""Smallest size of an array that a difference is divided by."""
MOST_AXES = 5
"""Largest number of axes whose permutations are tried."""


@dataclass(frozen=True)
class Difference:
    """Largest difference of two arrays."""

    value: float
    """max|a - b| / max(max|a|, max|b|, floor); infinite if one of them has a NaN where the other has none."""
    where: tuple[int, ...] = ()
    """Entry of the largest difference, in the first array."""
    axes: tuple[int, ...] | None = None
    """Axes of the second array in the order of the first's, None if they are in order."""


def difference(first: np.ndarray, second: np.ndarray, floor: float = FLOOR) -> Difference | None:
    """Return the smallest difference over all orders of axes that give equal shapes; None if there is none.

    Equal shapes are compared in the given order of axes first; another one is only taken if it is 1e-3 times as large.
    """
    found: Difference | None = None
    squeezed = first.shape != second.shape and 1 in (*first.shape, *second.shape)
    one, two = (first.squeeze(), second.squeeze()) if squeezed else (first, second)
    if one.ndim != two.ndim or sorted(one.shape) != sorted(two.shape):
        return None
    orders = permutations(range(two.ndim)) if two.ndim <= MOST_AXES else [tuple(range(two.ndim))]
    for axes in orders:
        if tuple(two.shape[axis] for axis in axes) != one.shape:
            continue
        straight = axes == tuple(range(two.ndim))
        own = _in_order(one, two.transpose(axes), floor, None if straight else axes)
        if found is None or own.value < 1e-3 * found.value:
            found = own
        if found.value == 0.0:
            break
    return found


def _in_order(one: np.ndarray, two: np.ndarray, floor: float, axes: tuple[int, ...] | None) -> Difference:
    if not one.size:
        return Difference(0.0, (), axes)
    one, two = one.astype(np.float64), two.astype(np.float64)
    equal = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):
        gaps = np.where(equal, 0.0, np.abs(one - two))
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    where = np.unravel_index(int(gaps.argmax()), gaps.shape)
    sizes = [np.abs(own[np.isfinite(own)]).max(initial=0.0) for own in (one, two)]
    return Difference(float(gaps[where] / max(*sizes, floor)), tuple(int(index) for index in where), axes)
