"""The program that writes the page of a finished run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import tasks.report
from core.train.run_folder import RunFolder
from tests.conftest import ROOT, check_refused, run_main
from tests.core.report.pages import Page, fits, read, stands_alone
from tests.finished_runs import HOSTILE, FinishedRuns

OLD = ROOT / "tests/core/train/format1/finished-torch"


@pytest.fixture
def copied(finished_runs: FinishedRuns, tmp_path) -> Path:
    return Path(shutil.copytree(finished_runs.any_run, tmp_path / "run"))


def test_page_of_a_finished_run(copied, finished_runs, tmp_path):
    done = run_main(tasks.report.main, copied, "--cache-dir", finished_runs.cache)
    assert done.code == 0 and done.out == f"page     {copied / 'report.html'}\n", done.out + done.err
    found = read(copied / "report.html")
    stands_alone(found)
    assert len(found.content) < 1_000_000
    result = RunFolder(copied).read_result()
    test, record = result["test"], json.loads((copied / "experiment.json").read_text())["execution"]
    assert f"Test accuracy {test['accuracy']:.4f}" in found.text
    assert found.table("figures")[1]["accuracy"] == f"{test['accuracy']:.4f}"
    (_, matrix), *_ = [(name, rows) for name, rows in found.tables if rows[0] and rows[0][0] == "true \\ predicted"]
    assert [[int(cell) for cell in row[1:]] for row in matrix[1:]] == test["confusion"]
    assert [row["texts"] for row in found.table("splits")] == [
        f"{record['data'][split]['documents']:,}" for split in ("train", "dev", "test")
    ]
    assert "Mean decrease of a class" in found.text and "over 48 of 48 test texts" in found.text
    assert "Not on this page" not in found.text
    assert f"predict {copied}" in found.text
    # The page in the run folder is derived from it, and written anew; any other file is not.
    (copied / "report.html").write_text("old")
    assert run_main(tasks.report.main, copied, "--no-words").code == 0
    again = read(copied / "report.html")
    assert "Words that matter" not in again.text and "Scope and limits" in again.text
    out = tmp_path / "card.html"
    assert run_main(tasks.report.main, copied, "--no-words", "--out", out).code == 0
    check_refused(tasks.report.main, copied, "--out", out, says="exists; give another --out", folder=tmp_path)


def test_misclassified_texts_are_escaped(copied):
    rows = [("test/neg/3_2", "negative", "positive", "0.750000", HOSTILE)]
    RunFolder(copied).write_mistakes(rows)
    assert run_main(tasks.report.main, copied, "--no-words").code == 0
    found = read(copied / "report.html")
    stands_alone(found)
    assert HOSTILE in found.text and "0.7500" in found.text


def test_what_a_run_lacks_is_named(copied, tmp_path):
    (copied / "mistakes.csv").unlink()
    (copied / "metrics.jsonl").unlink()
    record = json.loads((copied / "experiment.json").read_text())
    record["experiment"]["data"]["source"], record["digest"] = str(tmp_path / "gone.tar.gz"), None
    (copied / "experiment.json").write_text(json.dumps(record))
    done = run_main(tasks.report.main, copied, "--cache-dir", tmp_path / "cache")
    assert done.code == 0 and "note: the page has no words that matter: " in done.err
    text = read(copied / "report.html").text
    for reason in ("Misclassified texts: mistakes.csv is missing.", "no curves are shown.", "Words that matter: "):
        assert reason in text.partition("Not on this page")[2], reason
    assert "Training curves" not in text


def test_page_of_a_run_of_an_old_version(tmp_path):
    run = Path(shutil.copytree(OLD, tmp_path / "old"))
    assert run_main(tasks.report.main, run).code == 0
    text = read(run / "report.html").text
    assert "on 6 held-out texts" in text and "Calibration: result.json has no entry" in text


def test_only_finished_runs_have_a_page(copied, tmp_path):
    check_refused(tasks.report.main, tmp_path / "none", says="no such run folder", folder=tmp_path)
    (copied / "result.json").unlink()
    check_refused(tasks.report.main, copied, says="this run is not finished", folder=tmp_path)
    check_refused(tasks.report.main, tmp_path, says="it contains runs: choose them", folder=tmp_path)


def test_training_names_the_command(finished_runs):
    run = finished_runs.any_run
    assert f"python -m tasks.report {run}" in finished_runs.outputs[finished_runs.backend].out


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_the_window(copied, tmp_path, width):
    assert run_main(tasks.report.main, copied, "--no-words").code == 0
    fits(Page((copied / "report.html").read_text(encoding="utf-8")), width, tmp_path)
