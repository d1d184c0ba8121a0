"""Encoding of texts as ids of a vocabulary."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from core.batch import UNK
from core.data.dataset import Dataset
from core.data.ngrams.linear import NgramModel
from core.data.ngrams.texts import Texts
from core.data.tokenizers import make_tokenizer
from core.data.vocabulary import Vocabulary, truncate
from core.errors import UserError
from core.spec.text import Text


@dataclass(frozen=True)
class EncodedText:
    """One encoded text: the input of a model."""

    ids: np.ndarray
    """Ids [L] int64."""
    tokens: list[str]
    """Tokens [L] for display, out-of-vocabulary tokens in square brackets."""
    unknown: list[str]
    """Out-of-vocabulary tokens."""
    cut: int = 0
    """Number of tokens removed by truncation."""
    whole: tuple[str, ...] = ()
    """All tokens, before truncation."""
    kept: np.ndarray | None = None
    """Places [L] of the kept tokens among all."""


def encode_text(string: str, vocabulary: Vocabulary, text: Text, where: str) -> EncodedText:
    """Tokenize, truncate and encode one text.

    Raises UserError, naming `where`, if it has no tokens.
    """
    (encoded,) = encode_each([string], vocabulary, text)
    if encoded is None:
        raise UserError(f"{where}: the {text.tokenizer} tokenizer finds no tokens: give at least one word")
    return encoded


def encode_each(strings: Iterable[str], vocabulary: Vocabulary, text: Text) -> list[EncodedText | None]:
    """Tokenize, truncate and encode texts, each with its tokens; None for a text without tokens."""
    tokenize = make_tokenizer(text)
    return [_encoded(tokens, vocabulary, text) if tokens else None for tokens in map(tokenize, strings)]


def _encoded(tokens: list[str], vocabulary: Vocabulary, text: Text) -> EncodedText:
    places = truncate(np.arange(len(tokens)), text)
    kept = [tokens[place] for place in places]
    ids = vocabulary.encode(kept)
    known = [number != UNK for number in ids]
    shown = [token if is_known else f"[{token}]" for token, is_known in zip(kept, known, strict=True)]
    unknown = [token for token, is_known in zip(kept, known, strict=True) if not is_known]
    return EncodedText(ids, shown, unknown, len(tokens) - len(kept), tuple(tokens), places)


def dataset_of_encoded(texts: list[EncodedText], text: Text, ngrams: NgramModel | None = None) -> Dataset:
    """Return encoded texts as a data set for prediction, as `encode_worded` does."""
    names = [str(number) for number in range(1, len(texts) + 1)]
    dataset = dataset_of((own.ids.astype(np.int32) for own in texts), np.zeros(len(texts), np.int64), names)
    if ngrams is not None and texts:
        dataset = replace(dataset, ngrams=ngrams.features(Texts.of([own.whole for own in texts]), text))
    return dataset


def encode_worded(
    texts: list[str], vocabulary: Vocabulary, text: Text, ngrams: NgramModel | None = None
) -> tuple[Dataset, list[int]]:
    """Encode the texts that have tokens as a data set for prediction, and return their indices.

    Labels are 0, and names the numbers of the texts, from "1". `ngrams`: those of a model that reads them.
    """
    tokenize = make_tokenizer(text)
    found = [(row, tokens) for row, string in enumerate(texts) if (tokens := tokenize(string))]
    rows = [row for row, _ in found]
    sequences = (truncate(vocabulary.encode(tokens).astype(np.int32), text) for _, tokens in found)
    dataset = dataset_of(sequences, np.zeros(len(rows), np.int64), [str(row + 1) for row in rows])
    if ngrams is not None and rows:
        dataset = replace(dataset, ngrams=ngrams.features(Texts.of([tokens for _, tokens in found]), text))
    return dataset, rows


def dataset_of(
    sequences: Iterable[np.ndarray],
    labels: np.ndarray,
    names: list[str],
    final_ids: np.ndarray | None = None,
    classes: tuple[str, ...] = (),
) -> Dataset:
    """Join sequences one at a time (there may be millions).

    `final_ids` maps provisional ids to those of the vocabulary.
    """
    joined, offsets = bytearray(), array("q", [0])
    for sequence in sequences:
        joined += np.ascontiguousarray(sequence, dtype=np.int32).data.cast("B")
        offsets.append(len(joined) // 4)
    tokens = np.frombuffer(joined, dtype=np.int32)
    offsets = np.frombuffer(offsets, dtype=np.int64)
    return Dataset(tokens if final_ids is None else final_ids[tokens], offsets, {"label": labels}, names, classes)
