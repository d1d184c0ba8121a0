"""From a string to tokens: `whitespace` (the textbook's), `words` (English), `jieba` (Chinese) and `characters`."""

from __future__ import annotations

import html
import importlib.metadata
import importlib.util
import logging
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable

from core.errors import UserError
from core.spec.text import Text

TOKENIZER_VERSION = 2
"""Part of the key of cached corpora: raise it whenever any tokenizer's output changes."""

Tokenizer = Callable[[str], list[str]]

LINE_BREAK = re.compile(r"<\s*/?\s*br\s*/?\s*>", re.IGNORECASE)

JOINERS = "\u200c\u200d"
MARKS = JOINERS + "".join(
    character for character in map(chr, range(0x300, 0xFE30)) if unicodedata.category(character) in ("Mn", "Mc")
)
"""Vowel signs and accents of Hindi, Arabic and others, which are no letters to a regular expression, and what joins."""
RUN = rf"[^\W_]+(?:[{MARKS}]+[^\W_]*)*"
WORD = re.compile(rf"{RUN}(?:'(?![sS]\b){RUN})*|(?<=\w)'[sS]\b|[!?]")
"""A run of letters and digits with inner apostrophes ("don't", "70s"); a possessive or contracted 's ("film" "'s"), so
that a name and its genitive share a word; `!` and `?`. Everything else separates."""

CHINESE = "\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
OTHER_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff"
"""Thai, Lao, Burmese, Khmer and Japanese kana: like Chinese written without spaces between words."""
UNSPACED = CHINESE + OTHER_UNSPACED
CHARACTER = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+(?:[{MARKS}]+[^\W{UNSPACED}]*)*|[^\w\s]")

APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'", "\x92": "'"})
"""Typographic ones, and what Windows-1252 leaves behind when read as Latin-1."""


def make_tokenizer(spec: Text) -> Tokenizer:
    """The function from one text to its tokens, for `spec.tokenizer` and `spec.lowercase`.

    No token is empty or holds white space. A text without anything to keep gives []. Raises UserError if jieba is asked
    for and not installed.
    """
    if spec.tokenizer == "jieba":
        return _jieba(spec.lowercase, spec.jieba_hmm)
    make = {"whitespace": _whitespace, "words": _words, "characters": _characters}[spec.tokenizer]
    return make(spec.lowercase)


def segmenter(spec: Text) -> str:
    """The package that cuts texts, with its version, as a run's record has it; "" where it is this module.

    `rjieba` is taken only where it gives what `jieba` gives: without the hidden Markov model.
    """
    if spec.tokenizer != "jieba":
        return ""
    names = ("jieba",) if spec.jieba_hmm else ("rjieba", "jieba")
    for name in names:
        if importlib.util.find_spec(name) is not None:
            return f"{name} {importlib.metadata.version(name)}"
    raise UserError(
        "the jieba tokenizer needs the package jieba: pip install jieba, or use `text.tokenizer` characters"
    )


def guess_tokenizer(texts: Iterable[str]) -> tuple[str, str]:
    """A tokenizer for texts of an unknown language, and why in a few words: by the share of letters that belong to
    scripts without spaces."""
    letters = han = other = 0
    for text in texts:
        found = "".join(re.findall(r"[^\W\d_]", text))  # without the vowel signs of Thai, which are no letters
        letters += len(found)
        han += len(re.findall(f"[{CHINESE}]", found))
        other += len(re.findall(f"[{OTHER_UNSPACED}]", found))
    if han + other < 0.2 * letters or not letters:
        return "words", "its script has spaces between words"
    share = f"{100 * (han + other) / letters:.0f} % of its letters are of a script without spaces"
    # Japanese has Chinese characters besides its own, and jieba's words are Chinese.
    if other > 0.1 * (han + other):
        return "characters", share
    if all(importlib.util.find_spec(name) is None for name in ("jieba", "rjieba")):
        return "characters", f"{share}; jieba, for words, is not installed"
    return "jieba", f"{100 * han / letters:.0f} % of its letters are Chinese"


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


def _characters(lowercase: bool) -> Tokenizer:
    def tokenize(text: str) -> list[str]:
        text = LINE_BREAK.sub(" ", text.lower() if lowercase else text)
        return CHARACTER.findall(unicodedata.normalize("NFC", text))

    return tokenize


def _jieba(lowercase: bool, hmm: bool) -> Tokenizer:
    package = segmenter(Text(tokenizer="jieba", jieba_hmm=hmm)).split()[0]
    cut = _rust_cut() if package == "rjieba" else _python_cut(hmm)

    def tokenize(text: str) -> list[str]:
        text = LINE_BREAK.sub(" ", text.lower() if lowercase else text)
        # A segment may hold white space that jieba does not know; the split makes the promise above hold for any text.
        return [token for segment in cut(text) for token in segment.split()]

    return tokenize


def _python_cut(hmm: bool) -> Callable[[str], Iterable[str]]:
    with warnings.catch_warnings():
        # Its sources hold invalid escapes, which newer Pythons report while compiling them.
        warnings.simplefilter("ignore")
        import jieba
    jieba.setLogLevel(logging.ERROR)
    return lambda text: jieba.cut(text, cut_all=False, HMM=hmm)


def _rust_cut() -> Callable[[str], Iterable[str]]:
    import rjieba

    return lambda text: rjieba.cut(text, False)
