"""Confident learning against its definition, on random probabilities and on flipped labels."""

from __future__ import annotations

import numpy as np

from core.analysis.label_issues import class_thresholds, confident_classes, label_issues


def random_probabilities(rng, texts: int, classes: int) -> np.ndarray:
    return rng.dirichlet(np.full(classes, 0.5), size=texts)


def test_definition(rng):
    """Equation 1 of the paper, text by text."""
    for _ in range(5):
        texts, classes = int(rng.integers(1, 60)), int(rng.integers(2, 7))
        probabilities, labels = random_probabilities(rng, texts, classes), rng.integers(0, classes, size=texts)
        expected = []
        for row in range(texts):
            reached = []
            for number in range(classes):
                own = [probabilities[other, number] for other in range(texts) if labels[other] == number]
                if own and probabilities[row, number] >= np.mean(own) - 1e-12:
                    reached.append(number)
            best = max(reached, key=lambda number: probabilities[row, number], default=-1)
            highest = int(probabilities[row].argmax())
            if best >= 0 and best != labels[row] and highest != labels[row]:
                expected.append((probabilities[row, labels[row]] - probabilities[row, highest], row, highest))
        found = label_issues(probabilities, labels)
        assert [(own.row, own.suggested) for own in found] == [own[1:] for own in sorted(expected)]
        for own in found:
            assert own.label == labels[own.row] and own.label_probability == probabilities[own.row, own.label]
            assert own.suggested_probability == probabilities[own.row].max()


def test_a_class_without_texts_is_never_confident(rng):
    probabilities, labels = random_probabilities(rng, 40, 4), rng.integers(0, 3, size=40)
    assert class_thresholds(probabilities, labels)[3] == np.inf
    assert 3 not in confident_classes(probabilities, labels)


def test_right_labels_have_no_issues(rng):
    labels = rng.integers(0, 3, size=50)
    probabilities = np.where(np.eye(3)[labels] > 0, 0.8, 0.1)
    assert label_issues(probabilities, labels) == []


def test_flipped_labels_are_found(rng):
    """Of a model that is right in 85 of 100 texts, on average, and less sure where it is wrong."""
    classes, texts = 4, 1000
    true = rng.integers(0, classes, size=texts)
    flipped = rng.random(texts) < 0.1
    labels = np.where(flipped, (true + rng.integers(1, classes, size=texts)) % classes, true)
    scores = rng.normal(size=(texts, classes))
    scores[np.arange(texts), true] += 2.7
    shares = np.exp(2 * scores)
    probabilities = shares / shares.sum(axis=1, keepdims=True)
    assert 0.75 < (probabilities.argmax(axis=1) == true).mean() < 0.95
    found = [own.row for own in label_issues(probabilities, labels)]
    precision, recall = flipped[found].mean(), flipped[found].sum() / flipped.sum()
    assert precision > 0.4 and recall > 0.6, (precision, recall)
    assert flipped[found[:30]].mean() > precision
