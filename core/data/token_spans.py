"""Spans of tokens in the text that they come from, for displays of a user's own text."""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from core.data.segmenters import jieba_cut
from core.data.tokenizer_rules import tokenizer_rules
from core.spec.text import Text

Span = tuple[int, int]
"""Start and end of a slice of a text, in code points."""

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Normalized:
    """A text after some steps of a tokenizer, with the slice of the user's text behind each character."""

    text: str
    starts: list[int]
    ends: list[int]
    """Characters that one step made of the same section share its slice."""

    @classmethod
    def of(cls, text: str) -> Normalized:
        """Return a text before the first step."""
        return cls(text, list(range(len(text))), list(range(1, len(text) + 1)))

    def replaced(self, sections: Iterable[tuple[int, int, str]]) -> Normalized:
        """Return the text with sections replaced: start and end, in order, and the new string.

        Equal characters at both ends of a section keep their slices. The slice of a deleted section joins that of the
        character before it, as a variation selector belongs to its emoji.
        """
        parts, starts, ends, done = [], [], [], 0
        for start, end, new in sections:
            before, after = _shared_ends(self.text[start:end], new)
            while before and self.starts[start + before - 1] == self.starts[start + before]:
                before -= 1
            while start < end - after < end and self.ends[end - after] == self.ends[end - after - 1]:
                after -= 1
            start, end, new = start + before, end - after, new[before : len(new) - after]
            parts += [self.text[done:start], new]
            starts += self.starts[done:start]
            ends += self.ends[done:start]
            if new:
                starts += [self.starts[start]] * len(new)
                ends += [self.ends[end - 1]] * len(new)
            elif ends and start < end:
                count = next((place for place in range(len(ends)) if starts[-1 - place] != starts[-1]), len(ends))
                ends[-count:] = [self.ends[end - 1]] * count
            done = end
        return Normalized("".join([*parts, self.text[done:]]), starts + self.starts[done:], ends + self.ends[done:])

    def spans(self, found: Iterable[Span]) -> list[Span]:
        """Return the slices of the user's text for slices of this one, in order and without overlap."""
        spans, done = [], 0
        for start, end in found:
            first = max(self.starts[start], done)
            done = max(self.ends[end - 1], first)
            spans.append((first, done))
        return spans


def token_spans(string: str, text: Text) -> list[Span]:
    """Return the span in `string` of each token of `make_tokenizer(text)`, in order and without overlap.

    A token has an empty span, after its predecessor's, if its characters belong to the predecessor's: the second `!` of
    one character U+203C. What a tokenizer deletes within or after a token, such as a variation selector, belongs to it.
    """
    own = Normalized.of(string)
    for name, argument in tokenizer_rules(text):
        if name in FINDERS:
            return own.spans(FINDERS[name](own.text, argument))
        if name != "find_ascii":
            own = own.replaced(STEPS[name](own.text, argument))
        elif own.text.isascii():
            return own.spans(_found(own.text, argument))
    raise AssertionError("the last rule of a tokenizer finds tokens")


def sentence_spans(string: str, text: Text) -> list[Span]:
    """Return the span in `string` of each token of `core.data.tagged_text.tokens_of`."""
    own = Normalized.of(string)
    own = own.replaced(_composed(own.text, None))
    words = _words(own.text, None)
    if text.tokenizer != "whitespace":
        words = ((place, place + 1) for start, end in words for place in range(start, end))
    return own.spans(words)


def _shared_ends(old: str, new: str) -> tuple[int, int]:
    """Return how many characters are equal at the start and at the end, without those that stem from others.

    `&amp;lt` becomes `&lt`, where only `lt` is shared: the new `&` comes from all of `&amp;`.
    """
    longest = min(len(old), len(new)) - (len(new) > len(old))
    after = next((place for place in range(longest) if old[-1 - place] != new[-1 - place]), longest)
    before = next((place for place in range(longest - after) if old[place] != new[place]), longest - after)
    if before + after == len(new) < len(old):
        return (before - 1, after) if before else (0, max(after - 1, 0))
    return before, after


def _translated(string: str, table: dict[str, str | None]) -> Iterator[tuple[int, int, str]]:
    for place, character in enumerate(string):
        if character in table:
            yield place, place + 1, table[character] or ""


def _unescaped(string: str, _: None) -> Iterator[tuple[int, int, str]]:
    # An entity starts with & and contains no other.
    for found in re.finditer("&[^&]*", string):
        yield *found.span(), html.unescape(found.group())


def _blanked(string: str, pattern: str) -> Iterator[tuple[int, int, str]]:
    for found in re.finditer(pattern, string):
        yield *found.span(), " "


def _lowered(string: str, _: None) -> Iterator[tuple[int, int, str]]:
    """Yield the lower-case form of each character; that of a sigma depends on its neighbors."""
    lowered = string.lower()
    ends = accumulate((len(character.lower()) for character in string), initial=0)
    for place, (start, end) in enumerate(pairwise(ends)):
        yield place, place + 1, lowered[start:end]


def _composed(string: str, _: None) -> Iterator[tuple[int, int, str]]:
    """Yield the composed form of each section that composition joins."""
    start = 0
    if unicodedata.is_normalized("NFC", string):
        return
    for place in range(1, len(string) + 1):
        if place == len(string) or _begins(string[start:place], string[place]):
            yield start, place, unicodedata.normalize("NFC", string[start:place])
            start = place


def _begins(section: str, character: str) -> bool:
    """Return whether neither composition nor the order of accents joins a character to the section before it."""
    if character.isascii():
        return True
    first = unicodedata.normalize("NFD", character)[0]
    if unicodedata.combining(first):
        return False
    # Some vowel signs and the letters of a Korean syllable join although they are no accents.
    whole = unicodedata.normalize("NFC", section + character)
    return whole == unicodedata.normalize("NFC", section) + unicodedata.normalize("NFC", character)


def _found(string: str, pattern: str) -> Iterator[Span]:
    return (found.span() for found in re.finditer(pattern, string))


def _words(string: str, _: None) -> Iterator[Span]:
    return (found.span() for found in WORD.finditer(string))


def _letters(string: str, _: str) -> Iterator[Span]:
    """Yield each character, and the white space between two words."""
    for number, (start, end) in enumerate(words := list(_words(string, None))):
        if number:
            yield words[number - 1][1], start
        yield from ((place, place + 1) for place in range(start, end))


def _segmented(string: str, hmm: bool) -> Iterator[Span]:
    ends = list(accumulate(map(len, jieba_cut(hmm)(string))))
    # White space within a segment divides it, so the segments' ends divide the words.
    for start, end in _words(string, None):
        inner = ends[bisect(ends, start) : bisect(ends, end - 1)]
        yield from pairwise([start, *inner, end])


STEPS: dict[str, Callable[[str, Any], Iterator[tuple[int, int, str]]]] = {
    "translate": _translated,
    "html": _unescaped,
    "blank": _blanked,
    "lower": _lowered,
    "nfc": _composed,
}
"""The sections that a step replaces, by its name in `core/data/tokenizer_rules.py`."""

FINDERS: dict[str, Callable[[str, Any], Iterator[Span]]] = {
    "find": _found,
    "split": _words,
    "letters": _letters,
    "jieba": _segmented,
}
"""The slices of the tokens that a step finds, by its name."""
