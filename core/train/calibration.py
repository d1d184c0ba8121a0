"""The entry `calibration` of a result: the temperature chosen on dev, and what it changes on dev and test."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import calibration
from core.models.heads.scores import Evaluation, TextEvaluation
from core.train.record import Run


def calibration_figures(run: Run, dev: Evaluation, test: Evaluation) -> dict[str, Any]:
    """Return the entry: `temperature`, `dev` and `test` each before and after it, and `coverage` on dev.

    `before` and `after` have the expected calibration `error` and the figures of the bins. `coverage` has a pair for
    every least probability 0.00 to 0.99, after the temperature: the share of dev texts that reach it, and the accuracy
    on these, None for no text. Empty for other models than classifiers of texts.
    """
    if not isinstance(dev, TextEvaluation) or not isinstance(test, TextEvaluation):
        return {}
    labels = run.data.dev.labels
    temperature = calibration.best_temperature(dev.probabilities, labels)
    scaled = calibration.with_temperature(dev.probabilities, temperature)
    return {
        "calibration": {
            "temperature": temperature,
            "dev": _figures(dev.probabilities, labels, temperature),
            "test": _figures(test.probabilities, run.data.test.labels, temperature),
            "coverage": [list(own) for own in calibration.coverage(scaled, labels)],
        }
    }


def _figures(probabilities: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, Any]:
    scaled = calibration.with_temperature(probabilities, temperature)
    return {name: _reliability(own, labels) for name, own in (("before", probabilities), ("after", scaled))}


def _reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    found = calibration.reliability(probabilities, labels)
    return {
        "error": found.error,
        "counts": found.counts.tolist(),
        "confidence": found.confidence.tolist(),
        "accuracy": found.accuracy.tolist(),
    }
