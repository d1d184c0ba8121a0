"""Tokens of tagged sentences and of new ones: characters, their form in the vocabulary, pieces of long sentences."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.batch import UNK
from core.data.tokenizers import half_width
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.models.heads.spans import WORD_TAGS
from core.spec.text import Text

BREAKS = frozenset("。！？；：，、．.!?;:,")
"""Tokens after which a sentence that is longer than `text.max_length` is divided."""


def form(token: str, text: Text) -> str:
    """Return the form of a token in the vocabulary: NFC, with the width and the case of the specification."""
    token = unicodedata.normalize("NFC", token)
    if text.half_width:
        token = half_width(token)
    return token.lower() if text.lowercase else token


def word_tags(size: int) -> tuple[str, ...]:
    """Return the tags of the characters of a word of `size` characters: S, or B, M ..., E."""
    begin, middle, end, single = WORD_TAGS
    return (single,) if size == 1 else (begin, *[middle] * (size - 2), end)


def pieces(tokens: Sequence[str], longest: int) -> list[int]:
    """Return the ends of the pieces, each of at most `longest` tokens, that a sentence is divided into.

    A piece ends after the last of `BREAKS` in its second half if there is one. The division depends on the tokens
    alone, so that a new sentence is divided like those of the training set.
    """
    ends, start = [], 0
    while len(tokens) - start > longest:
        places = range(start + longest, start + max(longest // 2, 1), -1)
        end = next((place for place in places if tokens[place - 1] in BREAKS), start + longest)
        ends.append(end)
        start = end
    return [*ends, len(tokens)]


@dataclass(frozen=True)
class EncodedSentence:
    """A new sentence for a tagging model."""

    ids: np.ndarray
    """Ids [L] int64 of all tokens."""
    tokens: list[str]
    """Tokens [L] as written."""
    unknown: np.ndarray
    """[L] bool: out-of-vocabulary tokens."""
    spaced: np.ndarray
    """[L] bool: tokens after white space, between which a word cannot continue."""
    ends: list[int]
    """Ends of the pieces that the model reads one by one."""


def tokens_of(string: str, text: Text) -> tuple[list[str], list[bool]]:
    """Return the tokens of a new sentence, and which of them follow white space.

    With `text.tokenizer` letters these are its characters without white space, otherwise its words between white space.
    """
    words = unicodedata.normalize("NFC", string).split()
    if text.tokenizer == "whitespace":
        return words, [True] * len(words)
    return (
        [character for word in words for character in word],
        [place == 0 for word in words for place in range(len(word))],
    )


def encode_sentence(string: str, vocabulary: Vocabulary, text: Text, where: str) -> EncodedSentence:
    """Tokenize and encode a new sentence. Raises UserError, naming `where`, if it has no tokens."""
    tokens, spaced = tokens_of(string, text)
    if not tokens:
        raise UserError(f"{where}: only white space: give a sentence")
    forms = [form(token, text) for token in tokens]
    ids = vocabulary.encode(forms)
    return EncodedSentence(ids, tokens, ids == UNK, np.array(spaced), pieces(forms, text.max_length))


def begins_of_words(tags: Sequence[str], spaced: Sequence[bool] | None = None) -> list[bool]:
    """Return which tokens begin a word, by tags B M E S: the first, one after E or S or white space, and any B or S."""
    begins = []
    for place, tag in enumerate(tags):
        after_space = spaced is not None and spaced[place]
        begins.append(place == 0 or after_space or tag in "BS" or tags[place - 1] in "ES")
    return begins


def words_of(tokens: Sequence[str], tags: Sequence[str], spaced: Sequence[bool] | None = None) -> list[str]:
    """Return the words of tokens with tags B M E S."""
    words: list[str] = []
    for token, begins in zip(tokens, begins_of_words(tags, spaced), strict=True):
        if begins:
            words.append(token)
        else:
            words[-1] += token
    return words


def rendered(tokens: Sequence[str], tags: Sequence[str], as_words: bool, spaced: Sequence[bool] | None = None) -> str:
    """Return a tagged sentence as text: its words, or `token/tag`, separated by spaces."""
    if as_words:
        return " ".join(words_of(tokens, tags, spaced))
    return " ".join(f"{token}/{tag}" for token, tag in zip(tokens, tags, strict=True))
