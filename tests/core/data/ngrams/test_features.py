"""Values of n-grams that a network reads, by hand and in batches."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from core.batch import BatchShard
from core.data.dataset import Dataset
from core.data.ngrams.features import NgramFeatures
from core.data.ngrams.fit import fit
from core.data.ngrams.texts import Texts
from core.data.prefetch import with_masks
from core.data.vocabulary import truncate as cut
from core.models.ngrams import Ngrams, spread
from core.spec.experiment import Experiment, replace
from core.spec.text import Text
from tests.core.data.ngrams.drawing import ngrams_of_tokens, random_labeled

SPEC = Ngrams(orders=2, min_texts=2, passes=2, folds=2, input_scale=0.4, input_limit=0.9)


def value(own: float, others: float, texts: float, other_texts: float) -> float:
    ratio = np.log((own + 1) / (others + 1)) - np.log(texts / other_texts)
    return SPEC.input_scale * np.clip(ratio, -SPEC.input_limit, SPEC.input_limit)


def features_of(rng: np.random.Generator, classes: int, **changes: object):
    """Return texts as lists of tokens, their labels, and the data set that a network trains on."""
    training = random_labeled(rng, 24, classes)
    fitted = fit(training, SPEC.model_copy(update=changes), 3)
    texts = training.texts
    dataset = Dataset(
        texts.ids,
        texts.offsets,
        {"label": training.labels},
        [str(number) for number in range(24)],
        ngrams=fitted.model.features(texts, Text(), fitted.train_logits, training.labels),
    )
    sequences = [
        [texts.strings[number] for number in texts.ids[start:stop]]
        for start, stop in zip(texts.offsets, texts.offsets[1:], strict=False)
    ]
    return sequences, training.labels, dataset, fitted


@pytest.mark.parametrize("classes", [2, 3])
def test_values_leave_the_own_text_out(classes, rng):
    """Counted by hand: other texts with the n-gram, by class; rare n-grams and padding have 0."""
    sequences, labels, dataset, _ = features_of(rng, classes)
    rows = rng.permutation(24)[:7]
    batch = dataset.batch(rows)
    assert batch.ngrams is not None and batch.ngrams.values.dtype == np.float32
    columns = 1 if classes == 2 else classes
    assert batch.ngrams.values.shape == (*batch.ids.shape, 2 * columns)
    having = [set(ngrams_of_tokens(tokens, 2)) for tokens in sequences]
    clipped = 0
    for place, row in enumerate(rows):
        tokens, found = sequences[row], batch.ngrams.values[place].reshape(-1, 2, columns)
        assert not found[len(tokens) :].any()
        for end in range(1, len(tokens) + 1):
            for n in (1, 2):
                ngram = tuple(tokens[end - n : end]) if n <= end else None
                if sum(ngram in own for own in having) < 2:
                    assert not found[end - 1, n - 1].any()
                    continue
                others = [label for k, label in enumerate(labels) if k != row and ngram in having[k]]
                for column in range(columns):
                    positive = 1 if columns == 1 else column
                    own, texts = others.count(positive), int((labels == positive).sum())
                    wanted = value(own, len(others) - own, texts, 24 - texts)
                    assert found[end - 1, n - 1, column] == pytest.approx(wanted, rel=1e-6, abs=1e-7)
                    clipped += abs(wanted) == SPEC.input_scale * SPEC.input_limit
    assert clipped, "no value was limited"


def test_new_texts_count_all_training_texts(rng):
    """A text of unknown words has values of 0."""
    _, _, dataset, fitted = features_of(rng, 2)
    known = fitted.model.tokens.units[0]
    found = fitted.model.features(Texts.of([[known, "never"], ["never"]]), Text())
    batch = found.batch(np.array([1, 0]), np.array([0, 2, 3]), 3)
    counts = fitted.model.counts[0]
    wanted = value(counts[1], counts[0], *fitted.model.per_class[::-1])
    assert batch.values[1, 0, 0] == pytest.approx(wanted, rel=1e-6)
    assert not batch.values[0].any() and not batch.values[1, 1:].any()
    assert batch.logits[0] == fitted.model.bias and batch.logits.shape == (2, 1)
    assert dataset.ngrams is not None and dataset.ngrams.labels is not None


def test_padding_changes_no_bit(rng):
    _, _, dataset, _ = features_of(rng, 3)
    rows = np.argsort(dataset.lengths, kind="stable")
    whole = dataset.batch(rows).ngrams
    for place, row in enumerate(rows):
        alone, length = dataset.batch(np.array([row])).ngrams, dataset.lengths[row]
        assert np.array_equal(whole.values[place, :length], alone.values[0])
        assert np.array_equal(whole.logits[place], alone.logits[0])


def test_first_texts_are_unchanged(rng):
    _, _, dataset, _ = features_of(rng, 2)
    rows = rng.permutation(9)
    one, two = dataset.batch(rows).ngrams, dataset.first(9).batch(rows).ngrams
    assert np.array_equal(one.values, two.values) and np.array_equal(one.logits, two.logits)
    assert dataset.first(9).ngrams.logits.shape == (9, 1)


@pytest.mark.parametrize("truncate", ["head", "tail", "both"])
def test_numbers_are_truncated_like_tokens(truncate, rng):
    """N-grams are those of the complete text: the first kept token has one with the token before it."""
    training = random_labeled(rng)
    model = fit(training, SPEC, 0).model
    text = Text(max_length=3, truncate=truncate)
    found, numbers = model.features(training.texts, text), model.tokens.find(training.texts)
    offsets = training.texts.offsets
    kept = [cut(np.arange(start, stop), text) for start, stop in pairwise(offsets)]
    assert np.array_equal(found.numbers, numbers[np.concatenate(kept)])


def test_without_inputs_a_batch_has_only_logits(rng):
    _, _, dataset, _ = features_of(rng, 2, inputs=False)
    batch = dataset.batch(np.arange(4))
    assert batch.ngrams.values.shape == (*batch.ids.shape, 0) and batch.ngrams.logits.shape == (4, 1)


def test_shards_and_prefetched_batches_keep_their_ngrams(rng):
    """Every second row; a process without a row computes row 0."""
    _, _, dataset, _ = features_of(rng, 3)
    batch = dataset.batch(np.array([5, 3, 11]))
    drawn = with_masks(batch, replace(Experiment(), {"model.embedding.dropout": 0.5}), 4)
    assert drawn.masks and drawn.ngrams is batch.ngrams
    for rank, rows in ((0, [0, 2]), (1, [1])):
        shard = drawn.sharded(rank, 2)
        assert np.array_equal(shard.ngrams.values, batch.ngrams.values[rows])
        assert np.array_equal(shard.ngrams.logits, batch.ngrams.logits[rows])
        assert shard.shard == BatchShard(rank, 2, 3)
    assert np.array_equal(batch.sharded(3, 4).ngrams.logits, batch.ngrams.logits[:1])


def test_logits_of_one_model_are_spread_over_two_classes(rng):
    """Their difference is the logit, so that the probabilities are those of the linear model."""
    logits = rng.normal(size=(4, 1))
    found = spread(logits, 2)
    assert np.allclose(found[:, 1] - found[:, 0], logits[:, 0]) and np.allclose(found.sum(axis=1), 0.0)
    assert spread(logits, 1) is logits
    three = rng.normal(size=(4, 3))
    assert spread(three, 3) is three


def test_features_are_those_of_the_spec(rng):
    _, _, dataset, fitted = features_of(rng, 2)
    own = dataset.ngrams
    assert isinstance(own, NgramFeatures) and own.spec == fitted.model.spec
    double = dataclasses.replace(own, spec=own.spec.model_copy(update={"input_scale": 0.8}))
    rows = np.arange(3)
    one, two = (found.batch(rows, dataset.offsets, 20).values for found in (own, double))
    assert np.allclose(2 * one, two) and one.any()
