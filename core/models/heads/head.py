"""What every head is: a part of the spec that knows its parameters, its outputs, its loss and its score, in NumPy."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from core.batch import Batch
from core.models.encoders.encoder import Encoded, Encoder, Places
from core.models.heads.scores import Evaluation
from core.models.parameters import Parameter
from core.models.precision import Rounding
from core.models.types import Arrays, Dropout
from core.schema import Spec


class Head(Spec):
    """Base of all families. `features` is the width F of the encoder's output."""

    targets: ClassVar[tuple[str, ...]]
    """Names of the arrays in `Batch.targets` that its loss reads."""

    @abstractmethod
    def check_encoder(self, encoder: Encoder) -> None:
        """Raise ValueError if it cannot stand on this encoder."""

    @abstractmethod
    def check_targets(self, targets: Arrays) -> None:
        """Raise UserError for targets of a data set that are out of range."""

    @abstractmethod
    def parameters(self, features: int) -> list[Parameter]:
        """Its rows of the parameter table, in the order of the forward pass."""

    @abstractmethod
    def forward(self, arrays: Arrays, encoded: Encoded, dropout: Dropout, rounded: Rounding) -> Arrays:
        """Every output by name, `logits` among them."""

    @abstractmethod
    def dropout_places(self, rows: int, width: int, features: int) -> Places:
        """Of a batch of `rows` sequences, `width` wide; places with rate 0 too."""

    @abstractmethod
    def counted(self, batch: Batch) -> int:
        """How many answers a batch asks for: what a mean loss divides by."""

    @abstractmethod
    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        """The loss of every answer, [N]. Complex numbers go through."""

    @abstractmethod
    def score(self, logits: np.ndarray, targets: Arrays) -> Evaluation:
        """Figures of a whole data set, which need no framework."""

    @abstractmethod
    def margin(self, arrays: Arrays, encoder: Encoder, encoded: Encoded, dropout: Dropout, rounded: Rounding) -> float:
        """Return how far the nearest unit is from a kink: a tie of two maxima, zero of a rectified unit."""

    @abstractmethod
    def describe(self) -> str:
        """Name what it does with the encoder's output, as in `max pooling`."""
