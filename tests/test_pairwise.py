"""Pairwise samples contain every allowed pair, are small, and follow their seed."""

from __future__ import annotations

import itertools

from tests.pairwise import pairwise_rows

FACTORS = {
    "cell": ("srn", "gru", "lstm"),
    "layers": (1, 2),
    "both": (False, True),
    "dtype": ("f4", "f8"),
    "n": range(4),
}


def pairs(rows) -> set:
    return {pair for row in rows for pair in itertools.combinations(enumerate(row), 2)}


def test_pairwise_rows_contain_every_pair(rng):
    seed = int(rng.integers(1 << 31))
    rows = pairwise_rows(FACTORS, seed=seed)
    product = list(itertools.product(*FACTORS.values()))
    assert pairs(rows) == pairs(product) and set(rows) <= set(product)
    assert len(rows) == len(set(rows)) < 24 < len(product)
    assert rows == pairwise_rows(FACTORS, seed=seed)
    assert any(rows != pairwise_rows(FACTORS, seed=seed + more) for more in range(1, 6))
