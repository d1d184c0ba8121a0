"""Tokenizers: `whitespace` (textbook), `words` (English), `jieba` (Chinese), `characters`, `letters`."""

from __future__ import annotations

import html
import importlib.util
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from core.data.segmenters import jieba_cut
from core.data.signs import ASCII_SIGNS, KEYCAP, REWRITTEN, SIGNS, SUFFIX
from core.data.tokenizer_settings import TokenizerSettings
from core.strings import SPACE as SPACE

if TYPE_CHECKING:
    from core.spec.text import Text

TOKENIZER_VERSION = 3
"""Version in the key of cached corpora: increase it when a tokenizer's output changes."""

FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
"""Code points of full-width letters, digits and signs, to those of ASCII."""

Tokenizer = Callable[[str], list[str]]
Change = Callable[[str], str]
Piecewise = tuple[Change, Tokenizer]
"""Two steps of a tokenizer: a change of the entire text, and its tokens."""
Segmented = tuple[Change, Callable[[str], Iterable[str]]]
"""A change of the entire text, and its segments, of which each holds tokens between white space, mostly one."""

NO_SPACE = re.compile(r"\S+")

LINE_BREAK = re.compile(r"<\s*/?\s*br\s*/?\s*>", re.IGNORECASE)

JOINERS = "\u200c\u200d"
CHINESE = "\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
OTHER_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff"
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese kana."""
UNSPACED = CHINESE + OTHER_UNSPACED

SEPARATORS = range(0x1C, 0x20)
"""Control characters of ASCII that only Unicode has as white space."""

APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'", "\x92": "'"})
"""Typographic apostrophes, including the Windows-1252 one decoded as Latin-1, to ASCII."""


def make_tokenizer(spec: Text | TokenizerSettings) -> Tokenizer:
    """Return the function from a text to its tokens, for `spec.tokenizer`, `spec.lowercase` and `spec.half_width`.

    No token is empty or contains white space; a text may have no tokens. Raises UserError if jieba is required but not
    installed.
    """
    tokenize = _tokenizer(spec)
    return (lambda text: tokenize(half_width(text))) if spec.half_width else tokenize


def _tokenizer(spec: Text | TokenizerSettings) -> Tokenizer:
    """Return the function from a text to its tokens, whose signs have the right width."""
    if spec.tokenizer == "jieba":
        prepare, cut = _jieba_text(spec.lowercase), jieba_cut(spec.jieba_hmm)
        # jieba may keep unusual white space within a segment; tokens must not contain any.
        return lambda text: [token for segment in cut(prepare(text)) for token in segment.split()]
    if (steps := _steps(spec)) is not None:
        prepare, tokens_of = steps
        return lambda text: tokens_of(prepare(text))
    return (_characters if spec.tokenizer == "characters" else _letters)(spec.lowercase)


def make_piecewise(spec: Text | TokenizerSettings) -> Piecewise | None:
    """Return the steps of a tokenizer whose tokens never depend on what is beyond white space; None for others.

    The second step may read pieces between white space of ASCII one by one, or together in lines: it returns a line
    feed as a token.
    """
    steps = _steps(spec, lambda pattern: re.compile(rf"{pattern.pattern}|\n", pattern.flags))
    return None if steps is None else (_of_width(steps[0], spec), steps[1])


def make_segmented(spec: Text | TokenizerSettings) -> Segmented | None:
    """Return the steps of a tokenizer that divides a text into segments; None for others.

    Texts may be segmented together in lines: a line feed is a segment. Raises UserError like `make_tokenizer`.
    """
    if spec.tokenizer != "jieba":
        return None
    prepare, cut = _of_width(_jieba_text(spec.lowercase), spec), jieba_cut(spec.jieba_hmm)
    # jieba reads \r\n as one segment.
    return lambda text: prepare(text).replace("\n", " ").replace("\r", " "), cut


def _of_width(prepare: Change, spec: Text | TokenizerSettings) -> Change:
    return (lambda text: prepare(half_width(text))) if spec.half_width else prepare


def _steps(
    spec: Text | TokenizerSettings,
    changed: Callable[[re.Pattern[str]], re.Pattern[str]] = lambda pattern: pattern,
) -> Piecewise | None:
    """Return the steps of a tokenizer, whose patterns are `changed`."""
    if spec.tokenizer == "whitespace":
        return _whitespace_text(spec.lowercase), changed(NO_SPACE).findall
    if spec.tokenizer == "words" and spec.signs:
        in_ascii, in_any = (changed(pattern).findall for pattern in sign_patterns())
        return _text_with_signs(spec.lowercase), lambda text: (in_ascii if text.isascii() else in_any)(text)
    if spec.tokenizer == "words":
        return _text_of_words(spec.lowercase), changed(word_pattern()).findall
    return None


def half_width(text: str) -> str:
    """Return a text with full-width letters, digits and signs replaced by their ASCII forms."""
    return text.translate(FULL_WIDTH)


def infer_tokenizer(texts: Iterable[str]) -> tuple[str, str]:
    """Infer a tokenizer for texts in an unknown language; return its name and a short reason.

    The choice depends on the share of letters from scripts without spaces between words.
    """
    letters = han = other = 0
    for text in texts:
        found = "".join(re.findall(r"[^\W\d_]", text))  # excludes the vowel signs of Thai, which are not letters
        letters += len(found)
        han += len(re.findall(f"[{CHINESE}]", found))
        other += len(re.findall(f"[{OTHER_UNSPACED}]", found))
    if han + other < 0.2 * letters or not letters:
        return "words", "space-separated script"
    share = f"{100 * (han + other) / letters:.0f} % of letters from scripts without spaces"
    # Japanese mixes kana with Chinese characters, and jieba's dictionary is Chinese.
    if other > 0.1 * (han + other):
        return "characters", share
    if all(importlib.util.find_spec(name) is None for name in ("jieba", "rjieba")):
        return "characters", f"{share}; jieba is not installed"
    return "jieba", f"{100 * han / letters:.0f} % Chinese letters"


@cache
def _marks() -> str:
    """Return vowel signs and accents (Hindi, Arabic, ...), which are not `\\w`, and zero-width joiners."""
    found = (chr(code) for code in range(0x300, 0xFE30) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    return JOINERS + "".join(found)


@cache
def word_pattern() -> re.Pattern[str]:
    """Match a run of letters and digits with inner apostrophes ("don't", "70s"), an 's, `!` or `?`.

    A possessive or contracted 's is a separate token ("film" "'s"), so that a name and its genitive share a token. All
    other characters are separators. Compiled at first use: it takes 30 ms, also of a `--help`.
    """
    run = rf"[^\W_]+(?:[{_marks()}]+[^\W_]*)*"
    return re.compile(rf"{run}(?:'(?![sS]\b){run})*|(?<=\w)'[sS]\b|[!?]")


@cache
def sign_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the word pattern with signs as tokens, for ASCII texts (which it takes half the time) and for others."""
    plain, run = r"[^\W_]+", rf"[^\W_]+(?:[{_marks()}]+[^\W_]*)*"
    word, possessive = r"{0}(?:'(?![sS]\b){0})*" + SUFFIX.replace("{", "{{").replace("}", "}}"), r"'(?<=\w')[sS]\b"
    return (
        re.compile(rf"{word.format(plain)}|{possessive}|{ASCII_SIGNS}", re.ASCII),
        re.compile(rf"{KEYCAP}|{word.format(run)}|{possessive}|{SIGNS}"),
    )


