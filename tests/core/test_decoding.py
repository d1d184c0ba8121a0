"""Greedy and beam search with engines whose probabilities are written down."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from core.batch import PAD, UNK, Batch
from core.decoding import decode
from core.target_sequences import BOS, EOS

SIZE = EOS + 3


class Written:
    """An engine whose logits depend on source and output so far: `logits(source, prefix)` [V]."""

    def __init__(self, logits, attention: bool = False) -> None:
        self.logits, self.attention = logits, attention

    def begin_decoding(self, batch: Batch):
        return [(int(ids[0]), ()) for ids in batch.ids]

    def decode_step(self, state, ids):
        state = [(source, (*prefix, int(token))) for (source, prefix), token in zip(state, ids, strict=True)]
        found = np.array([self.logits(source, prefix[1:]) for source, prefix in state])
        weights = np.array([[source, len(prefix)] for source, prefix in state], float)
        return found, weights if self.attention else None, state

    def select(self, state, rows):
        return [state[row] for row in rows]


def sources(count: int) -> Batch:
    return Batch(np.arange(1, count + 1)[:, None], np.ones(count, np.int64), {})


def random_engine(rng: np.random.Generator, **more) -> Written:
    """Logits drawn once for every source and prefix."""
    seed, drawn = int(rng.integers(2**31)), {}

    def logits(source, prefix):
        key = (seed, source, *prefix)
        if key not in drawn:
            drawn[key] = 2.0 * np.random.default_rng(key).normal(size=SIZE)
        return drawn[key]

    return Written(logits, **more)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum())


def hypotheses(engine: Written, source: int, limit: int):
    """Yield every output of at most `limit` tokens with EOS, with log p and its length."""
    letters = range(EOS + 1, SIZE)
    for length in range(limit + 1):
        for output in itertools.product(letters, repeat=length):
            ends = (EOS,) if length < limit else ()
            tokens = (*output, *ends)
            total = sum(log_softmax(engine.logits(source, tokens[:t]))[token] for t, token in enumerate(tokens))
            yield output, total, len(tokens)


def test_greedy_takes_the_most_probable_token(rng):
    engine, limit = random_engine(rng, attention=True), 5
    found = decode(engine, sources(6), limit)
    for row in range(6):
        tokens, total, margin = [], 0.0, 1.0
        while len(tokens) < limit and EOS not in tokens:
            own = log_softmax(engine.logits(row + 1, tuple(tokens)))
            allowed = sorted(set(range(SIZE)) - {PAD, UNK, BOS}, key=lambda token: -own[token])
            total += own[allowed[0]]
            margin = min(margin, np.exp(own[allowed[0]]) - np.exp(own[allowed[1]]))
            tokens.append(allowed[0])
        output = [token for token in tokens if token != EOS]
        assert found.row(row).tolist() == output
        assert found.finished[row] == (EOS in tokens)
        assert found.log_probabilities[row] == pytest.approx(total)
        assert found.margins[row] == pytest.approx(margin)
        assert found.attention[row, : len(output)].tolist() == [[row + 1, t + 1] for t in range(len(output))]
        assert not found.attention[row, len(output) :].any()


@pytest.mark.parametrize("penalty", [0.0, 0.75, 2.0])
def test_a_beam_of_all_hypotheses_finds_the_best(penalty, rng):
    engine, limit = random_engine(rng), 4
    found = decode(engine, sources(3), limit, beam=2 * 3**3, length_penalty=penalty)
    for row in range(3):
        best = max(hypotheses(engine, row + 1, limit), key=lambda own: own[1] / own[2] ** penalty)
        assert tuple(found.row(row)) == best[0]
        assert found.log_probabilities[row] == pytest.approx(best[1])


def test_sources_of_a_batch_are_independent(rng):
    engine = random_engine(rng)
    together = decode(engine, sources(5), 4, beam=3)
    for row in range(5):
        alone = decode(engine, Batch(np.array([[row + 1]]), np.ones(1, np.int64), {}), 4, beam=3)
        assert alone.row(0).tolist() == together.row(row).tolist()


def test_beam_finds_what_greedy_misses():
    """d2l's example: the most probable first token leads to a less probable sequence."""
    a, b = EOS + 1, EOS + 2
    table = {(): {a: 0.5, b: 0.4, EOS: 0.1}, (a,): {a: 0.4, b: 0.3, EOS: 0.3}, (b,): {EOS: 0.9, a: 0.1}}

    def logits(source, prefix):
        own = table.get(prefix, {EOS: 1.0})
        return np.log([own.get(token, 1e-12) for token in range(SIZE)])

    greedy, beam = (decode(Written(logits), sources(1), 5, width) for width in (1, 2))
    assert greedy.row(0).tolist() == [a, a] and beam.row(0).tolist() == [b]
    assert beam.log_probabilities[0] > greedy.log_probabilities[0]


def test_a_finished_hypothesis_is_kept(rng):
    """EOS at once: no further step changes it."""

    def logits(source, prefix):
        return np.where(np.arange(SIZE) == (EOS if not prefix else EOS + 1), 5.0, 0.0)

    for width in (1, 4):
        found = decode(Written(logits), sources(2), 6, width, length_penalty=0.0)
        assert found.lengths.tolist() == [0, 0] and found.finished.all() and found.ids.shape == (2, 0)


def test_equal_candidates_go_to_the_first():
    found = decode(Written(lambda source, prefix: np.zeros(SIZE)), sources(1), 3)
    assert found.row(0).tolist() == [] and found.finished.all()  # EOS is the first id that may be produced


@pytest.mark.parametrize(("beam", "limit"), [(0, 3), (1, 0)])
def test_a_beam_or_limit_below_one_is_refused(beam, limit):
    with pytest.raises(ValueError, match="at least 1"):
        decode(random_engine(np.random.default_rng(0)), sources(1), limit, beam)
