"""Copies of a parameter with different values, so that one forward pass of the reference takes many complex steps.

A batch of B texts is repeated K times, copy by copy: rows k B to (k + 1) B are those of copy k. A parameter with one
value per copy is a `Copies`. The reference combines it with arrays over the rows as it does any parameter; copy k
meets its own rows. An operation that is not defined here raises TypeError.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from core.batch import Batch, NgramBatch
from core.models.precision import Rounding

COPIES = 64
"""Largest number of copies of a batch in a forward pass."""
COPIED = 1_000_000
"""Largest number of values of all copies of parameters."""


class Copies(NDArrayOperatorsMixin):
    """K values of a parameter of `shape`: `values` [K, *shape], for a repeated batch of `rows` = K B texts."""

    def __init__(self, values: np.ndarray, rows: int):
        self.values, self.rows = values, rows

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape[1:]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def T(self) -> Copies:
        """The transposed matrices."""
        return self._like(np.swapaxes(self.values, 1, 2))

    def __len__(self) -> int:
        return self.shape[0]

    def _like(self, values: np.ndarray) -> Copies:
        return Copies(values, self.rows)

    def __getitem__(self, key: Any) -> Any:
        """Return, for index arrays over the rows of the batch, each row's entries of its copy, else `Copies`."""
        parts = key if isinstance(key, tuple) else (key,)
        index = next((part for part in parts if isinstance(part, np.ndarray)), None)
        if index is None or len(index) != self.rows:
            return self._like(self.values[(slice(None), *parts)])
        own = np.repeat(np.arange(len(self.values)), self.rows // len(self.values))
        return self.values[(own.reshape(-1, *(1,) * (index.ndim - 1)), *parts)]

    def rounded(self, rounding: Rounding) -> Copies:
        """Return the rounded values."""
        return self._like(rounding(self.values))

    def _by_row(self, ndim: int) -> np.ndarray:
        """Return each row's values, with axes of size 1 up to `ndim` axes: [rows, 1, ..., *shape]."""
        values = np.repeat(self.values, self.rows // len(self.values), axis=0)
        return values.reshape(self.rows, *(1,) * (ndim - 1 - self.ndim), *self.shape)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Return an array over the rows if one of the inputs has more axes than the parameter, else `Copies`."""
        if method != "__call__" or options:
            return NotImplemented
        if ufunc is np.matmul:
            x, weight = inputs
            return NotImplemented if isinstance(x, Copies) else weight._product(x)
        axes = max((np.ndim(other) for other in inputs if not isinstance(other, Copies)), default=0)
        if axes > self.ndim:
            return ufunc(*(own._by_row(axes) if isinstance(own, Copies) else own for own in inputs))
        return self._like(ufunc(*(own.values if isinstance(own, Copies) else own for own in inputs)))

    def _product(self, x: np.ndarray) -> np.ndarray:
        """Return the products of x [rows, ..., I] and [I, O] of each row's copy."""
        found = x.reshape(len(self.values), -1, x.shape[-1]) @ self.values
        return found.reshape(*x.shape[:-1], self.shape[-1])

    def __array_function__(self, function: Callable, types: Any, arguments: Any, options: Any) -> Any:
        if function is not np.einsum or options:
            return NotImplemented
        return self._einsum(*arguments)

    def _einsum(self, subscripts: str, x: np.ndarray, weight: Copies) -> np.ndarray:
        """Return `np.einsum` of x [rows, ...] and the copies."""
        inputs, output = subscripts.split("->")
        first, second = inputs.split(",")
        split = x.reshape(len(self.values), -1, *x.shape[1:])
        found = np.einsum(f"K{first},K{second}->K{output}", split, weight.values)
        return found.reshape(self.rows, *found.shape[2:])


def rounding_copies(rounding: Rounding) -> Rounding:
    """Return the rounding for arrays and for `Copies`."""

    def rounded(x: Any) -> Any:
        return x.rounded(rounding) if isinstance(x, Copies) else rounding(x)

    return rounded


def repeated(array: np.ndarray, copies: int) -> np.ndarray:
    """Return the rows [B, ...] `copies` times, copy by copy."""
    return array if copies == 1 else np.concatenate([array] * copies)


def repeated_batch(batch: Batch, copies: int) -> Batch:
    """Return the texts of a full batch `copies` times, copy by copy. All copies share the noise words."""
    if copies == 1:
        return batch
    ngrams = batch.ngrams
    return dataclasses.replace(
        batch,
        ids=repeated(batch.ids, copies),
        lengths=repeated(batch.lengths, copies),
        targets={name: repeated(array, copies) for name, array in batch.targets.items()},
        ngrams=ngrams and NgramBatch(repeated(ngrams.logits, copies), repeated(ngrams.values, copies)),
    )


def number_of_copies(wanted: int, batch: Batch) -> int:
    """Return how many copies to take at once, at most `wanted`.

    The rows are not as many as the noise words, so that an index tells which of them it is of.
    """
    noise = 0 if batch.noise is None else len(batch.noise.ids)
    return wanted - 1 if wanted > 1 and wanted * len(batch.lengths) == noise else wanted


def steps_by_entry(array: np.ndarray, step: complex, batch: Batch) -> Iterator[tuple[np.ndarray, Copies]]:
    """Yield numbers of entries [n] of an array, and n copies of it, each with `step` added to one of them."""
    first, most = 0, max(1, min(COPIES, COPIED // array.size))
    while first < array.size:
        size = number_of_copies(min(most, array.size - first), batch)
        entries = np.arange(first, first + size)
        moved = np.repeat(array[None], size, axis=0)
        moved.reshape(size, -1)[np.arange(size), entries] += step
        yield entries, Copies(moved, size * len(batch.lengths))
        first += size
