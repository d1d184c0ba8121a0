"""`tasks.translate` as a user runs it: train, predict, evaluate, resume in the other framework, compare."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest

import tasks.compare
import tasks.imdb
import tasks.translate
from core.train.run_folder import RunFolder
from tests.conftest import INSTALLED, check_refused, each_backend, needs_both, run_main, stop_at

SMALL = (
    *("--task", "reverse", "--longest", 4, "--beyond", 5, "--examples", 400, "--hidden", 12, "--embedding-dim", 8),
    *("--max-output", 6, "--batch-size", 32, "--epochs", 3, "--lr", 0.02, "--dtype", "float64", "--device", "cpu"),
)
FILES = {
    *("attention.png", "best.safetensors", "curves.png", "experiment.json", "last.safetensors", "metrics.jsonl"),
    *("mistakes.csv", "predictions.csv", "result.json", "target_vocab.json", "vocab.json"),
}


def train(*argv: object):
    return run_main(tasks.translate.main, *SMALL, *argv)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run per backend, with its output. No test changes them."""
    root, found = tmp_path_factory.mktemp("translate"), {}
    for name in INSTALLED:
        done = train("--backend", name, "--out", root / name)
        assert done.code == 0, done.err
        found[name] = (root / name, done.out)
    return found


@pytest.fixture
def any_run(runs):
    return runs[INSTALLED[0]][0]


@each_backend
def test_run_folder_and_output(runs, name):
    path, out = runs[name]
    assert {file.name for file in path.iterdir()} == FILES
    result = json.loads((path / "result.json").read_text())
    test = result["test"]
    assert test["documents"] == 40 and {"exact_match", "bleu", "accuracy", "loss"} <= test.keys()
    assert [own[1] for own in test["by_length"].values()] and sum(own[1] for own in test["by_length"].values()) == 40
    assert 0.2 < test["accuracy"] <= 1.0 and 0.0 <= test["exact_match"] <= test["accuracy"]
    assert f"test exact match {test['exact_match']:.4f}" in out and "dev loss" in out
    rows = list(csv.DictReader((path / "predictions.csv").open(encoding="utf-8")))
    assert len(rows) == 40
    assert np.mean([row["label"] == row["predicted"] for row in rows]) == pytest.approx(test["exact_match"])
    wrong = list(csv.DictReader(io.StringIO((path / "mistakes.csv").read_text(encoding="utf-8-sig"))))
    assert len(wrong) == sum(row["label"] != row["predicted"] for row in rows)
    assert all(row["text"].lstrip("'")[::-1] == row["label"].lstrip("'") for row in wrong)
    lines = RunFolder.open(path).read_metrics()
    dev = [line for line in lines if line["split"] == "dev"]
    assert len(dev) == 3 and {"exact_match", "bleu", "accuracy", "loss"} <= dev[0].keys()


@needs_both
def test_both_backends_train_the_same_model(runs):
    one, other = (RunFolder.open(runs[name][0]) for name in INSTALLED[:2])
    model = one.read_record()[0].model
    for name, array in one.read_best(model).items():
        np.testing.assert_allclose(array, other.read_best(model)[name], rtol=0, atol=1e-9)
    assert one.read_predictions().predicted == other.read_predictions().predicted


@each_backend
def test_evaluate_with_any_backend(runs, name):
    for path, _ in runs.values():
        done = run_main(tasks.translate.main, "evaluate", path, "--backend", name)
        assert done.code == 0 and "40 of 40 predictions match predictions.csv" in done.out, done.out + done.err
        assert "exact match by target length  " in done.out
        done = run_main(tasks.translate.main, "evaluate", path, "--backend", name, "--split", "beyond")
        assert done.code == 0 and "beyond exact match" in done.out and "(50 texts" in done.out


def test_predict_prints_what_the_run_predicted(any_run, tmp_path):
    rows = list(csv.DictReader((any_run / "predictions.csv").open(encoding="utf-8")))
    sources = [row["label"][::-1] for row in rows]
    done = run_main(tasks.translate.main, "predict", any_run, *sources[:7])
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [line[0] for line in lines] == [row["predicted"] for row in rows[:7]]
    assert [line[2] for line in lines] == sources[:7] and all(0 <= float(line[1]) <= 1 for line in lines)
    file = tmp_path / "sources.txt"
    file.write_text("\n".join(sources), encoding="utf-8")
    done = run_main(tasks.translate.main, "predict", any_run, "--file", file, "--out", tmp_path / "out.csv")
    assert done.code == 0 and "outputs for 40 texts" in done.out, done.err
    written = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8-sig"))))
    assert [row["predicted"] for row in written] == [row["predicted"] for row in rows]


@each_backend
def test_predict_with_a_beam(any_run, name):
    """The best of a beam is at least as probable as the greedy output, up to the length penalty; NumPy agrees."""
    texts = ("123", "40", "7")
    wide = run_main(tasks.translate.main, "predict", any_run, *texts, "--beam", 4, "--backend", name)
    same = run_main(tasks.translate.main, "predict", any_run, *texts, "--beam", 4)
    assert wide.code == 0 and wide.out.splitlines() == same.out.splitlines()
    greedy = run_main(tasks.translate.main, "predict", any_run, *texts, "--beam", 1).out.splitlines()
    assert greedy == run_main(tasks.translate.main, "predict", any_run, *texts).out.splitlines()


