"""The training split of labeled texts as texts without labels, with unlabeled ones that come with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.data.corpus import divided, load_corpus
from core.data.documents import Document, Source, TokenSource
from core.data.download import Progress, no_progress
from core.data.sources.lookup import open_data
from core.data.sources.tagged import open_tagged
from core.data.sources.unlabeled import open_reviews
from core.data.token_workers import tokenized
from core.spec.data import MovieReviews, PairedFiles, Table, Tagged
from core.spec.text import Text

PATHS = {"source", "dev", "test"}
"""Fields of the data that only locate it: the fingerprints of its sources tell its content."""
FOLDS = {"fold", "folds"}
UNLABELED = "train/unsup/"
"""Beginning of the names of unlabeled reviews."""


def open_training_split(
    data: MovieReviews | PairedFiles | Table,
    unlabeled: bool,
    text: Text,
    cache: Path,
    progress: Progress = no_progress,
) -> TokenSource:
    """Open the training split of `data`, then its unlabeled texts, in the order of the sources.

    The labeled texts are those of the cached corpus, tokenized once for the classifier and its word vectors. Raises
    UserError like `open_data` and `open_reviews`.
    """
    labeled = open_data(data, cache, progress)
    more = _open_unlabeled(data, cache, progress) if unlabeled else None
    # Without folds, the key is that of runs of formats that had none.
    excluded = PATHS if data.folds else PATHS | FOLDS
    split = [data.model_dump(mode="json", exclude=excluded), text.model_dump(mode="json")]
    key = json.dumps([labeled.fingerprint, more.fingerprint if more else None, *split], sort_keys=True)
    description = f"{labeled.description.partition(';')[0]}, training split"
    return TokenSource(
        labeled.kind,
        f"{description}, and {more.description}" if more else description,
        f"split:{hashlib.sha256(key.encode()).hexdigest()}",
        None,
        lambda: _read(data, text, cache, more, progress),
    )


def _read(
    data: MovieReviews | PairedFiles | Table, text: Text, cache: Path, more: Source | None, progress: Progress
) -> Iterator[list[str]]:
    corpus, _ = load_corpus(data, text, cache, progress)
    rows, _, _ = divided(corpus, data, text)
    for row in np.sort(rows["train"]):
        yield [corpus.tokens[number] for number in corpus.sequence(row).tolist()]
    del corpus
    if more is not None:
        yield from tokenized((document.text for document in more.documents()), text)


def _open_unlabeled(data: MovieReviews | PairedFiles | Table, cache: Path, progress: Progress) -> Source | None:
    """Open the unlabeled texts that come with a source; None if there are none."""
    if isinstance(data, MovieReviews) and data.source != "packaged":
        reviews = open_reviews(data.source, cache, progress)
        return Source(
            reviews.kind,
            "its unlabeled reviews",
            reviews.fingerprint,
            None,
            lambda: (own for own in reviews.documents() if own.name.startswith(UNLABELED)),
        )
    if isinstance(data, PairedFiles) and data.source == "packaged":
        newspaper = open_tagged(Tagged(), progress)
        return Source(
            newspaper.kind,
            newspaper.description.partition(": ")[2],
            newspaper.fingerprint,
            None,
            lambda: (Document(f"newspaper/{own.line}", "".join(own.tokens), "") for _, own in newspaper.sentences()),
        )
    return None
