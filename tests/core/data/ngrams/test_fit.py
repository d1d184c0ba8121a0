"""The fit: folds, log ratios, and logits of training texts that did not see their labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from core.data.ngrams import fit as module
from core.data.ngrams.fit import fit, fit_alone, folds_of, log_ratios
from core.data.ngrams.linear import NgramModel
from core.data.ngrams.texts import LabeledTexts, Texts
from core.errors import UserError
from core.models.ngrams import Ngrams
from tests.conftest import one_line
from tests.core.data.ngrams.drawing import ngrams_of_tokens, random_labeled, random_sequences

SPEC = Ngrams(orders=2, min_texts=2, passes=4, folds=3)


def test_folds_keep_groups_together(rng):
    """Groups of unequal sizes, and texts of no group."""
    groups = np.where(rng.random(200) < 0.7, rng.integers(0, 25, 200), -1)
    fold = folds_of(groups, 5, int(rng.integers(1 << 30)))
    assert set(fold) == set(range(5))
    for group in range(25):
        assert len(set(fold[groups == group])) <= 1
    assert len(set(fold[groups == -1])) == 5
    assert np.bincount(fold).min() >= 40 - 2 * max(np.bincount(groups[groups >= 0]))
    assert not np.array_equal(fold, folds_of(groups, 5, 12345678901))


@pytest.mark.parametrize(("groups", "expected"), [([3, 3, 3], 1), ([0, 1, 0, 1], 2), ([-1, -1, 4, 4], 3)])
def test_fewer_groups_than_folds(groups, expected):
    fold = folds_of(np.array(groups), 5, 0)
    assert set(fold) == set(range(expected))


def test_log_ratios_by_hand():
    """p of class 3, 0, 1 of 4, 2, 1 texts; the last is too rare."""
    own, whole = np.array([3, 0, 1]), np.array([4, 2, 1])
    found = log_ratios(own, whole, Ngrams(smoothing=0.5, min_texts=2))
    p, q = np.array([3.5, 0.5, 1.5]), np.array([1.5, 2.5, 0.5])
    assert np.allclose(found, [np.log(3.5 / 5.5 / (1.5 / 4.5)), np.log(0.5 / 5.5 / (2.5 / 4.5)), 0.0], rtol=1e-14)
    assert np.allclose(found[:2], np.log((p / p.sum()) / (q / q.sum()))[:2])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_label_never_changes_the_logits_of_its_own_text(classes, rng):
    """Nor those of its fold, but those of other texts."""
    training, seed = random_labeled(rng, classes=classes), int(rng.integers(1 << 30))
    before = fit(training, SPEC, seed)
    changed = int(rng.integers(len(training.labels)))
    labels = training.labels.copy()
    labels[changed] = (labels[changed] + 1) % classes
    after = fit(dataclasses.replace(training, labels=labels), SPEC, seed)
    fold = folds_of(training.groups, SPEC.folds, seed)
    same = fold == fold[changed]
    assert np.array_equal(after.train_logits[same], before.train_logits[same])
    assert not np.array_equal(after.train_logits[~same], before.train_logits[~same])
    assert not np.array_equal(after.model.weights, before.model.weights)


def test_logits_of_a_fold_are_those_of_a_fit_without_it(rng):
    """With a table of all texts: `min_texts` 1 keeps n-grams that the rest does not have, whose ratio is 0."""
    training, seed = random_labeled(rng), int(rng.integers(1 << 30))
    found = fit(training, SPEC, seed)
    texts, fold = training.texts, folds_of(training.groups, SPEC.folds, seed)
    rows = found.model.rows(texts)
    for own in range(SPEC.folds):
        counts = rows.counts(np.where(fold == own, 2, training.labels), 3, len(found.model.ratios))
        ratios = log_ratios(counts[1], counts[0] + counts[1], SPEC)
        signs = np.where(fold == own, 0, np.where(training.labels == 1, 1, -1))[:, None].astype(np.int8)
        scales = module.scales_of(rows, ratios[:, None])
        problem = module.Problem(rows, ratios[:, None], scales, signs, SPEC.cost)
        weights, bias = module.solve(problem, SPEC.passes, seed)
        wanted = (scales * rows.sums(weights) + bias)[fold == own]
        assert np.allclose(found.train_logits[fold == own], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_fit_learns_and_counts(classes, rng):
    """Classes, orders and characters; and the counts that the network's values are made of."""
    training = random_labeled(rng, 60, classes)
    spec = Ngrams(orders=2, characters=2, min_texts=2, folds=2)
    fitted = fit(training, spec, 1)
    model = fitted.model
    columns = 1 if classes == 2 else classes
    assert model.tokens is not None and model.characters is not None
    size = len(model.tokens) + len(model.characters)
    assert model.ratios.shape == model.weights.shape == (size, columns) and model.bias.shape == (columns,)
    assert fitted.train_logits.shape == (60, columns) and fitted.train_logits.dtype == np.float32
    logits = model.logits(model.rows(training.texts))
    predicted = (logits[:, 0] > 0).astype(int) if classes == 2 else logits.argmax(axis=1)
    assert (predicted == training.labels).mean() > 0.75
    assert np.array_equal(model.per_class, np.bincount(training.labels, minlength=classes))
    texts, strings = training.texts, training.texts.strings
    sequences = [
        [strings[number] for number in texts.ids[start:stop]]
        for start, stop in zip(texts.offsets, texts.offsets[1:], strict=False)
    ]
    for number in rng.choice(len(model.tokens), 5):
        having = [
            label
            for tokens, label in zip(sequences, training.labels, strict=True)
            if tuple(model.string(number).split()) in ngrams_of_tokens(tokens, 2)
        ]
        assert np.array_equal(model.counts[number], np.bincount(having, minlength=classes))


