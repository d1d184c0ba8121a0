"""Compiled kernels of a training step: word vectors and their gradients, Adam for embeddings, pooling.

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
ITEM_BYTES = (4, 8)
"""Likewise."""
SMALL = 1 << 16
"""Number of array elements below which a second thread does not pay off."""


def _fields(integers: str, addresses: str, numbers: str = "") -> list[tuple[str, type]]:
    kinds = ((integers, ctypes.c_int64), (addresses, ADDRESS), (numbers, ctypes.c_double))
    return [(name, kind) for names, kind in kinds for name in names.split()]


class RowVectors(ctypes.Structure):
    _fields_ = _fields("float64 threads tokens dim stride rows", "row ids table vectors keep values", numbers="scale")


class AdamRows(ctypes.Structure):
    _fields_ = _fields(
        "float64 threads rows dim",
        "weight moment1 moment2 touched slot gradient",
        "beta1 beta2 epsilon step_size root_correction",
    )


class Pooling(ctypes.Structure):
    _fields_ = _fields("float64 threads batch width features row", "lengths x maximum mean position")


class Perturbation(ctypes.Structure):
    _fields_ = _fields("float64 threads batch width features", "lengths plain gradient moved", "size")


def _threads(size: int) -> int:
    return 1 if size < SMALL else kernels.threads()


class Columns(NamedTuple):
    """The columns of vectors [tokens, W] that one table has, and their dropout."""

    first: int
    dim: int
    keep: Array | None = None
    """Units to keep, [tokens, W] bool; None for all."""
    rate: float = 0.0
    """Dropout rate, by which the kept ones are scaled."""


class Rows:
    """The distinct ids of a batch, without PAD, numbered by first occurrence."""

    def __init__(self, ids: Array, vocab_size: int):
        """Number the `ids`, int64 in 0 .. vocab_size - 1."""
        self.shape, self.vocab_size = arguments.shape_of("ids", ids), vocab_size
        values = arguments.integers("ids", ids, self.shape, "int64", range(vocab_size))
        self.row = np.empty(len(values), dtype=np.int32)
        """Number of every token's id, [tokens], -1 for PAD."""
        self.slot = np.full(vocab_size, -1, dtype=np.int32)
        """Number of every id, [V], -1 if it does not occur."""
        found = np.empty(len(values), dtype=np.int64)
        addresses = (found.ctypes.data, self.row.ctypes.data, self.slot.ctypes.data)
        self.ids = found[: kernels.call("seqtwin_number_rows", *values.buffer_info(), *addresses)]
        """Id of every number, [U]."""

    def look_up(self, table: Array, vectors: Array, columns: Columns | None = None) -> None:
        """Write the tokens' rows of `table` [V, dim], zeros for PAD, into columns of `vectors` [tokens, W].

        The tokens of `vectors` have the shape of the ids. `columns`: those of the table, None for all.
        """
        own = self._problem(vectors, columns)
        own.ids = self.ids.ctypes.data
        own.table = arguments.address("table", table, (self.vocab_size, own.dim), DTYPES[own.float64])
        kernels.compute("seqtwin_look_up_rows", own)

    def sums(self, vectors: Array, values: Array, columns: Columns | None = None) -> None:
        """Sum the gradients of the tokens of each id, in order, into `values` [U, dim], as without dropout.

        `vectors` [tokens, W]: the gradients of what `look_up` wrote.
        """
        own = self._problem(vectors, columns)
        own.values = arguments.address("values", values, (len(self.ids), own.dim), DTYPES[own.float64])
        kernels.compute("seqtwin_sum_rows", own)

    def _problem(self, vectors: Array, columns: Columns | None) -> RowVectors:
        """Return the problem without a table or values."""
        width = arguments.shape_of("vectors", vectors)[-1]
        first, dim, keep, rate = columns or Columns(0, width)
        if not 0 <= first <= first + dim <= width:
            raise ValueError(f"columns: got {first} to {first + dim}, expected columns within {width}")
        float64, shape, tokens = arguments.float64("vectors", vectors), (*self.shape, width), len(self.row)
        own = RowVectors(float64, _threads(tokens * dim), tokens, dim, width, len(self.ids), self.row.ctypes.data)
        own.vectors = arguments.address("vectors", vectors, shape, DTYPES[float64]) + first * ITEM_BYTES[float64]
        if keep is not None:
            own.keep, own.scale = arguments.address("keep", keep, shape, "bool") + first, 1.0 / (1.0 - rate)
        return own


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
        if rows.vocab_size != count:
            raise ValueError(f"rows: got ids of {rows.vocab_size} rows, expected {count}")
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


