"""Rows of the parameter table: what an array is called, its shape, and how it starts.

Layouts are those that `torch.nn.LSTM` and `paddle.nn.LSTM` share: gate blocks stacked along the first axis (LSTM
i, f, g, o; GRU r, z, n with the reset gate applied after the recurrent product), linear weights `[out, in]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from core.schema import Spec


class Init(Spec):
    """How an array's starting values are drawn (`core/models/parameters.py`). Biases are zero unless `fan_uniform`."""

    scheme: Literal["fan_uniform", "xavier_uniform", "uniform", "normal"] = "fan_uniform"
    """`fan_uniform`: U(-s, s), s = scale / sqrt(fan), fan = H in a recurrent layer, in-features in a linear one: the
    default of both frameworks' recurrent layers, and of torch's linear one. `xavier_uniform`: Glorot and Bengio 2010,
    times `scale`. `uniform`: U(-scale, scale). `normal`: N(0, scale^2)."""
    scale: float = Field(1.0, gt=0.0)


@dataclass(frozen=True)
class Parameter:
    """One row of the table. `fan` scales `fan_uniform`; `blocks` gate matrices are stacked along axis 0."""

    name: str
    shape: tuple[int, ...]
    init: Init
    fan: int
    blocks: int = 1
    trainable: bool = True

    @property
    def is_bias(self) -> bool:
        return len(self.shape) == 1


def _linear(name: str, outputs: int, inputs: int, init: Init) -> list[Parameter]:
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
    # Each gate has a matrix of its own: stacking them must not change the fan-out that Glorot's bound sees.
    bound = scale * np.sqrt(6.0 / (row.shape[1] + row.shape[0] / row.blocks))
    return rng.uniform(-bound, bound, row.shape)
