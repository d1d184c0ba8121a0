"""TextCNN through the programs: train, stop, resume in the other framework, predict, explain, evaluate, compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.compare
import tasks.digit_sum
import tasks.gates
import tasks.imdb
from backends import implementations
from core.data.sources import imdb
from core.spec.experiment import Experiment
from core.train.run_folder import RunFolder
from tasks.cli.recipes import TASK_RECIPES, recipe
from tests.conftest import loaded, make_reviews, run_main, stop_at

EACH = 24
SMALL = ("--embedding-dim", 6, "--batch-size", 8, "--epochs", 2, "--max-length", 16, "--dtype", "float64")
FAST = "builtin" if implementations.why_not_fast("cpu") else "fast"
TEXTCNN = ("--recipe", "textcnn", "--kernels", "2,3", "--channels", "4,5", "--static-copy", *SMALL)


@pytest.fixture
def place(tmp_path, rng, monkeypatch) -> Path:
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    make_reviews(tmp_path, rng, EACH)
    return tmp_path


def train(place: Path, out: str, *argv: object):
    fixed = ("--data", place / "aclImdb", "--cache-dir", place / "cache", "--out", place / out)
    return run_main(tasks.imdb.main, *argv, *fixed)


def losses(place: Path, run: str) -> np.ndarray:
    return np.array([line["loss"] for line in RunFolder.open(place / run).read_metrics() if line["split"] == "train"])


def test_resume_in_the_other_framework_predict_explain_evaluate_compare(place):
    first, other = backends.NAMES
    loaded(first), loaded(other)
    done = train(place, "whole", "--backend", first, *TEXTCNN)
    assert done.code == 0, done.err
    assert "TextCNN 2 x 4, 3 x 5 (relu), max pooling" in done.out and f"implementation {FAST}" in done.out
    assert RunFolder.open(place / "whole").read_record()[1]["implementation"] == FAST
    with stop_at(5):
        assert train(place, "run", "--backend", first, *TEXTCNN).code == 130
    resumed = run_main(tasks.imdb.main, "--resume", place / "run", "--backend", other, "--cache-dir", place / "cache")
    assert resumed.code == 0, resumed.err
    np.testing.assert_allclose(losses(place, "run"), losses(place, "whole"), atol=1e-9)

    text = "a wonderful film and a fine plot"
    answers = {
        run_main(tasks.imdb.main, "predict", place / "run", text, "--backend", name).out
        for name in ("numpy", first, other)
    }
    assert len(answers) == 1 and "\t" in answers.pop()
    explained = run_main(tasks.imdb.main, "predict", place / "run", text, "--explain", "--html", place / "why.html")
    assert explained.code == 0 and "wonderful" in (place / "why.html").read_text()
    again = run_main(
        tasks.imdb.main, "evaluate", place / "run", "--backend", first, "--impl", "loop", "--cache-dir", place / "cache"
    )
    assert again.code == 0 and "48 of 48 predictions match predictions.csv" in again.out, again.out + again.err

    assert train(place, "lstm", "--backend", first, "--hidden", 3, *SMALL).code == 0
    page = place / "compare.html"
    compared = run_main(
        tasks.compare.main, place / "run", place / "lstm", "--out", page, "--cache-dir", place / "cache"
    )
    assert compared.code == 0 and "TextCNN 2+3" in compared.out and "BiLSTM 3" in compared.out, compared.err
    assert "TextCNN 2+3" in page.read_text()
    refused = run_main(tasks.gates.main, place / "run", "--sequence", "2", "3")
    assert refused.code == 2 and "TextCNN 2 x 4, 3 x 5 (relu) has no gates" in refused.err


def test_a_run_without_the_maximum_records_the_implementation_that_it_had(place):
    """The compiled kernels contain the maximum: other poolings have the framework's convolution."""
    name = backends.first_installed()
    done = train(place, "run", "--backend", name, *TEXTCNN, "--pooling", "mean", "--epochs", 1)
    assert done.code == 0 and "implementation builtin" in done.out, done.err
    assert RunFolder.open(place / "run").read_record()[1]["implementation"] == "builtin"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--encoder", "textcnn", "--pooling", "last"), "head.pooling last is not supported by encoder.kind textcnn"),
        (("--encoder", "textcnn", "--cell", "gru"), "--cell: model.encoder of kind textcnn has no cell"),
        (("--encoder", "textcnn", "--kernels", "2,x"), "argument --kernels: got '2,x'"),
        (
            ("--encoder", "textcnn", "--pooling", "mean", "--impl", "fast"),
            "supports only builtin, loop: use --impl builtin",
        ),
        (("--encoder", "cnn"), "--encoder cnn: choose one of recurrent, textcnn"),
        (("--kernels", "2,3"), "--kernels: model.encoder of kind recurrent has no kernels"),
    ],
)
def test_errors_are_one_line(argv, says, place):
    done = train(place, "run", *argv)
    assert done.code == 2 and done.err.count("\n") == 1 and says in done.err, done.err
    assert not (place / "run").exists()


def test_recurrent_programs_have_no_encoder_option():
    done = run_main(tasks.digit_sum.main, "--encoder", "textcnn")
    assert done.code == 2 and "unrecognized arguments: --encoder" in done.err


@pytest.mark.parametrize("task", ["imdb", "reviews_zh"])
def test_the_recipes(task):
    assert "textcnn" in TASK_RECIPES[task]
    experiment = recipe("textcnn", task)
    assert isinstance(experiment, Experiment) and experiment.model.encoder.kind == "textcnn"
    assert experiment.model.head.pooling == "max" and experiment.recipe == "textcnn"
