"""Labeled documents and their source: the common form of every kind of text data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

SplitName = Literal["train", "dev", "test", ""]


@dataclass(frozen=True, slots=True)
class Document:
    """One labeled text.

    `split` is "" if the data defines none; `group` is a film id, "" if unknown.
    """

    name: str
    text: str
    label: str
    split: SplitName = ""
    group: str = ""


@dataclass(frozen=True)
class Source:
    """A located source of documents, not yet read.

    `description` is one line for the user. `fingerprint` changes with the content. `total` is the number of documents,
    None if unknown before reading. `classes` are the ordered labels, None to collect them from the documents. With
    `lenient`, texts without tokens or without a label are skipped and counted. `size` is that of the files, in bytes,
    None if unknown.
    """

    kind: Literal["packaged", "official", "path"]
    description: str
    fingerprint: str
    total: int | None
    read: Callable[[], Iterator[Document]]
    classes: tuple[str, ...] | None = None
    lenient: bool = False
    size: int | None = None

    def documents(self) -> Iterator[Document]:
        """Yield every document, in an order that depends on the content alone.

        A folder and its archive therefore agree. Raises UserError: truncated or unreadable data, wrong counts, a text
        that is not in its encoding.
        """
        return self.read()


@dataclass(frozen=True)
class TokenSource:
    """A located source of tokenized texts without labels. The fields are those of `Source`."""

    kind: Literal["packaged", "official", "path"]
    description: str
    fingerprint: str
    total: int | None
    read: Callable[[], Iterator[list[str]]]
