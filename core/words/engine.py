"""What a backend provides for word2vec."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from core.models.types import Arrays
from core.words.examples import DrawNoise, Examples

IMPLEMENTATIONS = ("fast", "loop")
"""`fast`: the compiled kernel, on the CPU; `loop`: framework operations with sparse gradients."""


class WordEngine(Protocol):
    """Both tables of word vectors in a framework, and the training steps.

    A backend's class is `WordEngine(model, training, parameters, executor)`.
    """

    implementation: str

    @property
    def draw_noise(self) -> DrawNoise:
        """The fastest function that draws noise words."""
        ...

    def parameters(self) -> Arrays:
        """Return copies of both tables [V, D], by name."""
        ...

    def train(self, examples: Examples) -> np.ndarray:
        """Train all steps; return the summed loss of each, before its update, [S] float64."""
        ...

    def scores(self, examples: Examples) -> np.ndarray:
        """Return the scores [P, 1 + K], 0 where a noise word is skipped."""
        ...

    def gradients(self, examples: Examples) -> tuple[float, Arrays]:
        """Return the summed loss of all predictions and its gradients of both tables [V, D]."""
        ...
