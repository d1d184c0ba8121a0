"""Numbers of tokens in order of first occurrence, over many texts."""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from core.data.tokenizers import make_tokenizer
from core.spec.text import Text

DIGEST = 8
"""Bytes of the digest of a text."""


@dataclass(frozen=True)
class Numbered:
    """Numbered tokens of N consecutive texts.

    `new`: tokens that occur here first, in order; their numbers follow those of earlier texts. `ids` [total] int32: of
    the wanted texts alone. `lengths` [N] int64: numbers of tokens. `digests` [N] uint64: of the texts, which white
    space does not change.
    """

    new: list[str]
    ids: np.ndarray
    lengths: np.ndarray
    digests: np.ndarray


class TokenNumbers:
    """Tokenize texts, and number their tokens."""

    def __init__(self, spec: Text):
        """Raises UserError like `make_tokenizer`."""
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self._tokenize = make_tokenizer(spec)
        self._number_of = self._numbers.__getitem__

    def number(self, texts: Sequence[str], wanted: Sequence[bool]) -> Numbered:
        """Return the numbered tokens of the next texts."""
        ids, lengths, digests = array("i"), array("q"), bytearray()
        known = len(self._numbers)
        for text, counts in zip(texts, wanted, strict=True):
            digests += hashlib.blake2b(" ".join(text.split()).encode(), digest_size=DIGEST).digest()
            tokens = self._tokenize(text)
            lengths.append(len(tokens))
            if counts:
                ids.extend(map(self._number_of, tokens))
        return Numbered(
            self._newest(known),
            np.array(ids, dtype=np.int32),
            np.array(lengths, dtype=np.int64),
            np.frombuffer(bytes(digests), dtype=np.uint64),
        )

    def numbers_of(self, tokens: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return those tokens that no text had, in order, and the numbers [len(tokens)] int32 of all."""
        known = len(self._numbers)
        numbers = np.fromiter(map(self._number_of, tokens), dtype=np.int32, count=len(tokens))
        return self._newest(known), numbers

    def _newest(self, known: int) -> list[str]:
        # A dictionary keeps the order of insertion, and only its end is new.
        return list(islice(reversed(self._numbers), len(self._numbers) - known))[::-1]
