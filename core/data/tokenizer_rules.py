"""Tokenizers as data: steps that a program without seqtwin can follow, and that JSON can hold."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from core.data.signs import REWRITTEN
from core.data.tagged_text import BREAKS
from core.data.tokenizers import (
    APOSTROPHES,
    FULL_WIDTH,
    LINE_BREAK,
    character_pattern,
    sign_patterns,
    word_pattern,
)
from core.spec.text import Text
from core.strings import SPACE

Step = tuple[str, Any]
"""Name and argument of a step.

A step changes the text, or returns the tokens. `translate` replaces characters (a map, null deletes), `html` decodes
entities, `blank` replaces matches of a pattern by a space, `lower` and `nfc` normalize. `find` returns the matches of a
pattern, `find_ascii` does so for ASCII texts only, `split` divides at white space, `letters` returns the characters
with the argument for white space, `jieba` segments, with a hidden Markov model or without.
"""


def tokenizer_rules(spec: Text) -> list[Step]:
    """Return the steps of `core.data.tokenizers.make_tokenizer`, in order."""
    lower: list[Step] = [("lower", None)] if spec.lowercase else []
    breaks, nfc = ("blank", f"(?i){LINE_BREAK.pattern}"), ("nfc", None)
    first = width_rules(spec)
    if spec.tokenizer == "whitespace":
        return [*first, *lower, ("blank", re.escape("<br />")), ("split", None)]
    if spec.tokenizer == "letters":
        return [*first, *lower, nfc, ("letters", SPACE)]
    if spec.tokenizer == "characters":
        return [*first, *lower, breaks, nfc, ("find", character_pattern().pattern)]
    if spec.tokenizer == "jieba":
        return [*first, *lower, breaks, ("jieba", spec.jieba_hmm)]
    plain = [*first, ("html", None), breaks, *lower]
    if not spec.signs:
        return [*plain, ("translate", _characters(APOSTROPHES)), nfc, ("find", word_pattern().pattern)]
    in_ascii, pattern = sign_patterns()
    rewritten = ("translate", _characters(APOSTROPHES | REWRITTEN))
    return [*plain, ("find_ascii", f"(?a){in_ascii.pattern}"), rewritten, nfc, ("find", pattern.pattern)]


def form_rules(spec: Text) -> list[Step]:
    """Return the steps from a token of a tagged sentence to its form in the vocabulary (`core/data/tagged_text.py`)."""
    return [("nfc", None), *width_rules(spec), *([("lower", None)] if spec.lowercase else [])]


def width_rules(spec: Text) -> list[Step]:
    """Return the step that makes full-width characters ASCII, [] without it."""
    return [("translate", _characters(FULL_WIDTH))] if spec.half_width else []


def kept_ends(spec: Text) -> tuple[int, int]:
    """Return how many tokens of the head and of the tail of a longer text are kept (`truncate`)."""
    limit = spec.max_length
    head = {"head": limit, "tail": 0, "both": round(limit * spec.head_share)}[spec.truncate]
    return head, limit - head


def breaks_of_sentences() -> str:
    """Return the tokens after which a long tagged sentence is divided."""
    return "".join(sorted(BREAKS))


def _characters(table: dict[int, Any]) -> dict[str, str | None]:
    """Return a translation table with characters as keys, each replacement a string or None."""
    return {chr(code): chr(to) if isinstance(to, int) else to for code, to in table.items()}


UNICODE_VERSION = unicodedata.unidata_version
"""Version of the Unicode data of this Python, which `nfc`, `lower` and patterns depend on."""
