"""The NumPy engine: evaluation without a framework."""

from __future__ import annotations

import numpy as np

from core.batch import Batch
from core.models.model import Model, forward
from core.models.precision import Rounding, exactly
from core.models.types import Arrays


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
