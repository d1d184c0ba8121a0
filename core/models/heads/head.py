"""The head interface: spec section, parameters, outputs, loss and metrics, in NumPy."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from core.batch import Batch, Targets
from core.models.encoders.encoder import Encoded, Encoder, Places
from core.models.heads.scores import Evaluation
from core.models.parameters import Parameter
from core.models.precision import Rounding
from core.models.types import Arrays, Dropout
from core.schema import Spec


class Head(Spec):
    """Base class of all head families. `features` is the size F of the encoder's output."""

    targets: ClassVar[tuple[str, ...]]
    """Names of the arrays in `Batch.targets` used by the loss; the first are the expected answers."""
    aligned: ClassVar[tuple[str, ...]] = ()
    """Those with one entry per token of the text."""
    reads_parameters: ClassVar[bool] = False
    """True if `outcomes` needs the model's parameters."""
    needs_states: ClassVar[bool] = False
    """Whether `forward` reads the final states of the encoder (`Encoded.states`)."""

    reads_table: ClassVar[bool] = False
    """Whether `forward` reads rows of the word table (`Encoded.words`)."""

    @abstractmethod
    def check_encoder(self, encoder: Encoder) -> None:
        """Raise ValueError if the head does not support this encoder."""

    @abstractmethod
    def check_targets(self, targets: Targets, lengths: np.ndarray) -> None:
        """Raise UserError if targets of a data set with texts of `lengths` [N] are out of range."""

    def values_per_token(self, features: int) -> int:
        """Return the number of values per token that every implementation keeps for the backward pass."""
        return 0

    @abstractmethod
    def parameters(self, features: int) -> list[Parameter]:
        """Return the rows of the parameter table, in the order of the forward pass."""

    @abstractmethod
    def forward(self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding) -> Arrays:
        """Return every output by name, including `logits`."""

    @abstractmethod
    def dropout_places(self, rows: int, width: int, features: int) -> Places:
        """Return the dropout places, including rate 0, for `rows` sequences of `width`."""

    def output_width(self, batch: Batch) -> int:
        """Return the width of the head's dropout places, by default that of the texts."""
        return batch.ids.shape[1]

    def sampled(self, batch: Batch, seed: int, step: int) -> Batch:
        """Return the full batch with what the loss of a training step draws at random, by default nothing."""
        return batch

    @abstractmethod
    def counted(self, batch: Batch) -> int:
        """Return the number of predictions of a batch, the divisor of a mean loss."""

    @abstractmethod
    def answers(self, targets: Targets, lengths: np.ndarray) -> np.ndarray:
        """Return the number of predictions per text of a data set with texts of `lengths` [N], [N] int64."""

    @abstractmethod
    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        """Return losses [B, ...] whose sum over `counted` is the mean loss. Supports complex steps."""

    @abstractmethod
    def outcomes(self, logits: np.ndarray, batch: Batch, arrays: Arrays) -> np.ndarray:
        """Return what `score` needs of every prediction of a batch, in the order of its rows, [predictions, K].

        `logits` are those of an engine; `arrays`: the model's parameters if the head `reads_parameters`.
        """

    def evaluated(self, engine: Any, batch: Batch, arrays: Arrays) -> np.ndarray:
        """Return the outcomes of a batch with an engine; a head that decodes takes further steps with it."""
        return self.outcomes(engine.logits(batch), batch, arrays)

    @abstractmethod
    def score(self, outcomes: np.ndarray, targets: Targets, classes: tuple[str, ...] = ()) -> Evaluation:
        """Return the metrics of a data set, computed in NumPy, from the outcomes of all its predictions.

        `classes` are the names of the classes, if they are known.
        """

    @abstractmethod
    def margin(self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding) -> float:
        """Return the distance of the nearest kink: a tie of two maxima, or a ReLU input of zero."""

    @abstractmethod
    def random_targets(self, rng: np.random.Generator, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """Draw targets of a batch with texts of `lengths` [B], for parity checks."""

    @abstractmethod
    def constant_targets(self, batch: Batch, index: int) -> dict[str, np.ndarray]:
        """Return targets of a batch whose every expected answer is class `index`."""

    @abstractmethod
    def describe(self) -> str:
        """Describe the head in a few words, as `max pooling`."""
