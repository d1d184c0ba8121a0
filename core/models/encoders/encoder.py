"""The encoder interface: spec section, parameters and NumPy reference."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from core.batch import Batch
from core.models.parameters import Parameter
from core.models.precision import Rounding
from core.models.types import Arrays, Dropout
from core.schema import Spec

Places = dict[str, tuple[tuple[int, ...], float]]
"""Dropout places by name: shape and rate."""


class Products(NamedTuple):
    """Floating-point operations of an encoder's matrix products over a batch, two per multiplication and addition."""

    forward: float = 0.0
    d_weights: float = 0.0
    """Gradient of the weights."""
    d_states: float = 0.0
    """Gradient of what the encoder computes itself and reads: recurrent states, outputs of lower layers."""
    d_x: float = 0.0
    """Gradient of the encoder's inputs."""


@dataclass(frozen=True)
class Block:
    """Features of an encoder's output that are valid at the same positions.

    `values` [B, L, F], zero elsewhere; `windows.mask` [B, L, 1] is 1 at the valid positions, the first `windows.counts`
    [B, 1] of a row. NumPy arrays in core, framework tensors in a backend.
    """

    values: Any
    windows: Any
    pooled: bool = False
    """Whether the encoder pooled the values itself, to [B, F] (`Encoder.fused_pooling`)."""


class States(NamedTuple):
    """The states of a recurrent layer after the last, or before the first, real token of each sequence."""

    h: Any
    """[directions, B, H]"""
    c: Any = None
    """Cell states of an LSTM [directions, B, H], otherwise None."""


@dataclass(frozen=True)
class Encoded:
    """The output of an encoder: the last layer in blocks, and every layer by name."""

    blocks: tuple[Block, ...]
    layers: dict[str, Any] = field(default_factory=dict)
    forward_columns: int = 0
    """Number of leading features from the forward direction.

    The others are from the reverse one.
    """
    activation: Literal["none", "relu", "tanh"] = "none"
    """Activation applied after pooling."""
    states: tuple[States, ...] = ()
    """Final states of every recurrent layer; empty if the head does not need them (`Head.needs_states`)."""
    words: tuple[Any, ...] = ()
    """Rows of the word table, if the head `reads_table`: of the target tokens [B, L, E] and of the noise [K, E].

    Without noise, those of all words but PAD replace it.
    """


class Encoder(Spec):
    """Base class of all encoder families. `inputs` is the size of the embedding's output."""

    poolings: ClassVar[tuple[str, ...]]
    """Poolings that a head may apply to the output."""
    part: ClassVar[str]
    """Name among the parts of a training step (`core/benchmark/step_profile.py`)."""
    fused_pooling: ClassVar[str | None] = None
    """The only pooling of a head that `fast` supports, as it is part of the kernels; None: `fast` supports any head."""

    @property
    @abstractmethod
    def implementations(self) -> tuple[str, ...]:
        """Supported implementations of `backends.implementations.IMPLEMENTATIONS`.

        `Model.implementations` are those that support the head, too.
        """

    @property
    def per_token(self) -> bool:
        """Return whether the output has the features of every token."""
        return False

    @abstractmethod
    def output_size(self, inputs: int) -> int:
        """Return the number of output features F."""

    @abstractmethod
    def values_per_token(self, inputs: int) -> int:
        """Return the number of values per token that every implementation keeps for the backward pass."""

    @abstractmethod
    def products(self, inputs: int, lengths: np.ndarray, pooling: str | None) -> Products:
        """Return the operations of the matrix products over texts of `lengths` [B], without padding.

        `pooling`: that of the head, None without one.
        """

    @abstractmethod
    def parameters(self, inputs: int) -> list[Parameter]:
        """Return the rows of the parameter table, in the order of the forward pass."""

    @abstractmethod
    def forward(self, arrays: Arrays, x: np.ndarray, batch: Batch, dropout: Dropout, rounded: Rounding) -> Encoded:
        """Encode x [B, L, inputs], zero at padding, in the precision of x. Supports complex steps."""

    @abstractmethod
    def dropout_places(self, rows: int, width: int, inputs: int) -> Places:
        """Return the dropout places, including rate 0, for `rows` sequences of `width`."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Short name and size for tables, as `BiLSTM 128`."""

    @abstractmethod
    def describe(self) -> str:
        """Describe the family and its sizes, as `1 x bidirectional LSTM 128`."""
