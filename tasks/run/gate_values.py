"""Gates and states of a run's recurrent layer over one input, and the prediction for it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from core.analysis.gates import QUANTITIES, Place, Quantity, trace
from core.batch import NgramBatch, pad
from core.data.encode import EncodedText
from core.data.ngrams.texts import Texts
from core.engine.reference import ReferenceEngine
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.heads.scores import probabilities_of
from core.models.model import Model
from core.models.precision import rounding_of
from core.schema import of_kind
from core.spec.experiment import Experiment
from core.spec.text import Text
from core.train.run_folder import RunFolder

DIRECTIONS = ("forward", "reverse")
"""Names of the directions of a layer, by `Place.reverse`."""


@dataclass(frozen=True)
class GateValues:
    """The values of one layer and direction over the L tokens of an input."""

    model: Model
    sequence: EncodedText
    place: Place
    values: dict[str, np.ndarray]
    """Arrays [L, H] float64 by the name of the quantity."""
    probabilities: np.ndarray
    """Probabilities [C] of the classes."""
    prediction: str
    """Name of the predicted class."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities of the cell, in the order of the picture."""
        return QUANTITIES[of_kind(self.model.encoder, RecurrentEncoder).cell]

    @property
    def answer(self) -> str:
        """The predicted class with its probability."""
        return f"{self.prediction}, probability {self.probabilities.max():.4f}"

    @property
    def where(self) -> str:
        """The layer and the direction."""
        return f"layer {self.place.layer}, {DIRECTIONS[int(self.place.reverse)]}"

    def title(self, run: str) -> str:
        """Return the title of a picture of a run with this name."""
        return f"{run}: {self.model.encoder.describe()}, {self.where}\npredicted: {self.answer}"


def gate_values(
    folder: RunFolder, experiment: Experiment, classes: list[str], sequence: EncodedText, place: Place
) -> GateValues:
    """Compute the gates of a run's best checkpoint in NumPy float64. Raises UserError like `trace`."""
    model = experiment.model
    parameters, rounded = folder.read_best(model), rounding_of(experiment.training.dtype)
    ngrams = _ngrams(folder, model, sequence, experiment.text)
    batch = dataclasses.replace(pad([sequence.ids], {}), ngrams=ngrams)
    values = trace(model, parameters, batch, place, rounded)
    probabilities = probabilities_of(ReferenceEngine(model, parameters, rounded).logits(batch))[0]
    return GateValues(model, sequence, place, values, probabilities, classes[int(probabilities.argmax())])


def _ngrams(folder: RunFolder, model: Model, sequence: EncodedText, text: Text) -> NgramBatch | None:
    """Return the n-grams of the input; None for a model without n-grams. Given tokens are not truncated."""
    fitted, length = folder.read_ngrams(model), len(sequence.ids)
    if fitted is None:
        return None
    if not sequence.whole:
        text = text.model_copy(update={"max_length": length})
    features = fitted.model.features(Texts.of([sequence.whole or sequence.tokens]), text)
    return features.batch(np.array([0]), np.array([0, length]), length)
