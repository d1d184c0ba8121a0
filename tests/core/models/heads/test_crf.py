"""The CRF by its definition, by enumeration of all sequences, and by the values of another implementation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from core.models.heads.crf import Chain, decode, log_partition, path_scores

CLASSES = 3


def random_chain(rng: np.random.Generator, spread: float = 1.0) -> Chain:
    return Chain(*(spread * rng.normal(size=shape) for shape in ((CLASSES, CLASSES), CLASSES, CLASSES)))


def all_scores(logits: np.ndarray, chain: Chain) -> dict[tuple[int, ...], float]:
    """Return the score of every sequence of tags of one row [L, C]."""
    found = {}
    for tags in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        score = chain.start[tags[0]] + chain.end[tags[-1]]
        score += sum(logits[t, tag] for t, tag in enumerate(tags))
        score += sum(chain.transitions[one, other] for one, other in itertools.pairwise(tags))
        found[tags] = float(score)
    return found


@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_crf_equals_the_enumeration_of_all_sequences(spread, rng):
    """Scores hundreds apart too, where exponentials overflow."""
    lengths = np.array([1, 5, 3, 2])
    logits, chain = spread * rng.normal(size=(4, 5, CLASSES)), random_chain(rng, spread)
    tags = rng.integers(0, CLASSES, (4, 5))
    partition, paths = log_partition(logits, lengths, chain), path_scores(logits, tags, lengths, chain)
    found = decode(logits, lengths, chain)
    for row, length in enumerate(lengths):
        scores = all_scores(logits[row, :length], chain)
        values = np.array(list(scores.values()))
        total = values.max() + np.log(np.exp(values - values.max()).sum())
        assert partition[row] == pytest.approx(total, rel=1e-13)
        assert paths[row] == pytest.approx(scores[tuple(tags[row, :length])], rel=1e-12, abs=1e-12)
        best = max(scores, key=scores.__getitem__)
        assert tuple(found.tags[row, :length]) == best
        for t in range(length):
            without = max(score for own, score in scores.items() if own[t] != best[t])
            assert found.margins[row, t] == pytest.approx(scores[best] - without, rel=1e-9, abs=1e-9)
            for tag in range(CLASSES):
                share = sum(np.exp(score - total) for own, score in scores.items() if own[t] == tag)
                assert np.exp(found.log_probabilities[row, t, tag]) == pytest.approx(share, abs=1e-11)


def test_padding_changes_no_bit(rng):
    lengths = np.array([1, 4, 2])
    logits, chain, tags = rng.normal(size=(3, 4, CLASSES)), random_chain(rng), rng.integers(0, CLASSES, (3, 4))
    wide = np.concatenate((logits, 1e3 * rng.normal(size=(3, 3, CLASSES))), axis=1)
    more = np.concatenate((tags, rng.integers(0, CLASSES, (3, 3))), axis=1)
    assert np.array_equal(log_partition(logits, lengths, chain), log_partition(wide, lengths, chain))
    assert np.array_equal(path_scores(logits, tags, lengths, chain), path_scores(wide, more, lengths, chain))
    one, other = decode(logits, lengths, chain), decode(wide, lengths, chain)
    for row, length in enumerate(lengths):
        for name in ("tags", "margins", "scores"):
            narrow, padded = (getattr(own, name)[row, :length] for own in (one, other))
            assert np.array_equal(narrow, padded), name


def test_values_of_pytorch_crf():
    """Losses that pytorch-crf 0.7.2 gives in float64 for these numbers (`CRF(3, batch_first=True)`, reduction none)."""
    grid = np.arange(24).reshape(2, 4, 3)
    logits, lengths = np.sin(grid) * 2.0, np.array([4, 2])
    chain = Chain(np.cos(np.arange(9)).reshape(3, 3), np.array([0.5, -1.0, 0.25]), np.array([-0.5, 0.75, 0.0]))
    tags = np.array([[0, 2, 1, 1], [2, 0, 0, 0]])
    found = log_partition(logits, lengths, chain) - path_scores(logits, tags, lengths, chain)
    np.testing.assert_allclose(found, RECORDED, rtol=1e-14)
    best = decode(logits, lengths, chain).tags
    assert [best[0].tolist(), best[1, :2].tolist()] == BEST


RECORDED, BEST = [8.185921131165248, 0.44962523203477467], [[2, 0, 2, 0], [2, 0]]
