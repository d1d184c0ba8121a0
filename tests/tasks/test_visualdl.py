"""Log files for VisualDL: they hold what metrics.jsonl holds, with a folder for each segment of a resumed run."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import tasks.imdb
from core.data.sources import imdb as reviews
from core.train.run_folder import RunFolder
from tests.conftest import run_main, stop_at
from tests.finished_runs import EACH, FinishedRuns

needs_visualdl = pytest.mark.skipif(importlib.util.find_spec("visualdl") is None, reason="is not installed")


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    """Return every scalar by its tag, read by VisualDL's own reader."""
    from visualdl import LogReader

    (file,) = folder.glob("*.log")
    read = LogReader(file_path=str(file))
    tags = read.get_tags()["scalar"]
    return {tag: [(own.id, own.value) for own in read.get_data("scalar", tag)] for tag in tags}


@needs_visualdl
def test_log_files_equal_the_metrics_after_a_resume(finished_runs: FinishedRuns, tmp_path, monkeypatch):
    monkeypatch.setattr(reviews, "PER_CLASS", EACH)
    run, stopped = tmp_path / "run", 12
    with stop_at(stopped):
        done = finished_runs.train("--backend", finished_runs.backend, "--visualdl", "--out", run)
    assert done.code == 130 and f"visualdl --logdir {run / 'visualdl'}" in done.out, done.err
    done = run_main(tasks.imdb.main, "--resume", run, "--visualdl", "--cache-dir", finished_runs.cache)
    assert done.code == 0, done.err
    lines = RunFolder(run).read_metrics()
    names = ("from-step-0", f"from-step-{stopped}")
    assert {own.name for own in (run / "visualdl").iterdir()} == set(names)
    first, second = (scalars(run / "visualdl" / name) for name in names)
    for found in (first, second):
        assert set(found) == {"loss/train", "accuracy/train", "tokens_per_second", "loss/dev", "accuracy/dev"}
    for quantity in ("loss", "accuracy"):
        dev = [(line["step"], line[quantity]) for line in lines if line["split"] == "dev"]
        assert np.allclose(first[f"{quantity}/dev"] + second[f"{quantity}/dev"], dev, rtol=1e-6)
        steps = [step for step, _ in first[f"{quantity}/train"] + second[f"{quantity}/train"]]
        assert steps == sorted(set(steps)) and steps[-1] == lines[-1]["step"]
