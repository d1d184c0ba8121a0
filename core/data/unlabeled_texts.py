"""The texts without a label that a classifier trains on (`training.unlabeled_batch_size`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.data.corpus import Corpus, cached_corpus, texts_of
from core.data.dataset import Dataset, Prepared
from core.data.documents import Document, Source
from core.data.download import Progress, no_progress
from core.data.encode import dataset_of
from core.data.ngrams.texts import Texts
from core.data.sources.unlabeled import open_reviews, open_texts
from core.data.training_split import UNLABELED
from core.data.vocabulary import truncate
from core.errors import UserError
from core.spec.data import MovieReviews, Table
from core.spec.experiment import Experiment
from core.spec.text import Text

ANY = "text"
"""Label that stands for none in a corpus."""
NONE = -1
"""Number of the label that a text without one has in a batch."""


@dataclass(frozen=True)
class Unlabeled:
    """Texts without a label, encoded with the vocabulary of the training split."""

    dataset: Dataset
    """Its labels are `NONE`."""
    texts: Texts
    """The complete texts, which n-grams are formed of."""
    record: dict
    """Description and fingerprint of the source, number of `documents`, `held_out` ones left out, and `tokens`."""


def unlabeled_reviews(source: str, text: Text, cache: Path, progress: Progress = no_progress) -> tuple[Corpus, str]:
    """Return the tokenized training and unlabeled reviews of a source, without labels, and their fingerprint.

    Labeled ones are among them: whether a source has unlabeled ones is only known after reading it. The names of the
    others begin with `UNLABELED`. Raises UserError like `open_reviews`.
    """
    reviews = open_reviews(source, cache, progress)
    return _tokenized(reviews, text, cache, progress), reviews.fingerprint


def check_unlabeled(experiment: Experiment) -> None:
    """Raise UserError for data that has no texts without a label, if the spec needs some."""
    data = experiment.data
    if experiment.training.unlabeled_batch_size and isinstance(data, Table) and data.unlabeled_file is None:
        raise UserError("`training.unlabeled_batch_size` needs `data.unlabeled_file`: give a file of texts")
    if experiment.training.unlabeled_batch_size and getattr(data, "source", "") == "packaged":
        raise UserError(
            "the packaged reviews have no unlabeled ones:"
            " set `data.source` official, or `training.unlabeled_batch_size` 0"
        )


def read_unlabeled(
    data: MovieReviews | Table, text: Text, prepared: Prepared, cache: Path, progress: Progress = no_progress
) -> Unlabeled:
    """Read, tokenize and encode the unlabeled texts of `data`, in the order of their source.

    `prepared`: the labeled texts of `data`. A text that is also one of their dev or test texts is left out. Raises
    UserError like `open_reviews` and `open_texts`, and if no text remains.
    """
    if isinstance(data, Table):
        source = open_texts([data.unlabeled_file or ""], "", data.encoding, progress=progress)
        corpus, fingerprint = _tokenized(source, text, cache, progress), source.fingerprint
        description = data.unlabeled_file
        rows = np.arange(len(corpus))
    else:
        corpus, fingerprint = unlabeled_reviews(data.source, text, cache, progress)
        rows = np.array([row for row, name in enumerate(corpus.names) if name.startswith(UNLABELED)], np.int64)
        description = f"unlabeled reviews of {data.source}"
    held_out = np.concatenate([prepared.digests[split] for split in ("dev", "test")])
    seen = np.isin(corpus.texts[rows], held_out)
    rows = rows[~seen][: data.train_limit]
    if not len(rows):
        raise UserError(f"{description}: no unlabeled texts: set `training.unlabeled_batch_size` 0")
    final = prepared.vocabulary.encode(corpus.tokens).astype(np.int32)
    dataset = dataset_of(
        (truncate(corpus.sequence(row), text) for row in rows),
        np.full(len(rows), NONE, np.int64),
        [corpus.names[row] for row in rows],
        final,
    )
    record = {
        "description": description,
        "fingerprint": fingerprint,
        "documents": len(rows),
        "held_out": int(seen.sum()),
        "tokens": len(dataset.tokens),
    }
    return Unlabeled(dataset, texts_of(corpus, rows), record)


def _tokenized(source: Source, text: Text, cache: Path, progress: Progress) -> Corpus:
    """Tokenize a source without its labels, with another fingerprint than a labeled corpus of the same file."""

    def read() -> Iterator[Document]:
        yield from (replace(own, label=ANY) for own in source.documents())

    fingerprint = f"without labels:{source.fingerprint}"
    plain = replace(source, fingerprint=fingerprint, read=read, total=None, classes=(ANY,), lenient=True)
    return cached_corpus(plain, text, cache, progress, "tokenizing unlabeled texts")
