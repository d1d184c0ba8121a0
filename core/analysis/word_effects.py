"""Words that matter to a classifier: the mean effect of each word by occlusion, over a sample of texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from core.analysis.occlusion import explain
from core.batch import UNK, Batch
from core.data.dataset import Dataset
from core.rng import generator

LEAST_TEXTS = 3
"""A word is listed if it occurs in as many texts of the sample."""


@dataclass(frozen=True)
class WordEffect:
    """A word with its mean effect in favor of a class: log-odds with it, minus log-odds without it."""

    word: str
    effect: float
    count: int
    """Occurrences in the sample."""


@dataclass
class EffectSums:
    """Sums of effects over a sample of texts, by class and id of a word."""

    texts: int = 0
    sums: dict[tuple[int, int], float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    rows: dict[tuple[int, int], set[int]] = field(default_factory=lambda: defaultdict(set))

    def add(self, ids: np.ndarray, predicted: int, effects: np.ndarray, classes: int) -> None:
        """Add the effects [L] of the words of a text on the log-odds of the predicted class.

        For two classes, those on the other class are their negatives.
        """
        signed = [(predicted, 1.0)] + ([(1 - predicted, -1.0)] if classes == 2 else [])
        for number, sign in signed:
            for own, effect in zip(ids.tolist(), effects.tolist(), strict=True):
                self.sums[number, own] += sign * effect
                self.counts[number, own] += 1
                self.rows[number, own].add(self.texts)
        self.texts += 1

    def strongest(self, number: int, tokens: Sequence[str], limit: int) -> list[WordEffect]:
        """Return the words with the largest positive mean effects on a class, at most `limit`."""
        means = [
            WordEffect(tokens[own], self.sums[place, own] / count, count)
            for (place, own), count in self.counts.items()
            if place == number and own != UNK and len(self.rows[place, own]) >= LEAST_TEXTS
        ]
        means.sort(key=lambda own: (-own.effect, own.word))
        return [own for own in means[:limit] if own.effect > 0]


def sample_effects(
    logits_of: Callable[[Batch], np.ndarray], dataset: Dataset, classes: int, limit: int
) -> Iterator[EffectSums]:
    """Yield the sums after each of at most `limit` texts, which are drawn at random from a data set.

    The order depends on the number of texts alone. The same object is yielded each time: stop when time is up.
    """
    found = EffectSums()
    for row in generator(0, "word effects").permutation(len(dataset))[:limit].tolist():
        ids = dataset.tokens[dataset.offsets[row] : dataset.offsets[row + 1]].astype(np.int64)
        own = explain(logits_of, ids)
        found.add(ids, own.predicted, own.effects, classes)
        yield found
