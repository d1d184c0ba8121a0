"""Runs that were killed, started twice, or whose files are damaged: what `--resume` makes of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import tasks.digit_sum
import tasks.imdb
from core.data.sources import imdb
from core.plots import curves
from core.train import run_lock
from core.train.run_folder import RunFolder
from tasks.run import train as train_program
from tests.conftest import Done, check_refused, fresh_rng, run_main, stop_at
from tests.finished_runs import EACH
from tests.run_files import edited

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def small_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", EACH)
        yield


@pytest.fixture(scope="module")
def place(finished_runs, small_data):
    return finished_runs


@pytest.fixture(scope="module")
def stopped_run(place, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stopped") / "run"
    with stop_at(8):
        assert place.train("--backend", place.backend, "--out", path).code == 130
    return path


@pytest.fixture
def run(stopped_run, tmp_path) -> Path:
    """A copy of a stopped run."""
    return Path(shutil.copytree(stopped_run, tmp_path / "run"))


def resume(place, run: Path) -> Done:
    return run_main(tasks.imdb.main, "--resume", run, "--cache-dir", place.cache, "--device", "cpu")


def losses(run: Path) -> list[tuple[str, int, float]]:
    return [(line["split"], line["step"], line["loss"]) for line in RunFolder.open(run).read_metrics()]


@pytest.mark.parametrize("left", [{"experiment.json"}, {"experiment.json", "vocab.json"}])
def test_a_run_killed_before_its_first_checkpoint_starts_from_step_0(place, run, left):
    """As if it had never been killed."""
    for path in run.iterdir():
        if path.name not in left:
            path.unlink()
    (run / ".last.safetensors.x.tmp").write_bytes(b"half")
    (run / ".lock").write_text("process 1 on gone\n")
    done = resume(place, run)
    assert done.code == 0 and "from step" not in done.out, done.out + done.err
    assert losses(run) == losses(place.any_run)
    for name in ("best.safetensors", "vocab.json", "predictions.csv", "mistakes.csv"):
        assert (run / name).read_bytes() == (place.any_run / name).read_bytes(), name
    assert {path.name for path in run.iterdir()} == {path.name for path in place.any_run.iterdir()}
    assert len(RunFolder.open(run).read_record()[1]["segments"]) == 1


def test_a_lost_checkpoint_is_not_a_run_to_start_again(place, run):
    (run / "last.safetensors").unlink()
    done = resume(place, run)
    assert done.code == 2 and "last.safetensors is missing" in done.err and losses(run)


def test_a_folder_without_a_spec_is_named_with_the_line_that_removes_it(place, tmp_path):
    dead = tmp_path / "a dead run"
    dead.mkdir()
    (dead / ".experiment.json.x.tmp").touch()
    for option in ("--resume", "--out"):
        check_refused(tasks.imdb.main, option, dead, says=(f"rm -r '{dead}'", "holds no run"), folder=tmp_path)
    (dead / ".git").mkdir()  # not of a run: no message advises to remove it
    for option, says in (("--resume", "experiment.json is missing"), ("--out", "exists: give another")):
        check_refused(tasks.imdb.main, option, dead, says=says, folder=tmp_path)


def test_a_run_is_resumed_by_one_process(place, run, tmp_path):
    """The other one is told in a line, and changes nothing; readers are not kept out."""
    with run_lock.held(run):
        says = ("in use by process", str(os.getpid()), "wait until it ends")
        check_refused(tasks.imdb.main, "--resume", run, "--cache-dir", place.cache, says=says, folder=tmp_path)
        assert run_main(tasks.imdb.main, "predict", run, "a fine film").code == 0
    assert resume(place, run).code == 0
    assert losses(run) == losses(place.any_run)


def test_a_checkpoint_after_the_last_step_is_refused(place, run, tmp_path):
    folder = RunFolder.open(run)
    parameters, moments, state = folder.read_last(folder.read_record()[0].model)
    state.step = 10**6
    folder.write_last(parameters, moments, state)
    says = ("last.safetensors: damaged, got step 1000000, expected at most 30",)
    check_refused(tasks.imdb.main, "--resume", run, "--cache-dir", place.cache, says=says, folder=tmp_path)


@pytest.mark.parametrize("damage", ["no split", "one byte", "missing"])
def test_damaged_metrics_cost_neither_lines_nor_the_result(place, run, damage):
    """Those of the steps after the damaged line stay, and the run comes to its end."""
    path, whole = run / "metrics.jsonl", losses(place.any_run)
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "no split":
        lines[2] = lines[2].replace(b'"split"', b'"spilt"')
    elif damage == "one byte":
        lines[2] = b"\xff" + lines[2][1:]
    path.write_bytes(b"".join(lines))
    if damage == "missing":
        path.unlink()
    done = resume(place, run)
    assert done.code == 0 and "metrics.jsonl: " in done.err, done.out + done.err
    kept = losses(run)
    if damage == "missing":
        assert "missing" in done.err and kept == whole[-len(kept) :] and kept[0][1] == 9
    else:
        assert "line 3 is damaged" in done.err and kept == whole[:2] + whole[3:]
        assert (run / "metrics-damaged-1.jsonl").read_bytes() == b"".join(lines)
    assert (run / "result.json").is_file() and (run / "curves.png").is_file()


def test_a_picture_that_fails_costs_no_result(place, run, monkeypatch):
    def fails(*_, **__):
        raise KeyError("split")

    monkeypatch.setattr(train_program, "draw_curves", fails)
    done = resume(place, run)
    assert done.code == 0 and "note: curves.png was not drawn (KeyError: 'split')" in done.err
    assert RunFolder.open(run).read_result()["test"] == json.loads((place.any_run / "result.json").read_text())["test"]
    assert callable(curves.draw_curves)


@contextlib.contextmanager
def hang_up_at(step: int):
    """Send HUP to this process after so many steps."""
    real = train_program.stop_signals

    @contextlib.contextmanager
    def signals(processes):
        calls = itertools.count(1)
        with real(processes) as asked:

            def should_stop() -> bool:
                if next(calls) == step:
                    os.kill(os.getpid(), signal.SIGHUP)
                return asked()

            yield should_stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_program, "stop_signals", signals)
        yield


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs HUP")
def test_a_closed_terminal_stops_a_run_with_a_checkpoint(place, tmp_path):
    before = signal.getsignal(signal.SIGHUP)
    with hang_up_at(5):
        done = place.train("--backend", place.backend, "--out", tmp_path / "run")
    assert done.code == 130 and "checkpoint saved" in done.out and signal.getsignal(signal.SIGHUP) is before
    folder = RunFolder.open(tmp_path / "run")
    assert folder.read_last(folder.read_record()[0].model)[2].step >= 5


def test_nohup_is_respected(place, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with hang_up_at(5):
            assert place.train("--backend", place.backend, "--out", tmp_path / "run").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


KILLED = """
import os, signal, sys
from core.train.ensemble_folder import EnsembleFolder
write = EnsembleFolder.append_metrics
def append(folder, lines):
    write(folder, lines)
    if lines[0]["step"] >= int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
EnsembleFolder.append_metrics = append
from tasks.digit_sum import main
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_models_killed_before_their_first_checkpoint_have_their_metrics_once(place, tmp_path):
    options = ["--cell", "srn", "--lengths", "5", "--seeds", "0", "1", "--epochs", "8", "--backend", place.backend]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert run_main(tasks.digit_sum.main, *options, "--out", whole).code == 0
    at = int(fresh_rng().integers(1, 8 * 300 // 32))
    process = [sys.executable, "-c", KILLED, str(at), *options, "--out", str(run)]
    killed = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (run / "srn" / "last.safetensors").exists() and losses(run / "srn")
    done = run_main(tasks.digit_sum.main, "--resume", run)
    assert done.code == 0, done.err
    assert losses(run / "srn") == losses(whole / "srn")
    for name in ("L5-seed0", "L5-seed1"):
        assert losses(run / "srn" / name) == losses(whole / "srn" / name)


def test_a_record_may_be_edited_on_purpose(place, run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with edited(run / "experiment.json") as tree:
            tree["experiment"]["recipe"] = "mine"
        assert resume(place, run).code == 0
    assert RunFolder.open(run).read_record()[0].recipe == "mine"
