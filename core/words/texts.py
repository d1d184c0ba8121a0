"""The corpus of an experiment: its texts are read and tokenized, or taken from the cache."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from core.data.documents import Source, TokenSource
from core.data.download import Progress, no_progress
from core.data.segmenters import segmenter
from core.data.sources.unlabeled import open_reviews, open_texts
from core.data.token_workers import tokenized
from core.data.tokenizers import TOKENIZER_VERSION
from core.data.training_split import open_training_split
from core.errors import UserError
from core.files import remove_unfinished, write_bytes_atomic
from core.spec.words import Reviews, TrainingSplit, WordData, WordExperiment, WordText
from core.strings import shorten
from core.words.corpus import WordCorpus, build_corpus

CACHE_FORMAT = 1
"""Format version of the cache file, included in its key."""

DIGEST_SIZE = hashlib.sha256().digest_size


def open_data(data: WordData, text: WordText, cache: Path, progress: Progress = no_progress) -> Source | TokenSource:
    """Open the texts of `data`. Raises UserError like `open_reviews`, `open_texts` and `open_training_split`."""
    if isinstance(data, Reviews):
        return open_reviews(data.source, cache, progress)
    if isinstance(data, TrainingSplit):
        return open_training_split(data.texts, data.unlabeled, text.tokenization(), cache, progress)
    return open_texts(data.paths, data.column, data.encoding, text.max_texts, progress)


def load_corpus(
    experiment: WordExperiment, cache: Path, progress: Progress = no_progress, wanted: str | None = None
) -> tuple[WordCorpus, dict]:
    """Return the corpus, from the cache if it is there, and its record.

    `wanted` is the fingerprint of the data of a run that is resumed. A damaged cache file is rebuilt. A cache that
    cannot be written causes a warning. Raises UserError like `open_data` and `build_corpus`, and for other data than
    wanted.
    """
    text, training = experiment.text, experiment.training
    source = open_data(experiment.data, text, cache, progress)
    if wanted is not None and source.fingerprint != wanted:
        raise UserError(f"{source.description}: changed since the run started: restore the data, or start a new run")
    how = [text.model_dump(mode="json"), training.longest_sentence, TOKENIZER_VERSION, segmenter(text.tokenization())]
    key = json.dumps([CACHE_FORMAT, source.fingerprint, *how], sort_keys=True)
    path = cache / f"words-{text.tokenizer}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    activity = "tokenizing"
    try:
        corpus = _unpack(path, key)
    except FileNotFoundError:
        corpus = None
    except (OSError, ValueError) as error:
        activity = f"tokenizing again, cache file {path.name} is invalid ({shorten(str(error), 80)})"
        corpus = None
    if corpus is None:
        corpus = build_corpus(_tokenized(source, text, progress, activity), text, training)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            remove_unfinished(cache)
            write_bytes_atomic(path, _pack(corpus, key))
        except (OSError, UserError) as error:
            warnings.warn(f"tokenized texts are not cached: {error}", stacklevel=2)
    record = {"kind": source.kind, "description": source.description, "fingerprint": source.fingerprint}
    figures = {
        "texts": corpus.texts,
        "raw_words": corpus.raw_words,
        "words": len(corpus.ids),
        "sentences": len(corpus.offsets) - 1,
        "vocabulary": len(corpus.words),
    }
    return corpus, {**record, **figures}


def _tokenized(source: Source | TokenSource, text: WordText, progress: Progress, activity: str) -> Iterator[list[str]]:
    total = source.total if text.max_texts is None else min(source.total or text.max_texts, text.max_texts)
    if isinstance(source, TokenSource):
        texts = islice(source.read(), text.max_texts)
    else:
        documents = islice(source.documents(), text.max_texts)
        texts = tokenized((document.text for document in documents), text.tokenization())
    for number, tokens in enumerate(texts, 1):
        yield tokens
        if number % 500 == 0:
            progress(activity, number, total)


def _pack(corpus: WordCorpus, key: str) -> memoryview:
    """Return an .npz without pickles, followed by its SHA-256. Ids of small vocabularies take two bytes each."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        key=_joined([key]),
        words=_joined(corpus.words),
        counts=corpus.counts,
        ids=corpus.ids.astype(np.uint16) if len(corpus.words) <= 1 << 16 else corpus.ids,
        offsets=corpus.offsets,
        totals=np.array([corpus.raw_words, corpus.texts], dtype=np.int64),
    )
    digest = hashlib.sha256(buffer.getbuffer()).digest()
    buffer.seek(0, io.SEEK_END)
    buffer.write(digest)
    return buffer.getbuffer()


def _unpack(path: Path, key: str) -> WordCorpus:
    """Read what `_pack` wrote for `key`. Raises OSError if unreadable, ValueError if invalid."""
    packed = path.read_bytes()
    content = memoryview(packed)[:-DIGEST_SIZE]
    if hashlib.sha256(content).digest() != packed[-DIGEST_SIZE:]:
        raise ValueError("checksum mismatch")
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        if _divided(file["key"]) != [key]:
            raise ValueError("it belongs to other data or settings")
        raw_words, texts = file["totals"].tolist()
        return WordCorpus(
            _divided(file["words"]),
            file["counts"],
            file["ids"].astype(np.int32),
            file["offsets"],
            raw_words,
            texts,
        )


def _joined(strings: list[str]) -> np.ndarray:
    """Return strings without line feeds as UTF-8 bytes."""
    return np.frombuffer("\n".join(strings).encode("utf-8"), dtype=np.uint8)


def _divided(joined: np.ndarray) -> list[str]:
    return joined.tobytes().decode("utf-8").split("\n")
