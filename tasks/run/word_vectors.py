"""Train the word vectors with which a classifier starts, or find those that an earlier run has trained.

They are a run of `tasks.word2vec` in the cache folder, named by a digest of all that determines them. A training that
was stopped continues with the next run that needs it.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

import numpy as np

from backends.implementations import resolve_word_implementation
from core.data.download import Progress, no_progress
from core.data.pretrained_vectors import Found, Vectors, open_vectors
from core.data.segmenters import segmenter
from core.data.tokenizers import TOKENIZER_VERSION
from core.data.training_split import PATHS
from core.engine.processes import local_rank_0_first
from core.errors import UserError
from core.files import remove_unfinished
from core.schema import of_kind
from core.spec.data import MovieReviews, PairedFiles, Table
from core.spec.experiment import Experiment
from core.spec.word_runs import VECTORS, WORDS_FORMAT
from core.spec.words import WORD2VEC, WordExperiment, WordStart
from core.train.run_folder import RECORD, RunFolder
from core.train.run_lock import held
from core.words.run_folder import WordRunFolder
from core.words.texts import open_data
from tasks.cli.console import console, fact
from tasks.run.word_training import WordOptions, resume, start
from tasks.run.worker import Request, Worker

RECORDED = ("backend", "device", "implementation", "versions", "data")
"""Entries of the record of a word2vec run that a run keeps which starts from it."""


def trained_vectors(worker: Worker, experiment: Experiment, cache: Path) -> Vectors | None:
    """Return the vectors of the section `words`, trained if the cache has none; None if training was stopped.

    One process of each machine trains. Raises UserError like `start` and `resume`, and for a damaged cache.
    """
    group, words = worker.executor.group, word_experiment(experiment)
    with local_rank_0_first(group):
        path = cache / folder_name(words, worker, cache)
        folder = WordRunFolder(path)
        if group.local_rank == 0 and not folder.finished:
            fact("vectors", f"{WORD2VEC}, trained first, for every run with the same texts and settings")
            request = Request(worker.backend.NAME, worker.executor.device)
            if _train(words, path, WordOptions(request, cache, str(path))):
                console.print("or by starting the same run again, which then trains the classifier")
                return None
            console.print()
    if not folder.finished:
        return None
    return _open(WordRunFolder.open(path))


def word_experiment(experiment: Experiment) -> WordExperiment:
    """Return the word2vec experiment of the section `words`, which only experiments on texts have."""
    data = experiment.data
    if not isinstance(data, MovieReviews | PairedFiles | Table):
        raise TypeError(f"got data of kind {data.kind}, expected texts")
    return of_kind(experiment.words, WordStart).experiment(experiment.text, data)


def folder_name(words: WordExperiment, worker: Worker, cache: Path, progress: Progress = no_progress) -> str:
    """Return the name of the folder in the cache, by the digest of all that determines the vectors.

    The compiled kernel gives the same bits in all backends. Framework operations do not, so that the digest then
    includes backend and device.
    """
    implementation = resolve_word_implementation("auto", worker.executor.device)
    how = (
        [implementation] if implementation == "fast" else [implementation, worker.backend.NAME, worker.executor.device]
    )
    source = open_data(words.data, words.text, cache, progress)
    settings = words.model_dump(mode="json", exclude={"data": {"texts": PATHS}})
    tokens = [TOKENIZER_VERSION, segmenter(words.text.tokenization())]
    key = json.dumps([WORDS_FORMAT, source.fingerprint, tokens, settings, how], sort_keys=True)
    return f"word2vec-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _train(words: WordExperiment, path: Path, options: WordOptions) -> int:
    """Start or resume the training. Return the exit code."""
    if (path / RECORD).is_file():
        return resume(str(path), options)
    if path.is_dir() and RunFolder(path).is_empty:  # killed before it wrote its record
        with held(path):
            remove_unfinished(path, age=0)
        path.rmdir()
    return start(words, options)


def _open(folder: WordRunFolder) -> Vectors:
    """Open the vectors of a finished run, with its record."""
    experiment, execution = folder.read_record()
    result = folder.read_result()
    vectors = open_vectors(str(folder.path))

    def read(wanted: set[str], progress: Progress) -> Found:
        found: dict[str, np.ndarray]
        found, fingerprint = vectors.read(wanted, progress)
        if fingerprint != result["files"][VECTORS]:
            advice = f"rm -r {shlex.quote(str(folder.path))}"
            raise UserError(f"{folder.path / VECTORS}: damaged, does not match its digest: remove it with {advice}")
        return found, fingerprint

    record = {name: execution[name] for name in RECORDED}
    figures = {name: result[name] for name in ("loss", "epochs", "words", "predictions", "seconds")}
    training = {"folder": str(folder.path), "experiment": experiment.model_dump(mode="json"), **record, **figures}
    return Vectors(WORD2VEC, vectors.dim, read, training)
