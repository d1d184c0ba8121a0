"""Numbers of tokens in order of first occurrence, over many texts."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from core.data.known_pieces import KnownPieces
from core.data.segmenters import segmenter
from core.data.token_pieces import Pieces, pieces_of
from core.data.tokenizer_settings import TokenizerSettings
from core.data.tokenizers import Segmented, Tokenizer, make_piecewise, make_segmented, make_tokenizer

if TYPE_CHECKING:
    from core.spec.text import Text

BETWEEN = "\x01\n\x01"
"""What joins texts that are prepared together: nothing that spans it is changed."""
CONTROL = "\x01\x1c\x1d\x1e\x1f"
OTHER_SPACE = "\t\n\r\f\v\x1c\x1d\x1e\x1f"
"""White space of ASCII other than a space."""
LINE_FEED, NO_TOKEN, SEVERAL = -1, -2, -3
"""Numbers of a line feed, of other white space, and, from here downwards, of segments with several tokens."""
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


MOST_PIECES, MOST_BYTES = 100_000, 4_000_000
"""Pieces of texts, and bytes of them, whose numbers are kept; with more they are forgotten."""


class TokenNumbers:
    """Tokenize texts, and number their tokens."""

    def __init__(self, spec: Text | TokenizerSettings):
        """Raises UserError like `make_tokenizer`."""
        self._numbers = _Numbers()
        self._number_of = self._numbers.__getitem__
        piecewise = make_piecewise(spec)
        self.by_pieces = piecewise is not None
        self._spec = spec
        self._is_segmented = bool(segmenter(spec))
        if piecewise is not None:
            self._prepare, self._tokens_of = piecewise
            self._pieces = _PieceNumbers(self._tokens_of, self._number_of)

    @cached_property
    def _tokenize(self) -> Tokenizer:
        # jieba reads its dictionary here: not in a process that leaves the texts to others.
        return make_tokenizer(self._spec)

    @cached_property
    def _segmented(self) -> Segmented:
        steps = make_segmented(self._spec)
        assert steps is not None
        return steps

    def number(self, texts: Sequence[str], wanted: Sequence[bool]) -> Numbered:
        """Return the numbered tokens of the next texts."""
        known, chosen = self._numbers.tokens, np.array(wanted, dtype=bool)
        ids_of = self._ids_by_pieces if self.by_pieces else self._ids_of_segments if self._is_segmented else self._ids
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

    def _ids_of_segments(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the same as `_ids`, of texts that are segmented together."""
        prepare, cut = self._segmented
        segments = cut("".join(f"{prepare(text)}\n" for text in texts))
        numbers = np.array(list(map(self._number_of, segments)), dtype=np.int32)
        if len(numbers) and numbers.min() <= SEVERAL:
            several = self._numbers.several
            expanded = ([own] if own > SEVERAL else several[SEVERAL - own] for own in numbers.tolist())
            numbers = np.array([number for own in expanded for number in own], dtype=np.int32)
        are_tokens = numbers >= 0
        ends = np.cumsum(are_tokens)[numbers == LINE_FEED]
        return numbers[are_tokens], np.diff(ends, prepend=0)

    def _ids_by_pieces(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the same as `_ids`, for a tokenizer that reads the pieces between white space one by one."""
        pieces = pieces_of(_prepared(texts, self._prepare))
        table, starts, sizes = self._pieces.of(pieces)
        counts = sizes[pieces.which]
        ends = np.cumsum(counts)
        places = np.repeat(starts[pieces.which] - (ends - counts), counts)
        places += np.arange(len(places))
        bounds = np.cumsum(np.append(0, pieces.counts))
        return table[places], np.diff(np.append(0, ends)[bounds])

    def numbers_of(self, tokens: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return those tokens that no text had, in order, and the numbers [len(tokens)] int32 of all."""
        known = self._numbers.tokens
        numbers = np.fromiter(map(self._number_of, tokens), dtype=np.int32, count=len(tokens))
        return self._newest(known), numbers

    def _newest(self, known: int) -> list[str]:
        return self._numbers.newest(self._numbers.tokens - known)


class _Numbers(dict[str, int]):
    """Numbers of tokens in order of first occurrence; negative ones of other segments."""

    def __init__(self) -> None:
        super().__init__({"\n": LINE_FEED})
        self.tokens = 0
        self.several: list[list[int]] = []
        """Numbers of the tokens of segments that have several."""

    def __missing__(self, segment: str) -> int:
        tokens = segment.split()
        if len(tokens) == 1 and tokens[0] == segment:
            number = self.tokens
            self.tokens += 1
        elif not tokens:
            number = NO_TOKEN
        else:
            self.several.append([self[token] for token in tokens])
            number = SEVERAL + 1 - len(self.several)
        self[segment] = number
        return number

    def newest(self, count: int) -> list[str]:
        """Return the last `count` tokens, in order. A dictionary keeps the order of insertion."""
        found: list[str] = []
        if count:
            for token, number in reversed(self.items()):
                if number >= 0:
                    found.append(token)
                    if len(found) == count:
                        break
        return found[::-1]


class _PieceNumbers:
    """The token numbers of pieces, each of which is tokenized once while it is known."""

    def __init__(self, tokens_of: Tokenizer, number_of: Callable[[str], int]) -> None:
        self._tokens_of, self._number_of = tokens_of, number_of
        self._forget()

    def of(self, pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a table of token numbers, and where it has those of each piece: starts and sizes, both [D]."""
        if len(self._known) > MOST_PIECES or self._known.size > MOST_BYTES:
            self._forget()
        numbers = self._known.find(pieces)
        if len(missing := np.flatnonzero(numbers < 0)):
            numbers[missing] = len(self._known) + np.arange(len(missing))
            self._learn(self._known.add(pieces, missing))
        starts = np.array(self._starts, dtype=np.int64)
        return np.array(self._table, dtype=np.int32), starts[numbers], starts[numbers + 1] - starts[numbers]

    def _learn(self, pieces: list[bytes]) -> None:
        tokens = self._tokens_of(b"\n".join([*pieces, b""]).decode())
        numbers = np.fromiter(map(self._number_of, tokens), dtype=np.int32, count=len(tokens))
        ends = np.flatnonzero(numbers == LINE_FEED)
        starts = (ends - np.arange(len(ends)) + len(self._table)).astype(np.int32)
        self._table.frombytes(numbers[numbers != LINE_FEED].tobytes())
        self._starts.frombytes(starts.tobytes())

    def _forget(self) -> None:
        self._known = KnownPieces()
        self._table, self._starts = array("i"), array("i", [0])


def _prepared(texts: list[str], prepare: Callable[[str], str]) -> list[bytes]:
    """Return the prepared texts. Those of ASCII are prepared together, which takes a fraction of the time."""
    plain = [text for text in texts if text.isascii()]
    joined = BETWEEN.join(plain)
    together: list[bytes] = []
    if not _has_any("".join(plain), CONTROL):
        together = prepare(joined).encode().split(BETWEEN.encode())
    if len(together) != len(plain):  # BETWEEN occurs in a text, or separators that ASCII does not have as white space
        return [prepare(text).encode() for text in texts]
    prepared = iter(together)
    return [next(prepared) if text.isascii() else prepare(text).encode() for text in texts]


def _normal(text: str) -> str:
    """Return a text with single spaces for all white space."""
    # A printable text has no other white space than spaces; of ASCII, a search for each takes a fraction of that time.
    only_spaces = not _has_any(text, OTHER_SPACE) if text.isascii() else text.isprintable()
    if only_spaces and "  " not in text and text[:1] != " " and text[-1:] != " ":
        return text
    return " ".join(text.split())


def _has_any(text: str, characters: str) -> bool:
    """Return whether a text has one of the `characters`. For few of them this is the fastest way."""
    return any(map(text.__contains__, characters))
