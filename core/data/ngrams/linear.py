"""The fitted linear model of n-grams: logits of texts, and the numbers that a network reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.data.ngrams.features import NgramFeatures
from core.data.ngrams.rows import Rows
from core.data.ngrams.table import NgramTable
from core.data.ngrams.texts import Texts
from core.data.vocabulary import truncate
from core.models.ngrams import Ngrams
from core.spec.text import Text


@dataclass(frozen=True)
class NgramModel:
    """A fitted model of K linear models (`core.models.ngrams.columns_of`).

    `tokens`, `characters`: tables of n-grams, None without; the features are those of both, F in total. `ratios`,
    `weights` [F, K] float32: log-count ratios r, and w * r; `bias` [K] float32. `counts` [F_tokens, C] float32: how
    many training texts of each class have each n-gram of tokens; `per_class` [C] float32: all of them.
    """

    spec: Ngrams
    tokens: NgramTable | None
    characters: NgramTable | None
    ratios: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    counts: np.ndarray
    per_class: np.ndarray

    def rows(self, texts: Texts) -> Rows:
        """Return the n-grams of texts."""
        return rows_of(texts, self.tokens, self.characters)

    def logits(self, rows: Rows) -> np.ndarray:
        """Return the logits [N, K] float32 of texts."""
        return (scales_of(rows, self.ratios) * rows.sums(self.weights) + self.bias).astype(np.float32)

    def string(self, number: int) -> str:
        """Return an n-gram by its number; one of characters without spaces."""
        tokens = len(self.tokens or ())
        if number < tokens and self.tokens is not None:
            return self.tokens.string(number)
        return "" if self.characters is None else self.characters.string(number - tokens).replace(" ", "")

    def features(
        self, texts: Texts, text: Text, logits: np.ndarray | None = None, labels: np.ndarray | None = None
    ) -> NgramFeatures:
        """Return what a network reads of texts, cut like their tokens.

        For training texts, `logits` [N, K] are those of the fold that did not see them, and `labels` [N] their classes,
        which are taken out of the counts.
        """
        found = None if self.tokens is None else self.tokens.find(texts)
        if logits is None:
            logits = self.logits(rows_of(texts, self.tokens, self.characters, found))
        numbers = None
        if self.spec.inputs and found is not None:
            numbers = found[_kept(texts.offsets, text)]
        return NgramFeatures(self.spec, logits, numbers, self.counts, self.per_class, labels)


def rows_of(
    texts: Texts, tokens: NgramTable | None, characters: NgramTable | None, found: np.ndarray | None = None
) -> Rows:
    """Return the n-grams of texts, those of tokens first; `found` [T, orders] is what `tokens.find` returns."""
    rows = []
    if tokens is not None:
        rows.append(Rows.of(tokens.find(texts) if found is None else found, texts.numbers, len(texts), len(tokens)))
    if characters is not None:
        own = texts.characters()
        rows.append(Rows.of(characters.find(own), own.numbers, len(own), len(characters)))
    return rows[0] if len(rows) == 1 else rows[0].joined(rows[1], len(tokens or ()))


def scales_of(rows: Rows, ratios: np.ndarray) -> np.ndarray:
    """Return the factors [N, K] that make every row of ratios [F, K] of length 1; 0 for a text without n-grams."""
    squares = rows.sums(ratios.astype(np.float64) ** 2)
    return np.where(squares > 0.0, 1.0 / np.sqrt(np.where(squares > 0.0, squares, 1.0)), 0.0)


def _kept(offsets: np.ndarray, text: Text) -> np.ndarray:
    """Return which tokens are kept where texts are truncated, [T] bool."""
    kept = np.ones(offsets[-1], dtype=bool)
    for number in np.flatnonzero(np.diff(offsets) > text.max_length):
        start, stop = offsets[number : number + 2].tolist()
        places = np.arange(start, stop)
        kept[places] = False
        kept[truncate(places, text)] = True
    return kept
