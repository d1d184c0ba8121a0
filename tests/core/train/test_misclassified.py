"""The most confident misclassifications (`core/train/misclassified.py`)."""

from __future__ import annotations

import numpy as np

from core.models.heads.scores import summarize
from core.train.misclassified import most_confident, with_texts
from tests.conftest import make_dataset

CLASSES = ["bad", "good"]


def test_the_most_confident_errors_come_first(rng):
    test = make_dataset(rng, 50)
    found = summarize(rng.normal(size=(50, 2)), test.labels)
    wrong = most_confident(test, found, CLASSES)
    assert {own.name for own in wrong} == {test.names[row] for row in np.flatnonzero(found.predicted != test.labels)}
    assert [own.probability for own in wrong] == sorted((own.probability for own in wrong), reverse=True)
    assert all(own.label != own.predicted and own.probability >= 0.5 for own in wrong)
    assert most_confident(test, found, CLASSES, 3) == wrong[:3]


def test_texts_are_added_by_name(rng):
    test = make_dataset(rng, 2)
    wrong = most_confident(test, summarize(np.eye(2)[1 - test.labels], test.labels), CLASSES)
    named = with_texts(wrong, {test.names[1]: "a text"})
    assert {own.name: own.text for own in named} == {test.names[0]: "", test.names[1]: "a text"}
    assert all(own.cells == (own.name, own.label, own.predicted, "0.731059", own.text) for own in named)


def test_nothing_is_misclassified(rng):
    test = make_dataset(rng, 4)
    assert most_confident(test, summarize(np.eye(2)[test.labels], test.labels), CLASSES) == []