BOTH = "max_mean"
POOLINGS = ("mean", "max", BOTH)


def fused(poolings: tuple[str, ...]) -> tuple[str, ...]:
    """Return `poolings` in the same order, with maxima and means, which then are the last, as one."""
    return (*poolings[:-2], BOTH) if poolings[-2:] == ("max", "mean") else poolings


def pooled_shape(x: Array, pooling: str) -> arguments.Shape:
    """Return the shape [B, P] of pooled x [B, L, F]. Raises ValueError for a pooling without a kernel."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling: got {pooling!r}, expected {', '.join(POOLINGS)}")
    batch, _, features = arguments.shape_of("x", x, "B, L, F")
    return batch, features * (1 + (pooling == BOTH))


def position_shape(x: Array, pooling: str) -> arguments.Shape | None:
    """Return the shape [B, F] of the positions of maxima in x [B, L, F], None for a pooling without a maximum."""
    return None if pooling == "mean" else (x.shape[0], x.shape[2])


def pool(pooling: str, lengths: Array, x: Array, pooled: Array, position: Array | None = None) -> None:
    """Pool x [B, L, F] to `pooled` [B, P] over `lengths`: the maximum, the mean, or both in this order.

    With a maximum, `position` [B, F] int32 receives its index.
    """
    of = _Pooled("x", x, lengths, pooling)
    if of.maximum:
        position = arguments.address("position", position, of.positions, "int32")
    of.compute("seqtwin_pool", arguments.address("pooled", pooled, of.pooled, of.dtype), position)


def unpool(pooling: str, lengths: Array, d_pooled: Array, d_x: Array, position: Array | None = None) -> None:
    """Compute `d_x` [B, L, F], zero at padding, from `d_pooled` [B, P]; `position` is that of `pool`."""
    of = _Pooled("d_x", d_x, lengths, pooling)
    address = arguments.address("d_pooled", d_pooled, of.pooled, of.dtype)
    if of.maximum:
        position = arguments.integers("position", position, of.positions, "int32", range(of.shape[1]))
    of.compute("seqtwin_unpool", address, position.buffer_info()[0] if of.maximum else None)


class _Pooled:
    """A pooling of an array or of its gradient, with a checked copy of the lengths."""

    def __init__(self, name: str, array: Array, lengths: Array, pooling: str):
        """Read the sizes from `array` [B, L, F], the argument `name`."""
        self.shape = arguments.shape_of(name, array, "B, L, F")
        self.float64 = arguments.float64(name, array)
        self.dtype = DTYPES[self.float64]
        batch, width, features = self.shape
        self.pooled, self.positions = pooled_shape(array, pooling), (batch, features)
        self.maximum, self.mean = pooling != "mean", pooling != "max"
        self.lengths = arguments.integers("lengths", lengths, (batch,), "int64", range(1, width + 1))
        self.x = arguments.address(name, array, self.shape, self.dtype)

    def compute(self, name: str, pooled: int, position: int | None) -> None:
        """Run a function of the library with the addresses of arrays [B, P] and [B, F]."""
        sizes = (*self.shape, self.pooled[1])
        problem = Pooling(self.float64, _threads(math.prod(self.shape)), *sizes, self.lengths.buffer_info()[0], self.x)
        after = (self.pooled[1] - self.shape[2]) * ITEM_BYTES[self.float64]
        problem.maximum = pooled if self.maximum else None
        problem.mean = pooled + after if self.mean else None
        problem.position = position
        kernels.compute(name, problem)


def perturb(lengths: Array, plain: Array, gradient: Array, moved: Array, size: float) -> None:
    """Write `plain` [B, L, F] plus the perturbation of `core.adversarial.perturbation_of` to `moved`.

    `gradient` [B, L, F] is not read at padding, where `moved` is `plain`.
    """
    shape, float64 = arguments.shape_of("plain", plain, "B, L, F"), arguments.float64("plain", plain)
    known = arguments.integers("lengths", lengths, shape[:1], "int64", range(1, shape[1] + 1))
    arrays = {"plain": plain, "gradient": gradient, "moved": moved}
    addresses = [arguments.address(name, array, shape, DTYPES[float64]) for name, array in arrays.items()]
    sizes = float64, _threads(math.prod(shape)), *shape
    kernels.compute("seqtwin_perturb", Perturbation(*sizes, known.buffer_info()[0], *addresses, size))
