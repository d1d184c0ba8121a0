"""Types and small functions that the NumPy definitions of all layers share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]

Dropout = Callable[[np.ndarray, str, float], np.ndarray]
"""`dropout(x, place, rate)`: x with units dropped and the rest scaled by 1 / (1 - rate), or x itself."""


def no_dropout(x: np.ndarray, place: str, rate: float) -> np.ndarray:
    return x


def activate(name: str, x: np.ndarray) -> np.ndarray:
    """Apply `none`, `tanh` or `relu`, with relu'(0) = 0. Complex numbers go through."""
    if name == "none":
        return x
    return np.tanh(x) if name == "tanh" else np.where(x.real > 0, x, 0.0)
