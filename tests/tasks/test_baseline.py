"""Simple models beside a run: what `result.json`, the terminal, `evaluate` and the comparison page show of them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import tasks.compare
import tasks.imdb
import tasks.run.baseline
from core.data.sources import imdb
from core.errors import UserError
from core.models.heads.scores import summarize
from core.models.ngrams import Ngrams
from core.spec.experiment import Experiment, replace
from core.statistics import mcnemar, wilson_interval
from core.train.run_folder import RunFolder
from tasks.run import both_frameworks
from tasks.run.present import pooled
from tasks.run.present.baselines import baseline_lines
from tests.conftest import fresh_rng, needs_both, run_main, stop_at
from tests.core.report.pages import read
from tests.finished_runs import EACH
from tests.run_files import edited

SHORT = ("--epochs", 1, "--batch-size", 16)


@pytest.fixture(scope="module", autouse=True)
def small_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", EACH)
        yield


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_result_of_a_run_has_them(finished_runs):
    run = finished_runs.any_run
    result, rows = RunFolder(run).read_result(), rows_of(run)
    test, baseline = result["test"], result["baseline"]
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert test["interval"] == list(wilson_interval(right, len(rows)))
    assert [own["count"] for own in test["per_class"]] == [EACH, EACH]
    assert baseline["name"] == "linear model of 1-3-grams of tokens"
    assert baseline["largest_class"]["test"]["accuracy"] == 0.5
    pair = baseline["mcnemar"]
    wins = round(len(rows) * (test["accuracy"] - baseline["test"]["accuracy"]))
    assert pair["only_model"] - pair["only_baseline"] == wins
    assert pair["p"] == mcnemar(pair["only_model"], pair["only_baseline"])
    # The telling words are in every review: a model that was not fitted would have half of the reviews right.
    assert baseline["test"]["accuracy"] > 0.9 and baseline["dev"]["accuracy"] > 0.7


def test_output_of_a_run_names_them(finished_runs):
    out = finished_runs.outputs[finished_runs.backend].out
    baseline = RunFolder(finished_runs.any_run).read_result()["baseline"]
    assert f"n-grams alone {baseline['test']['accuracy']:.4f} (dev" in out
    assert "95 % interval of the test accuracy: 0." in out and "most frequent class, " in out
    assert "\nclass     precision  recall  F1      count\nnegative  " in out


@needs_both
def test_both_frameworks_have_the_same_linear_model(finished_runs):
    one, other = (RunFolder(run).read_result()["baseline"] for run in finished_runs.runs.values())
    assert all(one[split] == other[split] for split in ("name", "dev", "test", "largest_class"))


def test_evaluate_prints_the_scores_of_the_classes(finished_runs):
    done = run_main(
        tasks.imdb.main, "evaluate", finished_runs.any_run, "--backend", "numpy", "--cache-dir", finished_runs.cache
    )
    assert done.code == 0, done.err
    assert "95 % interval of accuracy 0." in done.out and "\nnegative  " in done.out and f"  {EACH}\n" in done.out


@pytest.mark.slow
def test_a_resumed_run_has_them_and_no_baseline_omits_them(finished_runs, tmp_path):
    run = tmp_path / "run"
    with stop_at(2):
        finished_runs.train(*SHORT, "--out", run)
    assert not (run / "result.json").exists()
    done = run_main(tasks.imdb.main, "--resume", run, "--cache-dir", finished_runs.cache)
    assert done.code == 0 and "mcnemar" in RunFolder(run).read_result()["baseline"], done.err
    done = finished_runs.train(*SHORT, "--no-baseline", "--out", tmp_path / "without")
    assert done.code == 0 and "baseline" not in RunFolder(tmp_path / "without").read_result(), done.err
    assert "n-grams alone" not in done.out


@pytest.mark.slow
def test_a_failed_fit_is_a_note_and_costs_no_result(finished_runs, tmp_path, monkeypatch):
    def refuse(*_):
        raise UserError("no n-gram occurs in 2 training texts: lower model.ngrams.min_texts, or use more texts")

    monkeypatch.setattr(tasks.run.baseline, "linear_model", refuse)
    done = finished_runs.train(*SHORT, "--out", tmp_path / "run")
    assert done.code == 0 and "was not fitted: no n-gram occurs in 2 training texts" in done.err, done.err
    baseline = RunFolder(tmp_path / "run").read_result()["baseline"]
    assert "mcnemar" not in baseline and baseline["name"].startswith("most frequent class, ")


def test_older_results_open_and_damaged_ones_do_not(finished_runs, tmp_path):
    result = json.loads((finished_runs.any_run / "result.json").read_text(encoding="utf-8"))
    folder = RunFolder.create(tmp_path / "run")
    older = {name: own for name, own in result.items() if name not in ("baseline", "files")}
    older["test"] = {name: own for name, own in result["test"].items() if name not in ("interval", "per_class")}
    folder.write_result(older)
    assert "baseline" not in folder.read_result()
    folder.write_result({**result, "baseline": {**result["baseline"], "mcnemar": {"only_model": -1}}})
    with pytest.raises(UserError, match=r"damaged \(baseline.mcnemar"):
        folder.read_result()


def test_comparison_page_shows_them(finished_runs, tmp_path):
    copy = tmp_path / "older"
    copy.mkdir()
    for path in finished_runs.any_run.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with edited(copy / "result.json") as result:
        for name in ("interval", "per_class"):
            del result["test"][name]
        del result["baseline"], result["files"]
    out = tmp_path / "page.html"
    done = run_main(tasks.compare.main, finished_runs.any_run, copy, "--out", out, "--cache-dir", finished_runs.cache)
    assert done.code == 0, done.err
    page, result = read(out), RunFolder(finished_runs.any_run).read_result()
    (row,) = page.table("baselines")
    low, high = result["test"]["interval"]
    assert row["95 % interval"] == f"{low:.4f} to {high:.4f}"
    assert row["its test accuracy"] == f"{result['baseline']['test']['accuracy']:.4f}"
    assert row["only the run right"] == str(result["baseline"]["mcnemar"]["only_model"])
    classes = page.table("classes")
    assert [own["class"] for own in classes] == ["negative", "positive"] and classes[0]["texts"] == str(EACH)


PAIR = {"only_model": 312, "only_baseline": 897, "p": mcnemar(312, 897)}
LARGEST = {"name": "most frequent class, a", "dev": {"accuracy": 0.5}, "test": {"accuracy": 0.5}}


def result_with(linear: float, pair: dict) -> dict:
    own = {"name": "linear model", "dev": {"accuracy": 0.9}, "test": {"accuracy": linear}}
    return {"test": {"accuracy": 0.8934}, "baseline": {**own, "largest_class": LARGEST, "mcnemar": pair}}


def test_lines_say_what_to_do_if_the_linear_model_is_better():
    alone = Experiment()
    hybrid = replace(alone, {"model.ngrams": Ngrams().model_dump(mode="json")})
    lines = baseline_lines(result_with(0.9168, PAIR), alone)
    assert "n-grams alone 0.9168" in lines[0] and "312 texts only this model has right" in lines[0]
    assert lines[0].endswith("897 only the n-grams, p < 1e-9")
    assert "--encoder ngrams" in lines[1] and "--recipe hybrid" in lines[1]
    assert "is better here" in lines[1]
    unsure = baseline_lines(result_with(0.8935, {**PAIR, "p": 0.3}), alone)
    assert "is no worse here" in unsure[1] and unsure[0].endswith("p = 0.3")
    assert "--recipe hybrid" not in baseline_lines(result_with(0.9168, PAIR), hybrid)[1]
    worse = baseline_lines(result_with(0.85, {**PAIR, "p": 0.04}), alone)
    assert worse[0].endswith("p = 0.04") and worse[1:] == ["most frequent class, a: 0.5000"]
    assert baseline_lines({"test": {"accuracy": 0.5}}, alone) == []


def test_many_classes_are_shown_by_the_lowest_f1():
    """Names of Chinese characters are twice as wide as others; classes without test texts are omitted."""
    rng = fresh_rng()
    classes = [f"\u7c7b{n}" if n % 2 else f"class {n}" for n in range(20)]
    labels = np.concatenate([np.arange(19), rng.integers(0, 19, 400)])
    logits = rng.normal(size=(len(labels), 20)) + 3 * rng.random(20) * (np.arange(20) == labels[:, None])
    found, out = summarize(logits, labels), io.StringIO()
    with contextlib.redirect_stdout(out):
        pooled.breakdown(found, classes)
    head, *lines, last = out.getvalue().strip("\n").splitlines()
    f1 = {classes[n]: own["f1"] for n, own in enumerate(found.figures()["per_class"])}
    assert head.startswith("lowest F1") and last == "... and 7 more in result.json"
    shown = [next(name for name in sorted(classes, key=len, reverse=True) if line.startswith(name)) for line in lines]
    assert shown == sorted(classes[:19], key=lambda name: f1[name])[:12]
    wide = [sum(1 + (sign > "\u2e80") for sign in line[: line.rindex("  ")].rstrip()) for line in lines]
    assert len({width for width, line in zip(wide, lines, strict=True)}) == 1


def test_both_frameworks_are_told_to_omit_them(finished_runs, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(both_frameworks, "run_child", lambda program, argv: calls.append(argv) or (1, False))
    monkeypatch.setattr(both_frameworks, "_check_installed", lambda: None)
    for flags in ((), ("--no-baseline",)):
        finished_runs.train("--backend", "both", *flags, "--out", tmp_path / f"both{len(flags)}")
    assert [argv.count("--no-baseline") for argv in calls] == [0, 1]
