"""The joint predictions of folds: in the order of the data, ties as predicted, damage refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from core.errors import UserError
from core.report.folds import out_of_fold, spread
from core.train.predictions_file import Predictions

CLASSES = ["a", "b", "c"]


def run_of(names: list[str], labels: list[str], predicted: list[str], shares, classes=CLASSES) -> SimpleNamespace:
    predictions = Predictions(names, labels, predicted, np.array(shares), list(classes))
    return SimpleNamespace(path=Path("r/fold-1"), execution={"classes": CLASSES}, predictions=predictions, problems=[])


def test_texts_are_in_the_order_of_the_data(rng):
    count = 23
    fold, label = rng.integers(1, 4, size=count), rng.integers(0, 3, size=count)
    fold[:3] = 1, 2, 3
    shares = rng.dirichlet([1, 1, 1], size=count)
    runs = []
    for number in (1, 2, 3):
        rows = rng.permutation(np.flatnonzero(fold == number))
        told = [CLASSES[own] for own in label[rows]]
        predicted = [CLASSES[own] for own in shares[rows].argmax(axis=1)]
        runs.append(run_of([f"train/{row + 1}" for row in rows], told, predicted, shares[rows]))
    found = out_of_fold(runs)
    assert found.names == [f"train/{row + 1}" for row in range(count)]
    assert np.array_equal(found.labels, label) and np.array_equal(found.folds, fold)
    assert np.array_equal(found.probabilities, shares)
    evaluation = found.evaluation
    assert evaluation.accuracy == pytest.approx((shares.argmax(axis=1) == label).mean())
    expected = -np.log(shares[np.arange(count), label]).mean()
    assert evaluation.loss == pytest.approx(expected, abs=1e-4)
    lines = found.csv("row", "train/").splitlines()
    assert lines[0] == "row,fold,label,predicted,p_a,p_b,p_c" and [line.split(",")[0] for line in lines[1:]] == [
        str(row + 1) for row in range(count)
    ]


def test_equal_probabilities_stay_as_predicted():
    """Six decimals may round two probabilities to the same."""
    runs = [run_of(["pos/2"], ["b"], ["b"], [[0.4, 0.4, 0.2]]), run_of(["pos/10"], ["c"], ["a"], [[1.0, 0.0, 0.0]])]
    found = out_of_fold(runs)
    assert found.names == ["pos/2", "pos/10"] and found.evaluation.confusion.tolist() == [
        [0, 0, 0],
        [0, 1, 0],
        [1, 0, 0],
    ]


def test_damage_is_refused():
    good = run_of(["train/1"], ["a"], ["a"], [[0.8, 0.1, 0.1]])
    with pytest.raises(UserError, match="two folds test the same text"):
        out_of_fold([good, good])
    lost = SimpleNamespace(
        path=Path("r/fold-2"), execution={}, predictions=None, problems=["predictions.csv is missing"]
    )
    with pytest.raises(UserError, match=r"r/fold-2: predictions.csv is missing: restore"):
        out_of_fold([good, lost])
    other = run_of(["train/2"], ["a"], ["a"], [[0.8, 0.2]], CLASSES[:2])
    with pytest.raises(UserError, match="has other classes than fold 1"):
        out_of_fold([good, other])


def test_spread():
    assert spread([0.5, 0.7]) == pytest.approx({"mean": 0.6, "std": 0.1414214, "min": 0.5, "max": 0.7})
