"""The multi-label head: its loss, its predictions, and its figures against plain loops."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from backends.kernels.engine import KernelEngine
from core.batch import pad
from core.engine.executor import Executor
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.heads.multilabel import LABELS, MultilabelHead, binary_cross_entropies
from core.models.heads.multilabel_scores import label_probabilities, score_labels
from core.models.model import initial_parameters
from core.parity.instances import random_batch, random_parameters
from core.spec.experiment import Experiment, replace
from core.train.metrics import evaluate
from tests.conftest import make_dataset, one_line

HEAD = {"kind": "multilabel", "classes": 4}


def drawn(rng, rows: int = 30, classes: int = 4):
    """Logits and labels of unequal frequency; the last label has no text."""
    labels = (rng.random((rows, classes)) < np.linspace(0.7, 0.2, classes)).astype(np.int64)
    labels[:, -1] = 0
    return rng.normal(0.0, 2.0, (rows, classes)), labels


def test_loss_is_the_mean_over_labels(rng):
    logits, labels = drawn(rng)
    naive = [
        -sum(
            math.log(1 / (1 + math.exp(-z))) if y else math.log(1 - 1 / (1 + math.exp(-z)))
            for z, y in zip(*row, strict=True)
        )
        / 4
        for row in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    batch = dataclasses.replace(pad([np.ones(1, np.int64)] * len(labels), {}), targets={LABELS: labels})
    head = MultilabelHead(classes=4)
    np.testing.assert_allclose(head.losses({"logits": logits}, batch), naive, rtol=1e-12)
    assert head.counted(batch) == 30
    found = head.score(logits, {LABELS: labels})
    assert found.loss == pytest.approx(np.mean(naive), rel=1e-12)
    with pytest.raises(ValueError, match="class weights"):
        head.losses({"logits": logits}, batch, np.ones(4))


def test_loss_is_exact_for_large_logits_and_differentiable_at_zero():
    logits = np.array([[800.0, -800.0, 0.0, 40.0]])
    labels = np.array([[1, 0, 1, 0]])
    np.testing.assert_allclose(binary_cross_entropies(logits, labels), [[0.0, 0.0, math.log(2), 40.0]], rtol=1e-15)
    np.testing.assert_allclose(
        binary_cross_entropies(logits, 1 - labels), [[800.0, 800.0, math.log(2), 0.0]], atol=1e-17
    )
    step = 1e-30
    slopes = binary_cross_entropies(logits + 1j * step, labels).imag / step
    np.testing.assert_allclose(slopes, label_probabilities(logits) - labels, rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.85])
def test_figures_equal_plain_loops(rng, threshold):
    logits, labels = drawn(rng)
    found = score_labels(logits, labels, threshold, ("a", "b", "c", "d"))
    predicted = [[1 / (1 + math.exp(-z)) > threshold for z in row] for row in logits]
    assert found.predicted.tolist() == predicted
    counts = {"true": [0] * 4, "predicted": [0] * 4, "both": [0] * 4}
    for row, wanted in zip(predicted, labels.tolist(), strict=True):
        for label in range(4):
            counts["true"][label] += wanted[label]
            counts["predicted"][label] += row[label]
            counts["both"][label] += wanted[label] and row[label]
    ratio = lambda part, whole: part / whole if whole else 0.0  # noqa: E731
    rows = list(zip(*counts.values(), strict=True))
    f1 = [ratio(2 * both, true + guessed) for true, guessed, both in rows]
    occurring = [own for own, (true, guessed, _) in zip(f1, rows, strict=True) if true + guessed]
    assert found.micro_f1 == pytest.approx(
        2 * sum(counts["both"]) / (sum(counts["true"]) + sum(counts["predicted"])), rel=1e-12
    )
    assert found.score == found.micro_f1 != found.macro_f1
    assert found.macro_f1 == pytest.approx(np.mean(occurring), rel=1e-12)
    assert found.accuracy == np.mean([row == wanted for row, wanted in zip(predicted, labels.tolist(), strict=True)])
    assert [own["f1"] for own in found.per_label()] == pytest.approx(f1)
    assert [own["count"] for own in found.per_label()] == counts["true"]
    assert found.per_label()[3]["recall"] == 0.0  # without a text
    assert found.figures()["per_class"] == found.per_label()
    margins = [min(abs(1 / (1 + math.exp(-z)) - threshold) for z in row) for row in logits]
    np.testing.assert_allclose(found.margins, margins, rtol=1e-9)
    true, guessed = found.strings({LABELS: labels}, ("a", "b", "c", "d"))
    assert true[0] == "|".join(name for name, own in zip("abcd", labels[0], strict=True) if own)
    assert guessed[5] == "|".join(name for name, own in zip("abcd", predicted[5], strict=True) if own)
    # The probability of a set of labels is the product of those of its decisions.
    probabilities = found.probabilities
    share = np.where(labels, probabilities, 1 - probabilities).prod(axis=1)
    np.testing.assert_allclose(np.exp(found.log_shares[:, 0]), share, rtol=1e-9)


def test_figures_without_any_label():
    found = score_labels(np.full((3, 2), -5.0), np.zeros((3, 2), np.int64), 0.5)
    assert (found.micro_f1, found.macro_f1, found.precision, found.recall, found.accuracy) == (0, 0, 0, 0, 1)
    found = score_labels(np.full((3, 2), -5.0), np.ones((3, 2), np.int64), 0.5)
    assert (found.micro_f1, found.macro_f1, found.accuracy) == (0, 0, 0)


def test_a_logit_at_the_threshold_is_no_label():
    assert score_labels(np.zeros((1, 2)), np.ones((1, 2), np.int64), 0.5).predicted.tolist() == [[0, 0]]
    assert MultilabelHead(threshold=0.5).least_logit == 0.0
    assert 1 / (1 + math.exp(-MultilabelHead(threshold=0.3).least_logit)) == pytest.approx(0.3, rel=1e-15)


@pytest.mark.parametrize("pooling", ["mean", "last_max_mean", "attention"])
def test_the_kernels_compute_the_logits_of_the_reference(rng, pooling):
    experiment = replace(
        Experiment(),
        {
            "model.embedding.vocab_size": 9,
            "model.embedding.dim": 3,
            "model.encoder.hidden_size": 4,
            "model.head": {**HEAD, "pooling": pooling, "hidden_size": 5},
            "training.dtype": "float64",
        },
    )
    assert KernelEngine.why_not(experiment.model, experiment.training) is None
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    found = KernelEngine(experiment.model, experiment.training, parameters).logits(batch)
    wanted = ReferenceEngine(experiment.model, parameters).logits(batch)
    assert found.shape == (5, 4)
    np.testing.assert_allclose(found, wanted, rtol=1e-11)


def test_evaluation_of_a_data_set(rng):
    dataset = make_dataset(rng, 150)
    _, labels = drawn(rng, 150)
    dataset = dataclasses.replace(dataset, targets={LABELS: labels}, classes=("w", "x", "y", "z"))
    changes = {"model.embedding.vocab_size": 20, "model.encoder.hidden_size": 4, "model.head": HEAD}
    experiment = replace(Experiment(), changes)
    parameters = initial_parameters(experiment.model, int(rng.integers(1 << 30)), "float64")
    engine = ReferenceEngine(experiment.model, parameters)
    found = evaluate(engine, experiment.model.head, dataset)
    rows = np.arange(150)
    alone = np.concatenate([engine.logits(dataset.batch(rows[row : row + 1])) for row in rows])
    np.testing.assert_allclose(found.probabilities, label_probabilities(alone), rtol=1e-9)
    assert found.names == ("w", "x", "y", "z")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((3, 2), np.int64), "expected [3, 4]"),
        (np.zeros(3, np.int64), "expected [3, 4]"),
        (np.full((3, 4), 2), "of 0 and 1"),
        (np.full((3, 4), -1), "of 0 and 1"),
    ],
)
def test_targets_are_checked(labels, says):
    with pytest.raises(UserError) as error:
        MultilabelHead(classes=4).check_targets({LABELS: labels}, np.ones(3, np.int64))
    assert says in one_line(error)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"training.class_weights": "balanced"}, "training.class_weights is not supported by head.kind multilabel"),
        ({"training.class_weights": (1.0, 2.0, 1.0, 3.0)}, "training.class_weights"),
        ({"training.virtual_adversarial": 0.1}, "training.virtual_adversarial needs model.head.kind pooled"),
        ({"model.ngrams": {}}, "ngrams needs head.kind pooled, got multilabel"),
        ({"model.encoder": {"kind": "ngrams"}}, "ngrams needs head.kind pooled, got multilabel"),
        ({"model.head.threshold": 0.0}, "model.head.threshold"),
        ({"model.head.threshold": 1.0}, "model.head.threshold"),
        ({"model.head.classes": 1}, "model.head.classes"),
        ({"model.encoder": {"kind": "none"}, "model.head.pooling": "ends"}, "head.pooling ends is not supported"),
    ],
)
def test_what_does_not_apply_is_refused(changes, says):
    with pytest.raises(UserError) as error:
        replace(replace(Experiment(), {"model.head": HEAD}), changes)
    assert says in one_line(error)


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_a_training_step_counts_texts_with_all_labels_correct(backend, rng, threshold):
    changes = {
        "model.embedding.vocab_size": 9,
        "model.embedding.dim": 3,
        "model.encoder.hidden_size": 4,
        "model.head": {"kind": "multilabel", "classes": 2, "threshold": threshold},
        "training.dtype": "float64",
    }
    experiment = replace(Experiment(), changes)
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng, rows=40)
    engine = backend.Engine(experiment.model, experiment.training, parameters, Executor("cpu", "builtin"))
    labels = experiment.model.head.score(engine.logits(batch), batch.targets).predicted.copy()
    labels[:7, 0] = 1 - labels[:7, 0]
    batch = dataclasses.replace(batch, targets={LABELS: labels})
    found = experiment.model.head.score(engine.logits(batch), batch.targets)
    engine.train_step(batch, 0, 0.01)
    (stats,) = engine.collect()
    assert (stats.right, stats.counted, found.accuracy) == (33, 40, 33 / 40)
    assert stats.loss == pytest.approx(found.loss, rel=1e-9)
