"""The digit-sum data of nndl, chapter 6.

The label is the sum of the first two digits. All later digits are zero except one distractor at a random position. The
longer the sequence, the longer the model must remember the two digits.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from core.data.dataset import Dataset, Prepared
from core.data.vocabulary import PAD_TOKEN, UNK_TOKEN, Vocabulary
from core.models.embedding import FIRST_DIGIT
from core.spec.data import DigitSums

BOOK_LENGTHS = tuple(range(5, 40, 5))
"""Lengths that the book draws in sequence from one generator."""
DIGITS = tuple("0123456789")
SUMS = tuple(str(total) for total in range(19))
"""Class names."""


def draw(data: DigitSums) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return digits [N, length] int64 and labels [N] of `train`, `dev` and `test`.

    In the book, N = 300, 100, 100. With seed 0 and three copies the data equals the book's: `numpy.random.seed(0)`
    once, then its lengths in order, each with train, dev, test. Other lengths use a separate generator.
    """
    if data.length in BOOK_LENGTHS:
        rng, lengths = np.random.RandomState(data.seed), BOOK_LENGTHS[: BOOK_LENGTHS.index(data.length) + 1]
    else:
        rng, lengths = np.random.RandomState([data.seed, data.length]), (data.length,)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for length in lengths:
        found = {part: _part(rng, length, copies) for part, copies in (("train", data.copies), ("dev", 1), ("test", 1))}
    return found


def _part(rng: np.random.RandomState, length: int, copies: int) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for pair in itertools.product(range(10), range(10)):
        for _ in range(copies):
            row = np.zeros(length, dtype=np.int64)
            row[:2] = pair
            place = rng.randint(2, length)
            row[place] = rng.randint(0, 10)
            rows.append(row)
    digits = np.stack(rows)
    return digits, digits[:, 0] + digits[:, 1]


def prepare(data: DigitSums) -> Prepared:
    """Return the data as encoded sets, not shuffled, with a vocabulary of the ten digits."""
    parts, datasets = draw(data), {}
    summary: dict[str, Any] = {"dev_split": "generated", "test_split": "generated"}
    for part, (digits, labels) in parts.items():
        count, length = digits.shape
        tokens = (digits.reshape(-1) + FIRST_DIGIT).astype(np.int32)
        names = [f"{part}/{row}" for row in range(count)]
        datasets[part] = Dataset(tokens, np.arange(count + 1) * length, {"label": labels}, names, tuple(SUMS))
        summary[part] = {"documents": count, "per_class": np.bincount(labels, minlength=len(SUMS)).tolist()}
    counts = np.bincount(parts["train"][0].reshape(-1), minlength=len(DIGITS))
    vocabulary = Vocabulary([PAD_TOKEN, UNK_TOKEN, *DIGITS], [0, 0, *counts])
    summary["vocabulary"] = len(vocabulary)
    return Prepared(vocabulary, **datasets, classes=list(SUMS), summary=summary)


def describe(data: DigitSums) -> str:
    """Describe the data in one line for the run record."""
    book = " (the book's)" if data.seed == 0 and data.copies == 3 and data.length in BOOK_LENGTHS else ""
    return f"digit sums of length {data.length}, {data.copies} copies, seed {data.seed}{book}"
