"""Whole texts as ids of their distinct strings: what n-grams are formed of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np

from core.data.tokenizers import make_tokenizer
from core.models.ngrams import columns_of
from core.spec.text import Text


@dataclass(frozen=True)
class Texts:
    """Complete texts, not truncated: text n is `ids[offsets[n]:offsets[n + 1]]`.

    `strings`: the distinct tokens; `ids` [T] int32, indices into `strings`; `offsets` [N + 1] int64.
    """

    strings: list[str]
    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[Sequence[str]]) -> Texts:
        """Return texts from lists of tokens."""
        numbers: defaultdict[str, int] = defaultdict(count().__next__)
        ids = [numbers[token] for tokens in sequences for token in tokens]
        offsets = np.concatenate(([0], np.cumsum([len(tokens) for tokens in sequences]))).astype(np.int64)
        return cls(list(numbers), np.array(ids, dtype=np.int32), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def numbers(self) -> np.ndarray:
        """Number of the text of every token, [T] int64."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def characters(self) -> Texts:
        """Return the texts with each token divided as by the tokenizer `characters`."""
        divide = make_tokenizer(Text(tokenizer="characters", lowercase=False))
        numbers: defaultdict[str, int] = defaultdict(count().__next__)
        pieces = [[numbers[piece] for piece in divide(string)] for string in self.strings]
        sizes = np.array([len(own) for own in pieces], dtype=np.int64)
        joined = np.array([number for own in pieces for number in own], dtype=np.int32)
        starts, repeats = np.cumsum(sizes) - sizes, sizes[self.ids]
        ends = np.cumsum(repeats)
        places = np.repeat(starts[self.ids] - (ends - repeats), repeats) + np.arange(int(repeats.sum()))
        offsets = np.concatenate(([0], ends))[self.offsets]
        return Texts(list(numbers), joined[places], offsets)


@dataclass(frozen=True)
class LabeledTexts:
    """Texts with their classes.

    `labels` [N] int64, from 0 to `classes` - 1, or with several labels per text [N, `classes`], 0 or 1 for each label.
    `groups` [N]: the film of each text, -1 if unknown.
    `memory`: bytes that a fit may take at most, None if that is not known.
    """

    texts: Texts
    labels: np.ndarray
    groups: np.ndarray
    classes: int
    memory: int | None = None

    @property
    def columns(self) -> int:
        """Return the number of linear models: one for two classes, else one for each class or label."""
        return self.classes if self.labels.ndim == 2 else columns_of(self.classes)

    def are_of(self, column: int) -> np.ndarray:
        """Return which texts are of the class or label of a linear model, [N] bool."""
        if self.labels.ndim == 2:
            return self.labels[:, column] > 0
        return self.labels == (1 if self.columns == 1 else column)
