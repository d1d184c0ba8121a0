"""Compiled kernels of a training step: embedding gradients, Adam for embeddings, pooling.

As in `backends/kernels`, arrays are C-contiguous NumPy arrays or tensors on the CPU. Others raise TypeError or
ValueError. Results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import math
from typing import NamedTuple

import numpy as np

from backends import kernels
from backends.kernels import arguments
from backends.kernels.arguments import Array
from core import spec

ADDRESS = kernels.ADDRESS
DTYPES = ("float32", "float64")
"""Dtypes by the flag `float64`."""
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

    def __init__(self, ids: Array, vocab_size: int):
        """Number the `ids`, int64 in 0 .. vocab_size - 1."""
        self.shape = arguments.shape_of("ids", ids)
        values = arguments.integers("ids", ids, self.shape, "int64", range(vocab_size))
        self.row = np.empty(len(values), dtype=np.int32)
        """Number of every token's id, [tokens], -1 for PAD."""
        self.slot = np.full(vocab_size, -1, dtype=np.int32)
        """Number of every id, [V], -1 if it does not occur."""
        found = np.empty(len(values), dtype=np.int64)
        addresses = (found.ctypes.data, self.row.ctypes.data, self.slot.ctypes.data)
        self.ids = found[: kernels.call("seqtwin_number_rows", *values.buffer_info(), *addresses)]
        """Id of every number, [U]."""

    def sums(self, vectors: Array, values: Array) -> None:
        """Sum `vectors` [tokens, dim] over the tokens of each id, in order, into `values` [U, dim].

        The tokens of `vectors` have the shape of the ids.
        """
        shape = (*self.shape, *arguments.shape_of("vectors", vectors)[-1:])
        float64 = arguments.float64("vectors", vectors)
        dtype, tokens, dim = DTYPES[float64], len(self.row), shape[-1]
        addresses = (
            self.row.ctypes.data,
            arguments.address("vectors", vectors, shape, dtype),
            arguments.address("values", values, (len(self.ids), dim), dtype),
        )
        kernels.compute(
            "seqtwin_sum_rows", RowSums(float64, _threads(tokens * dim), tokens, dim, len(self.ids), *addresses)
        )


class AdamArrays(NamedTuple):
    """The arrays [V, E] that Adam updates."""

    weight: Array
    moment1: Array
    moment2: Array


class EmbeddingAdam:
    """Adam for a matrix [V, E] with a gradient of few rows.

    The result equals that of a dense step: moments also decay in rows that are not in the batch. The cost depends on
    the rows that ever had a gradient. Moments below 1e-38 are set to 0.
    """

    def __init__(self, optimizer: spec.Adam, shape: tuple[int, int], float64: bool):
        """Create the state before the first step; `shape`: [V, E]."""
        self.optimizer, self.shape, self.float64 = optimizer, tuple(shape), float64
        self.steps = 0
        self.touched = np.zeros(shape[0], dtype=np.uint8)

    def step(self, arrays: AdamArrays, rows: Rows, gradient: Array, learning_rate: float) -> None:
        """Update the arrays; `gradient`: the gradient [U, E] of `rows`."""
        count, dim = self.shape
        if len(rows.slot) != count:
            raise ValueError(f"rows: got ids of {len(rows.slot)} rows, expected {count}")
        dtype = DTYPES[self.float64]
        addresses = [
            *(arguments.address(name, array, self.shape, dtype) for name, array in arrays._asdict().items()),
            self.touched.ctypes.data,
            rows.slot.ctypes.data,
            arguments.address("gradient", gradient, (len(rows.ids), dim), dtype),
        ]
        self.steps += 1
        betas = self.optimizer.beta1, self.optimizer.beta2
        corrections = [1.0 - beta**self.steps for beta in betas]
        scalars = (*betas, self.optimizer.epsilon, learning_rate / corrections[0], math.sqrt(corrections[1]))
        kernels.compute(
            "seqtwin_adam_rows", AdamRows(self.float64, _threads(count * dim), count, dim, *addresses, *scalars)
        )

    def load(self, moment1: np.ndarray, moment2: np.ndarray, steps: int) -> None:
        """Load the moments [V, E] after `steps` steps."""
        for name, moment in (("moment1", moment1), ("moment2", moment2)):
            arguments.expect(name, moment, self.shape, DTYPES[self.float64])
        if steps < 0:
            raise ValueError(f"steps: got {steps}, expected at least 0")
        self.steps = steps
        self.touched = np.logical_or(moment1.any(axis=1), moment2.any(axis=1)).astype(np.uint8)


POOLINGS = ("mean", "max")


def pooled_shape(x: Array, pooling: str) -> arguments.Shape:
    """Return the shape [B, F] of pooled x [B, L, F]. Raises ValueError for a pooling without a kernel."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling: got {pooling!r}, expected {' or '.join(POOLINGS)}")
    batch, _, features = arguments.shape_of("x", x, "B, L, F")
    return batch, features


def pool(lengths: Array, x: Array, pooled: Array, position: Array | None = None) -> None:
    """Pool x [B, L, F] to `pooled` [B, F] over `lengths`, by mean or maximum.

    With `position` [B, F] int32, which receives the index of the maximum, it is the maximum.
    """
    of = _PoolSizes("x", x, lengths)
    addresses = {
        "x": arguments.address("x", x, of.shape, of.dtype),
        "pooled": arguments.address("pooled", pooled, of.pooled, of.dtype),
        "position": None if position is None else arguments.address("position", position, of.pooled, "int32"),
    }
    kernels.compute("seqtwin_pool", of.problem(addresses))


def unpool(lengths: Array, d_pooled: Array, d_x: Array, position: Array | None = None) -> None:
    """Compute `d_x` [B, L, F], zero at padding, from `d_pooled` [B, F]; `position` is that of `pool`."""
    of = _PoolSizes("d_x", d_x, lengths)
    if position is not None:
        position = arguments.integers("position", position, of.pooled, "int32", range(of.shape[1]))
    addresses = {
        "d_pooled": arguments.address("d_pooled", d_pooled, of.pooled, of.dtype),
        "d_x": arguments.address("d_x", d_x, of.shape, of.dtype),
        "position": None if position is None else position.buffer_info()[0],
    }
    kernels.compute("seqtwin_unpool", of.problem(addresses))


class _PoolSizes:
    """Shapes and dtype of a pooling, with a checked copy of the lengths."""

    def __init__(self, name: str, array: Array, lengths: Array):
        """Read the sizes from `array` [B, L, F], the argument `name`."""
        self.shape = arguments.shape_of(name, array, "B, L, F")
        self.float64 = arguments.float64(name, array)
        self.dtype = DTYPES[self.float64]
        batch, width, features = self.shape
        self.pooled = (batch, features)
        self.lengths = arguments.integers("lengths", lengths, (batch,), "int64", range(1, width + 1))

    def problem(self, addresses: dict[str, int | None]) -> Pooling:
        """Return the problem; this object must live until it is solved."""
        problem = Pooling(self.float64, _threads(math.prod(self.shape)), *self.shape, self.lengths.buffer_info()[0])
        for name, address in addresses.items():
            setattr(problem, name, address)
        return problem