def test_fit_alone_is_the_model_without_folds(rng):
    """The folds share its problem, and do not change its solution."""
    training = random_labeled(rng, classes=3)
    one, two = fit(training, SPEC, 9).model, fit_alone(training, SPEC, 9)
    for name in ("ratios", "weights", "bias", "counts", "per_class"):
        assert np.allclose(getattr(one, name), getattr(two, name), rtol=1e-5, atol=1e-7), name


def test_classes_in_turns_give_the_same_fit(rng, monkeypatch):
    """As many classes at a time as memory allows."""
    training, seen = random_labeled(rng, classes=3), []
    whole = fit(training, SPEC, 9)
    monkeypatch.setattr(module, "MOST_VALUES", 1)
    turns = fit(training, SPEC, 9, progress=lambda *done: seen.append(done))
    assert np.allclose(turns.train_logits, whole.train_logits, rtol=1e-5, atol=1e-6)
    assert np.allclose(turns.model.weights, whole.model.weights, rtol=1e-5, atol=1e-6)
    assert seen == [(done, 3 * SPEC.passes) for done in range(1, 3 * SPEC.passes + 1)]


def test_no_ngram_or_too_many(rng, monkeypatch):
    texts = Texts.of([["a"], ["b"], ["c"], ["d"]])
    alone = LabeledTexts(texts, np.array([0, 1, 0, 1]), np.full(4, -1), 2)
    with pytest.raises(UserError) as error:
        fit(alone, SPEC, 0)
    assert "model.ngrams.min_texts" in one_line(error)
    monkeypatch.setattr(module, "MOST_WEIGHTS", 5)
    with pytest.raises(UserError) as error:
        fit(random_labeled(rng), SPEC, 0)
    assert "model.ngrams.min_texts" in one_line(error)


def test_strings_of_tokens_and_characters():
    training = LabeledTexts(Texts.of([["好看", "yes"], ["好看", "yes"]]), np.array([0, 1]), np.full(2, -1), 2)
    model: NgramModel = fit_alone(training, Ngrams(orders=2, characters=2, inputs=False), 0)
    strings = [model.string(number) for number in range(len(model.ratios))]
    assert strings == ["好看", "yes", "好看 yes", "好", "看", "yes", "好看", "看yes"]


def test_new_texts_without_a_known_ngram_have_the_logit_of_the_bias(rng):
    training = random_labeled(rng)
    model = fit_alone(training, SPEC, 0)
    logits = model.logits(model.rows(Texts.of([["never"], *random_sequences(rng, 2)])))
    assert logits[0] == model.bias and np.isfinite(logits).all()
