"""Training with texts without a label, as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tasks.classify
import tasks.imdb
from core.train.run_folder import RunFolder
from tests.conftest import INSTALLED, check_refused, each_backend, fresh_rng, needs_both, run_main, stop_at
from tests.tasks.test_pretrain import EACH, check_same_steps, reviews  # noqa: F401 (a fixture)

SMALL = ("--hidden", 4, "--embedding-dim", 3, "--max-length", 12, "--batch-size", 4, "--dtype", "float64")
OPTIONS = ("--recipe", "lstm", "--epochs", 3, "--device", "cpu", "--no-baseline", "--dev-share", 0.25)
UNLABELED = ("--virtual-adversarial", 0.2, "--unlabeled-batch", 5)


@needs_both
@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("torch", "paddle"), ("paddle", "torch")])
def test_reviews_in_both_frameworks(reviews, first, second, tmp_path):  # noqa: F811
    """A run that is stopped and resumed elsewhere has the steps of an uninterrupted one."""
    fixed = ("--data", reviews, "--cache-dir", tmp_path / "cache")
    done = run_main(tasks.imdb.main, *fixed, *SMALL, *OPTIONS, *UNLABELED, "--backend", first, "--out", tmp_path / "a")
    assert done.code == 0, done.err
    assert "32 unlabeled texts, 5 in every batch" in done.out
    record = json.loads((tmp_path / "a" / "experiment.json").read_text())["execution"]["data"]["unlabeled"]
    assert (record["documents"], record["held_out"]) == (4 * EACH, 0)
    lines = [own for own in RunFolder.open(tmp_path / "a").read_metrics() if own["split"] == "train"]
    assert {own["counted"] for own in lines} == {4} and len(lines) == 9
    with stop_at(4):
        argv = (*fixed, *SMALL, *OPTIONS, *UNLABELED, "--backend", first, "--out", tmp_path / "b")
        assert run_main(tasks.imdb.main, *argv).code != 0
    done = run_main(tasks.imdb.main, "--resume", tmp_path / "b", "--backend", second, "--cache-dir", tmp_path / "cache")
    assert done.code == 0, done.err
    check_same_steps(tmp_path / "b", tmp_path / "a")


@pytest.mark.slow
@each_backend
def test_a_file_of_own_texts(name, tmp_path):
    """With n-grams. A text that is also in the test file is left out."""
    rng = fresh_rng()
    words = np.array(["film", "plot", "scene", "the", "was", "very"])
    texts = [" ".join([*rng.choice(words, rng.integers(2, 9)), f"own{number}"]) for number in range(60)]
    lines = [f"{text} {['bad', 'good'][number % 2]},{number % 2}" for number, text in enumerate(texts)]
    for file, chosen in (("train.csv", lines[:40]), ("dev.csv", lines[40:50]), ("test.csv", lines[50:])):
        (tmp_path / file).write_text("\n".join(["text,label", *chosen]) + "\n")
    more = [" ".join(rng.choice(words, rng.integers(1, 9))) + f" more{number}" for number in range(11)]
    held_out = lines[55].rpartition(",")[0]
    (tmp_path / "more.txt").write_text("\n".join([*more, held_out, ""]) + "\n")
    files = (tmp_path / "train.csv", "--dev", tmp_path / "dev.csv", "--test", tmp_path / "test.csv")
    place = ("--cache-dir", tmp_path / "cache", "--out", tmp_path / "run", "--backend", name, "--device", "cpu")
    argv = (*files, *SMALL, "--no-baseline", "--epochs", 1, *place, "--set", "model.ngrams={}")
    done = run_main(tasks.classify.main, *argv, *UNLABELED, "--unlabeled-file", tmp_path / "more.txt")
    assert done.code == 0, done.err
    data = json.loads((tmp_path / "run" / "experiment.json").read_text())
    found = data["execution"]["data"]["unlabeled"]
    assert (found["documents"], found["held_out"]) == (11, 1)
    assert data["experiment"]["data"]["unlabeled_file"] == str(tmp_path / "more.txt")


def test_refused(reviews, tmp_path):  # noqa: F811
    fixed = ("--backend", INSTALLED[0], "--out", tmp_path / "run", "--cache-dir", tmp_path / "cache")
    main = tasks.imdb.main
    says = "--unlabeled-batch needs --virtual-adversarial above 0"
    check_refused(main, *fixed, "--data", reviews, "--unlabeled-batch", 5, says=says, folder=tmp_path)
    says = "the packaged reviews have no unlabeled ones: set --data official, or --unlabeled-batch 0"
    check_refused(main, *fixed, *UNLABELED, "--train-limit", 20, says=says, folder=tmp_path)
    (tmp_path / "t.csv").write_text("text,label\na film,1\na plot,0\n")
    fixed = (tmp_path / "t.csv", *fixed)
    check_refused(tasks.classify.main, *fixed, *UNLABELED, says="needs --unlabeled-file: give a file", folder=tmp_path)
    says = "needs --unlabeled-batch above 0"
    check_refused(tasks.classify.main, *fixed, "--unlabeled-file", tmp_path / "t.csv", says=says, folder=tmp_path)
