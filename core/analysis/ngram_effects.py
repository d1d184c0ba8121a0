"""How n-grams act on a prediction: exactly, for the linear model; without each token, for occlusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.data.ngrams.features import NgramFeatures
from core.data.ngrams.linear import NgramModel, scales_of
from core.data.ngrams.table import ABSENT, NgramTable
from core.data.ngrams.texts import Texts
from core.data.tokenizers import make_tokenizer
from core.spec.text import Text


@dataclass(frozen=True)
class NgramEffects:
    """The logit of one linear model as a sum over a text with W tokens.

    logit = bias + sum of `ngrams` = bias + sum of `tokens`. `ngrams`: each n-gram of the text with its part, the
    largest first; `tokens` [W] float64: an n-gram's part is divided equally among its places, and there among its
    tokens.
    """

    bias: float
    ngrams: list[tuple[str, float]]
    tokens: np.ndarray


def effects_of(model: NgramModel, whole: Sequence[str], predicted: int) -> NgramEffects:
    """Return the parts of a text's n-grams in the evidence for the class `predicted`.

    For two classes it is the log-odds of the class, otherwise the logit of its linear model.
    """
    texts = Texts.of([whole])
    column = 0 if model.weights.shape[1] == 1 else predicted
    sign = -1.0 if model.weights.shape[1] == 1 and predicted == 0 else 1.0
    rows = model.rows(texts)
    parts = sign * scales_of(rows, model.ratios)[0, column] * model.weights[rows.features, column].astype(np.float64)
    tokens, first = np.zeros(len(whole)), 0
    for table, own, owners in _units(model, texts):
        if table is not None:
            chosen = (rows.features >= first) & (rows.features < first + len(table))
            per_ngram = np.zeros(len(table))
            per_ngram[rows.features[chosen] - first] = parts[chosen]
            np.add.at(tokens, owners, _shared(table.find(own), per_ngram))
            first += len(table)
    order = np.argsort(-np.abs(parts), kind="stable")
    ngrams = [(model.string(int(rows.features[own])), float(parts[own])) for own in order]
    return NgramEffects(sign * float(model.bias[column]), ngrams, tokens)


def _units(model: NgramModel, texts: Texts) -> list[tuple[NgramTable | None, Texts, np.ndarray]]:
    """Return each table, the units of the text that it reads, and the token of every unit."""
    divide = make_tokenizer(Text(tokenizer="characters", lowercase=False))
    sizes = [len(divide(texts.strings[number])) for number in texts.ids.tolist()]
    places = np.arange(len(texts.ids))
    return [
        (model.tokens, texts, places),
        (model.characters, texts.characters(), np.repeat(places, sizes)),
    ]


def _shared(numbers: np.ndarray, per_ngram: np.ndarray) -> np.ndarray:
    """Return the parts of n-grams [F] divided among the units [T] of a text, from the n-grams [T, orders] there."""
    found = np.zeros(len(numbers))
    for n in range(numbers.shape[1]):
        ends = np.flatnonzero(numbers[:, n] != ABSENT)
        own = numbers[ends, n]
        share = per_ngram[own] / np.bincount(own, minlength=len(per_ngram))[own] / (n + 1)
        for back in range(n + 1):
            np.add.at(found, ends - back, share)
    return found


def without_each(model: NgramModel, whole: Sequence[str], kept: np.ndarray) -> NgramFeatures:
    """Return the n-grams of a text, and of the text without each of its kept tokens in turn.

    `whole`: all W tokens; `kept` [L]: places of those that the network reads. N-grams are formed anew over the gap.
    The result is that of 1 + L texts: the text has L tokens, the others L - 1, or one for L = 1 (an unknown one).
    """
    text = Texts.of([whole])
    size, count = len(text.ids), len(kept)
    others = np.arange(size - 1) + (np.arange(size - 1) >= kept[:, None])
    ids = np.concatenate([text.ids, text.ids[others].reshape(-1)])
    offsets = np.concatenate(([0], size + (size - 1) * np.arange(count + 1))).astype(np.int64)
    texts = Texts(text.strings, ids, offsets)
    numbers = None
    if model.spec.inputs and model.tokens is not None:
        found = model.tokens.find(texts)
        shorter = np.full((1, found.shape[1]), ABSENT, dtype=found.dtype)
        if count > 1:
            places = kept[np.arange(count - 1) + (np.arange(count - 1) >= np.arange(count)[:, None])]
            places = places - (places > kept[:, None])
            rows = found[size:].reshape(count, size - 1, -1)
            shorter = rows[np.arange(count)[:, None], places].reshape(-1, found.shape[1])
        numbers = np.concatenate([found[:size][kept], shorter])
    return NgramFeatures(model.spec, model.logits(model.rows(texts)), numbers, model.counts, model.per_class)
