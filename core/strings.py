"""Formatting of strings for display: shortening, label order, counts."""

from __future__ import annotations

import math
import re

LONGEST = 400
"""Maximum number of characters of a displayed text."""


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


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
    line = CONTROL.sub("\ufffd", " ".join(text.replace("<br />", " ").split()))
    if len(line) <= longest:
        return line
    head = line[:longest]
    return (head.rpartition(" ")[0] or head) + " \u2026"


def count_reasons(counts: dict[str, int]) -> str:
    """Join counts by reason, as in `2 duplicates, 1 without tokens`."""
    return ", ".join(
        f"{count:,} {reason if count == 1 else re.sub(r'^duplicate', 'duplicates', reason)}"
        for reason, count in counts.items()
    )
