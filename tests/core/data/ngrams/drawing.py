"""Random texts and problems for the tests of n-grams."""

from __future__ import annotations

import numpy as np

from core.data.ngrams.rows import Rows
from core.data.ngrams.texts import LabeledTexts, Texts


def random_sequences(rng: np.random.Generator, texts: int = 30, units: str = "abcde") -> list[list[str]]:
    """Return texts of 1 to 12 tokens, some of them common."""
    share = 1.0 / np.arange(1, len(units) + 1)
    lengths = [1, *rng.integers(1, 13, texts - 1)]
    return [rng.choice(list(units), length, p=share / share.sum()).tolist() for length in lengths]


def random_labeled(rng: np.random.Generator, texts: int = 30, classes: int = 2) -> LabeledTexts:
    """Return texts of no group whose class is mostly told by a token."""
    sequences, labels = random_sequences(rng, texts), rng.permutation(np.arange(texts) % classes)
    for own, label in zip(sequences, labels, strict=True):
        own.insert(int(rng.integers(len(own) + 1)), f"t{label if rng.random() < 0.8 else rng.integers(classes)}")
    return LabeledTexts(Texts.of(sequences), labels, np.full(texts, -1), classes)


def ngrams_of_tokens(tokens: list[str], orders: int) -> list[tuple[str, ...]]:
    """Return all n-grams of a text, n from 1 to `orders`."""
    return [tuple(tokens[end - n : end]) for end in range(1, len(tokens) + 1) for n in range(1, min(orders, end) + 1)]


def random_rows(rng: np.random.Generator, texts: int, size: int, share: float = 0.3) -> tuple[Rows, np.ndarray]:
    """Return rows and the same as a dense array [texts, size] bool; one text, not the last, has no n-gram."""
    dense = rng.random((texts, size)) < share
    dense[rng.integers(texts - 1)] = False
    starts = np.concatenate(([0], np.cumsum(dense.sum(axis=1)))).astype(np.int64)
    return Rows(np.nonzero(dense)[1].astype(np.int32), starts), dense
