"""Rows of the parameter table: name, shape and initialization of every array.

Layouts follow `torch.nn.LSTM` and `paddle.nn.LSTM`: gate blocks are stacked along the first axis (LSTM i, f, g, o; GRU
r, z, n with the reset gate applied after the recurrent product). Linear weights are `[out, in]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from core.schema import Spec


class Init(Spec):
    """Initialization of an array. Biases start at zero unless `scheme` is `fan_uniform`."""

    scheme: Literal["fan_uniform", "xavier_uniform", "uniform", "normal"] = "fan_uniform"
    """Distribution of the initial values.

    `fan_uniform`: U(-s, s), s = scale / sqrt(fan), with fan = H in a recurrent layer, in-features in a linear layer,
    in-channels times kernel width in a convolution. It is the default of both frameworks' recurrent layers, and of
    torch's other layers. `xavier_uniform`: Glorot and Bengio 2010, times `scale`. `uniform`: U(-scale, scale).
    `normal`: N(0, scale^2).
    """
    scale: float = Field(default=1.0, gt=0.0)


@dataclass(frozen=True)
class Parameter:
    """One row of the parameter table.

    `fan` scales `fan_uniform`; `blocks` gate matrices are stacked along axis 0. Axes after the second belong to a
    kernel.
    """

    name: str
    shape: tuple[int, ...]
    init: Init
    fan: int
    blocks: int = 1
    trainable: bool = True
    looked_up: bool = False
    """True for an embedding table; its row 0 (PAD) is zero and stays zero."""
    added: bool = False
    """True for a matrix that is added, as the transitions of a CRF: no input of a matrix product."""
    drawn_as: str = ""
    """Name of the parameter whose initial values are shared, "" for none."""
    raised: tuple[int, int, float] | None = None
    """(start, stop, by): bias entries start:stop are increased by `by`."""
    constant: float | None = None
    """Initial value of all entries, None for drawn ones."""

    @property
    def is_bias(self) -> bool:
        return len(self.shape) == 1

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw initial values in float64."""
        if self.constant is not None:
            return np.full(self.shape, self.constant)
        array = _draw(self, rng)
        if self.looked_up:
            array[0] = 0.0
        if self.raised is not None:
            start, stop, by = self.raised
            array[start:stop] += by
        return array


def linear_parameters(name: str, outputs: int, inputs: int, init: Init) -> list[Parameter]:
    """Return the rows of a linear layer: `NAME.weight` [out, in], `NAME.bias` [out]."""
    return [
        Parameter(f"{name}.weight", (outputs, inputs), init, fan=inputs),
        Parameter(f"{name}.bias", (outputs,), init, fan=inputs),
    ]


def _draw(row: Parameter, rng: np.random.Generator) -> np.ndarray:
    scheme, scale = row.init.scheme, row.init.scale
    if row.is_bias and not row.trainable:
        return np.zeros(row.shape)
    if scheme == "fan_uniform":
        bound = scale / np.sqrt(row.fan)
        return rng.uniform(-bound, bound, row.shape)
    if row.is_bias:
        return np.zeros(row.shape)
    if scheme == "normal":
        return rng.normal(0.0, scale, row.shape)
    if scheme == "uniform":
        return rng.uniform(-scale, scale, row.shape)
    # Every gate is a separate matrix: stacking must not change the fan-out in Glorot's bound.
    fans = (row.shape[1] + row.shape[0] / row.blocks) * math.prod(row.shape[2:])
    bound = scale * np.sqrt(6.0 / fans)
    return rng.uniform(-bound, bound, row.shape)
