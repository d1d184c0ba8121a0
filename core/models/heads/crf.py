"""Linear-chain conditional random field over tags (Lafferty, McCallum and Pereira 2001), in NumPy.

The score of a sequence of tags y is `start[y_1] + sum_t logits[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]`; its
log-probability is the score minus the log-partition, the log-sum-exp of the scores of all sequences. Sums over
sequences are computed by recursions over time in log space, batched, with the real maximum subtracted, so that complex
steps pass. Arrays: `logits` [B, L, C], `lengths` [B], `transitions` [C, C] (from, to), `start` and `end` [C].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chain:
    """The scores of a chain that do not depend on the input."""

    transitions: np.ndarray
    start: np.ndarray
    end: np.ndarray


def log_sum_exp(x: np.ndarray, axis: int) -> np.ndarray:
    """Return the logarithm of the sum of exponentials along an axis. Supports complex steps."""
    largest = np.real(x).max(axis=axis, keepdims=True)
    return np.log(np.exp(x - largest).sum(axis=axis)) + np.squeeze(largest, axis)


def log_partition(logits: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """Return [B]: the log-sum-exp of the scores of all sequences of tags. Supports complex steps."""
    return log_sum_exp(_forward(logits, lengths, chain, log_sum_exp)[:, -1] + chain.end, axis=1)


def path_scores(logits: np.ndarray, tags: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """Return [B]: the score of the sequence `tags` [B, L] of each row. Supports complex steps."""
    rows, real = np.arange(len(lengths)), np.arange(logits.shape[1]) < lengths[:, None]
    emitted = np.take_along_axis(logits, tags[:, :, None], axis=2)[:, :, 0]
    steps = chain.transitions[tags[:, :-1], tags[:, 1:]]
    return (
        chain.start[tags[:, 0]]
        + np.where(real, emitted, 0.0).sum(axis=1)
        + np.where(real[:, 1:], steps, 0.0).sum(axis=1)
        + chain.end[tags[rows, lengths - 1]]
    )


@dataclass(frozen=True)
class Decoded:
    """The best sequence of each row, and how sure it is.

    `tags` [B, L] int64; `margins` [B, L]: by how much the score of the best sequence falls if the tag of this token
    must be another one; `scores` [B, L, C]: logarithms of the probabilities of each tag, up to a constant per token.
    All are arbitrary at padding.
    """

    tags: np.ndarray
    margins: np.ndarray
    scores: np.ndarray

    @property
    def log_probabilities(self) -> np.ndarray:
        """Logarithms of the probabilities of the tags of each token, [B, L, C]."""
        return self.scores - log_sum_exp(self.scores, axis=2)[:, :, None]


def decode(logits: np.ndarray, lengths: np.ndarray, chain: Chain) -> Decoded:
    """Return the most likely sequences by the Viterbi algorithm, with margins and marginal scores, in float64.

    Of equal sequences the one with the lower last tag wins, then the one with the lower tag before it, and so on.
    """
    logits = logits.astype(np.float64)
    chain = Chain(*(array.astype(np.float64) for array in (chain.transitions, chain.start, chain.end)))
    best, best_after = _both_ways(logits, lengths, chain, np.max)
    through = best + best_after
    top = np.partition(through, -2, axis=2)
    summed, summed_after = _both_ways(logits, lengths, chain, log_sum_exp)
    return Decoded(_trace(best, lengths, chain), top[:, :, -1] - top[:, :, -2], summed + summed_after)


def decode_independently(logits: np.ndarray) -> Decoded:
    """Return the most likely tag of each token by its logits alone, in float64. The first of equal tags wins."""
    scores = logits.astype(np.float64)
    top = np.partition(scores, -2, axis=2)
    return Decoded(scores.argmax(axis=2), top[:, :, -1] - top[:, :, -2], scores)


def _trace(best: np.ndarray, lengths: np.ndarray, chain: Chain) -> np.ndarray:
    """Follow the best sequences back; `best` [B, L, C] are the scores of the best sequences up to each tag."""
    rows, width = len(lengths), best.shape[1]
    tags = np.zeros((rows, width), dtype=np.int64)
    number = (best[:, -1] + chain.end).argmax(axis=1)
    for t in reversed(range(width)):
        tags[:, t] = number
        if t > 0:
            # Padding repeats the scores of the last token, so the way back is only taken within a sentence.
            before = (best[:, t - 1] + chain.transitions[:, number].T).argmax(axis=1)
            number = np.where(t < lengths, before, number)
    return tags


def _both_ways(logits: np.ndarray, lengths: np.ndarray, chain: Chain, over) -> tuple[np.ndarray, np.ndarray]:
    """Return, both [B, L, C], `over` the sequences up to each tag with its logit, and over those after it."""
    after = np.zeros_like(logits)
    after[:, -1] = chain.end
    for t in reversed(range(logits.shape[1] - 1)):
        found = over(chain.transitions + (logits[:, t + 1] + after[:, t + 1])[:, None, :], axis=2)
        after[:, t] = np.where((t + 1 < lengths)[:, None], found, chain.end)
    return _forward(logits, lengths, chain, over), after


def _forward(logits: np.ndarray, lengths: np.ndarray, chain: Chain, over) -> np.ndarray:
    """Return [B, L, C]: `over` the scores of all sequences that end with each tag; constant after the last token."""
    steps = [chain.start + logits[:, 0]]
    for t in range(1, logits.shape[1]):
        found = over(steps[-1][:, :, None] + chain.transitions, axis=1) + logits[:, t]
        steps.append(np.where((t < lengths)[:, None], found, steps[-1]))
    return np.stack(steps, axis=1)
