"""Ids of bigrams, and their vectors in the NumPy reference."""

from __future__ import annotations

import numpy as np

from core.batch import pad
from core.models.bigrams import bigram_ids
from core.models.embedding import BIGRAM_TABLE, STATIC_TABLE, TABLE, Embedding
from core.models.types import no_dropout


def test_a_bigram_depends_on_its_two_tokens_alone(rng):
    batch = pad([rng.integers(1, 50, length) for length in (7, 1, 4)], {})
    found = bigram_ids(batch.ids, 1000)
    assert not found[batch.ids == 0].any() and found[batch.ids != 0].min() >= 1 and found.max() < 1000
    for row, length in enumerate(batch.lengths):
        alone = batch.ids[row : row + 1, :length]
        assert np.array_equal(bigram_ids(alone, 1000)[0], found[row, :length])  # padding changes nothing
        for t in range(1, length):
            assert bigram_ids(alone[:, t - 1 : t + 1], 1000)[0, 1] == found[row, t]


def test_bigrams_are_spread_over_the_rows():
    """As if drawn: a table of 4,096 rows has e^-4 of them empty for four bigrams a row."""
    first, second = np.divmod(np.arange(128 * 128), 128)
    found = bigram_ids(np.stack([first + 1, second + 1], axis=1), 4097)[:, 1]
    counts = np.bincount(found, minlength=4097)[1:]
    assert 0.5 * np.exp(-4) < (counts == 0).mean() < 2 * np.exp(-4)
    assert counts.max() <= 16


def test_their_vectors_follow_the_others(rng):
    embedding = Embedding(vocab_size=9, dim=3, static_copy=True, bigrams=7, bigram_dim=2)
    arrays = {row.name: rng.normal(size=row.shape) for row in embedding.parameters()}
    assert [*arrays] == [TABLE, STATIC_TABLE, BIGRAM_TABLE] and embedding.output_size == 8
    batch = pad([rng.integers(1, 9, length) for length in (3, 1)], {})
    found = embedding.forward(arrays, batch, no_dropout)
    for row, length in enumerate(batch.lengths):
        assert not found[row, length:].any()
        for t in range(length):
            pair = bigram_ids(batch.ids, 7)[row, t]
            own = batch.ids[row, t]
            wanted = np.concatenate([arrays[TABLE][own], arrays[STATIC_TABLE][own], arrays[BIGRAM_TABLE][pair]])
            assert np.array_equal(found[row, t], wanted)
