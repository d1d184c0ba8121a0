"""Strings as a person reads them: shortened, in order."""

from __future__ import annotations

import math
import re

LONGEST = 400
"""Characters shown of a text."""


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def in_order(labels: set[str]) -> list[str]:
    """Labels as a reader expects them: numbers by their value, others by their code points."""
    try:
        values = {label: float(label) for label in labels}
    except ValueError:
        return sorted(labels)
    # "nan" is a word here: as a number it has no place in an order.
    if any(math.isnan(value) for value in values.values()):
        return sorted(labels)
    return sorted(labels, key=lambda label: (values[label], label))


def shorten(text: str, longest: int = LONGEST) -> str:
    """One line of at most about `longest` characters, cut between words where there are any.

    Characters that would steer a terminal are shown as U+FFFD."""
    line = CONTROL.sub("\ufffd", " ".join(text.replace("<br />", " ").split()))
    if len(line) <= longest:
        return line
    head = line[:longest]
    return (head.rpartition(" ")[0] or head) + " \u2026"
