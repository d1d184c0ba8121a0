"""Labelled texts, and a place that they are read from: what every kind of data becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal


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
