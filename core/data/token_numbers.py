"""Numbers of tokens in order of first occurrence, over many texts."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice, repeat

import numpy as np

from core.data.token_pieces import pieces_of
from core.data.tokenizers import Tokenizer, make_piecewise, make_tokenizer, segmenter
from core.spec.text import Text

BETWEEN = "\x01\n\x01"
"""What joins texts that are prepared together: nothing that spans it is changed."""
CONTROL = re.compile(r"[\x01\x1c-\x1f]")
LINE_FEED = -1
"""Number of a line feed, which is no token."""
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


MOST_PIECES, MOST_BYTES = 200_000, 4_000_000
"""Pieces of texts, and bytes of them, whose numbers are kept; with more they are forgotten."""


class TokenNumbers:
    """Tokenize texts, and number their tokens."""

    def __init__(self, spec: Text):
        """Raises UserError like `make_tokenizer`."""
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__, {"\n": LINE_FEED})
        self._number_of = self._numbers.__getitem__
        piecewise = make_piecewise(spec)
        self.by_pieces = piecewise is not None
        self._spec = spec
        segmenter(spec)
        if piecewise is not None:
            self._prepare, self._tokens_of = piecewise
            self._pieces = _PieceNumbers(self._tokens_of, self._number_of)

    @cached_property
    def _tokenize(self) -> Tokenizer:
        # jieba reads its dictionary here: not in a process that leaves the texts to others.
        return make_tokenizer(self._spec)

    def number(self, texts: Sequence[str], wanted: Sequence[bool]) -> Numbered:
        """Return the numbered tokens of the next texts."""
        known, chosen = len(self._numbers), np.array(wanted, dtype=bool)
        ids_of = self._ids_by_pieces if self.by_pieces else self._ids
        lengths = np.zeros(len(texts), dtype=np.int64)
        ids, lengths[chosen] = ids_of([text for text, counts in zip(texts, wanted, strict=True) if counts])
        for place, text in enumerate(texts):
            if not wanted[place]:
                lengths[place] = self._size(text)
        digests = b"".join(hashlib.blake2b(_normal(text).encode(), digest_size=DIGEST).digest() for text in texts)
        return Numbered(self._newest(known), ids, lengths, np.frombuffer(digests, dtype=np.uint64))

    def _size(self, text: str) -> int:
        """Return the number of tokens of a text, without their numbers."""
        if self.by_pieces:
            return len(self._tokens_of(self._prepare(text).replace("\n", " ")))
        return len(self._tokenize(text))

    def _ids(self, texts: list[str]) -> tuple[np.ndarray, list[int]]:
        """Return the numbers of all tokens, and the numbers of tokens of the texts."""
        ids, lengths = array("i"), []
        for text in texts:
            tokens = self._tokenize(text)
            lengths.append(len(tokens))
            ids.extend(map(self._number_of, tokens))
        return np.array(ids, dtype=np.int32), lengths

    def _ids_by_pieces(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the same as `_ids`, for a tokenizer that reads the pieces between white space one by one."""
        pieces = pieces_of(_prepared(texts, self._prepare))
        table, starts, sizes = self._pieces.of(pieces.distinct)
        counts = sizes[pieces.which]
        ends = np.cumsum(counts)
        places = np.repeat(starts[pieces.which] - (ends - counts), counts)
        places += np.arange(len(places))
        bounds = np.cumsum(np.append(0, pieces.counts))
        return table[places], np.diff(np.append(0, ends)[bounds])

    def numbers_of(self, tokens: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return those tokens that no text had, in order, and the numbers [len(tokens)] int32 of all."""
        known = len(self._numbers)
        numbers = np.fromiter(map(self._number_of, tokens), dtype=np.int32, count=len(tokens))
        return self._newest(known), numbers

    def _newest(self, known: int) -> list[str]:
        # A dictionary keeps the order of insertion, and only its end is new.
        return list(islice(reversed(self._numbers), len(self._numbers) - known))[::-1]


class _PieceNumbers:
    """The token numbers of pieces, each of which is tokenized once while it is known."""

    def __init__(self, tokens_of: Tokenizer, number_of: Callable[[str], int]) -> None:
        self._tokens_of, self._number_of = tokens_of, number_of
        self._forget()

    def of(self, pieces: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a table of token numbers, and where it has those of each piece: starts and sizes, both [D]."""
        if len(self._known) > MOST_PIECES or self._bytes > MOST_BYTES:
            self._forget()
        entries = self._entries(pieces)
        missing = np.flatnonzero(entries < 0)
        if len(missing):
            new = [pieces[place] for place in missing.tolist()]
            self._learn(list(dict.fromkeys(new)))
            entries[missing] = self._entries(new)
        starts = np.array(self._starts, dtype=np.int64)
        return np.array(self._table, dtype=np.int32), starts[entries], starts[entries + 1] - starts[entries]

    def _entries(self, pieces: list[bytes]) -> np.ndarray:
        return np.fromiter(map(self._known.get, pieces, repeat(-1)), dtype=np.int64, count=len(pieces))

    def _learn(self, pieces: list[bytes]) -> None:
        first = len(self._starts) - 1
        self._known.update(zip(pieces, range(first, first + len(pieces)), strict=True))
        joined = b"\n".join([*pieces, b""])
        self._bytes += len(joined)
        tokens = self._tokens_of(joined.decode())
        numbers = np.fromiter(map(self._number_of, tokens), dtype=np.int32, count=len(tokens))
        ends = np.flatnonzero(numbers == LINE_FEED)
        starts = (ends - np.arange(len(ends)) + len(self._table)).astype(np.int32)
        self._table.frombytes(numbers[numbers != LINE_FEED].tobytes())
        self._starts.frombytes(starts.tobytes())

    def _forget(self) -> None:
        self._known: dict[bytes, int] = {}
        self._table, self._starts, self._bytes = array("i"), array("i", [0]), 0


def _prepared(texts: list[str], prepare: Callable[[str], str]) -> list[bytes]:
    """Return the prepared texts. Those of ASCII are prepared together, which takes a fraction of the time."""
    plain = [text for text in texts if text.isascii()]
    joined = BETWEEN.join(plain)
    together: list[bytes] = []
    if not CONTROL.search(joined.replace(BETWEEN, "")):
        together = prepare(joined).encode().split(BETWEEN.encode())
    if len(together) != len(plain):  # BETWEEN occurs in a text, or separators that ASCII does not have as white space
        return [prepare(text).encode() for text in texts]
    prepared = iter(together)
    return [next(prepared) if text.isascii() else prepare(text).encode() for text in texts]


def _normal(text: str) -> str:
    """Return a text with single spaces for all white space."""
    # A printable text has no other white space than spaces.
    if text.isprintable() and "  " not in text and text[:1] != " " and text[-1:] != " ":
        return text
    return " ".join(text.split())