def test_explain_shows_attention(any_run, tmp_path):
    picture = tmp_path / "attention.png"
    done = run_main(tasks.translate.main, "predict", any_run, "123", "--picture", picture)
    assert done.code == 0, done.err
    first, *rest = done.out.splitlines()
    output = first.split("\t")[0]
    tokens = [line.split("\t")[0].strip() for line in rest if line.startswith("  ")]
    assert "".join(tokens) == output
    assert all(part.split()[0] in "123" for line in rest[: len(tokens)] for part in line.split("\t")[1].split(", "))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_interactive(any_run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"12\n\n345\n"), encoding="utf-8"))
    done = run_main(tasks.translate.main, "predict", any_run, "--interactive")
    assert done.code == 0 and [line.split("\t")[2] for line in done.out.splitlines()] == ["12", "345"], done.err


@needs_both
@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("torch", "paddle"), ("paddle", "torch")])
def test_resume_in_the_other_framework(runs, first, second, tmp_path):
    """A run that is stopped and resumed elsewhere ends where an uninterrupted one does."""
    path = tmp_path / "run"
    with stop_at(13):
        assert train("--backend", first, "--out", path).code != 0
    stopped = RunFolder.open(path)
    assert not (path / "result.json").exists() and (path / "target_vocab.json").is_file()
    done = run_main(tasks.translate.main, "--resume", path, "--backend", second)
    assert done.code == 0, done.err
    model = stopped.read_record()[0].model
    whole = RunFolder.open(runs[first][0]).read_best(model)
    for name, array in stopped.read_best(model).items():
        np.testing.assert_allclose(array, whole[name], rtol=0, atol=1e-9)


def test_another_target_vocabulary_is_refused(any_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(any_run, path)
    vocabulary = path / "target_vocab.json"
    vocabulary.write_text(vocabulary.read_text().replace('"7"', '"x"'))
    check_refused(tasks.translate.main, "predict", path, "12", says="changed since it was written", folder=path)
    vocabulary.unlink()
    check_refused(tasks.translate.main, "predict", path, "12", says="target_vocab.json is missing", folder=path)


@needs_both
@pytest.mark.slow
def test_compare_two_runs(runs, tmp_path):
    page = tmp_path / "page.html"
    done = run_main(tasks.compare.main, *(path for path, _ in runs.values()), "--out", page)
    assert done.code == 0, done.err
    assert "exact match" in done.out and "40 of 40 predictions agree" in done.out
    assert "exact match" in page.read_text(encoding="utf-8")


@each_backend
def test_a_file_of_pairs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numbers = ["one", "two", "three", "four", "five", "six", "seven"]
    lines = [f"{a} {b}\t{b} und {a}" for a in numbers for b in numbers]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    small = ("--hidden", 6, "--embedding-dim", 5, "--epochs", 1, "--max-output", 8, "--device", "cpu")
    no_attention = ("--attention", "none", "--no-bidirectional", "--bridge", "none")
    done = run_main(
        tasks.translate.main, "--task", "pairs.tsv", "--backend", name, *small, *no_attention, "--out", "run"
    )
    assert done.code == 0 and "inferred --tokenizer words" in done.out, done.err
    assert not (tmp_path / "run" / "attention.png").exists() and "attention" not in done.out.splitlines()[-2]
    done = run_main(tasks.translate.main, "predict", "run", "one two", "!")
    assert done.code == 0 and len(done.out.splitlines()) == 2
    check_refused(tasks.translate.main, "predict", "run", "one", "--explain", says="this run has none", folder=tmp_path)


REFUSED = {
    "beam of 0": (("predict", "RUN", "12", "--beam", 0), "--beam 0: give at least 1"),
    "out and explain": (("predict", "RUN", "12", "--out", "x", "--explain"), "exclude each other"),
    "unknown split": (("evaluate", "RUN", "--split", "other"), "--split other: choose one of test, dev, train, beyond"),
    "digits": (("--task", "addition", "--digits", 1, "--examples", 99), "only 55 examples differ: lower --examples"),
    "no file": (("--recipe", "file"), "add --task FILE.tsv"),
    "missing file": (("--task", "none.tsv"), "none.tsv"),
    "target too long": (("--task", "reverse", "--longest", 30, "--max-output", 20), "raise --max-output"),
    "bridge": (("--task", "reverse", "--bridge", "none"), "head.bridge none needs an encoder of one direction"),
    "attention": (("--attention", "cosine"), "--attention cosine: choose one of none, additive, dot"),
    "other data": (("--set", "data={}"), "expected pairs"),
    "encoder": (("--set", 'model.encoder={"kind":"textcnn"}'), "head.kind decoder needs a recurrent encoder"),
    "class weights": (("--set", "training.class_weights=[1,2]"), "not supported by head.kind decoder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line(case, any_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv, says = REFUSED[case]
    argv = [any_run if own == "RUN" else own for own in argv]
    check_refused(tasks.translate.main, *argv, says=says, folder=tmp_path)


def test_another_program_refuses_its_run(any_run, tmp_path):
    says = "use python -m tasks.translate predict"
    check_refused(tasks.imdb.main, "predict", any_run, "12", says=says, folder=tmp_path)
