"""The training loop of word2vec: stopped and resumed runs, checkpoints, metrics."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from backends import kernels
from core.engine.executor import Executor
from core.errors import UserError
from core.spec.words import IN
from core.words import loop
from core.words.examples import Sampler
from core.words.loop import Session, train
from core.words.probes import nearest_words
from core.words.reference import ReferenceEngine, initial_vectors
from core.words.run_folder import WordRunFolder
from core.words.run_state import WordState
from tests.conftest import INSTALLED, loaded, one_line
from tests.word_corpora import corpus_of, random_sentences, small_experiment

TIMES = {"seconds", "cpu_seconds", "metrics", "words_per_second"}


class Silent:
    def on_chunk(self, progress) -> None:
        pass

    def on_evaluation(self, epoch, loss, nearest) -> None:
        pass


class Run:
    """A run on random sentences, in the folder `name`."""

    def __init__(self, rng, root: Path, kind: str = "skip_gram", **training):
        self.experiment = small_experiment(rng, kind, **training)
        self.corpus, self.root = corpus_of(self.experiment, random_sentences(rng, 120)), root
        self.start = initial_vectors(self.experiment.model, self.experiment.training, len(self.corpus.words))
        self.probes = [str(word) for word in rng.choice(self.corpus.words, 3, replace=False)]

    def sampler(self, engine) -> Sampler:
        draw = {"noise": engine.draw_noise} if hasattr(engine, "draw_noise") else {}
        return Sampler(self.corpus, self.experiment.model, self.experiment.training, **draw)

    @property
    def chunks(self) -> int:
        return len(self.sampler(None))

    def folder(self, name: str) -> WordRunFolder:
        path = self.root / name
        return WordRunFolder(path) if path.exists() else WordRunFolder.create(path)

    def train(self, name: str, make, chunks: int | None = None, interval: int = 0) -> bool:
        """Train or resume a run with the engine of `make`, for so many chunks."""
        folder = self.folder(name)
        tables, state = self.start, WordState()
        if folder.begun:
            tables, state = folder.read_last(self.experiment, len(self.corpus.words), self.chunks)
            folder.recover(state)
        engine, calls = make(tables), itertools.count(1)
        session = Session(self.sampler(engine), folder, state, self.probes, interval)
        return train(engine, session, Silent(), lambda: chunks is not None and next(calls) >= chunks)

    def result(self, name: str):
        """The tables, the state and the metrics, without times."""
        folder = self.folder(name)
        tables, state = folder.read_last(self.experiment, len(self.corpus.words), self.chunks)
        lines = [{key: value for key, value in line.items() if key not in TIMES} for line in folder.read_metrics()]
        return tables, {key: value for key, value in asdict(state).items() if key not in TIMES}, lines


def check_same(run: Run, one: str, other: str) -> None:
    (tables, *rest), (others, *more) = run.result(one), run.result(other)
    assert rest == more
    for name, table in tables.items():
        np.testing.assert_array_equal(table, others[name], strict=True)


def test_a_run_stopped_anywhere_ends_as_one_that_was_not(rng, tmp_path):
    run = Run(rng, tmp_path, dtype="float64")
    assert run.chunks >= 3
    assert run.train("whole", ReferenceEngine, interval=2)
    at = int(rng.integers(1, 3 * run.chunks - 1))
    print("stopped after chunk", at, "of", run.chunks)
    assert not run.train("stopped", ReferenceEngine, at, interval=2)
    state = run.result("stopped")[1]
    assert (state["epoch"], state["place"]) == divmod(at, run.chunks)
    lines = run.folder("stopped").read_metrics()
    run.folder("stopped").metrics.append(lines[-2:])  # a process that was killed after its last checkpoint
    assert run.train("stopped", ReferenceEngine, interval=2)
    check_same(run, "whole", "stopped")


@pytest.mark.skipif(kernels.failure() is not None, reason="needs the compiled kernels")
@pytest.mark.parametrize("kind", ["skip_gram", "cbow"])
def test_a_run_goes_on_in_the_other_framework_with_other_threads(rng, tmp_path, kind):
    run = Run(rng, tmp_path, kind)

    def engine_of(name: str, threads: int):
        def make(tables):
            kernels.set_threads(threads)
            return loaded(name).WordEngine(tables, Executor("cpu", "fast"))

        return make

    try:
        assert run.train("whole", engine_of(INSTALLED[0], 1))
        assert not run.train("stopped", engine_of(INSTALLED[0], 2), run.chunks + 1)
        assert run.result("stopped")[1]["place"] == 1, "within an epoch"
        assert run.train("stopped", engine_of(INSTALLED[-1], 1))
    finally:
        kernels.set_threads(None)
    check_same(run, "whole", "stopped")


def test_metrics_are_those_of_the_chunks(rng, tmp_path):
    run = Run(rng, tmp_path, dtype="float64", epochs=2)
    assert run.train("run", ReferenceEngine)
    tables, state, lines = run.result("run")
    chunks = [line for line in lines if line["split"] == "train"]
    evaluations = [line for line in lines if line["split"] == "evaluation"]
    assert len(chunks) == 2 * run.chunks and [line["epoch"] for line in evaluations] == [1, 2]
    assert chunks[-1]["words"] == state["words"] == 2 * len(run.corpus.ids)
    assert state["predictions"] == sum(line["predictions"] for line in chunks)
    rates = [line["learning_rate"] for line in chunks]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.05 * 0.1
    last = chunks[run.chunks :]
    mean = sum(line["loss"] * line["predictions"] for line in last) / sum(line["predictions"] for line in last)
    assert evaluations[-1]["loss"] == pytest.approx(mean, rel=1e-12)
    assert evaluations[-1]["loss"] < evaluations[0]["loss"], "it learns"
    assert evaluations[-1]["nearest"] == {
        word: [[other, round(cosine, 4)] for other, cosine in own]
        for word, own in nearest_words(run.corpus, tables[IN], run.probes).items()
    }


def test_checkpoints_at_the_start_and_at_the_ends_of_epochs_and_when_time_has_passed(rng, tmp_path, monkeypatch):
    run, saved = Run(rng, tmp_path, dtype="float64"), []

    def write_last(self, parameters, state):
        saved.append((state.epoch, state.place))

    monkeypatch.setattr(WordRunFolder, "write_last", write_last)
    assert run.train("seldom", ReferenceEngine)
    assert saved == [(0, 0), (1, 0), (2, 0), (3, 0)]
    saved.clear()
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    assert run.train("often", ReferenceEngine)
    assert len(saved) == 1 + 3 * run.chunks


def test_divergence_is_an_error_and_no_checkpoint(rng, tmp_path):
    run = Run(rng, tmp_path, dtype="float64")

    class Diverging(ReferenceEngine):
        def train(self, examples):
            return np.full(len(examples.rates), math.nan)

    with pytest.raises(UserError) as error:
        run.train("run", Diverging)
    assert "`training.learning_rate`" in one_line(error) and "diverged" in str(error.value)
    assert run.result("run")[1]["step"] == 0 and not run.result("run")[2]


def test_nearest_words_are_those_of_a_plain_computation(rng):
    experiment = small_experiment(rng)
    corpus = corpus_of(experiment, random_sentences(rng, 60))
    vectors = rng.standard_normal((len(corpus.words), 7))
    vectors[3] = 0.0  # has no cosine
    probe = corpus.words[5]
    found = nearest_words(corpus, vectors, [probe], 4)[probe]
    cosines = {
        word: float(own @ vectors[5]) / float(np.linalg.norm(own) * np.linalg.norm(vectors[5]))
        for word, own in zip(corpus.words, vectors, strict=True)
        if word not in (probe, corpus.words[3])
    }
    expected = sorted(cosines, key=lambda word: -cosines[word])[:4]
    assert [word for word, _ in found] == expected
    assert [value for _, value in found] == pytest.approx([cosines[word] for word in expected])
