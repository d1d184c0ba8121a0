"""The corpus of the word vectors with which a classifier starts: its training texts, and unlabeled ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.corpus import divided, load_corpus
from core.data.download import Progress, no_progress
from core.data.sources.lookup import open_data
from core.data.sources.unlabeled import Unlabeled, open_unlabeled
from core.data.tokenizers import TOKENIZER_VERSION, segmenter
from core.schema import of_kind
from core.spec.data import MovieReviews, PairedFiles, Table
from core.spec.experiment import Experiment
from core.spec.words import WORDS_FORMAT, WordStart
from core.words.corpus import WordCorpus, build_corpus

PATHS = {"source", "dev", "test"}
"""Fields of the data that only locate it; fingerprints stand for its content."""


@dataclass(frozen=True)
class StartTexts:
    """The located texts, not yet read."""

    experiment: Experiment
    cache: Path
    fingerprint: str
    """Changes with the texts, their split, their tokens, and the settings of the training."""
    unlabeled: Unlabeled | None
    description: str

    @property
    def words(self) -> WordStart:
        """The section `words` of the experiment."""
        return of_kind(self.experiment.words, WordStart)

    def read(self, progress: Progress = no_progress) -> WordCorpus:
        """Read and tokenize the texts. Raises UserError like `load_corpus`, `Unlabeled.read` and `build_corpus`."""
        words = self.words
        return build_corpus(self._texts(progress), words.text_of(self.experiment.text), words.training)

    def _texts(self, progress: Progress) -> Iterator[list[str]]:
        """Yield the tokens of all texts: the training split in the order of the data, then the unlabeled ones."""
        experiment = self.experiment
        corpus, _ = load_corpus(_texts_of(experiment), experiment.text, self.cache, progress)
        rows, _, _ = divided(corpus, _texts_of(experiment), experiment.text)
        tokens = np.array(corpus.tokens, dtype=object)
        for row in rows["train"]:
            yield tokens[corpus.sequence(row)].tolist()
        del corpus, tokens
        if self.unlabeled is not None:
            yield from self.unlabeled.read(experiment.text)


def open_texts(experiment: Experiment, cache: Path, progress: Progress = no_progress) -> StartTexts:
    """Locate the texts of the section `words`. Raises UserError like `open_data` and `open_unlabeled`."""
    data, text, words = _texts_of(experiment), experiment.text, of_kind(experiment.words, WordStart)
    source = open_data(data, cache, progress)
    unlabeled = open_unlabeled(data, cache, progress) if words.unlabeled else None
    settings = {
        "format": WORDS_FORMAT,
        "sources": [source.fingerprint, unlabeled.fingerprint if unlabeled else None],
        "data": data.model_dump(mode="json", exclude=PATHS),
        "tokens": [TOKENIZER_VERSION, segmenter(text), words.text_of(text).model_dump(mode="json")],
        "words": words.model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    more = f", and {unlabeled.description}" if unlabeled else ""
    return StartTexts(experiment, cache, digest, unlabeled, f"training split of {source.description}{more}")


def _texts_of(experiment: Experiment) -> MovieReviews | PairedFiles | Table:
    """Return the section of texts, which `Experiment` checks."""
    if isinstance(experiment.data, MovieReviews | PairedFiles | Table):
        return experiment.data
    raise TypeError(f"got data of kind {experiment.data.kind}, expected texts")
