"""Formatting of strings for display: shortening, control characters, label order, counts."""

from __future__ import annotations

import math
import re

LONGEST = 400
"""Maximum number of characters of a displayed text."""
MESSAGE = 600
"""Maximum number of characters of an error or a note."""
SPACE = "\u2581"
"""Token of the tokenizer `letters` for white space between other characters, as in SentencePiece."""
WORD = 120
"""Maximum number of characters of a word in a message that is too long."""

_INVISIBLE = r"\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""DEL, C1 control characters, changes of the writing direction, and bytes that are not UTF-8.

Python prints such bytes as they are in the locale C, and 0x9b is a control character.
"""
CONTROL = re.compile(rf"[\x00-\x1f{_INVISIBLE}]")
_NOT_PRINTABLE = re.compile(rf"[\x00-\x08\x0b-\x1f{_INVISIBLE}]")
REPLACEMENT = "\ufffd"


def in_order(labels: set[str]) -> list[str]:
    """Sort labels: numerically if all are numbers, otherwise by code point."""
    try:
        values = {label: float(label) for label in labels}
    except ValueError:
        return sorted(labels)
    # A label "nan" is a word: as a number it cannot be ordered.
    if any(math.isnan(value) for value in values.values()):
        return sorted(labels)
    return sorted(labels, key=lambda label: (values[label], label))


def shorten(text: str, longest: int = LONGEST) -> str:
    """Return `text` on one line, truncated to about `longest` characters.

    It is truncated between words if possible. Terminal control characters are replaced by U+FFFD.
    """
    line = one_line(" ".join(text.replace("<br />", " ").split()))
    if len(line) <= longest:
        return line
    head = line[:longest]
    return (head.rpartition(" ")[0] or head) + " \u2026"


def printable(text: str) -> str:
    """Return `text` with control characters other than tab and line feed replaced by U+FFFD.

    A terminal obeys them: text of a file could move the cursor, set the title or reverse the line.
    """
    return _NOT_PRINTABLE.sub(REPLACEMENT, text)


def one_line(text: str) -> str:
    """Return `text` with all control characters replaced by U+FFFD, line feeds and tabs too."""
    return CONTROL.sub(REPLACEMENT, text)


def middle(text: str, longest: int) -> str:
    """Return `text`, with the middle replaced by an ellipsis if it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    tail = (longest - 1) // 2
    return f"{text[: longest - 1 - tail]}\u2026{text[len(text) - tail :]}"


def message(text: str, longest: int = MESSAGE) -> str:
    """Return an error or a note on one line of at most `longest` characters.

    The problem is at its start and the fix at its end, so the middle is left out: first that of long words, such as a
    value from a file, then that of the line.
    """
    line = " ".join(text.split())
    if len(line) > longest:
        line = " ".join(middle(word, WORD) for word in line.split())
    return one_line(middle(line, longest))


def count_reasons(counts: dict[str, int]) -> str:
    """Join counts by reason, as in `2 duplicates, 1 without tokens`."""
    return ", ".join(
        f"{count:,} {reason if count == 1 else re.sub(r'^duplicate', 'duplicates', reason)}"
        for reason, count in counts.items()
    )
