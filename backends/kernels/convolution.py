"""Compiled convolutions of a TextCNN for inference: weights are packed once, words may come from an embedding table.

As in `backends/kernels`, arrays are C-contiguous NumPy arrays on the CPU. The maximum over the windows is part of the
kernel, so the values of a window are never stored. Results do not depend on the number of threads, nor on the other
texts of a batch.
"""

from __future__ import annotations

import ctypes

import numpy as np

from backends import kernels
from backends.kernels import arguments
from backends.kernels.inference import aligned
from backends.kernels.training import DTYPES
from core.models.encoders.textcnn import TextCNNEncoder
from core.models.types import Arrays

INTEGERS = "float64 threads models batch width inputs channels kernel before within row adds"
ADDRESSES = "lengths x ids table weight bias packed pooled position values d_pooled d_x d_weight d_bias"


class Convolution(ctypes.Structure):
    """Mirror of `Convolution` in `recurrent.h`, which documents shapes and meanings."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in INTEGERS.split()),
        *((name, kernels.ADDRESS) for name in ADDRESSES.split()),
    ]


class InferenceConvolutions:
    """All kernels of an encoder, each followed by the maximum over its windows. One call at a time."""

    def __init__(self, encoder: TextCNNEncoder, arrays: Arrays, table: np.ndarray | None = None):
        """Pack the weights `encoder.conv{j}.weight` and `.bias` of `arrays`, for the build that runs now.

        With a `table` [V, I], `forward` takes ids of its rows instead of vectors. Row 0, that of PAD, counts as zeros.
        Raises TypeError or ValueError for other dtypes or shapes.
        """
        self.encoder, self.target, self._table = encoder, kernels.target(), table
        weights = [arrays[f"encoder.conv{number}.weight"] for number in range(len(encoder.kernels))]
        self.inputs = int(weights[0].shape[1])
        self.float64 = arguments.float64("weight", weights[0])
        self.dtype = np.dtype(DTYPES[self.float64])
        self._table_address = None
        if table is not None:
            self._table_address = arguments.address("table", table, (len(table), self.inputs), self.dtype.name)
        self._packed = []
        for number, weight in enumerate(weights):
            problem = self._problem(number, 0, 0)
            shape = (encoder.channels[number], self.inputs, encoder.kernels[number])
            problem.weight = arguments.address("weight", weight, shape, self.dtype.name)
            bias = arrays[f"encoder.conv{number}.bias"]
            problem.bias = arguments.address("bias", bias, shape[:1], self.dtype.name)
            packed = aligned(kernels.call("seqtwin_convolution_bytes", ctypes.addressof(problem)))
            problem.packed = packed.ctypes.data
            kernels.compute("seqtwin_pack_convolution", problem)
            self._packed.append(packed)

    def forward(self, lengths: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the maxima [B, sum of channels], before the activation, of x [B, L, I] or of ids [B, L] int64.

        `lengths` [B] int64, 1 <= length <= L; what lies past a length is not read. Raises TypeError or ValueError for
        other dtypes, shapes, ids or lengths; RuntimeError if another build was selected; KeyboardInterrupt.
        """
        if self.target != kernels.target():
            raise RuntimeError(f"the weights are packed for {self.target}, not for {kernels.target()}")
        batch, width = x.shape[:2]
        known_lengths = arguments.integers("lengths", lengths, (batch,), "int64", range(1, width + 1))
        ids = None
        if self._table is not None:
            ids = arguments.integers("ids", x, (batch, width), "int64", range(len(self._table)))
        pooled = np.empty((batch, sum(self.encoder.channels)), self.dtype)
        column = 0
        for number, packed in enumerate(self._packed):
            problem = self._problem(number, batch, width)
            problem.lengths, problem.packed = known_lengths.buffer_info()[0], packed.ctypes.data
            if ids is None:
                problem.x = arguments.address("x", x, (batch, width, self.inputs), self.dtype.name)
            else:
                problem.ids, problem.table = ids.buffer_info()[0], self._table_address
            problem.pooled = pooled.ctypes.data + column * self.dtype.itemsize
            kernels.compute("seqtwin_convolve", problem)
            column += self.encoder.channels[number]
        return pooled

    def _problem(self, number: int, batch: int, width: int) -> Convolution:
        own, kernel = self.encoder, self.encoder.kernels[number]
        return Convolution(
            float64=self.float64,
            threads=kernels.threads(),
            models=1,
            batch=batch,
            width=width,
            inputs=self.inputs,
            channels=own.channels[number],
            kernel=kernel,
            before=own.context(kernel),
            within=own.window(kernel),
            row=sum(own.channels),
        )