@cache
def character_pattern() -> re.Pattern[str]:
    """Match a character of a script without spaces, a word of another script, or any other sign."""
    return re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+(?:[{_marks()}]+[^\W{UNSPACED}]*)*|[^\w\s]")


def _whitespace_text(lowercase: bool) -> Change:
    def prepare(text: str) -> str:
        return (text.lower() if lowercase else text).replace("<br />", " ")

    return prepare


def _text_of_words(lowercase: bool) -> Change:
    def prepare(text: str) -> str:
        text = _plain(text, lowercase)
        if not text.isascii():
            # NFC joins a letter and a combining accent: as two characters, the second would not match \w.
            text = unicodedata.normalize("NFC", _replaced(text, APOSTROPHES))
        return text

    return prepare


def _text_with_signs(lowercase: bool) -> Change:
    # White space of Unicode's patterns, and none of ASCII's: made the same for both.
    in_ascii, in_any = dict.fromkeys(SEPARATORS, "\x01"), APOSTROPHES | REWRITTEN | dict.fromkeys(SEPARATORS, " ")

    def prepare(text: str) -> str:
        text = _plain(text, lowercase)
        if not text.isascii():
            return unicodedata.normalize("NFC", _replaced(text, in_any))
        return text if text.isprintable() else text.translate(in_ascii)

    return prepare


def _plain(text: str, lowercase: bool) -> str:
    """Return a text without HTML entities and line breaks."""
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = LINE_BREAK.sub(" ", text)
    return text.lower() if lowercase else text


def _replaced(text: str, table: Mapping[int, str | None]) -> str:
    """Return `text.translate(table)`, for a few replacements of which no text has many: a tenth of its time."""
    for code, string in table.items():
        text = text.replace(chr(code), string or "")
    return text


def _letters(lowercase: bool) -> Tokenizer:
    def tokenize(text: str) -> list[str]:
        text = unicodedata.normalize("NFC", text.lower() if lowercase else text)
        return list(SPACE.join(text.split()))

    return tokenize


def _characters(lowercase: bool) -> Tokenizer:
    characters_of = character_pattern().findall

    def tokenize(text: str) -> list[str]:
        text = LINE_BREAK.sub(" ", text.lower() if lowercase else text)
        return characters_of(unicodedata.normalize("NFC", text))

    return tokenize


def _jieba_text(lowercase: bool) -> Change:
    def prepare(text: str) -> str:
        text = text.lower() if lowercase else text
        return LINE_BREAK.sub(" ", text) if "<" in text else text

    return prepare
