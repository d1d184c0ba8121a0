"""Word dropout: which ids a training step reads, by seed and step alone."""

from __future__ import annotations

import numpy as np
import pytest

from core.batch import UNK, Batch, pad
from core.spec.experiment import Experiment, replace
from core.word_dropout import drop_words
from tests.core.train.test_loop import SMALL, new_engine


def drawn(rng, rows: int = 40) -> Batch:
    return pad([rng.integers(2, 50, length) for length in (1, 2, *rng.integers(1, 60, rows - 2))], {})


def test_real_tokens_become_unk_at_the_rate(rng):
    batch, rate = drawn(rng, 200), float(rng.uniform(0.1, 0.6))
    found = drop_words(batch, rate, 3, [int(rng.integers(2**62))])
    changed = found.ids != batch.ids
    assert (found.ids[changed] == UNK).all() and not changed[batch.ids == 0].any()
    assert changed.sum() / batch.tokens == pytest.approx(rate, abs=5 * (rate * (1 - rate) / batch.tokens) ** 0.5)
    assert drop_words(batch, 0.0, 3, [0]) is batch


def test_padding_does_not_matter_but_seed_and_step_do(rng):
    batch, seed = drawn(rng), int(rng.integers(2**62))
    wide = Batch(np.pad(batch.ids, ((0, 0), (0, 9))), batch.lengths, {})
    found = drop_words(batch, 0.5, 7, [seed]).ids
    np.testing.assert_array_equal(drop_words(wide, 0.5, 7, [seed]).ids[:, :-9], found)
    assert (drop_words(batch, 0.5, 8, [seed]).ids != found).any()
    assert (drop_words(batch, 0.5, 7, [seed + 1]).ids != found).any()


def test_models_of_an_ensemble_read_what_they_read_alone(rng):
    one, other = drawn(rng, 6), drawn(rng, 6)
    width = max(one.ids.shape[1], other.ids.shape[1])
    ids = np.concatenate([np.pad(own.ids, ((0, 0), (0, width - own.ids.shape[1]))) for own in (one, other)])
    both = drop_words(Batch(ids, np.concatenate([one.lengths, other.lengths]), {}), 0.5, 2, [11, 12])
    for rows, own, seed in ((both.ids[:6], one, 11), (both.ids[6:], other, 12)):
        np.testing.assert_array_equal(rows[:, : own.ids.shape[1]], drop_words(own, 0.5, 2, [seed]).ids)


def test_training_alone_drops_words_and_trains_unk(backend, rng):
    """At a rate near 1 nearly all gradients go to UNK; evaluation reads the texts as they are."""
    experiment: Experiment = replace(SMALL, {"training.word_dropout": 0.9})
    batch = pad([rng.integers(2, 20, length) for length in (1, 5, 9)], {"label": np.array([0, 1, 0])})
    engine, plain = new_engine(backend, experiment), new_engine(backend, SMALL)
    np.testing.assert_array_equal(engine.logits(batch), plain.logits(batch))
    _, gradients = engine.gradients(batch, 0)
    read = drop_words(batch, 0.9, 0, [experiment.training.seed])
    rows = np.flatnonzero(np.abs(gradients["embedding.weight"]).sum(axis=1))
    assert UNK in rows and set(rows) == set(np.unique(read.ids)) - {0}
