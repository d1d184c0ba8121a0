"""Calibration: do the probabilities of a classifier say how often it is right?

A single number, the temperature T, divides the logits (Guo et al. 2017). It is chosen on dev and changes no prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15
"""Bins of equal width for the expected calibration error, as in the paper."""
MINIMA = 100
"""Least probabilities, 0.00 to 0.99, for which coverage and accuracy are recorded."""
LARGEST = 3.0
"""Largest |log T|."""
SPREAD = 1.0
"""Standard deviation of log T before the dev texts are seen.

It keeps T finite for a dev split without an error, and near 1 for one of a few texts; of a thousand it decides nothing.
"""


@dataclass(frozen=True)
class Reliability:
    """The predictions of a data set by confidence, which is the largest probability.

    `counts` [BINS], and for each bin the means of `confidence` and `accuracy`, 0 for an empty one.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: |accuracy - confidence|, averaged over all texts by their bins."""
        return float((self.counts * np.abs(self.accuracy - self.confidence)).sum() / self.counts.sum())


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(log p / T) [N, C] of probabilities p [N, C], float64: those of logits divided by T."""
    with np.errstate(divide="ignore"):
        scaled = np.log(probabilities.astype(np.float64)) / temperature
    terms = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return terms / terms.sum(axis=1, keepdims=True)


def best_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the lowest loss on these texts, given their labels [N].

    The loss is the sum of -log p over the texts, plus (log T)^2 / 2 `SPREAD`^2. Its minimum is searched on a grid that
    becomes finer, to 1e-6 of log T. A probability of 0 counts as 1e-300.
    """
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-300))
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        own = np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]
        return float(own.sum()) + log_temperature**2 / (2 * SPREAD**2)

    middle, width = 0.0, LARGEST
    while width > 1e-6:
        grid = np.clip(middle + width * np.linspace(-1.0, 1.0, 21), -LARGEST, LARGEST)
        middle, width = float(min(grid, key=loss)), width / 8
    return float(np.exp(middle))


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
    """Return the reliability of probabilities [N, C], given the labels [N]."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    sums = (np.bincount(places, weights=own, minlength=BINS) for own in (confidence, right))
    means = (np.minimum(np.divide(own, counts, out=np.zeros(BINS), where=counts > 0), 1.0) for own in sums)
    return Reliability(counts, *means)


def coverage(probabilities: np.ndarray, labels: np.ndarray) -> list[tuple[float, float | None]]:
    """Return, for every least probability 0.00 to 0.99, the share of texts that reach it, and the accuracy on these.

    The accuracy is None where no text reaches it.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    found: list[tuple[float, float | None]] = []
    for minimum in range(MINIMA):
        chosen = confidence >= minimum / MINIMA
        found.append((float(chosen.mean()), float(right[chosen].mean()) if chosen.any() else None))
    return found
