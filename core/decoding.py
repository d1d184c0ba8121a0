"""Decoding of an encoder-decoder in NumPy, step by step through an engine: greedy search and beam search.

All engines decode by the same code; `decode_step` alone is theirs (`core/engine/contract.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from core.batch import PAD, UNK, Batch
from core.target_sequences import BOS, EOS

LENGTH_PENALTY = 0.75
"""Exponent alpha of the length penalty: hypotheses are ranked by log p / length^alpha (d2l, beam search)."""
NEVER = (PAD, UNK, BOS)
"""Ids that decoding never produces."""


class Decoder(Protocol):
    """The methods of an engine that decoding uses."""

    def begin_decoding(self, batch: Batch) -> Any: ...

    def decode_step(self, state: Any, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, Any]: ...

    def select(self, state: Any, rows: np.ndarray) -> Any: ...


@dataclass(frozen=True)
class Decoded:
    """The outputs of B sources.

    `ids` [B, T] int64: output tokens without EOS, padded with PAD; `lengths` [B]; `finished` [B]: whether EOS was
    reached; `log_probabilities` [B] of the output with its EOS; `margins` [B]: the smallest difference of the two
    largest probabilities of a step, 1 if there is none; `attention` [B, T, S], zero at padding, or None.
    """

    ids: np.ndarray
    lengths: np.ndarray
    finished: np.ndarray
    log_probabilities: np.ndarray
    margins: np.ndarray
    attention: np.ndarray | None

    def row(self, number: int) -> np.ndarray:
        """Return the output ids of one source."""
        return self.ids[number, : self.lengths[number]]


def decode(engine: Decoder, batch: Batch, limit: int, beam: int = 1, length_penalty: float = LENGTH_PENALTY) -> Decoded:
    """Decode the sources of a batch to at most `limit` tokens, including EOS.

    In each step the `beam` most probable hypotheses of a source are kept, by log p; a finished one keeps its place.
    The output is the one with the largest log p / length^`length_penalty`, where length counts EOS. A beam of 1 is
    greedy search. Of equal candidates the first counts. Raises ValueError for a beam or a limit below 1.
    """
    if beam < 1 or limit < 1:
        raise ValueError(f"expected beam and limit of at least 1, got {beam} and {limit}")
    size = len(batch.lengths)
    rows = np.arange(size)[:, None]
    state = engine.begin_decoding(batch)
    if beam > 1:
        state = engine.select(state, np.repeat(np.arange(size), beam))
    found = _Hypotheses.start(size, beam)
    for _ in range(limit):
        logits, weights, state = engine.decode_step(state, found.last.reshape(-1))
        parents = found.extend(logits, weights)
        if found.finished.all():
            break
        if beam > 1:
            state = engine.select(state, (rows * beam + parents).reshape(-1))
    return found.best(length_penalty)


@dataclass
class _Hypotheses:
    """The beams of B sources with K hypotheses each: arrays [B, K, ...], `maps` [B, K, T, S] of attention or None."""

    scores: np.ndarray
    ids: np.ndarray
    last: np.ndarray
    finished: np.ndarray
    lengths: np.ndarray
    margins: np.ndarray
    maps: np.ndarray | None = None

    @classmethod
    def start(cls, size: int, beam: int) -> _Hypotheses:
        scores = np.full((size, beam), -np.inf)
        scores[:, 0] = 0.0  # the hypotheses are equal at first: one of them counts
        ids, lengths = np.zeros((size, beam, 0), np.int64), np.zeros((size, beam), np.int64)
        finished = np.zeros((size, beam), bool)
        return cls(scores, ids, np.full((size, beam), BOS), finished, lengths, np.ones((size, beam)))

    def extend(self, logits: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        """Take one step with logits [B * K, V]; return the hypothesis that each new one extends, [B, K]."""
        size, beam = self.scores.shape
        rows = np.arange(size)[:, None]
        own = _log_softmax(logits)
        own[:, list(NEVER)] = -np.inf
        margins = np.minimum(self.margins, _margins(own).reshape(size, beam))
        candidates = self.scores[:, :, None] + own.reshape(size, beam, -1)
        candidates[self.finished] = -np.inf
        candidates[:, :, PAD] = np.where(self.finished, self.scores, -np.inf)  # one place for a finished hypothesis
        self.scores, places = _largest(candidates.reshape(size, -1), beam)
        parents, self.last = np.divmod(places, candidates.shape[2])
        done = self.finished[rows, parents]
        self.margins = np.where(done, self.margins[rows, parents], margins[rows, parents])
        self.lengths = self.lengths[rows, parents] + ~done
        self.finished = done | (self.last == EOS)
        self.ids = np.concatenate([self.ids[rows, parents], self.last[:, :, None]], axis=2)
        if weights is not None:
            steps = weights.reshape(size, beam, 1, -1)
            maps = steps if self.maps is None else np.concatenate([self.maps, steps], axis=2)
            self.maps = maps[rows, parents]
            self.maps[done, -1] = 0.0
        return parents

    def best(self, length_penalty: float) -> Decoded:
        """Return the best hypothesis of every source."""
        rows = np.arange(len(self.scores))
        chosen = (self.scores / self.lengths**length_penalty).argmax(axis=1)
        ids, finished = self.ids[rows, chosen], self.finished[rows, chosen]
        lengths = self.lengths[rows, chosen] - finished
        real = np.arange(ids.shape[1]) < lengths[:, None]
        width = int(lengths.max())
        maps = None if self.maps is None else (self.maps[rows, chosen] * real[:, :, None])[:, :width]
        scores, margins = self.scores[rows, chosen], self.margins[rows, chosen]
        return Decoded(np.where(real, ids, PAD)[:, :width], lengths, finished, scores, margins, maps)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities float64 of logits [N, V]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _margins(log_probabilities: np.ndarray) -> np.ndarray:
    """Return the difference of the two largest probabilities, [N]."""
    top = np.partition(log_probabilities, -2, axis=1)[:, -2:]
    return np.exp(top[:, 1]) - np.exp(top[:, 0])


def _largest(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` largest of values [B, N] and their places, [B, count]; of equal ones the first."""
    rows, values = np.arange(len(values)), values.copy()
    found, places = [], []
    for _ in range(count):
        place = values.argmax(axis=1)
        places.append(place)
        found.append(values[rows, place])
        values[rows, place] = -np.inf
    return np.stack(found, axis=1), np.stack(places, axis=1)
