"""Compiled recurrent layers for inference: weights are packed once, and words may come from an embedding table.

As in `backends/kernels`, arrays are C-contiguous NumPy arrays on the CPU. Outputs have the bits of `Pass.forward`, and
do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np

from backends import kernels
from backends.kernels import arguments
from backends.kernels.training import DTYPES
from core.models.encoders.recurrent import WEIGHT_KINDS, DirectionWeights, LayerSizes

LINE = 64
"""Bytes of a cache line, to which packed weights are aligned."""
MOST_SUMS = 256 << 20
"""Largest size in bytes of the sums that a layer keeps for the words of its table."""


class InferenceLayer:
    """One layer from zero states, without a backward pass. One call at a time."""

    def __init__(self, sizes: LayerSizes, weights: list[DirectionWeights], table: np.ndarray | None = None):
        """Pack the `weights` of every direction, for the build that runs now.

        With a `table` [V, I], `forward` takes ids of its rows instead of vectors. Row 0, that of PAD, counts as zeros.
        The biases plus the product of a row with W are computed at the first use of the row, and kept if those of all
        rows fit into `MOST_SUMS`. Raises TypeError or ValueError for other dtypes or shapes.
        """
        self.sizes, self.target = sizes, kernels.target()
        self.float64 = arguments.float64("weight_ih", weights[0].weight_ih)
        self.dtype = np.dtype(DTYPES[self.float64])
        shapes = arguments.layer_shapes(sizes, (1, 1, sizes.inputs))
        problem = self._problem(0, 0)
        for kind in WEIGHT_KINDS:
            arrays = [np.ascontiguousarray(getattr(own, kind)) for own in weights]
            for side, array in enumerate(arguments.sides(kind, arrays, sizes.directions)):
                getattr(problem, kind)[side] = arguments.address(kind, array, shapes[kind], self.dtype.name)
        self._packed = aligned(kernels.call("seqtwin_packed_bytes", problem))
        problem.packed = self._packed.ctypes.data
        kernels.compute("seqtwin_pack", problem)
        self._output = np.empty(0, self.dtype)
        self._table = table
        self._sums = self._known = None
        if table is not None:
            self._table_address = arguments.address("table", table, (len(table), sizes.inputs), self.dtype.name)
            size = len(table) * sizes.directions * kernels.call("seqtwin_columns", problem) * self.dtype.itemsize
            if size <= MOST_SUMS:
                self._sums, self._known = aligned(size), np.zeros(len(table), np.uint8)

    def forward(self, lengths: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the output [B, L, D * H], zero at padding, of x [B, L, I] or, with a table, of ids [B, L] int64.

        `lengths` [B] int64, 1 <= length <= L. The output is valid until the next call. Raises TypeError or ValueError
        for other dtypes, shapes, ids or lengths; KeyboardInterrupt.
        """
        if self.target != kernels.target():
            raise RuntimeError(f"the weights are packed for {self.target}, not for {kernels.target()}")
        batch, width = x.shape[:2]
        problem = self._problem(batch, width)
        known_lengths = arguments.integers("lengths", lengths, (batch,), "int64", range(1, width + 1))
        problem.lengths, problem.packed = known_lengths.buffer_info()[0], self._packed.ctypes.data
        if self._table is None:
            shape = (batch, width, self.sizes.inputs)
            problem.x = arguments.address("x", x, shape, self.dtype.name)
        else:
            ids = arguments.integers("ids", x, (batch, width), "int64", range(len(self._table)))
            problem.ids, problem.table = ids.buffer_info()[0], self._table_address
            if self._sums is not None and self._known is not None:
                problem.sums, problem.known = self._sums.ctypes.data, self._known.ctypes.data
        output = self._room((batch, width, self.sizes.directions * self.sizes.hidden))
        problem.output = output.ctypes.data
        kernels.compute("seqtwin_forward", problem)
        return output

    def _problem(self, batch: int, width: int) -> kernels.Problem:
        own = self.sizes
        return kernels.Problem(
            kernels.CELLS[own.cell],
            self.float64,
            own.directions,
            kernels.threads(),
            1,
            batch,
            width,
            own.inputs,
            own.hidden,
        )

    def _room(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Return an array in memory that is kept between calls: new memory costs page faults."""
        size = shape[0] * shape[1] * shape[2]
        if len(self._output) < size:
            self._output = np.empty(size, self.dtype)
        return self._output[:size].reshape(shape)


def aligned(size: int) -> np.ndarray:
    """Return memory of `size` bytes that starts at a cache line."""
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size]
