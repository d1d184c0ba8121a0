"""Symmetric quantization to 8 bits with a scale per row."""

from __future__ import annotations

import numpy as np

LARGEST = 127
"""Largest magnitude of a quantized number; -128 is not used, so that the range is symmetric."""


def quantize(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 numbers of the shape of `values` [R, ...], and the scale of every row, [R] float32.

    A value is its number times the scale of its row, within half a scale. A row of zeros has the scale 1.
    """
    flat = values.reshape(len(values), -1).astype(np.float32)
    largest = np.abs(flat).max(axis=1)
    scales = np.where(largest > 0.0, largest / LARGEST, 1.0).astype(np.float32)
    numbers = np.rint(flat / scales[:, None]).clip(-LARGEST, LARGEST).astype(np.int8)
    return numbers.reshape(values.shape), scales
