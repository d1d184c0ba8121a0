"""The list of runs: their states, figures and order, from JSON files alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import core.weights.array_file
from core.errors import UserError
from core.report.run_list import DAMAGED, FINISHED, RUNNING, STOPPED, list_runs, newest, task_of
from core.train.run_folder import RunFolder
from core.train.run_lock import held
from core.weights.array_file import read_arrays, read_state
from tests.run_files import edited


def copy(run: Path, to: Path, started: str) -> Path:
    """Copy a run with another start."""
    shutil.copytree(run, to)
    with edited(to / "experiment.json") as tree:
        tree["execution"]["started"] = started
    return to


def stopped(run: Path, to: Path, started: str) -> Path:
    copy(run, to, started)
    (to / "result.json").unlink()
    return to


@pytest.fixture
def runs(finished_runs, tmp_path):
    """A folder of runs in every state, and of what is no run."""
    folder, run = tmp_path / "runs", finished_runs.any_run
    copy(run, folder / "old", "2026-01-02T03:04:05+00:00")
    copy(run, folder / "new", "2026-03-01T01:00:00+02:00")  # before the next one, in UTC
    stopped(run, folder / "stopped", "2026-02-28T23:30:00+00:00")
    stopped(run, folder / "running", "2026-02-01T00:00:00+00:00")
    stopped(run, folder / "begun", "2026-01-03T00:00:00+00:00").joinpath("last.safetensors").unlink()
    copy(run, folder / "damaged", "2026-02-01T00:00:00+00:00")
    with edited(folder / "damaged" / "result.json", checked=True) as tree:
        tree["test"]["accuracy"] = 0.123
    for name, seconds in (("damaged", 1_700_000_000), ("cut", 1_600_000_000), ("header", 1_500_000_000)):
        if name != "damaged":
            stopped(run, folder / name, "2026-02-01T00:00:00+00:00")
        if name == "cut":
            (folder / name / "experiment.json").write_bytes((run / "experiment.json").read_bytes()[:99])
        if name == "header":
            (folder / name / "last.safetensors").write_bytes(b"\x10" * 20)
        os.utime(folder / name / "experiment.json", (seconds, seconds))
    (folder / "empty").mkdir()
    (folder / "parity").mkdir()
    (folder / "parity" / "report.json").write_text("{}")
    (folder / "notes.txt").write_text("no folder")
    return folder


def test_runs_are_listed_newest_first_with_their_state_and_figures(runs, finished_runs):
    with held(runs / "running"):
        found = list_runs(runs)
    times = [own.started for own in found]
    assert times == sorted(times, reverse=True)
    by_name = {own.path.name: own for own in found}
    assert list(by_name) == ["stopped", "new", "running", "begun", "old", "damaged", "cut", "header"]
    run = RunFolder(finished_runs.any_run)
    (experiment, _), result = run.read_record(), run.read_result()
    _, _, state = run.read_last(experiment.model)
    shown = {name: (own.state, own.step) for name, own in by_name.items()}
    assert shown == {
        "stopped": (STOPPED, state.step),
        "new": (FINISHED, None),
        "running": (RUNNING, state.step),
        "begun": (STOPPED, None),
        "old": (FINISHED, None),
        **dict.fromkeys(("damaged", "cut", "header"), (DAMAGED, None)),
    }
    old = by_name["old"]
    assert (old.task, old.recipe, old.backend) == ("imdb", "lstm", finished_runs.backend)
    assert (old.figure, old.dev, old.test) == ("accuracy", result["dev"]["accuracy"], result["test"]["accuracy"])
    for name, says in (("damaged", "result.json: changed since"), ("cut", "not JSON"), ("header", "last.safetensors")):
        assert str(runs / name) in by_name[name].problem and says in by_name[name].problem


def test_no_arrays_are_read(runs, monkeypatch):
    """Half of a checkpoint's arrays may be missing: its header tells the step."""
    path = runs / "stopped" / "last.safetensors"
    _, wanted = read_arrays(path)
    monkeypatch.setattr(core.weights.array_file, "array_digest", lambda *_: pytest.fail("reads arrays"))
    assert read_state(path) == wanted
    with pytest.raises(UserError, match="damaged or not a checkpoint"):
        read_state(runs / "header" / "last.safetensors")
    assert len(list_runs(runs)) == 8


