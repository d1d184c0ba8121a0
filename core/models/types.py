"""Types and functions shared by the NumPy references of all layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]

Dropout = Callable[[np.ndarray, str, float], np.ndarray]
"""Function `dropout(x, place, rate)`: drops units and scales the others by 1 / (1 - rate)."""


def no_dropout(x: np.ndarray, place: str, rate: float) -> np.ndarray:
    """Return `x` unchanged."""
    return x


def activate(name: str, x: np.ndarray) -> np.ndarray:
    """Apply `none`, `tanh` or `relu`, with relu'(0) = 0. Supports complex steps."""
    if name == "none":
        return x
    return np.tanh(x) if name == "tanh" else np.where(np.real(x) > 0, x, 0.0)
