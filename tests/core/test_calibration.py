"""Calibration of a classifier: temperature, expected calibration error, coverage."""

from __future__ import annotations

import numpy as np
import pytest

from core.calibration import BINS, best_temperature, coverage, reliability, with_temperature
from core.models.heads.scores import probabilities_of


def drawn(rng, rows: int, classes: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are `scale` times those by which the labels are drawn, and the labels."""
    true = rng.normal(0.0, 1.5, (rows, classes))
    cumulated = probabilities_of(true).cumsum(axis=1)
    labels = np.minimum((rng.random((rows, 1)) > cumulated).sum(axis=1), classes - 1)
    return scale * true, labels


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_temperature_is_the_scale_of_the_logits(scale, classes, rng):
    """And afterwards the probabilities say how often the model is right."""
    logits, labels = drawn(rng, 40_000, classes, scale)
    found = best_temperature(probabilities_of(logits), labels)
    assert found == pytest.approx(scale, rel=0.05)
    before, after = (reliability(own, labels) for own in (probabilities_of(logits), probabilities_of(logits / found)))
    assert after.error < 0.015
    assert before.error > 0.04 or scale == 1.0
    assert before.counts.sum() == after.counts.sum() == len(labels)


def test_it_divides_the_logits(rng):
    logits = rng.normal(0.0, 3.0, (50, 4))
    np.testing.assert_allclose(
        with_temperature(probabilities_of(logits), 1.7), probabilities_of(logits / 1.7), rtol=1e-12
    )
    single = rng.normal(0.0, 3.0, (50, 1))
    np.testing.assert_allclose(
        with_temperature(probabilities_of(single), 0.3), probabilities_of(single / 0.3), rtol=1e-11
    )
    one = with_temperature(np.array([[1.0, 0.0]]), 2.5)
    np.testing.assert_array_equal(one, [[1.0, 0.0]])
    assert (with_temperature(probabilities_of(logits), 9.0).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_no_other_temperature_has_a_lower_loss(rng):
    logits, labels = drawn(rng, 300, 3, 2.0)
    probabilities = probabilities_of(logits)

    def loss(temperature: float) -> float:
        own = with_temperature(probabilities, temperature)[np.arange(300), labels]
        return -np.log(own).sum() + np.log(temperature) ** 2 / 2

    found = best_temperature(probabilities, labels)
    assert all(loss(found) <= loss(found * factor) for factor in (0.5, 0.99, 0.9999, 1.0001, 1.01, 2.0))


@pytest.mark.parametrize("rows", [1, 10, 1000])
def test_without_an_error_it_stays_finite(rows, rng):
    """A few texts say little, so it stays near 1; more move it further, to the limit at most."""
    logits, _ = drawn(rng, rows, 2, 1.0)
    found = best_temperature(probabilities_of(logits), logits.argmax(axis=1))
    assert np.exp(-3.0) <= found < 1.0


def test_reliability_by_hand():
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [1.0, 0.0]])
    found = reliability(probabilities, np.array([0, 1, 1, 0]))
    assert found.counts.tolist() == [0] * 9 + [1] + [0] * 4 + [3]  # 0.6 * 15 = 9; 0.95 and 1 are in the last bin
    assert len(found.counts) == BINS
    assert found.accuracy[9] == 1.0 and found.accuracy[14] == pytest.approx(2 / 3)
    assert found.confidence[14] == pytest.approx(2.9 / 3)
    assert found.error == pytest.approx((0.4 + 3 * 0.9 / 3) / 4)


def test_coverage_by_hand():
    probabilities = np.array([[0.95, 0.05], [0.3, 0.7], [0.45, 0.55]])
    found = coverage(probabilities, np.array([0, 0, 1]))
    assert found[0] == found[55] == (1.0, pytest.approx(2 / 3))
    assert found[56] == (pytest.approx(2 / 3), 0.5)
    assert found[71] == (pytest.approx(1 / 3), 1.0)
    assert found[96] == (0.0, None) and len(found) == 100
