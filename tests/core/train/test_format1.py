"""Run folders of format 1, as the first version wrote them in each framework: they open, answer, and go on.

`format1/` holds a finished run and one stopped after 7 of 18 steps, in PyTorch (GRU) and in PaddlePaddle (LSTM), of the
60 texts beside them.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import backends
import tasks.classify
from core.spec.experiment import FORMAT_VERSION
from core.train.run_folder import RunFolder
from tests.conftest import loaded, run_main

FOLDER = Path(__file__).with_name("format1")
STEPS = 18


@pytest.fixture
def place(tmp_path) -> Path:
    """A copy of everything, with the records' path of the texts made that of the copy."""
    shutil.copytree(FOLDER, tmp_path / "old")
    for record in (tmp_path / "old").glob("*/experiment.json"):
        record.write_text(record.read_text().replace("/old/texts.csv", str(tmp_path / "old" / "texts.csv")))
    return tmp_path / "old"


def call(place: Path, *argv: object):
    return run_main(tasks.classify.main, *argv, "--cache-dir", place / "cache")


@pytest.mark.parametrize("name", backends.NAMES)
def test_finished_run_predicts_as_recorded(name, place):
    run = place / f"finished-{name}"
    with (run / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (place / "texts.csv").open() as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    chosen = [texts[int(row["id"].rpartition("/")[2]) - 1] for row in rows]
    done = run_main(tasks.classify.main, "predict", run, *chosen)
    assert done.code == 0, done.err
    for line, row in zip(done.out.splitlines(), rows, strict=True):
        label, probability, _ = line.split("\t")
        assert label == row["predicted"]
        assert float(probability) == pytest.approx(float(row[f"p_{label}"]), abs=6e-5)


@pytest.mark.parametrize("name", backends.NAMES)
@pytest.mark.parametrize("other", backends.NAMES)
def test_finished_run_is_evaluated_in_either_framework(name, other, place):
    loaded(other)
    done = call(place, "evaluate", place / f"finished-{name}", "--backend", other)
    assert done.code == 0, done.err
    assert "6 of 6 predictions match predictions.csv" in done.out


@pytest.mark.parametrize("name", backends.NAMES)
@pytest.mark.parametrize("other", backends.NAMES)
def test_stopped_run_resumes_in_either_framework(name, other, place):
    """To the losses of the run that was not stopped, and in today's format."""
    loaded(other)
    run = place / f"stopped-{name}"
    done = call(place, "--resume", run, "--backend", other)
    assert done.code == 0, done.err
    losses = [
        [line["loss"] for line in RunFolder.open(path).read_metrics() if line["split"] == "train"]
        for path in (run, place / f"finished-{name}")
    ]
    assert len(losses[0]) == len(losses[1]) == STEPS
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert json.loads((run / "experiment.json").read_text())["format"] == FORMAT_VERSION
