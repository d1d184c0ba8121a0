"""`--cross-validate K`: folds, resumed ones, the predictions and figures of all, suspicious labels, refusals."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

import tasks.classify
import tasks.runs
import tasks.tag
from core.train.run_folder import RunFolder
from tests.conftest import INSTALLED, Done, check_refused, fresh_rng, run_main
from tests.finished_runs import contents

FOLDS = 3
TINY = ("--hidden", 6, "--embedding-dim", 6, "--epochs", 3, "--batch-size", 8, "--lr", 0.05, "--dtype", "float64")
TINY += ("--tokenizer", "words")
TELLING = {"good": ["wonderful", "loved", "fine"], "bad": ["awful", "hated", "dull"], "so, so": ["middling", "okay"]}
CLASSES = sorted(TELLING)
CLOCKS = ("seconds",)


def make_table(path: Path, rng, each: int = 20) -> list[tuple[str, str]]:
    """Write texts of unequal length, one word included, whose words tell the label, and a few empty rows."""
    words = np.array(["film", "plot", "actor", "scene", "the", "a", "of", "and", "was", "it", "very"])
    rows = [
        (" ".join([*rng.choice(words, rng.integers(0, 12)), *rng.choice(own, 2), f"n{label}{number}"]), label)
        for label, own in TELLING.items()
        for number in range(each + len(label))
    ]
    rows = [rows[place] for place in rng.permutation(len(rows))]
    rows.insert(4, ("", "good"))
    rows.insert(9, rows[0])
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    return rows


@dataclass(frozen=True)
class Place:
    """A table, and a finished cross-validation per backend, which no test changes."""

    root: Path
    rows: list[tuple[str, str]]
    done: dict[str, Done]

    def call(self, *argv: object) -> Done:
        return run_main(tasks.classify.main, self.root / "t.csv", *TINY, *self.where, *argv)

    @property
    def where(self) -> tuple:
        return ("--cache-dir", self.root / "cache", "--device", "cpu")

    def folder(self, name: str) -> Path:
        return self.root / name


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    root = tmp_path_factory.mktemp("folds")
    found = Place(root, make_table(root / "t.csv", fresh_rng()), {})
    for name in INSTALLED:
        argv = ("--cross-validate", FOLDS, "--backend", name, "--out", found.folder(name))
        found.done[name] = found.call(*argv)
        assert found.done[name].code == 0, found.done[name].err
    if not found.done:
        pytest.skip("no framework is installed")
    return found


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def stop_after(steps: int):
    """What Ctrl-C after so many steps of all folds does."""
    calls = itertools.count(1)

    @contextlib.contextmanager
    def signals(processes=1):
        yield lambda: next(calls) >= steps

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.run.train.stop_signals", signals)
        yield


def table_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def figures(path: Path) -> dict:
    """The results, without what a clock decides."""
    tree = json.loads((path / "results.json").read_text())
    folds = [{name: value for name, value in own.items() if name not in CLOCKS} for own in tree["folds"]]
    return {name: value for name, value in {**tree, "folds": folds}.items() if name != "digest"}


@pytest.mark.parametrize("name", INSTALLED)
def test_every_text_has_one_prediction(place, name):
    folder = place.folder(name)
    rows = table_of(folder / "predictions.csv")
    kept = [number for number, (text, _) in enumerate(place.rows, 1) if text and number != 10]
    assert [int(row["row"]) for row in rows] == kept
    assert list(rows[0]) == ["row", "fold", "label", "predicted", *(f"p_{own}" for own in CLASSES)]
    own = {}
    for fold in range(1, FOLDS + 1):
        data = RunFolder.open(folder / f"fold-{fold}").read_record()[0].data
        assert (data.folds, data.fold) == (FOLDS, fold)
        for row in table_of(folder / f"fold-{fold}" / "predictions.csv"):
            own[row["id"].removeprefix("train/")] = (str(fold), row["predicted"], row[f"p_{CLASSES[0]}"])
    for row in rows:
        assert row["label"] == place.rows[int(row["row"]) - 1][1]
        assert (row["fold"], row["predicted"], row[f"p_{CLASSES[0]}"]) == own[row["row"]]


@pytest.mark.parametrize("name", INSTALLED)
def test_figures_are_those_of_the_folds(place, name):
    folder, found = place.folder(name), figures(place.folder(name))
    results = [RunFolder.open(folder / f"fold-{fold}").read_result() for fold in range(1, FOLDS + 1)]
    for own, values in {
        "accuracy": [own["test"]["accuracy"] for own in results],
        "macro_f1": [own["test"]["macro_f1"] for own in results],
        "baseline_accuracy": [own["baseline"]["test"]["accuracy"] for own in results],
        "largest_class_accuracy": [own["baseline"]["largest_class"]["test"]["accuracy"] for own in results],
    }.items():
        expected = {"mean": mean(values), "std": stdev(values), "min": min(values), "max": max(values)}
        assert found[own] == pytest.approx(expected)
    rows = table_of(folder / "predictions.csv")
    right = mean(row["label"] == row["predicted"] for row in rows)
    assert found["together"]["accuracy"] == pytest.approx(right) and found["texts"] == len(rows)
    matrix = np.array(found["together"]["confusion"])
    assert matrix.sum() == len(rows) and np.trace(matrix) == round(right * len(rows))
    only = [sum(own["baseline"]["mcnemar"][side] for own in results) for side in ("only_model", "only_baseline")]
    assert [found["mcnemar"]["only_model"], found["mcnemar"]["only_baseline"]] == only
    out = place.done[name].out
    text = f"accuracy {found['accuracy']['mean']:.4f} ± {found['accuracy']['std']:.4f} over {FOLDS} folds"
    assert text in out and out.count("backend ") == 1 and f"fold {FOLDS} of {FOLDS}: test accuracy" in out
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(len(INSTALLED) < 2, reason="compares two frameworks, and one is not installed")
def test_frameworks_agree(place):
    tables = [table_of(place.folder(name) / "predictions.csv") for name in INSTALLED]
    for first, second in zip(*tables, strict=True):
        assert all(first[name] == second[name] for name in ("row", "fold", "label", "predicted"))


@pytest.mark.parametrize("name", INSTALLED)
def test_suspicious_labels_are_sorted(place, name):
    rows = table_of(place.folder(name) / "labels.csv")
    assert len(rows) == figures(place.folder(name))["suspicious_labels"]
    predictions = {row["row"]: row for row in table_of(place.folder(name) / "predictions.csv")}
    margins = []
    for rank, row in enumerate(rows, 1):
        own = predictions[row["row"]]
        assert int(row["rank"]) == rank and row["label"] == own["label"] != row["suggested"] == own["predicted"]
        assert row["p_label"] == own[f"p_{row['label']}"] and row["p_suggested"] == own[f"p_{row['suggested']}"]
        assert row["text"] == place.rows[int(row["row"]) - 1][0]
        margins.append(float(row["p_label"]) - float(row["p_suggested"]))
    assert margins == sorted(margins)


def test_stopped_and_resumed_gives_the_same(place, rng, tmp_path):
    name = INSTALLED[int(rng.integers(len(INSTALLED)))]
    with stop_after(int(rng.integers(2, 36))):
        stopped = place.call("--cross-validate", FOLDS, "--backend", name, "--out", "run")
    assert stopped.code == 130 and "--resume run" in stopped.out and not Path("run/results.json").exists()
    assert stopped.out.count("Resume with") == 1
    listed = run_main(tasks.runs.main, ".")
    assert f"of {FOLDS} runs" in listed.out and "stopped" in listed.out, listed.out
    before = {path: own for path, own in contents(Path("run")).items() if (path.parent / "result.json").is_file()}
    resumed = run_main(tasks.classify.main, "--resume", "run", *place.where)
    assert resumed.code == 0, resumed.err
    assert figures(Path("run")) == figures(place.folder(name))
    for file in ("predictions.csv", "labels.csv"):
        assert (Path("run") / file).read_bytes() == (place.folder(name) / file).read_bytes()
    after = contents(Path("run"))
    assert all(after[path] == own for path, own in before.items() if path.name != ".lock")
    listed = run_main(tasks.runs.main, ".")
    assert f"finished, {FOLDS} of {FOLDS} runs" in listed.out
    check_refused(tasks.classify.main, "--resume", "run", says="run: all folds are finished", folder=tmp_path)


def test_a_fold_is_a_run(place):
    """It can be evaluated, and predicts."""
    run = place.folder(INSTALLED[0]) / "fold-2"
    done = run_main(tasks.classify.main, "evaluate", run, *place.where)
    assert done.code == 0 and "predictions match" in done.out, done.err
    assert run_main(tasks.classify.main, "predict", run, "a wonderful film").code == 0


def test_linear_model_finds_flipped_labels(place, rng):
    """A tenth of the labels is wrong. The model needs no framework; an unfinished fold is fitted again."""
    rows = make_table(Path("t.csv"), rng, 60)
    wrong = set(rng.choice(np.flatnonzero([text != "" for text, _ in rows]), len(rows) // 10, replace=False).tolist())
    told = {label: CLASSES[(number + 1) % 3] for number, label in enumerate(CLASSES)}
    with Path("t.csv").open("w", newline="", encoding="utf-8") as stream:
        changed = [(text, told[own] if number in wrong else own) for number, (text, own) in enumerate(rows)]
        csv.writer(stream).writerows([("text", "label"), *changed])
    argv = ("t.csv", "--encoder", "ngrams", "--tokenizer", "words", "--duplicates", "keep", *place.where[:2])
    done = run_main(tasks.classify.main, *argv, "--cross-validate", 2, "--out", "run")
    assert done.code == 0, done.err
    assert "n-grams alone" not in done.out and len(figures(Path("run"))["folds"]) == 2
    listed = {int(row["row"]) - 1 for row in table_of(Path("run/labels.csv"))}
    found = len(listed & wrong)
    assert found > 0.6 * len(wrong) and found > 0.6 * len(listed), (found, len(listed), len(wrong))
    before = {file: Path("run", file).read_bytes() for file in ("predictions.csv", "labels.csv")}
    for file in ("results.json", "predictions.csv", "fold-1/result.json"):
        Path("run", file).unlink()
    shutil.rmtree("run/fold-2")
    done = run_main(tasks.classify.main, "--resume", "run", "--cross-validate", 2, *place.where[:2])
    assert done.code == 0, done.err
    assert before == {file: Path("run", file).read_bytes() for file in before}


def test_refusals_leave_nothing(place, tmp_path):
    table = place.root / "t.csv"

    def refused(*argv: object, says: str, main=tasks.classify.main) -> None:
        check_refused(main, *argv, *place.where[:2], says=says, folder=tmp_path)

    folds = ("--cross-validate", FOLDS)
    refused(table, "--cross-validate", 1, says="--cross-validate 1: give at least 2 folds")
    refused(table, *folds, "--backend", "both", says="not with --backend both")
    refused(table, *folds, "--test", table, says="omit --test")
    refused(table, *folds, "--test-share", 0.2, "--train-limit", 9, says="omit --test-share, --train-limit")
    refused(table, "--cross-validate", 99, *TINY, says="--cross-validate 99: label 'bad' has 23 texts, expected at le")
    refused(table, *folds, "--out", place.folder(INSTALLED[0]), says="exists: give another --out")
    refused("--resume", place.folder(INSTALLED[0]) / "fold-1", *folds, says="no cross-validation, got --cross")
    refused("--resume", place.folder(INSTALLED[0]), "--cross-validate", 4, says="cross-validation of 3 folds, got")
    refused("--resume", place.folder(INSTALLED[0]), "--backend", "both", says="with one backend, got --backend both")
    refused("--resume", place.folder(INSTALLED[0]), says="all folds are finished; see")
    refused(*folds, main=tasks.tag.main, says="unrecognized arguments: --cross-validate")


def test_a_damaged_plan_is_refused(place, tmp_path):
    shutil.copytree(place.folder(INSTALLED[0]), "run")
    plan = json.loads(Path("run/plan.json").read_text())
    for changes in ({"folds": 4}, {"baseline": 1}, {"backend": None}):
        Path("run/plan.json").write_text(json.dumps({**plan, **changes, "digest": None}))
        check_refused(tasks.classify.main, "--resume", "run", says="not a plan of a cross-", folder=tmp_path)
