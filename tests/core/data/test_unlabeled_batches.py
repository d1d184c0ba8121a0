"""Texts without a label: which join a batch, and what a batch with them has."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

import backends
from core.data.dataset import epoch_order
from core.data.unlabeled_batches import joined, unlabeled_order
from core.data.unlabeled_texts import NONE
from core.models.heads.pooled import cross_entropies
from core.spec.experiment import replace
from core.train.steps import steps_from
from tests.conftest import loaded, make_dataset
from tests.core.train.test_loop import SMALL

WITH = replace(SMALL, {"training.virtual_adversarial": 0.1, "training.unlabeled_batch_size": 3})


def epochs_of(labeled, unlabeled, training, epochs: int = 4) -> list[tuple[list, list]]:
    found = []
    for epoch in range(epochs):
        batches = epoch_order(labeled.lengths, training, epoch)
        found.append((batches, unlabeled_order(labeled.lengths, batches, unlabeled.lengths, training, epoch)))
    return found


@pytest.mark.parametrize("rows", [5, 17, 50])
@pytest.mark.parametrize("buckets", [0, 4])
def test_all_texts_are_read_before_one_comes_again(rows, buckets, rng):
    training = replace(WITH, {"training.bucket_batches": buckets}).training
    labeled, unlabeled = make_dataset(rng, 44), make_dataset(rng, rows)
    read: Counter[int] = Counter()
    orders = []
    for _, more in epochs_of(labeled, unlabeled, training):
        assert [len(own) for own in more] == [3] * 6
        read.update(np.concatenate(more).tolist())
        orders.append(np.concatenate(more))
    assert read.total() == 72 and max(read.values()) - min(read[row] for row in range(rows)) <= 1
    assert not np.array_equal(orders[0], orders[1])


def test_with_buckets_long_texts_join_long_ones(rng):
    labeled, unlabeled = make_dataset(rng, 44), make_dataset(rng, 40)
    ((batches, more),) = epochs_of(labeled, unlabeled, WITH.training, 1)
    order = np.argsort([labeled.lengths[rows].mean() for rows in batches], kind="stable")
    longest = [unlabeled.lengths[more[place]] for place in order]
    assert all(one.max() <= other.min() for one, other in itertools.pairwise(longest))


def test_a_batch_has_the_labeled_texts_first(rng):
    labeled, unlabeled = make_dataset(rng, 44), make_dataset(rng, 10)
    both = joined(labeled, unlabeled)
    plain, mixed = list(steps_from(WITH, labeled)), list(steps_from(WITH, labeled, 0, unlabeled))
    assert len(plain) == len(mixed) == 18
    for (step, batch, rate), (same_step, more, same_rate) in zip(plain, mixed, strict=True):
        own = len(batch.lengths)
        assert (step, rate) == (same_step, same_rate) and len(more.lengths) == own + 3
        np.testing.assert_array_equal(more.labels, [*batch.labels, NONE, NONE, NONE])
        width = batch.ids.shape[1]
        np.testing.assert_array_equal(more.ids[:own, :width], batch.ids)
        assert WITH.model.head.counted(more) == own
    resumed = list(steps_from(WITH, labeled, 7, unlabeled))
    for (_, one, _), (_, other, _) in zip(mixed[7:], resumed, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
    row = len(labeled) + 4
    np.testing.assert_array_equal(
        both.tokens[both.offsets[row] : both.offsets[row + 1]],
        unlabeled.tokens[unlabeled.offsets[4] : unlabeled.offsets[5]],
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_a_text_without_a_label_has_no_loss(outputs, weighted, rng):
    """In the reference and in every framework; the losses of the others do not change a bit."""
    classes = max(outputs, 2)
    logits, labels = rng.normal(size=(7, outputs)), rng.integers(0, classes, 7)
    weights = rng.uniform(0.5, 3.0, classes) if weighted else None
    some = np.where(np.arange(7) % 3 == 1, NONE, labels)
    expected = np.where(some == NONE, 0.0, cross_entropies(logits, labels, weights))
    np.testing.assert_array_equal(cross_entropies(logits, some, weights), expected)
    for name in backends.NAMES:
        side = loaded(name)
        device = side.runtime.native_device("cpu")
        native = {key: side.runtime.to_tensor(value, device) for key, value in {"z": logits, "y": some}.items()}
        inputs = type("Inputs", (), {"targets": {"label": native["y"]}})
        head = side.heads.pooled.PooledHead
        own = None if weights is None else side.runtime.to_tensor(weights, device)
        found = side.runtime.to_numpy(head.losses(None, {"logits": native["z"]}, inputs, own))
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
        assert (found[some == NONE] == 0.0).all()
        right = side.runtime.to_numpy(head.right(None, {"logits": native["z"]}, inputs))
        assert not right[some == NONE].any()
