"""BLEU of token sequences: of a corpus (Papineni et al. 2002), and the sentence score of d2l."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

ORDER = 4
"""Longest n-grams of corpus BLEU."""
STATISTICS = 2 * ORDER + 2
"""Number of counts of `bleu_counts`."""

Tokens = Sequence[Hashable]


def _ngrams(tokens: Tokens, n: int) -> Counter:
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def _matches(predicted: Tokens, label: Tokens, n: int) -> int:
    """Return the number of n-grams of the prediction in the label, each at most as often as there."""
    return sum((_ngrams(predicted, n) & _ngrams(label, n)).values())


def bleu_counts(predicted: Tokens, label: Tokens) -> np.ndarray:
    """Return the counts of one sentence, [10] int64: matches and totals of n = 1..4, lengths of both.

    The sum over sentences gives `corpus_bleu`.
    """
    matches = [_matches(predicted, label, n) for n in range(1, ORDER + 1)]
    totals = [max(len(predicted) - n + 1, 0) for n in range(1, ORDER + 1)]
    return np.array([*matches, *totals, len(predicted), len(label)], dtype=np.int64)


def corpus_bleu(counts: np.ndarray) -> float:
    """Return BLEU in 0..1 from summed `bleu_counts` [10], as sacrebleu's corpus BLEU with one reference.

    It is the geometric mean of the four precisions times the brevity penalty exp(1 - label / predicted) of shorter
    predictions. A precision of 0 is smoothed to 1 / (2^k total), k = 1, 2, ... in order of n (sacrebleu's default,
    `exp`). Without predicted tokens of some n, or without any match, BLEU is 0.
    """
    matches, totals, (predicted, label) = counts[:ORDER], counts[ORDER : 2 * ORDER], counts[2 * ORDER :]
    if predicted == 0 or (totals == 0).any() or not matches.any():
        return 0.0
    logarithms, smoothing = [], 1.0
    for match, total in zip(matches.tolist(), totals.tolist(), strict=True):
        if match == 0:
            smoothing *= 2.0
        logarithms.append(math.log(match / total) if match else math.log(1.0 / (smoothing * total)))
    penalty = min(0.0, 1.0 - int(label) / int(predicted))
    return math.exp(penalty + sum(logarithms) / ORDER)


def sentence_score(predicted: Tokens, label: Tokens, order: int = 2) -> float:
    """Return d2l's BLEU of one sentence: exp(min(0, 1 - len_label / len_pred)) times p_n^(1/2^n) for n = 1..k.

    `order` is k, at most the length of the prediction. 0 for an empty prediction.
    """
    if not len(predicted):
        return 0.0
    score = math.exp(min(0.0, 1.0 - len(label) / len(predicted)))
    for n in range(1, min(order, len(predicted)) + 1):
        score *= (_matches(predicted, label, n) / (len(predicted) - n + 1)) ** 0.5**n
    return score
