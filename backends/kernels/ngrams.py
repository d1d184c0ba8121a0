"""Compiled solver of the linear models of n-grams: passes of dual coordinate descent.

Arrays are as in `backends/kernels`. Results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import math

import numpy as np

from backends import kernels
from backends.kernels import arguments

WIDTH = 4
"""Problems of a block: a cache line has the weights and squared ratios of one n-gram."""


LINE = 64
"""Bytes of a cache line."""


class NgramPass(ctypes.Structure):
    """Mirror of `NgramPass` in `recurrent.h`, which documents shapes and meanings."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("threads", "texts", "size", "blocks", "width", "newton_steps")),
        *((name, ctypes.c_double) for name in ("cost", "least")),
        *((name, kernels.ADDRESS) for name in ("order", "starts", "features", "table", "state", "bias")),
    ]


class Descent:
    """K problems on the same N texts with F n-grams, between two passes."""

    def __init__(
        self, rows: tuple[np.ndarray, np.ndarray], ratios: np.ndarray, scales: np.ndarray, signs: np.ndarray
    ) -> None:
        """Copy `ratios` [F, K], `scales` and `signs` [N, K]; keep `rows`: the n-grams [E] int32, and `starts` [N + 1].

        Raises ValueError for other shapes, or n-grams outside of 0 to F - 1; TypeError for other dtypes.
        """
        self.features, self.starts = rows
        self.texts, (self.size, self.columns) = len(self.starts) - 1, ratios.shape
        for name, array in (("scales", scales), ("signs", signs)):
            if array.shape != (self.texts, self.columns):
                raise ValueError(f"{name}: got shape {list(array.shape)}, expected {[self.texts, self.columns]}")
        if self.starts[0] != 0 or self.starts[-1] != len(self.features) or np.diff(self.starts).min(initial=0) < 0:
            raise ValueError("starts: expected rising numbers from 0 to the number of entries")
        if len(self.features) and (self.features.min() < 0 or self.features.max() >= self.size):
            raise ValueError(f"features: got n-grams outside of 0 to {self.size - 1}")
        self.width = 1 if self.columns == 1 else WIDTH
        self.blocks = -(-self.columns // self.width)
        self.table = _aligned(self.blocks, self.size, 2, self.width)
        self.state = _aligned(self.blocks, self.texts, 3, self.width)
        self.bias = _aligned(self.blocks, self.width)
        for block, columns in enumerate(self._columns()):
            used = columns.stop - columns.start
            np.square(ratios[:, columns], out=self.table[block, :, 1, :used])
            self.state[block, :, 0, :used] = scales[:, columns]
            self.state[block, :, 1, :used] = signs[:, columns]

    def start(self, dual: float) -> None:
        """Set all dual variables, and the weights to 0."""
        self.table[:, :, 0], self.bias[:], self.state[:, :, 2] = 0.0, 0.0, dual

    def run(self, order: np.ndarray, cost: float, least: float, newton_steps: int) -> None:
        """Compute one pass over the texts in this `order` [N] int64. Raises KeyboardInterrupt."""
        problem = NgramPass(
            kernels.threads(),
            self.texts,
            self.size,
            self.blocks,
            self.width,
            newton_steps,
            cost,
            least,
            arguments.address("order", order, (self.texts,), "int64"),
            arguments.address("starts", self.starts, (self.texts + 1,), "int64"),
            arguments.address("features", self.features, (len(self.features),), "int32"),
            self.table.ctypes.data,
            self.state.ctypes.data,
            self.bias.ctypes.data,
        )
        if len(order) and (order.min() < 0 or order.max() >= self.texts):
            raise ValueError(f"order: got texts outside of 0 to {self.texts - 1}")
        kernels.compute("seqtwin_ngram_pass", problem)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weight * ratio [F, K] and the biases [K], both float64."""
        weights = np.empty((self.size, self.columns))
        for block, columns in enumerate(self._columns()):
            weights[:, columns] = self.table[block, :, 0, : columns.stop - columns.start]
        return weights, self.bias.reshape(-1)[: self.columns].copy()

    def _columns(self) -> list[slice]:
        """Return the problems of each block."""
        starts = range(0, self.columns, self.width)
        return [slice(start, min(start + self.width, self.columns)) for start in starts]


def _aligned(*shape: int) -> np.ndarray:
    """Return zeros that start at a cache line: otherwise each n-gram of the table would have parts of two."""
    size = math.prod(shape)
    memory = np.zeros(size + LINE // 8)
    start = -memory.ctypes.data % LINE // 8
    return memory[start : start + size].reshape(shape)