def test_newest_goes_by_the_record(runs):
    for name in ("old", "new"):  # the times of files say the opposite
        seconds = {"old": 2_000_000_000, "new": 1_000_000_000}[name]
        os.utime(runs / name / "experiment.json", (seconds, seconds))
    (runs / "damaged" / "result.json").unlink()
    assert newest(runs, lambda task: task == "imdb") == runs / "new"
    assert newest(runs, lambda task: task == "tag") is None
    assert newest(runs, lambda task: True, finished=False) == runs / "stopped"
    shutil.rmtree(runs / "stopped")
    with held(runs / "running"), held(runs / "damaged"):
        assert newest(runs, lambda task: True, finished=False) == runs / "header"


def test_main_figures_are_those_of_the_head(runs):
    for figure, digits in (("f1", 0.25), ("perplexity", 99.5), ("exact_match", 0.75)):
        with edited(runs / "new" / "result.json") as tree:
            tree["test"][figure], tree["dev"][figure] = digits, digits / 2
        own = next(own for own in list_runs(runs) if own.path.name == "new")
        assert (own.figure, own.dev, own.test) == (figure, digits / 2, digits)


def test_folders_of_several_runs_hold_theirs(finished_runs, tmp_path):
    both, bench, sums = (tmp_path / name for name in ("both", "bench", "sums"))
    copy(finished_runs.any_run, both / "paddle", "2026-01-01T00:00:00+00:00")
    stopped(finished_runs.any_run, both / "torch", "2026-01-01T01:00:00+00:00")
    copy(finished_runs.any_run, bench / "torch" / "gru-seed0", "2026-01-01T00:00:00+00:00")
    sums.mkdir()
    plans = {
        both: {"kind": "both", "program": "tasks.imdb"},
        bench: {"kind": "bench", "models": ["gru", "bow"], "seeds": [0, 1, 2], "backends": ["torch"]},
        sums: {"lengths": [10], "backend": "torch"},
    }
    for number, (path, plan) in enumerate(plans.items()):
        (path / "plan.json").write_text(json.dumps({"format": 2, **plan}), encoding="utf-8")
        os.utime(path / "plan.json", (1_700_000_000 - number, 1_700_000_000 - number))
    (sums / "results.json").write_text("{}")
    found = [(str(own.path.relative_to(tmp_path)), own.task, own.state, own.runs) for own in list_runs(tmp_path)]
    assert found == [
        ("both", "imdb", STOPPED, (1, 2)),
        ("both/paddle", "imdb", FINISHED, None),
        ("both/torch", "imdb", STOPPED, None),
        ("bench", "bench", STOPPED, (1, 6)),
        ("bench/torch/gru-seed0", "imdb", FINISHED, None),
        ("sums", "digit_sum", FINISHED, None),
    ]
    assert [task_of(path) for path in plans] == ["imdb", "bench", "digit_sum"]
    assert newest(tmp_path, lambda task: True, finished=False) == both
    (both / "plan.json").write_text("[]")
    assert [own.state for own in list_runs(tmp_path) if own.path == both] == [DAMAGED]
    with pytest.raises(UserError, match="not a JSON object"):
        task_of(both)


def test_one_run_is_listed_by_its_folder_and_a_missing_folder_is_refused(finished_runs, tmp_path):
    assert [own.path for own in list_runs(finished_runs.any_run)] == [finished_runs.any_run]
    with pytest.raises(UserError, match="cannot be read"):
        list_runs(tmp_path / "missing")
