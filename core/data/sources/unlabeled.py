"""Unlabeled texts that come with a labeled source, as tokens: for word vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.data.download import Progress, no_progress
from core.data.sources.imdb import OFFICIAL_URL
from core.data.sources.imdb_unlabeled import fingerprint, read_unlabeled
from core.data.sources.tagged import open_tagged
from core.data.tagged_text import form
from core.data.tokenizers import make_tokenizer
from core.files import user_path
from core.spec.data import MovieReviews, PairedFiles, Table, Tagged
from core.spec.text import Text

ARCHIVE = OFFICIAL_URL.rpartition("/")[2]
"""File of the official reviews in the cache folder."""


@dataclass(frozen=True)
class Unlabeled:
    """Located unlabeled texts, not yet read; `fingerprint` changes with their content."""

    description: str
    fingerprint: str
    read: Callable[[Text], Iterator[list[str]]]
    """Yields the tokens of every text, in an order that depends on the content alone."""


def open_unlabeled(
    data: MovieReviews | PairedFiles | Table, cache_dir: Path, progress: Progress = no_progress
) -> Unlabeled | None:
    """Open the unlabeled texts of a source that `open_data` has opened; None if it has none.

    The packaged Chinese reviews come with a month of a newspaper, whose words are already segmented. Raises UserError
    like `open_tagged`.
    """
    if isinstance(data, PairedFiles) and data.source == "packaged":
        return _newspaper(progress)
    if isinstance(data, MovieReviews) and data.source != "packaged":
        path = cache_dir / ARCHIVE if data.source == "official" else user_path(data.source)
        return _reviews(path, progress)
    return None


def _reviews(path: Path, progress: Progress) -> Unlabeled:
    def read(text: Text) -> Iterator[list[str]]:
        tokenize = make_tokenizer(text)
        return map(tokenize, read_unlabeled(path, progress))

    return Unlabeled("its unlabeled reviews", fingerprint(path), read)


def _newspaper(progress: Progress) -> Unlabeled:
    source = open_tagged(Tagged(), progress)

    def read(text: Text) -> Iterator[list[str]]:
        for _, sentence in source.sentences():
            yield [form(word, text) for word in sentence.tokens]

    return Unlabeled(source.description, source.fingerprint, read)
