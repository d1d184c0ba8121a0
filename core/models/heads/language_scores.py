"""Metrics of a language model from the probabilities of the true words, in NumPy float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.batch import Targets
from core.models.heads.scores import Evaluation


@dataclass(frozen=True)
class LanguageEvaluation(Evaluation):
    """Metrics of a language model; `predicted` is 1 for a word whose score is the largest, otherwise 0."""

    gaps: np.ndarray
    """Differences [N] of the score of the true word and the best other one."""
    numbers: np.ndarray
    """Number of predictions of each text."""

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def score(self) -> float:
        """Reciprocal of the perplexity: the geometric mean of the probabilities of the true words."""
        return math.exp(-self.loss)

    @property
    def margins(self) -> np.ndarray:
        return np.abs(self.gaps)

    def figures(self) -> dict[str, Any]:
        return {**super().figures(), "perplexity": self.perplexity, "predictions": len(self.predicted)}

    def quantities(self) -> dict[str, float]:
        return {"perplexity": self.perplexity}

    def strings(self, targets: Targets, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return the number of predictions of every text and its perplexity, "" for a text of one token."""
        ends = np.cumsum(self.numbers)
        losses = -np.log(self.probabilities[:, 0])
        means = [
            f"{math.exp(min(losses[end - own : end].mean(), 700.0)):.3g}" if own else ""
            for own, end in zip(self.numbers, ends, strict=True)
        ]
        return [str(own) for own in self.numbers], means

    def describe(self) -> str:
        return f"perplexity {self.perplexity:.2f}  {super().describe()}"


def score_words(outcomes: np.ndarray, numbers: np.ndarray) -> LanguageEvaluation:
    """Return the metrics of all predictions, [N, 2]: logarithm of the probability, difference to the best other.

    `numbers`: predictions of each text. Without any prediction the loss is 0.
    """
    logs, gaps = outcomes[:, 0], outcomes[:, 1]
    right = gaps > 0
    return LanguageEvaluation(
        loss=float(-logs.mean()) if len(logs) else 0.0,
        accuracy=float(right.mean()) if len(logs) else 0.0,
        probabilities=np.exp(logs)[:, None],
        predicted=right.astype(np.int64),
        gaps=gaps,
        numbers=numbers,
    )
