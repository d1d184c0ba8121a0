"""Dropout masks, drawn by the compiled library."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from backends import kernels
from core import rng


class DropoutMask(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("threads", "size")),
        ("key", ctypes.c_uint64 * 2),
        ("least", ctypes.c_int64),
        ("keep", kernels.ADDRESS),
    )


def dropout_mask(seed: int, step: int, place: str, shape: tuple[int, ...], rate: float) -> np.ndarray:
    """Return the same mask as `core.rng.dropout_mask`, which draws it where the library was not compiled."""
    if kernels.failure() is not None:
        return rng.dropout_mask(seed, step, place, shape, rate)
    keep = np.empty(shape, bool)
    key, least = rng.dropout_key(seed, step, place), rng.dropout_threshold(rate)
    words = (ctypes.c_uint64 * 2)(key & 0xFFFFFFFFFFFFFFFF, key >> 64)
    kernels.compute(
        "seqtwin_dropout_mask", DropoutMask(kernels.threads(), math.prod(shape), words, least, keep.ctypes.data)
    )
    return keep
