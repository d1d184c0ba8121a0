"""Compiled convolutions of a TextCNN for training: the maxima over the windows, and their gradients.

As in `backends/kernels`, arrays are C-contiguous NumPy arrays or tensors on the CPU. The values of the windows are not
stored: a maximum is kept with the window that has it, which alone gets the gradient. Results do not depend on the
number of threads; the maxima of a text do not depend on the other texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backends import kernels
from backends.kernels import arguments
from backends.kernels.arguments import Array, Shape
from backends.kernels.convolution import Convolution
from backends.kernels.training import DTYPES


class Placement(NamedTuple):
    """How the windows of a kernel lie in a text (`core/models/encoders/textcnn.py`)."""

    before: int
    """Number of tokens before t in the window of position t."""
    within: int
    """Width of what must lie within the text: that of the kernel, or 1 for a window per token."""


class ConvolutionPass:
    """All kernels of an encoder over one batch: `forward`, then any number of `backward`.

    `weights` are the weight [C, I, K] and the bias [C] of every kernel, one after the other, or [M, ...] for M models,
    each of which has as many of the B texts, model by model. The caller keeps arrays alive until the last pass.
    """

    def __init__(self, lengths: Array, x: Array, weights: Sequence[Array], placements: Sequence[Placement]):
        """Set the sizes from x [B, L, I] and the weights; `lengths` [B] int64, 1 <= length <= L, are copied.

        Raises TypeError or ValueError for an array of another dtype or shape, on another device, or not C-contiguous.
        """
        self.placements, self.x = tuple(placements), arguments.shape_of("x", x, "B, L, I")
        batch, width, inputs = self.x
        if min(self.x) < 1:
            raise ValueError(f"x: got shape {list(self.x)}, expected at least one text, token and input")
        self.float64 = arguments.float64("x", x)
        self.dtype = DTYPES[self.float64]
        self.weights = [arguments.shape_of("weight", own) for own in weights[::2]]
        """Shapes of the weights."""
        if len(weights) != 2 * len(self.placements) or not all(len(own) in (3, 4) for own in self.weights):
            raise ValueError("weights: expected [C, I, K] and [C] of every kernel")
        self.models = self.weights[0][0] if len(self.weights[0]) == 4 else 1
        if batch % self.models:
            raise ValueError(f"got {batch} texts for {self.models} models, expected equal numbers")
        for shape in self.weights:
            lead = () if len(self.weights[0]) == 3 else (self.models,)
            if shape[:-3] != lead or shape[-2] != inputs or min(shape) < 1:
                raise ValueError(f"weight: got shape {list(shape)}, expected {[*lead, 'C', inputs, 'K']}")
        self._lengths = arguments.integers("lengths", lengths, (batch,), "int64", range(1, width + 1))
        self._positions = [np.empty(shape, np.int32) for shape in self.pooled]

    @property
    def pooled(self) -> list[Shape]:
        """Shapes [B, C] of the maxima of every kernel."""
        return [(self.x[0], own[-3]) for own in self.weights]

    @property
    def values(self) -> list[Shape]:
        """Shapes [B, L, C] of the values of every kernel."""
        return [(*self.x[:2], own[-3]) for own in self.weights]

    def forward(
        self, x: Array, weights: Sequence[Array], pooled: Sequence[Array], values: Sequence[Array] = ()
    ) -> None:
        """Write the maxima `pooled` of every kernel, before the activation, and if given the `values` of all windows.

        Values are zero where there is no window. Raises MemoryError, KeyboardInterrupt.
        """
        for number, weight, bias in self._kernels(weights):
            problem = self._problem(number, x, weight)
            problem.bias = self._address("bias", bias, self.weights[number][:-2])
            problem.pooled = self._address("pooled", pooled[number], self.pooled[number])
            if values:
                problem.values = self._address("values", values[number], self.values[number])
            kernels.compute("seqtwin_convolve", problem)

    def backward(
        self,
        x: Array,
        weights: Sequence[Array],
        d_pooled: Sequence[Array],
        d_x: Array | None,
        d_weights: Sequence[Array | None],
    ) -> None:
        """Write the gradients that are not None, from those of the maxima; `d_weights` in the order of `weights`.

        Raises MemoryError, KeyboardInterrupt.
        """
        for number, weight, _ in self._kernels(weights):
            problem, shape = self._problem(number, x, weight), self.weights[number]
            d_weight, d_bias = d_weights[2 * number : 2 * number + 2]
            problem.d_pooled = self._address("d_pooled", d_pooled[number], self.pooled[number])
            problem.adds = number > 0
            problem.d_x = self._address("d_x", d_x, self.x)
            problem.d_weight = self._address("d_weight", d_weight, shape)
            problem.d_bias = self._address("d_bias", d_bias, shape[:-2])
            kernels.compute("seqtwin_convolution_gradients", problem)

    def _kernels(self, weights: Sequence[Array]) -> list[tuple[int, Array, Array]]:
        return [(number, *weights[2 * number : 2 * number + 2]) for number in range(len(self.placements))]

    def _problem(self, number: int, x: Array, weight: Array) -> Convolution:
        """Return the problem of one kernel, without the arrays that only one direction has."""
        batch, width, inputs = self.x
        shape, placement = self.weights[number], self.placements[number]
        return Convolution(
            float64=self.float64,
            threads=kernels.threads(),
            models=self.models,
            batch=batch,
            width=width,
            inputs=inputs,
            channels=shape[-3],
            kernel=shape[-1],
            before=placement.before,
            within=placement.within,
            row=shape[-3],
            lengths=self._lengths.buffer_info()[0],
            x=self._address("x", x, self.x),
            weight=self._address("weight", weight, shape),
            position=self._positions[number].ctypes.data,
        )

    def _address(self, name: str, array: Array | None, shape: Shape) -> int | None:
        return None if array is None else arguments.address(name, array, shape, self.dtype)
