"""Opening of data sources, and retrieval of single texts, which runs do not store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data.documents import Source
from core.data.download import Progress, no_progress
from core.data.sources import digit_sums, pairs
from core.data.sources.imdb import OFFICIAL_URL, open_source
from core.data.sources.paired_files import open_lines
from core.data.sources.table import open_table
from core.data.sources.tagged import open_tagged
from core.data.tagged_corpus import texts_of
from core.errors import UserError
from core.spec.data import AnyData, MovieReviews, PairedFiles, Pairs, PlainTexts, Table
from core.spec.experiment import Experiment
from core.strings import LONGEST, shorten


def open_data(data: MovieReviews | PairedFiles | Table, cache_dir: Path, progress: Progress = no_progress) -> Source:
    """Open a text source of any kind. Raises UserError if it is missing or of another kind."""
    if data.kind == "table":
        return open_table(data, progress)
    if data.kind == "lines":
        return open_lines(data.source)
    return open_source(data.source, cache_dir, progress)


def check_cached(data: AnyData, cache_dir: Path) -> None:
    """Raise UserError for data that would have to be downloaded."""
    if getattr(data, "source", "") == "official" and not (cache_dir / OFFICIAL_URL.rpartition("/")[2]).is_file():
        raise UserError("the official data is not in the cache")


def read_texts(
    experiment: Experiment, fingerprint: str, names: set[str], cache_dir: Path, progress: Progress = no_progress
) -> dict[str, str]:
    """Return the texts with these names, by name. Nothing is downloaded.

    Raises UserError if the data is missing or changed since the run, as `fingerprint` shows.
    """
    data = experiment.data
    if data.kind == "digits":
        prepared = digit_sums.prepare(data)
        test, tokens = prepared.test, prepared.vocabulary.tokens
        sequences = np.split(test.tokens, test.offsets[1:-1])
        return {
            name: " ".join(tokens[number] for number in sequence)
            for name, sequence in zip(test.names, sequences, strict=True)
            if name in names
        }
    if data.kind == "tagged":
        tagged = open_tagged(data, progress)
        if tagged.fingerprint != fingerprint:
            raise UserError("the data changed since the run")
        return texts_of(tagged, experiment.text, names)
    if isinstance(data, Pairs):
        found, digest = pairs.read_pairs(data, progress)
        if digest != fingerprint:
            raise UserError("the data changed since the run")
        return {own.name: own.source for own in found if own.name in names}
    if isinstance(data, PlainTexts):
        raise UserError("a language model reads pieces of texts, which are not retrieved")
    check_cached(data, cache_dir)
    source = open_data(data, cache_dir, progress)
    if source.fingerprint != fingerprint:
        raise UserError("the data changed since the run")
    return {own.name: own.text for own in source.documents() if own.name in names}


__all__ = ["LONGEST", "check_cached", "read_texts", "shorten"]
