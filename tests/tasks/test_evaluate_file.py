"""`evaluate RUN --file`: figures of a run on labeled texts that it has never seen."""

from __future__ import annotations

import csv
import re

import pytest

import tasks.classify
from tests.conftest import check_refused, fresh_rng, run_main

CLASSES = ("bad", "good")


def write(path, rows, columns=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A linear run, which needs no framework. No test changes it."""
    root, rng = tmp_path_factory.mktemp("evaluate"), fresh_rng()
    rows = [
        (f"a {['dull', 'fine'][number % 2]} film {rng.integers(10**6)}", CLASSES[number % 2]) for number in range(80)
    ]
    path = root / "run"
    argv = (write(root / "train.csv", rows), "--encoder", "ngrams", "--cache-dir", root / "cache", "--out", path)
    done = run_main(tasks.classify.main, *argv, "--text-column", "text", "--label-column", "label")
    assert done.code == 0, done.err
    return path


def evaluated(run, *argv):
    return run_main(tasks.classify.main, "evaluate", run, *argv)


def test_figures_and_mistakes(run, tmp_path):
    """Of five texts, one has the other label, one no label and one no tokens."""
    rows = [("a dull one", "bad"), ("fine", "good"), ("so fine, so fine", "bad"), ("dull", ""), (" ", "good")]
    done = evaluated(run, "--file", write(tmp_path / "new.csv", rows), "--out", tmp_path / "mistakes.csv")
    out = " ".join(done.out.split())
    assert done.code == 0, done.err
    assert "accuracy 0.6667" in out and "(3 texts, numpy on cpu)" in out
    assert re.search(r"bad 1\.0000 0\.5000 0\.6667 2 ", out), out
    assert "row 3 true: bad, predicted: good" in out
    assert "1 rows without a label, 1 texts without tokens" in " ".join(done.err.split())
    with (tmp_path / "mistakes.csv").open(encoding="utf-8-sig", newline="") as stream:
        (mistake,) = csv.DictReader(stream)
    assert (mistake["id"], mistake["label"], mistake["predicted"]) == ("row 3", "bad", "good")
    assert mistake["text"] == "so fine, so fine"


def test_other_columns(run, tmp_path):
    file = write(tmp_path / "new.csv", [("good", "a fine film")], ("stars", "review"))
    done = evaluated(run, "--file", file, "--text-column", "review", "--label-column", "stars")
    assert done.code == 0 and "accuracy 1.0000" in done.out and "no mistakes" in done.out, done.err


def test_refused(run, tmp_path):
    file, main = write(tmp_path / "new.csv", [("fine", "excellent")]), tasks.classify.main
    says = "new.csv: row 1: label 'excellent' is no class of the run (bad, good): correct it"
    check_refused(main, "evaluate", run, "--file", file, says=says, folder=run)
    check_refused(main, "evaluate", run, "--label-column", "x", says="applies to --file", folder=run)
    check_refused(main, "evaluate", run, "--file", file, "--split", "dev", says="omit --split", folder=run)
    check_refused(main, "evaluate", run, "--file", file, "--data", file, says="omit --data", folder=run)
    check_refused(main, "evaluate", run, "--file", file, "--out", file, says="exists already", folder=run)
    empty = write(tmp_path / "empty.csv", [(" ", "good")])
    check_refused(main, "evaluate", run, "--file", empty, says="no labeled text with tokens", folder=run)
