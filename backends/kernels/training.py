"""Compiled kernels of a training step: embedding gradients, Adam for embeddings, pooling.

As in `backends/kernels`, arrays are addresses of C-contiguous arrays on the CPU, which the caller keeps alive and
checks. Results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import math
from typing import NamedTuple

import numpy as np

from backends import kernels
from core import spec

ADDRESS = kernels.ADDRESS
SMALL = 1 << 16
"""Number of array elements below which a second thread does not pay off."""


def _fields(integers: str, addresses: str, numbers: str = "") -> list[tuple[str, type]]:
    kinds = ((integers, ctypes.c_int64), (addresses, ADDRESS), (numbers, ctypes.c_double))
    return [(name, kind) for names, kind in kinds for name in names.split()]


class RowSums(ctypes.Structure):
    _fields_ = _fields("float64 threads tokens dim rows", "row gradient values")


class AdamRows(ctypes.Structure):
    _fields_ = _fields(
        "float64 threads rows dim",
        "weight moment1 moment2 touched slot gradient",
        "beta1 beta2 epsilon step_size root_correction",
    )


class Pooling(ctypes.Structure):
    _fields_ = _fields("float64 threads batch width features", "lengths x pooled position d_pooled d_x")


def _threads(size: int) -> int:
    return 1 if size < SMALL else kernels.threads()


class Rows:
    """The distinct ids of a batch, without PAD, numbered by first occurrence."""

    def __init__(self, ids: int, tokens: int, vocab_size: int):
        """Number the ids; `ids`: address of `tokens` int64 in 0 .. vocab_size - 1."""
        self.tokens = tokens
        self.row = np.empty(tokens, dtype=np.int32)
        """Number of every token's id, [tokens], -1 for PAD."""
        self.slot = np.full(vocab_size, -1, dtype=np.int32)
        """Number of every id, [V], -1 if it does not occur."""
        ids_found = np.empty(tokens, dtype=np.int64)
        addresses = (ids, tokens, ids_found.ctypes.data, self.row.ctypes.data, self.slot.ctypes.data)
        self.ids = ids_found[: kernels.call("seqtwin_number_rows", *addresses)]
        """Id of every number, [U]."""

    def sums(self, gradient: int, values: int, dim: int, float64: bool) -> None:
        """Sum `gradient` [tokens, dim] over the tokens of each id, in order, into `values` [U, dim]."""
        threads = _threads(self.tokens * dim)
        kernels.compute(
            "seqtwin_sum_rows",
            RowSums(float64, threads, self.tokens, dim, len(self.ids), self.row.ctypes.data, gradient, values),
        )


class AdamArrays(NamedTuple):
    """Addresses of the arrays [V, E] that Adam updates."""

    weight: int
    moment1: int
    moment2: int


class EmbeddingAdam:
    """Adam for a matrix [V, E] with a gradient of few rows.

    The result equals that of a dense step: moments also decay in rows that are not in the batch. The cost depends on
    the rows that ever had a gradient. Moments below 1e-38 are set to 0.
    """

    def __init__(self, optimizer: spec.Adam, shape: tuple[int, int], float64: bool):
        self.optimizer, self.shape, self.float64 = optimizer, shape, float64
        self.steps = 0
        self.touched = np.zeros(shape[0], dtype=np.uint8)

    def step(self, arrays: AdamArrays, rows: Rows, gradient: int, learning_rate: float) -> None:
        """Update the arrays; `gradient`: address of the gradient [U, E] of `rows`."""
        self.steps += 1
        betas = self.optimizer.beta1, self.optimizer.beta2
        corrections = [1.0 - beta**self.steps for beta in betas]
        scalars = (*betas, self.optimizer.epsilon, learning_rate / corrections[0], math.sqrt(corrections[1]))
        addresses = (*arrays, self.touched.ctypes.data, rows.slot.ctypes.data, gradient)
        count, dim = self.shape
        kernels.compute(
            "seqtwin_adam_rows", AdamRows(self.float64, _threads(count * dim), count, dim, *addresses, *scalars)
        )

    def load(self, moment1: np.ndarray, moment2: np.ndarray, steps: int) -> None:
        """Load the moments [V, E] after `steps` steps."""
        self.steps = steps
        self.touched = np.logical_or(moment1.any(axis=1), moment2.any(axis=1)).astype(np.uint8)


def pool(shape: list[int], float64: bool, **addresses: int | None) -> None:
    """Pool x [B, L, F] to `pooled` [B, F] over `lengths`, by mean or maximum.

    With `position` [B, F] int32, which receives the index of the maximum, it is the maximum.
    """
    kernels.compute("seqtwin_pool", _pooling(shape, float64, addresses))


def unpool(shape: list[int], float64: bool, **addresses: int | None) -> None:
    """Compute `d_x` [B, L, F], zero at padding, from `d_pooled` [B, F]."""
    kernels.compute("seqtwin_unpool", _pooling(shape, float64, addresses))


def _pooling(shape: list[int], float64: bool, addresses: dict[str, int | None]) -> Pooling:
    problem = Pooling(float64, _threads(math.prod(shape)), *shape)
    for name, address in addresses.items():
        setattr(problem, name, address)
    return problem
