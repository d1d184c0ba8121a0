"""The NumPy engine: evaluation without a framework."""

from __future__ import annotations

import numpy as np

from core.batch import Batch
from core.models.heads.decoder import DecoderHead
from core.models.heads.decoder_state import DecoderState, map_state
from core.models.model import Model, encode, forward
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, no_dropout
from core.schema import of_kind


class ReferenceEngine:
    """The inference methods of `core.engine.contract.Engine` in NumPy float64."""

    device = "cpu"
    implementation = "reference"

    def __init__(self, model: Model, parameters: Arrays, rounded: Rounding = exactly) -> None:
        self.model, self.rounded = model, rounded
        self._parameters = {name: array.astype(np.float64) for name, array in parameters.items()}

    def parameters(self) -> Arrays:
        """Return the parameters, float64."""
        return self._parameters

    def logits(self, batch: Batch) -> np.ndarray:
        """Return logits [B, outputs] float64."""
        return forward(self.model, self._parameters, batch, rounded=self.rounded)["logits"]

    def begin_decoding(self, batch: Batch) -> DecoderState:
        """Encode the sources of a batch; return the state of their decoder before the first step."""
        encoded = encode(self.model, self._parameters, batch, no_dropout, self.rounded)[1]
        return of_kind(self.model.head, DecoderHead).begin(self._parameters, encoded, batch, self.rounded)

    def decode_step(self, state: DecoderState, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, DecoderState]:
        """Return logits [R, V], attention weights [R, S] or None, and the next state."""
        found, state = of_kind(self.model.head, DecoderHead).step(self._parameters, state, ids, self.rounded)
        return found["logits"][:, 0], found["attention"][:, 0] if "attention" in found else None, state

    def select(self, state: DecoderState, rows: np.ndarray) -> DecoderState:
        """Return the state of these `rows` [R]."""
        return map_state(state, lambda array, axis: array.take(rows, axis))
