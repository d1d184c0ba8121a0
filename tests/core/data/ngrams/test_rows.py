"""Sparse rows of n-grams against dense arrays."""

from __future__ import annotations

import numpy as np
import pytest

from core.data.ngrams import rows as module
from core.data.ngrams.rows import Rows
from tests.core.data.ngrams.drawing import random_rows


def dense_of(rows: Rows, size: int) -> np.ndarray:
    found = np.zeros((len(rows), size), dtype=bool)
    for text, (start, stop) in enumerate(zip(rows.starts, rows.starts[1:], strict=False)):
        own = rows.features[start:stop]
        assert (np.diff(own) > 0).all()
        found[text, own] = True
    return found


def test_rows_hold_each_ngram_once(rng):
    """Those of an array of numbers with repetitions, unknown ones, and a text of unknown ones only."""
    texts = np.repeat(np.arange(6), [1, 5, 2, 9, 3, 4])
    numbers = rng.integers(-1, 7, (len(texts), 2))
    numbers[texts == 2] = -1
    found = Rows.of(numbers, texts, 6, 7)
    wanted = np.zeros((6, 7), dtype=bool)
    for text, pair in zip(texts, numbers, strict=True):
        wanted[text, pair[pair >= 0]] = True
    assert len(found) == 6 and np.array_equal(dense_of(found, 7), wanted)
    assert len(Rows.of(np.full((2, 1), -1), np.array([0, 1]), 2, 0).features) == 0


@pytest.mark.parametrize("block", [1, 3, 7, 1 << 22])
def test_sums_in_blocks_of_any_size(block, rng, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    rows, dense = random_rows(rng, 20, 9)
    values = rng.normal(size=(9, 3)).astype(np.float32)
    found = rows.sums(values)
    assert found.dtype == np.float64 and np.allclose(found, dense @ values.astype(np.float64), rtol=1e-14, atol=1e-14)
    assert not found[~dense.any(axis=1)].any()
    empty = Rows(np.zeros(0, np.int32), np.zeros(4, np.int64))
    assert np.array_equal(empty.sums(values), np.zeros((3, 3)))


def test_joined_rows(rng):
    (one, dense), (two, other) = random_rows(rng, 12, 5), random_rows(rng, 12, 4)
    assert np.array_equal(dense_of(one.joined(two, 5), 9), np.concatenate([dense, other], axis=1))


def test_counts_by_group(rng):
    rows, dense = random_rows(rng, 15, 6)
    groups = rng.integers(0, 4, 15)
    wanted = np.array([dense[groups == group].sum(axis=0) for group in range(5)])
    assert np.array_equal(rows.counts(groups, 5, 6), wanted)
