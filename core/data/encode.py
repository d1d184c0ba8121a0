"""From texts to ids, by a vocabulary."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core.batch import UNK
from core.data.dataset import Dataset
from core.data.tokenizers import make_tokenizer
from core.data.vocabulary import Vocabulary, truncate
from core.errors import UserError
from core.spec.text import Text


@dataclass(frozen=True)
class EncodedText:
    """One text as a model sees it."""

    ids: np.ndarray
    """[L] int64"""
    tokens: list[str]
    """[L], as they are shown: one that the vocabulary lacks in square brackets."""
    unknown: list[str]
    """Those that it lacks."""
    cut: int = 0
    """Tokens that truncation left out."""


def encode_text(string: str, vocabulary: Vocabulary, text: Text, where: str) -> EncodedText:
    """Raises UserError, naming `where`, if the text has no tokens."""
    tokens = make_tokenizer(text)(string)
    if not tokens:
        raise UserError(f"{where} is empty for the {text.tokenizer} tokenizer: give it at least one word")
    kept = [tokens[place] for place in truncate(np.arange(len(tokens)), text)]
    ids = vocabulary.encode(kept)
    known = [number != UNK for number in ids]
    shown = [token if is_known else f"[{token}]" for token, is_known in zip(kept, known, strict=True)]
    unknown = [token for token, is_known in zip(kept, known, strict=True) if not is_known]
    return EncodedText(ids, shown, unknown, cut=len(tokens) - len(kept))


def encode_texts(texts: list[str], vocabulary: Vocabulary, text: Text) -> Dataset:
    """Texts to predict for, as a data set of labels 0 and names "1", "2", ...

    Raises UserError if there is no text, or one has no tokens.
    """
    if not texts:
        raise UserError("there is no text to predict for: give at least one")
    dataset, rows = encode_worded(texts, vocabulary, text)
    if len(rows) < len(texts):
        number = next(row for row in range(len(texts)) if row >= len(rows) or rows[row] != row) + 1
        raise UserError(f"text {number} is empty for the {text.tokenizer} tokenizer: give it at least one word")
    return dataset


def encode_worded(texts: list[str], vocabulary: Vocabulary, text: Text) -> tuple[Dataset, list[int]]:
    """Those of the texts that have tokens, as `encode_texts` gives them, and their places among all."""
    tokenize = make_tokenizer(text)
    sequences, rows = [], []
    for row, string in enumerate(texts):
        if tokens := tokenize(string):
            sequences.append(truncate(vocabulary.encode(tokens).astype(np.int32), text))
            rows.append(row)
    return _dataset(sequences, np.zeros(len(rows), np.int64), [str(row + 1) for row in rows]), rows


def _dataset(
    sequences: Iterable[np.ndarray], labels: np.ndarray, names: list[str], final_ids: np.ndarray | None = None
) -> Dataset:
    """Join sequences; `final_ids` maps provisional ids to the vocabulary's. They may be millions: one at a time."""
    joined, offsets = bytearray(), array("q", [0])
    for sequence in sequences:
        joined += memoryview(np.ascontiguousarray(sequence, dtype=np.int32)).cast("B")
        offsets.append(len(joined) // 4)
    tokens = np.frombuffer(joined, dtype=np.int32)
    offsets = np.frombuffer(offsets, dtype=np.int64)
    return Dataset(tokens if final_ids is None else final_ids[tokens], offsets, {"label": labels}, names)
