"""The program tasks.word2vec: runs of both backends, stopped and resumed ones, export, and bad input."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tasks.compare
import tasks.imdb
import tasks.word2vec
import tasks.words
from backends import kernels
from core.data.sources import imdb
from core.data.vector_files import open_vector_file
from core.spec.words import IN, OUT, WordExperiment
from core.words.run_folder import WordRunFolder
from tasks.cli.word_options import add_word_options, apply_word_options
from tasks.run import word_training
from tests.conftest import INSTALLED, Done, check_refused, each_backend, fresh_rng, loaded, run_main, stop_at
from tests.finished_runs import EACH
from tests.run_files import edited
from tests.word_corpora import random_sentences

OPTIONS = ("--dim", 12, "--window", 3, "--negatives", 2, "--epochs", 2, "--min-count", 2, "--batch-size", 64)
OPTIONS += ("--learning-rate", 0.1, "--subsample", 0.05, "--set", "training.chunk_words=400", "--threads", 1)
needs_kernels = pytest.mark.skipif(kernels.failure() is not None, reason="needs the compiled kernels")


@dataclass(frozen=True)
class Place:
    """Texts, their cache, and a finished run with its output by installed backend. No test changes them."""

    root: Path
    texts: Path
    runs: dict[str, Path]
    outputs: dict[str, Done]

    def train(self, *argv: object) -> Done:
        """Train on the texts, unless other files are given."""
        files = [] if any(str(own).endswith((".txt", ".csv")) for own in argv) else [self.texts]
        return self.call(*argv, *files, *OPTIONS)

    def call(self, *argv: object) -> Done:
        return run_main(tasks.word2vec.main, *argv, "--device", "cpu", "--cache-dir", self.root / "cache")

    @property
    def run(self) -> Path:
        return self.runs[INSTALLED[0]]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    rng, root = fresh_rng(), tmp_path_factory.mktemp("word2vec")
    texts = root / "texts.txt"
    texts.write_text("\n".join(" ".join(own) for own in random_sentences(rng, 120)), encoding="utf-8")
    made = Place(root, texts, {}, {})
    for name in INSTALLED:
        made.runs[name] = root / name
        made.outputs[name] = made.train("--backend", name, "--out", root / name, "--probes", "w1,absent,w3")
        assert made.outputs[name].code == 0, made.outputs[name].err
    return made


@pytest.fixture
def stopped(place, tmp_path) -> Path:
    """A run of the first backend that was stopped within its second epoch."""
    chunks = json.loads((place.run / "result.json").read_text())["chunks"] // 2
    path = tmp_path / "stopped"
    with stop_at(chunks + 2, word_training):
        done = place.train("--backend", INSTALLED[0], "--out", path, "--probes", "w1,w3")
    assert done.code == 130 and f"python -m tasks.word2vec resume {path}" in done.out, done.out + done.err
    assert not (path / "vectors.txt").exists() and (path / "curves.png").exists()
    return path


@each_backend
def test_a_run_holds_its_vectors_and_what_made_them(place, name):
    run, done = place.runs[name], place.outputs[name]
    assert {own.name for own in run.iterdir()} == {
        *("experiment.json", "words.tsv", "metrics.jsonl", "last.safetensors"),
        *("vectors.txt", "result.json", "curves.png"),
    }
    experiment, execution = WordRunFolder.open(run).read_record()
    result = WordRunFolder(run).read_result()
    tables, _ = WordRunFolder(run).read_tables(experiment, execution["data"]["vocabulary"])
    words = [line.split("\t") for line in (run / "words.tsv").read_text().splitlines()]
    counts = [int(count) for _, count in words]
    assert counts == sorted(counts, reverse=True) and len(words) == execution["data"]["vocabulary"]
    found, _ = open_vector_file(run / "vectors.txt", None).read({word for word, _ in words})
    np.testing.assert_array_equal(np.stack([found[word] for word, _ in words]), tables[IN])
    assert execution["backend"] == result["backend"] == name and execution["probes"] == ["w1", "w3"]
    assert execution["implementation"] == ("loop" if kernels.failure() else "fast")
    assert result["words"] == 2 * execution["data"]["words"] and result["predictions"] > 0
    assert "probes that are not in the vocabulary are left out: absent" in done.err
    for part in ("tokenizer words", "skip_gram, 12 dimensions", "w1: ", "words/s", f"nearest {run} w1", "--vectors"):
        assert part in done.out, done.out


@needs_kernels
def test_a_run_stopped_in_one_framework_and_resumed_in_the_other_has_the_same_bytes(place, stopped):
    for other in INSTALLED[1:]:
        assert (place.run / "vectors.txt").read_bytes() == (place.runs[other] / "vectors.txt").read_bytes()
    done = place.call("resume", stopped, "--backend", INSTALLED[-1], "--threads", 2)
    assert done.code == 0 and "from chunk" in done.out, done.out + done.err
    assert (stopped / "vectors.txt").read_bytes() == (place.run / "vectors.txt").read_bytes()
    _, execution = WordRunFolder.open(stopped).read_record()
    first, second = execution["segments"]
    assert (first["backend"], second["backend"]) == (INSTALLED[0], INSTALLED[-1])
    assert (first["threads"], second["threads"]) == (1, 2) and second["from_step"] > 0
    lines = [WordRunFolder(run).read_metrics() for run in (stopped, place.run)]
    figures = [[(line["split"], line["step"], line["loss"]) for line in own] for own in lines]
    assert figures[0] == figures[1]
    again = place.call("--resume", stopped)
    assert again.code == 2 and "already finished" in again.err


@pytest.mark.slow
@each_backend
def test_loop_runs_and_is_recorded(place, tmp_path, name):
    """Its vectors are those of the kernels up to rounding."""
    path = tmp_path / "loop"
    done = place.train("--backend", name, "--impl", "loop", "--out", path, "--kind", "cbow", "--epochs", 1)
    assert done.code == 0 and "implementation loop" in done.out, done.out + done.err
    other = place.train("--backend", name, "--out", tmp_path / "auto", "--kind", "cbow", "--epochs", 1)
    assert other.code == 0, other.err
    experiment, execution = WordRunFolder.open(path).read_record()
    assert execution["implementation"] == WordRunFolder(path).read_result()["implementation"] == "loop"
    size = execution["data"]["vocabulary"]
    tables = [WordRunFolder(run).read_tables(experiment, size)[0] for run in (path, tmp_path / "auto")]
    for table in (IN, OUT):
        np.testing.assert_allclose(tables[0][table], tables[1][table], rtol=1e-3, atol=1e-4)


def test_export_writes_either_table_or_their_sum(place, stopped, tmp_path):
    experiment, execution = WordRunFolder.open(stopped).read_record()
    tables, _ = WordRunFolder(stopped).read_tables(experiment, execution["data"]["vocabulary"])
    words = WordRunFolder(stopped).read_words(execution["data"]["vocabulary"])
    for which, expected in (("in", tables[IN]), ("out", tables[OUT]), ("sum", tables[IN] + tables[OUT])):
        path = tmp_path / f"{which}.txt"
        done = run_main(tasks.word2vec.main, "export", stopped, path, "--which", which)
        assert done.code == 0 and "not finished" in done.out, done.err
        found, _ = open_vector_file(path, None).read(set(words))
        np.testing.assert_array_equal(np.stack([found[word] for word in words]), expected)
    check_refused(tasks.word2vec.main, "export", stopped, path, says="exists", folder=tmp_path)
    says = "choose one of in, out, sum"
    check_refused(tasks.word2vec.main, "export", stopped, "x", "--which", "all", says=says, folder=tmp_path)


def test_a_damaged_checkpoint_is_not_resumed(place, stopped, tmp_path, rng):
    last = stopped / "last.safetensors"
    good = last.read_bytes()
    content = bytearray(good)
    content[int(rng.integers(len(content) // 2, len(content)))] ^= 1
    for damaged, says in ((bytes(content), "does not match its digest"), (good[:999], "damaged or not a checkpoint")):
        last.write_bytes(damaged)
        check_refused(tasks.word2vec.main, "resume", stopped, says=says, folder=stopped)
    last.unlink()
    check_refused(tasks.word2vec.main, "resume", stopped, says="last.safetensors is missing", folder=stopped)
    last.write_bytes(good)
    with edited(stopped / "experiment.json") as tree:
        tree["execution"]["data"]["vocabulary"] += 1
    check_refused(tasks.word2vec.main, "resume", stopped, says="not the tables of this run", folder=stopped)


def test_a_run_killed_before_its_first_checkpoint_starts_again(place, stopped):
    for path in stopped.iterdir():
        if path.name != "experiment.json":
            path.unlink()
    (stopped / ".last.safetensors.x.tmp").write_bytes(b"half")
    done = place.call("resume", stopped)
    assert done.code == 0 and "from chunk" not in done.out, done.err
    assert (stopped / "vectors.txt").read_bytes() == (place.run / "vectors.txt").read_bytes()
    assert len(WordRunFolder.open(stopped).read_record()[1]["segments"]) == 1
    assert (stopped / "words.tsv").read_bytes() == (place.run / "words.tsv").read_bytes()


@needs_kernels
def test_a_full_disk_ends_a_run_that_can_be_resumed(place, tmp_path, monkeypatch):
    path, sync, calls = tmp_path / "run", os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        done = place.train("--backend", INSTALLED[0], "--out", path, "--probes", "w1,w3")
    assert done.code == 2 and done.err.count("error:") == 1 and "free disk space" in done.err, done.err
    assert place.call("resume", path).code == 0
    assert (path / "vectors.txt").read_bytes() == (place.run / "vectors.txt").read_bytes()


def test_changed_texts_are_not_resumed(place, stopped, tmp_path):
    good = place.texts.read_text(encoding="utf-8")
    try:
        place.texts.write_text(good + "\nmore", encoding="utf-8")
        argv = ("resume", stopped, "--cache-dir", tmp_path / "cache", "--device", "cpu")
        check_refused(tasks.word2vec.main, *argv, says="changed since the run started", folder=stopped)
    finally:
        place.texts.write_text(good, encoding="utf-8")


def test_columns_and_chinese_words_are_inferred(place, tmp_path):
    table = tmp_path / "reviews.csv"
    rows = ["电影非常好看，演员也很好", "酒店很便宜，电影不好看", "演员不好，电影很便宜"] * 6
    table.write_text("编号,评论\n" + "".join(f"{n},{row}\n" for n, row in enumerate(rows)), encoding="gb18030")
    done = place.train("--backend", INSTALLED[0], table, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "--column '评论'" in done.out and "--tokenizer jieba" in done.out and "电影: " in done.out
    assert WordRunFolder.open(tmp_path / "run").read_record()[0].data.column == "评论"  # type: ignore[union-attr]
    done = place.train(table, "--column", "nothing")
    assert done.code == 2 and "no column 'nothing'" in done.err and "--column" in done.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--window", 0], "--window 0: model.window: Input should be greater than or equal to 1"),
        (["--negatives", 0], "--negatives 0: model.negatives"),
        (["--kind", "glove"], "--kind glove: choose one of skip_gram, cbow"),
        (["--min-count", 10**6], "0 of 40 distinct words occur at least 1000000 times"),
        (["--vocab-size", 1], "--vocab-size 1: text.vocab_size"),
        (["--threads", 0], "--threads 0: expected at least 1"),
        (["--impl", "packed"], "choose one of auto, fast, loop"),
        (["--device", "tpu"], "--device tpu: choose one of"),
        (["--backend", "jax"], "unknown backend 'jax'"),
        (["--set", "model.width=3"], "--set model.width: no such field"),
        (["--set", "model=3"], "--set model: no such field"),
        (["--data", "packaged"], "FILE and --data exclude each other"),
        (["--dim", "many"], "argument --dim: invalid int value"),
        (["missing.txt"], "missing.txt: cannot be read (No such file or directory)"),
        (["missing.csv"], "missing.csv: no such file"),
    ],
)
def test_bad_input_is_one_line(place, tmp_path, argv, says):
    files = [] if str(argv[0]).startswith("missing") else [place.texts]
    cache = ("--cache-dir", place.root / "cache", "--out", tmp_path / "run")
    min_count = () if "--min-count" in argv else ("--min-count", 1)
    check_refused(tasks.word2vec.main, *files, *argv, *min_count, *cache, says=says, folder=tmp_path)


def test_cbow_has_a_learning_rate_of_its_own():
    parser = argparse.ArgumentParser()
    add_word_options(parser)
    for argv, expected in (
        ([], 0.025),
        (["--kind", "cbow"], 0.2),
        (["--kind", "cbow", "--learning-rate", "0.03"], 0.03),
        (["--kind", "cbow", "--set", "training.learning_rate=0.04"], 0.04),
        (["--kind", "skip_gram"], 0.025),
    ):
        experiment = apply_word_options(WordExperiment(), parser.parse_args(argv))
        assert experiment.training.learning_rate == expected


def test_the_kernels_do_not_run_on_a_gpu(place, tmp_path, monkeypatch):
    monkeypatch.setattr(loaded(INSTALLED[0]), "resolve_device", lambda *_: "gpu:0")
    argv = (place.texts, "--backend", INSTALLED[0], "--impl", "fast", "--out", tmp_path / "run")
    says = "--impl fast: the compiled kernels run on the CPU only: use --impl loop"
    check_refused(tasks.word2vec.main, *argv, says=says, folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "have no words"),
        ("\n \n", "have no words"),
        ("word word word", "1 of 1 distinct words"),
        ("one\ntwo\none\ntwo", "none of the 4 texts has two words"),
    ],
)
def test_texts_without_words_are_one_line(tmp_path, content, says):
    path = tmp_path / "texts.txt"
    path.write_text(content, encoding="utf-8")
    options = ("--min-count", 1, "--cache-dir", tmp_path, "--out", tmp_path / "run", "--device", "cpu")
    check_refused(tasks.word2vec.main, path, *options, says=says, folder=tmp_path)


def test_nearest_words_of_a_finished_run(place, stopped):
    done = run_main(tasks.words.main, "nearest", place.run, "w1", "--count", 2, "--cache-dir", place.root / "cache")
    assert done.code == 0 and f"{place.run / 'vectors.txt'}: " in done.out, done.err
    check_refused(tasks.words.main, "nearest", stopped, "w1", says="not finished", folder=stopped)


def test_other_programs_tell_what_the_folder_is(place, finished_runs, tmp_path):
    for main, *argv in (
        (tasks.imdb.main, "predict", place.run, "a text"),
        (tasks.imdb.main, "--resume", place.run),
        (tasks.imdb.main, "--config", place.run / "experiment.json"),
        (tasks.compare.main, place.run, finished_runs.any_run, "--out", tmp_path / "page.html"),
    ):
        check_refused(main, *argv, says="a run of tasks.word2vec", folder=place.run)
    other = finished_runs.any_run
    check_refused(tasks.word2vec.main, "resume", other, says="a run of task imdb", folder=tmp_path)
    check_refused(tasks.word2vec.main, "--out", other, says="exists", folder=tmp_path)


@pytest.mark.slow
def test_a_classifier_starts_from_the_vectors_of_a_run(finished_runs, tmp_path, monkeypatch):
    """And tells in a line that they are of another dimension, or of a run that is not finished."""
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    run = tmp_path / "words"
    options = ("--data", finished_runs.archive, "--cache-dir", finished_runs.cache, "--device", "cpu")
    backend = ("--backend", finished_runs.backend)
    done = run_main(tasks.word2vec.main, *options, *backend, *OPTIONS, "--dim", 8, "--out", run)
    assert done.code == 0, done.err
    classifier = tmp_path / "classifier"
    done = finished_runs.train(*backend, "--vectors", run, "--epochs", 1, "--out", classifier)
    assert done.code == 0 and f"{run / 'vectors.txt'}: " in done.out, done.out + done.err
    found = json.loads((classifier / "experiment.json").read_text())["execution"]["vectors"]["found"]
    assert found >= 20
    done = finished_runs.train(*backend, "--vectors", run, "--embedding-dim", 9)
    assert done.code == 2 and "--embedding-dim 8" in done.err
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "result.json").unlink()
    done = finished_runs.train(*backend, "--vectors", tmp_path / "unfinished")
    assert done.code == 2 and "not finished" in done.err and done.err.count("\n") == 1
