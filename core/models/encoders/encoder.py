"""What every encoder is: a part of the spec that knows its parameters and what it computes, in NumPy."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from core.batch import Batch
from core.models.parameters import Parameter
from core.models.precision import Rounding
from core.models.types import Arrays, Dropout
from core.schema import Spec

Places = dict[str, tuple[tuple[int, ...], float]]
"""Where units are dropped, by name: the shape of what is dropped, and the rate."""


@dataclass(frozen=True)
class Block:
    """Columns of an encoder's output that count at the same positions.

    `values` [B, L, F], zero elsewhere; `windows.mask` [B, L, 1] is 1 at these positions, the first `windows.counts`
    [B, 1] of a row. NumPy arrays in core, the framework's tensors in a backend.
    """

    values: Any
    windows: Any


@dataclass(frozen=True)
class Encoded:
    """What an encoder gives to a head: every layer's output by name, and the last one in blocks."""

    blocks: tuple[Block, ...]
    layers: dict[str, Any] = field(default_factory=dict)
    forward_columns: int = 0
    """Columns of the forward direction, which come first; the others are the reverse direction's (`last` pooling)."""
    activation: Literal["none", "relu", "tanh"] = "none"
    """Applied to what a head has pooled."""


class Encoder(Spec):
    """Base of all families. `inputs` is the width of what it reads, the embedding's output."""

    poolings: ClassVar[tuple[str, ...]]
    """What a pooling head may do with its output."""
    part: ClassVar[str]
    """Its name among the parts of a training step (`core/benchmark/step_profile.py`)."""

    @property
    @abstractmethod
    def implementations(self) -> tuple[str, ...]:
        """Those of `backends.implementations.IMPLEMENTATIONS` that compute it, on a device where they run."""

    @abstractmethod
    def output_size(self, inputs: int) -> int:
        """Columns F of its output."""

    @abstractmethod
    def parameters(self, inputs: int) -> list[Parameter]:
        """Its rows of the parameter table, in the order of the forward pass."""

    @abstractmethod
    def forward(self, arrays: Arrays, x: np.ndarray, batch: Batch, dropout: Dropout, rounded: Rounding) -> Encoded:
        """x [B, L, inputs], zero past the lengths -> its output. In the precision of x; complex numbers go through."""

    @abstractmethod
    def dropout_places(self, rows: int, width: int, inputs: int) -> Places:
        """Of a batch of `rows` sequences, `width` wide; places with rate 0 too."""

    def margin(self, encoded: Encoded, pooled: np.ndarray) -> float:
        """How far the nearest unit is from a kink of the encoder's own; `pooled` [B, F] before its activation."""
        return np.inf

    @property
    @abstractmethod
    def label(self) -> str:
        """The family and its size in two words, as in `BiLSTM 128`: for tables."""

    @abstractmethod
    def describe(self) -> str:
        """Name the family and its sizes, as in `1 x bidirectional LSTM 128`."""
