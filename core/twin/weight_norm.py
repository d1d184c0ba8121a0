"""Weights of weight normalization: a direction, scaled to a magnitude."""

from __future__ import annotations

import numpy as np


def normalized(magnitude: np.ndarray, direction: np.ndarray, axis: int | None) -> np.ndarray:
    """Return the weight of weight normalization, in float64."""
    magnitude, direction = magnitude.astype(np.float64), direction.astype(np.float64)
    size = norm_except(direction, axis)
    return direction * (magnitude.reshape(size.shape) / size)


def norm_except(array: np.ndarray, axis: int | None) -> np.ndarray:
    """Return the Euclidean norm over all axes but one, which keeps its place."""
    axes = tuple(own for own in range(array.ndim) if axis is None or own != axis % array.ndim)
    return np.sqrt((array**2).sum(axes, keepdims=True))
