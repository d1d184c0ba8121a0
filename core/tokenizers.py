"""From a string to tokens: `whitespace` (the textbook's), `words` (English) and `jieba` (Chinese)."""

from __future__ import annotations

import html
import logging
import re
import unicodedata
import warnings
from collections.abc import Callable

from core.errors import UserError
from core.spec import Text

TOKENIZER_VERSION = 1
"""Part of the key of cached corpora: raise it whenever any tokenizer's output changes."""

Tokenizer = Callable[[str], list[str]]

LINE_BREAK = re.compile(r"<\s*/?\s*br\s*/?\s*>", re.IGNORECASE)

WORD = re.compile(r"[^\W_]+(?:'(?![sS]\b)[^\W_]+)*|(?<=\w)'[sS]\b|[!?]")
"""A run of letters and digits with inner apostrophes ("don't", "70s"); a possessive or contracted 's ("film" "'s"), so
that a name and its genitive share a word; `!` and `?`. Everything else separates."""

APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'", "\x92": "'"})
"""Typographic ones, and what Windows-1252 leaves behind when read as Latin-1."""


def make_tokenizer(spec: Text) -> Tokenizer:
    """The function from one text to its tokens, for `spec.tokenizer` and `spec.lowercase`.

    No token is empty or holds white space. A text without anything to keep gives []. Raises UserError if jieba is asked
    for and not installed.
    """
    make = {"whitespace": _whitespace, "words": _words, "jieba": _jieba}[spec.tokenizer]
    return make(spec.lowercase)


def _whitespace(lowercase: bool) -> Tokenizer:
    def tokenize(text: str) -> list[str]:
        return (text.lower() if lowercase else text).replace("<br />", " ").split()

    return tokenize


def _words(lowercase: bool) -> Tokenizer:
    def tokenize(text: str) -> list[str]:
        if "&" in text:
            text = html.unescape(text)
        if "<" in text:
            text = LINE_BREAK.sub(" ", text)
        if lowercase:
            text = text.lower()
        if not text.isascii():
            # A letter followed by a combining accent is two characters, and the second is not a letter.
            text = unicodedata.normalize("NFC", text.translate(APOSTROPHES))
        return WORD.findall(text)

    return tokenize


def _jieba(lowercase: bool) -> Tokenizer:
    try:
        with warnings.catch_warnings():
            # Its sources hold invalid escapes, which newer Pythons report while compiling them.
            warnings.simplefilter("ignore")
            import jieba
    except ImportError:
        raise UserError("the jieba tokenizer needs the package jieba: pip install jieba") from None
    jieba.setLogLevel(logging.ERROR)

    def tokenize(text: str) -> list[str]:
        text = LINE_BREAK.sub(" ", text.lower() if lowercase else text)
        # A segment may hold white space that jieba does not know; the split makes the promise above hold for any text.
        return [token for segment in jieba.cut(text, cut_all=False) for token in segment.split()]

    return tokenize
