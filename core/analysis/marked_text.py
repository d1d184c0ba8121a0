"""A user's own text in pieces: words with their effects, what is between them, and what the model does not read."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from core.batch import UNK
from core.data.encode import EncodedText
from core.data.token_spans import Span, token_spans
from core.data.tokenizers import LINE_BREAK
from core.spec.text import Text
from core.strings import printable


@dataclass(frozen=True)
class Piece:
    """A piece of a text. The pieces of a text, joined, are the text."""

    text: str
    effect: float | None = None
    """Effect of the tokens in it, None for what is between tokens or not read."""
    share: float = 0.0
    """Effect relative to the largest of the text, from -1 to 1."""
    unknown: bool = False
    """True for a word that is out of vocabulary."""
    focus: bool = False
    """True for the word whose prediction is explained."""
    unread: int = 0
    """Number of tokens that the model does not read."""


@dataclass(frozen=True)
class MarkedText:
    """A text with W tokens, of which L have effects."""

    string: str
    spans: list[Span]
    """Spans [W] of all tokens."""
    tokens: Sequence[str]
    """All tokens [W]."""
    places: np.ndarray
    """Places [L] of the tokens with effects among all, in ascending order."""
    unknown: np.ndarray
    """[L] bool: out-of-vocabulary tokens."""
    focus: int | None = None
    """Place of the token whose prediction is explained, None for that of the text."""

    @classmethod
    def of(cls, string: str, encoded: EncodedText, text: Text) -> MarkedText:
        """Return a text for what `encode_text` made of it."""
        assert encoded.kept is not None, "encode_text sets it"
        return cls(string, token_spans(string, text), encoded.whole, encoded.kept, encoded.ids == UNK)

    def whole(self) -> MarkedText:
        """Return the text for a model that reads all tokens, and has no vocabulary."""
        size = len(self.tokens)
        return replace(self, places=np.arange(size), unknown=np.zeros(size, dtype=bool))

    @property
    def words(self) -> list[str]:
        """Words [L] as written; a token that no characters are left for as tokenized."""
        places: list[int] = self.places.tolist()
        return [_clean(self.string[slice(*self.spans[own])].strip() or self.tokens[own]) for own in places]

    def pieces(self, effects: np.ndarray) -> list[Piece]:
        """Return the text in pieces, for effects [L]. Control characters are replaced by U+FFFD."""
        found = list(self._pieces(effects))
        largest = max((abs(own.effect) for own in found if own.effect is not None), default=0.0) or 1.0
        return [own if own.effect is None else replace(own, share=own.effect / largest) for own in found]

    def _pieces(self, effects: np.ndarray) -> Iterator[Piece]:
        number_of = {place: number for number, place in enumerate(self.places.tolist())}
        done = 0
        for first, last in self._sections(number_of):
            (start, _), (_, end) = self.spans[first], self.spans[last - 1]
            if start > done:
                yield Piece(_gap(self.string[done:start]))
            own = [number_of[place] for place in range(first, last) if place in number_of]
            if own:
                focus = self.focus is not None and first <= self.focus < last
                effect, unknown = float(effects[own].sum()), bool(self.unknown[own].any())
                yield Piece(_clean(self.string[start:end]), effect, unknown=unknown, focus=focus)
            else:
                yield Piece(_gap(self.string[start:end]), unread=last - first)
            done = end
        if done < len(self.string):
            yield Piece(_gap(self.string[done:]))

    def _sections(self, read: Container[int]) -> list[tuple[int, int]]:
        """Return the first token and the end of each piece: of one span, or of successive spans that are not read."""
        starts = [place for place, (start, end) in enumerate(self.spans) if start < end]
        sections: list[tuple[int, int]] = []
        joins = False
        for first, last in pairwise([*starts, len(self.spans)]):
            unread = all(place not in read for place in range(first, last))
            sections.append((sections.pop()[0] if unread and joins else first, last))
            joins = unread
        return sections


def _gap(string: str) -> str:
    """Return what is between words, with line breaks of HTML as such."""
    return _clean(LINE_BREAK.sub("\n", string))


def _clean(string: str) -> str:
    return printable(re.sub(r"\r\n?", "\n", string))
