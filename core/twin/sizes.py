"""Largest difference of the arrays of two calls."""

from __future__ import annotations

import numpy as np

from core.twin.arrays import Difference, difference
from core.twin.naming import pair_routes
from core.twin.recording import Arrays

MASKED = -1e4
"""Numbers at or below this one stand for masked entries, as minus infinity does."""


def gap_of(one: np.ndarray, two: np.ndarray) -> Difference | None:
    """Return the difference of two arrays up to the order of axes and merged axes; None if sizes differ."""
    found = difference(one, two)
    if found is None and one.size == two.size and one.ndim != two.ndim:
        return difference(one.reshape(two.shape), two)
    return found


def figure(one: Arrays, two: Arrays) -> float | None:
    """Return the largest difference of arrays that answer to each other; infinite if shapes differ.

    None if nothing answers to each other.
    """
    if not one or not two:
        return None
    routes = pair_routes(one, two)
    if not routes:
        return float("inf")
    found = [gap_of(one[here], two[there]) for here, there in routes]
    return max(float("inf") if own is None else own.value for own in found)


def input_figure(one: Arrays, two: Arrays) -> float | None:
    """Return the same for inputs: masks may have another form, and arguments may be left out."""
    values = [
        float("inf") if (found := gap_of(one[here], two[there])) is None else found.value
        for here, there in pair_routes(one, two)
        if not is_mask(one[here]) and not is_mask(two[there])
    ]
    if values:
        return max(values)
    plain = [[own for own in side.values() if not is_mask(own)] for side in (one, two)]
    return float("inf") if all(plain) else None


def within_lengths(arrays: Arrays, lengths: np.ndarray | None) -> Arrays:
    """Return the inputs of a recurrent layer with zeros past the end of each sequence.

    Packed inputs of PyTorch have zeros there, padded ones what the layer ignores.
    """
    if lengths is None or not arrays:
        return arrays
    route, own = next(iter(arrays.items()))
    batch = next((axis for axis in (0, 1) if own.ndim == 3 and own.shape[axis] == len(lengths)), None)
    if batch is None:
        return arrays
    inside = np.arange(own.shape[1 - batch])[None] < lengths[:, None]
    return {**arrays, route: own * (inside if batch == 0 else inside.T)[..., None]}


def is_mask(array: np.ndarray) -> bool:
    """Return whether an array is a mask: true or false, or with minus infinity or very low numbers."""
    if array.dtype == bool:
        return True
    return array.dtype.kind == "f" and array.size > 0 and bool((array <= MASKED).any())
