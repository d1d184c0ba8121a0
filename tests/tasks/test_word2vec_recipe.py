"""`--recipe word2vec`: word vectors are trained first, kept in the cache, and start a classifier."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tasks.imdb
import tasks.run.word_training
from core.data.sources import imdb
from core.models.embedding import TABLE
from core.train.run_folder import RunFolder
from tests.conftest import Done, check_refused, each_backend, loaded, make_reviews, needs_both, run_main, stop_at

EACH = 12
SMALL = ("--embedding-dim", 4, "--hidden", 3, "--epochs", 1, "--batch-size", 8)
CHUNKS = ("--set", "words.training.chunk_words=200", "--set", "words.training.epochs=2", "--set", "words.min_count=2")
STOPPED = 130

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place:
    """Small reviews, of which a third has no label, and a folder for caches and runs."""

    folder: Path
    data: Path

    def train(self, out: str, *options: object, cache: str = "cache", recipe: str = "word2vec") -> Done:
        how = ("--recipe", recipe, "--data", self.data, "--cache-dir", self.folder / cache, "--out", self.folder / out)
        own = CHUNKS if recipe == "word2vec" else ()
        return run_main(tasks.imdb.main, *how, *SMALL, *own, *options)

    def vectors(self, cache: str = "cache") -> Path:
        (folder,) = (self.folder / cache).glob("word2vec-*")
        return folder

    def record(self, out: str) -> dict:
        return RunFolder.open(self.folder / out).read_record()[1]


@pytest.fixture
def place(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    data = make_reviews(tmp_path / "data", rng, EACH)
    unsup = data / "train" / "unsup"
    unsup.mkdir()
    words = [f"word{number}" for number in range(30)]
    for number in range(4 * EACH):
        text = " ".join(rng.choice(words, 1 + number % 17))
        (unsup / f"{number}_0.txt").write_text(text, encoding="utf-8")
    return Place(tmp_path, data)


@needs_both
def test_both_backends_train_the_same_vectors_and_use_those_of_each_other(place):
    for name in ("torch", "paddle"):
        done = place.train(name, "--backend", name, cache=f"cache of {name}")
        assert done.code == 0, done.err
        assert done.out.index("mean loss of the last epoch") < done.out.index("test accuracy")
    first, second = place.vectors("cache of torch"), place.vectors("cache of paddle")
    assert first.name == second.name
    assert (first / "vectors.txt").read_bytes() == (second / "vectors.txt").read_bytes()
    done = place.train("again", "--backend", "torch", cache="cache of paddle")
    assert done.code == 0 and "mean loss" not in done.out, done.err
    records = [place.record(name) for name in ("torch", "paddle", "again")]
    assert records[0]["vectors"] == records[1]["vectors"] == records[2]["vectors"]
    assert [own["word2vec"]["backend"] for own in records] == ["torch", "paddle", "paddle"]
    assert records[0]["word2vec"]["experiment"]["data"]["kind"] == "split"
    metrics = [RunFolder.open(place.folder / name).read_metrics() for name in ("torch", "again")]
    assert [line["loss"] for line in metrics[0]] == [line["loss"] for line in metrics[1]]


@each_backend
def test_the_embedding_starts_from_the_vectors(place, name):
    loaded(name)
    frozen = ("--no-train-embedding", "--set", "model.embedding.vectors_missing=zero")
    done = place.train("run", "--backend", name, *frozen)
    assert done.code == 0, done.err
    lines = (place.vectors() / "vectors.txt").read_text(encoding="utf-8").splitlines()[1:]
    known = {word: np.array(numbers, dtype=np.float32) for word, *numbers in map(str.split, lines)}
    folder = RunFolder.open(place.folder / "run")
    experiment, execution = folder.read_record()
    table = folder.read_best(experiment.model)[TABLE]
    tokens = folder.read_vocabulary(experiment.model).tokens
    found = [number for number, word in enumerate(tokens) if word in known]
    assert len(found) == execution["vectors"]["found"] > 10
    for number in range(1, len(tokens)):
        assert np.array_equal(table[number], known.get(tokens[number], np.zeros(4, dtype=np.float32)))
    by_folder = place.train("by folder", "--backend", name, "--vectors", place.vectors(), recipe="default")
    assert by_folder.code == 0, by_folder.err
    assert place.record("by folder")["vectors"]["fingerprint"] == execution["vectors"]["fingerprint"]


@each_backend
def test_the_default_recipe_reads_labeled_texts_alone(place, name):
    """Its run has both stages, adversarial steps and an average; other vectors replace the first stage."""
    loaded(name)
    done = place.train("run", "--backend", name, *CHUNKS, recipe="default")
    assert done.code == 0 and done.out.index("mean loss of the last epoch") < done.out.index("test accuracy"), done.err
    folder = RunFolder.open(place.folder / "run")
    experiment, execution = folder.read_record()
    texts = execution["word2vec"]["experiment"]["data"]
    assert texts["kind"] == "split" and not texts["unlabeled"] and "unlabeled" not in execution["word2vec"]["data"]
    assert (
        experiment.training.adversarial
        and folder.read_average(experiment.model).keys() == folder.read_best(experiment.model).keys()
    )
    other = place.train("drawn", "--backend", name, "--set", "model.embedding.vectors=null", recipe="default")
    assert other.code == 0 and RunFolder.open(place.folder / "drawn").read_record()[0].words is None, other.err


@each_backend
def test_a_stopped_training_of_vectors_continues_with_the_next_run(place, name):
    loaded(name)
    whole = place.train("whole", "--backend", name, cache="another")
    assert whole.code == 0, whole.err
    with stop_at(3, tasks.run.word_training):
        done = place.train("run", "--backend", name)
    assert done.code == STOPPED and not (place.folder / "run").exists()
    assert "stopped at chunk 3" in done.out and "starting the same run again" in done.out
    again = place.train("run", "--backend", name)
    assert again.code == 0 and "from chunk 3" in again.out, again.err
    assert (place.vectors() / "vectors.txt").read_bytes() == (place.vectors("another") / "vectors.txt").read_bytes()
    ends = [RunFolder.open(place.folder / run).read_result()["test"] for run in ("whole", "run")]
    assert ends[0] == ends[1]


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_from_the_same_vectors(place):
    assert place.train("run").code == 0
    run = place.folder / "run"
    before = RunFolder.open(run).read_result()["test"]
    for path in run.iterdir():
        if path.name not in ("experiment.json", "vocab.json"):
            path.unlink()
    done = run_main(tasks.imdb.main, "--resume", run, "--cache-dir", place.folder / "cache")
    assert done.code == 0 and "mean loss" not in done.out, done.err
    assert RunFolder.open(run).read_result()["test"] == before


def test_an_empty_folder_of_a_killed_training_is_replaced(place):
    assert place.train("first").code == 0
    folder = place.vectors()
    for path in folder.iterdir():
        path.unlink()
    (folder / ".experiment.json.abc.tmp").touch()
    done = place.train("second")
    assert done.code == 0 and "mean loss" in done.out, done.err


def test_damaged_vectors_are_refused_with_a_remedy(place):
    assert place.train("first").code == 0
    file = place.vectors() / "vectors.txt"
    text = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([text[0], *text[2:], text[1]]), encoding="utf-8")
    done = place.train("second")
    assert done.code == 2 and not (place.folder / "second").exists()
    assert "damaged" in done.err and f"rm -r {file.parent}" in done.err, done.err


def test_settings_that_do_not_fit(place):
    def refused(*options: object, says: str, recipe: str = "word2vec") -> None:
        how = ("--recipe", recipe, "--data", place.data, "--out", place.folder / "run", *options)
        check_refused(tasks.imdb.main, *how, says=says, folder=place.folder)

    refused("--vectors", "word2vec", says="need each other", recipe="lstm")
    refused("--set", "words.model.dim=64", says="words.model.dim is 64")
    refused("--set", "words.training.epochs=0", says="words.training.epochs")


def test_the_section_is_recorded(place):
    assert place.train("run", "--set", "words.model.window=2").code == 0
    tree = json.loads((place.folder / "run" / "experiment.json").read_text(encoding="utf-8"))
    assert tree["experiment"]["words"]["model"]["window"] == 2
    assert tree["execution"]["word2vec"]["experiment"]["model"]["window"] == 2
    assert tree["execution"]["vectors"]["source"] == "word2vec"
