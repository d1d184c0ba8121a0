"""The head interface: spec section, parameters, outputs, loss and metrics, in NumPy."""

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
    """Base class of all head families. `features` is the size F of the encoder's output."""

    targets: ClassVar[tuple[str, ...]]
    """Names of the arrays in `Batch.targets` used by the loss."""
    needs_states: ClassVar[bool] = False
    """Whether `forward` reads the final states of the encoder (`Encoded.states`)."""

    @abstractmethod
    def check_encoder(self, encoder: Encoder) -> None:
        """Raise ValueError if the head does not support this encoder."""

    @abstractmethod
    def check_targets(self, targets: Arrays) -> None:
        """Raise UserError if targets of a data set are out of range."""

    @abstractmethod
    def parameters(self, features: int) -> list[Parameter]:
        """Return the rows of the parameter table, in the order of the forward pass."""

    @abstractmethod
    def forward(self, arrays: Arrays, encoded: Encoded, dropout: Dropout, rounded: Rounding) -> Arrays:
        """Return every output by name, including `logits`."""

    @abstractmethod
    def dropout_places(self, rows: int, width: int, features: int) -> Places:
        """Return the dropout places, including rate 0, for `rows` sequences of `width`."""

    @abstractmethod
    def counted(self, batch: Batch) -> int:
        """Return the number of predictions of a batch, the divisor of a mean loss."""

    @abstractmethod
    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        """Return the loss of every prediction, [N]. Supports complex steps."""

    @abstractmethod
    def score(self, logits: np.ndarray, targets: Arrays) -> Evaluation:
        """Return the metrics of a data set, computed in NumPy."""

    @abstractmethod
    def margin(self, arrays: Arrays, encoder: Encoder, encoded: Encoded, dropout: Dropout, rounded: Rounding) -> float:
        """Return the distance of the nearest kink: a tie of two maxima, or a ReLU input of zero."""

    @abstractmethod
    def describe(self) -> str:
        """Describe the head in a few words, as `max pooling`."""
