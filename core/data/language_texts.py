"""Texts of a language model: reviews without their labels, divided into pieces."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.batch import UNK, Ragged
from core.data.corpus import Corpus, divided, load_corpus
from core.data.dataset import Dataset, Prepared
from core.data.download import Progress, no_progress
from core.data.training_split import UNLABELED
from core.data.unlabeled_texts import unlabeled_reviews
from core.data.vocabulary import Vocabulary
from core.rng import generator
from core.spec.data import MovieReviews, PlainTexts
from core.spec.text import Text


@dataclass(frozen=True)
class Chosen:
    """Some texts of a corpus."""

    corpus: Corpus
    rows: np.ndarray

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and provisional ids of every text."""
        for row in self.rows:
            yield self.corpus.names[row], self.corpus.sequence(row)

    def counts(self) -> np.ndarray:
        """Return the number of occurrences of every provisional id."""
        joined = np.concatenate([own for _, own in self])
        return np.bincount(joined, minlength=len(self.corpus.tokens))


def prepare_texts(data: PlainTexts, text: Text, cache: Path, progress: Progress = no_progress) -> tuple[Prepared, dict]:
    """Read, tokenize, split and encode the texts; return them with their record entry.

    The splits are those of `tasks.imdb`; dev and test have `eval_limit` texts each, chosen at random by `split_seed`.
    Raises UserError like `load_corpus` and `open_reviews`.
    """
    own = {"kind", "unlabeled", "eval_limit"}
    labeled = MovieReviews(**{name: value for name, value in data.model_dump().items() if name not in own})
    corpus, source = load_corpus(labeled, text, cache, progress)
    rows, summary, skipped = divided(corpus, labeled, text)
    parts = [Chosen(corpus, rows["train"])]
    fingerprints, description = [source.fingerprint], source.description.partition(";")[0]
    if data.unlabeled and data.source != "packaged":
        found, fingerprint = unlabeled_reviews(data.source, text, cache, progress)
        held_out = np.concatenate([corpus.texts[rows[split]] for split in ("dev", "test")])
        more_rows = np.array([row for row, name in enumerate(found.names) if name.startswith(UNLABELED)], np.int64)
        more_rows = more_rows[~np.isin(found.texts[more_rows], held_out)][: data.train_limit]
        parts += [Chosen(found, more_rows)] if len(more_rows) else []
        fingerprints.append(fingerprint)
        description += f", and {len(more_rows):,} unlabeled reviews"
    vocabulary = _vocabulary(parts, text)
    sets = {"train": _dataset(parts, vocabulary, text.max_length)}
    for split in ("dev", "test"):
        order = generator(data.split_seed, "language", split).permutation(len(rows[split]))
        chosen = Chosen(corpus, rows[split][np.sort(order[: data.eval_limit])])
        sets[split] = _dataset([chosen], vocabulary, text.max_length)
    summary |= {"vocabulary": len(vocabulary), "left_out": skipped}
    summary |= {split: _figures(dataset) for split, dataset in sets.items()}
    prepared = Prepared(vocabulary, sets["train"], sets["dev"], sets["test"], [], summary)
    fingerprint = hashlib.sha256(json.dumps(fingerprints).encode()).hexdigest()
    record = {"kind": source.kind, "description": description, "fingerprint": f"texts:{fingerprint}"}
    return prepared, {**record, **summary}


def _vocabulary(parts: list[Chosen], text: Text) -> Vocabulary:
    """Build the vocabulary of all texts."""
    counts: dict[str, int] = {}
    for part in parts:
        for token, number in zip(part.corpus.tokens, part.counts().tolist(), strict=True):
            counts[token] = counts.get(token, 0) + number
    return Vocabulary.build(list(counts), list(counts.values()), text)


def _dataset(parts: list[Chosen], vocabulary: Vocabulary, longest: int) -> Dataset:
    """Encode texts, in pieces of nearly equal length of at most `longest` tokens."""
    pieces, names = [], []
    for part in parts:
        final = vocabulary.encode(part.corpus.tokens).astype(np.int32)
        for name, sequence in part:
            own = np.array_split(final[sequence], math.ceil(len(sequence) / longest))
            pieces += own
            names += [name] if len(own) == 1 else [f"{name}#{number}" for number in range(1, len(own) + 1)]
    joined = Ragged.of(pieces)
    return Dataset(joined.values, joined.offsets, {"tokens": joined}, names)


def _figures(dataset: Dataset) -> dict:
    lengths = dataset.lengths
    return {
        "documents": len(dataset),
        "tokens": len(dataset.tokens),
        "mean_length": round(float(lengths.mean()), 2),
        "max_length": int(lengths.max()),
        "unknown_share": round(float((dataset.tokens == UNK).mean()), 6),
    }
