"""Labelled texts, and a place that they are read from: what every kind of data becomes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

LONGEST = 400
"""Characters shown of a text."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Document:
    """One labelled text. `split` is "" where the data do not say; `group` is a film's id, "" where unknown."""

    name: str
    text: str
    label: str
    split: Literal["train", "dev", "test", ""] = ""
    group: str = ""


@dataclass(frozen=True)
class Source:
    """Texts that have been found and not yet read.

    `description` is one line for the user. `fingerprint` changes when the content does. `total` is the number of
    documents, None if it is not known beforehand. `classes` are the labels in their order, None for those that the
    texts turn out to have. With `lenient`, texts without words or without a label are left out and counted.
    """

    kind: Literal["packaged", "official", "path"]
    description: str
    fingerprint: str
    total: int | None
    read: Callable[[], Iterator[Document]]
    classes: tuple[str, ...] | None = None
    lenient: bool = False

    def documents(self) -> Iterator[Document]:
        """Every document, in an order that depends on the content alone, so that a folder and its archive agree.

        Raises UserError: truncated or unreadable data, wrong counts, a text that is not in its encoding.
        """
        return self.read()


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
