"""The plan and the processes of `tasks.speed`: whose turn it is, what a worker does, and how it ends."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

import backends
import tasks.speed.__main__ as program
from backends import implementations
from core.benchmark.shapes import SHAPES
from core.errors import UserError
from core.models.encoders.recurrent import FRAMEWORK_CELLS
from tasks.cli.console import INTERRUPTED
from tasks.cli.recipes import recipe
from tasks.speed import measure
from tasks.speed.environments import ENVIRONMENTS, IMPLEMENTATIONS, SETTINGS, Environment, peak_environment, workers
from tasks.speed.measure import Measurement
from tasks.speed.worker import Worker
from tests.conftest import one_line

ROOT = Path(__file__).parents[2]
BARE = Environment("bare", None, "NumPy alone", variables={"MKL_DEBUG_CPU_TYPE": "5"})
PLAIN = Environment("plain", None, "as a user has it", plain=True)
needs_proc = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system tells nothing of processes")


def plan(argv: str = "") -> measure.Plan:
    return program._plan(program._parser().parse_args(argv.split()))[0]


def test_plans():
    full, quick = plan(), plan("--quick")
    assert full.shapes == quick.shapes == tuple(SHAPES.values())
    assert full.cells == FRAMEWORK_CELLS and quick.cells == ("lstm",)
    assert full.passes == (True, False) and quick.passes == (True,)
    assert full.recipes == ("default", "lstm", "textcnn", "textbook") and quick.recipes == ("lstm",)
    assert plan("--steps").shapes == () and plan("--layers").recipes == ()
    installed = ENVIRONMENTS[3]
    assert installed.plain and full.layers_in(installed) == ["builtin", "packed", "padded"]
    assert quick.layers_in(installed) == ["packed"] and plan("--steps").layers_in(installed) == []
    assert plan("--impl packed loop").recipes == ()
    assert plan("--recipe textcnn glove textcnn").recipes == ("textcnn", "glove")
    # What is asked for by name is timed.
    assert plan("--quick --impl padded").layers_in(installed) == ["padded"]
    for name in filter(backends.installed, backends.NAMES):
        assert {*implementations.IMPLEMENTATIONS, *backends.load(name).NATIVE} == {*IMPLEMENTATIONS}


class RecordedWorker:
    """Stands in for a worker: notes what it is asked, and answers at once."""

    pid, log = os.getpid(), []

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def ask(self, do: str, **arguments) -> dict:
        row = self.environment.name, arguments.get("implementation")
        self.log.append(SimpleNamespace(do=do, row=row, **arguments))
        seconds = 1e-3 if row[1] == "fast" else 20.0
        return {
            "seconds": seconds,
            "ran": "it",
            "flops_per_second": len(self.log),
            "tokens": 3,
            "flops": 1e9,
            "parts": {},
        }


def test_rounds_are_interleaved(monkeypatch):
    monkeypatch.setattr(implementations, "why_not_fast", lambda device: None)
    others = iter([0.05, 0.5, None] * 4)
    monkeypatch.setattr(measure, "OtherWork", lambda pids: SimpleNamespace(cores=lambda: next(others)))
    monkeypatch.setattr(measure, "PEAK_SECONDS", 1e-9)
    log = RecordedWorker.log
    ready = {one.name: RecordedWorker(one) for one in (peak_environment(), *ENVIRONMENTS[:2])}
    argv = "--shapes 2x5,1/1 3x6,5/7 --cells srn --passes inference --rounds 4 --dtype float64"
    measured = Measurement(replace(plan(argv), recipes=("textcnn",)), ready)
    stages = [*measured.time_layers(), *measured.time_steps(recipe("textcnn"), "file")]
    assert len(stages) == measured.plan.count == 2 * (1 + 4) + (1 + 4)
    names = [entry.row for entry in log if entry.do == "prepare"][:7]
    case = log[: 1 + [entry.do for entry in log].index("forget")]
    # The peak twice, which tells its cost.
    # Set up and warm all; a peak before and after every timing; slow rows sit two rounds out; then forget.
    one, all_seven = "p" + "tp", "p" + "tp" * 7
    assert "".join(entry.do[0] for entry in case) == "pp" + "p" * 7 + all_seven + one + all_seven + one + "f"
    turns = [entry for entry in case if entry.do == "time"]
    order = [entry.row for entry in turns]
    assert sorted(order[:7]) == sorted(order[8:15]) == sorted(set(names)) and order[:7] != order[8:15]
    assert order[7] == order[15] == ("torch", "fast") and not any(entry.training for entry in turns)
    assert {(entry.row[1] == "fast", entry.calls, entry.discard) for entry in turns} == {(True, 5, 5), (False, 1, 0)}
    assert {entry.dtype for entry in log if entry.do == "peak"} == {"float64"}
    assert {entry.layers["dtype"] for entry in log if entry.do == "prepare"} == {"float64"}
    assert sum(entry.do == "forget" for entry in log) == 2 * 2 + 1
    row, slow = measured.rows[:2]
    assert (row.ran, row.calls, row.discard, row.rounds, row.seconds.count) == ("it", 5, 5, 4, 4)
    assert [timing["round"] for timing in slow.timings] == [0, 2]
    assert all(timing["peak_after"] == timing["peak_before"] + 2 for timing in (*row.timings, *slow.timings))
    assert [(step.environment, step.implementation, step.seconds.count) for step in measured.steps] == [
        ("torch", "fast", 4),
        ("torch", "builtin", 4),
    ]
    first = [entry.do for entry in log].index("begin_steps")
    # The peak is measured before and after every step of both rows.
    assert "".join(entry.do[0] for entry in log[first - 2 :]) == "pp" + "bss" + "bs" + "pspsp" * 4 + "f"
    assert all(timing["peak_after"] > timing["peak_before"] for step in measured.steps for timing in step.timings)
    assert [entry.number for entry in log if entry.do == "step"] == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [entry["of"] for entry in measured.rounds] == [
        *["2x5,1/1, srn, inference"] * 4, *["3x6,5/7, srn, inference"] * 4, *["steps, textcnn"] * 4
    ]  # fmt: skip
    assert [entry["disturbed"] for entry in measured.rounds] == [False, True, False] * 4


def test_short_timings_share_a_measurement_of_the_peak():
    worker = RecordedWorker(peak_environment())
    measured = Measurement(plan("--layers"), {"peak": worker})
    first = measured._peak()
    assert measured._peak() == first
    measured.peak_ended -= 1.01 * measure.PEAK_SECONDS
    assert measured._peak() == first + 1


def test_nothing_redraws_the_bar_while_something_is_timed(monkeypatch):
    monkeypatch.setattr(program, "bar", lambda: Progress(console=Console(file=io.StringIO(), force_terminal=True)))
    before, threads = threading.active_count(), []  # a bar has one that redraws it
    program._show((threads.append(threading.active_count()) or "stage" for _ in range(2)), 2)
    assert threads == [before] * 2


def state_of(pid: int) -> str:
    """`T` of a stopped process, `Z` of one that ended and was not reaped, empty if there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def reaches(pid: int, *states: str) -> bool:
    return any(state_of(pid) in states or time.sleep(0.01) for _ in range(1000))


def test_a_worker_times_what_it_is_asked():
    calls, worker = [], Worker()

    def call(name: str, seconds: float):
        calls.append(name)
        time.sleep(seconds if len(calls) <= 2 else 0.0)

    worker.probes["loop"] = SimpleNamespace(train=lambda: call("train", 0.1), infer=lambda: call("infer", 0.1))
    assert worker.time("loop", False, calls=3, discard=2)["seconds"] < 0.03 and calls == ["infer"] * 5
    worker.time("loop", True, calls=1, discard=0)
    assert calls[5:] == ["train"] and worker.forget() == {} and not worker.probes


@needs_proc
def test_a_worker_process(monkeypatch):
    for name in ("OMP_NUM_THREADS", "GLIBC_TUNABLES", "MY_OWN"):
        monkeypatch.setenv(name, "7")
    with workers([BARE, PLAIN], 3) as ready:
        worker = ready["bare"]
        # Settings are those of the environment alone; all else is inherited.
        for one, settings in (("bare", {"MKL_DEBUG_CPU_TYPE=5", "OMP_NUM_THREADS=3"}), ("plain", set())):
            variables = Path(f"/proc/{ready[one].pid}/environ").read_text().split("\0")
            assert {"MY_OWN=7", *settings} == {line for line in variables if line.startswith(("MY_OWN", *SETTINGS))}
        assert worker.hello == {"versions": {"numpy": np.__version__}, "threads": 3}
        assert worker.ask("peak", dtype="float32")["flops_per_second"] > 1e8
        assert reaches(worker.pid, "T")  # it sleeps between its turns
        os.kill(worker.pid, signal.SIGINT)  # Ctrl-C is for the parent
        with pytest.raises(UserError) as error:
            worker.ask("peak", dtype="float31")
        assert "bare: TypeError: " in one_line(error) and "float31" in one_line(error)
        worker.ask("peak", dtype="float32")  # a worker survives its mistakes
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(UserError) as error:
            worker.ask("peak", dtype="float32")
        assert "worker of bare ended with signal 9 (SIGKILL): it printed nothing" in one_line(error)
    assert state_of(worker.pid) == ""


PARENT = """
import os
from tasks.speed.environments import Environment, workers
with workers([Environment("bare", None, "NumPy alone")], 1) as ready:
    print(ready["bare"].pid, flush=True)
    os.kill(os.getpid(), 9)
"""


@needs_proc
def test_no_worker_outlives_its_parent():
    """Stopped as it is, it cannot see that its parent is gone."""
    done = subprocess.run([sys.executable, "-c", PARENT], cwd=ROOT, capture_output=True, text=True)
    assert reaches(int(done.stdout), "Z", "")


@pytest.mark.slow
@needs_proc
def test_ctrl_c(tmp_path):
    """Exit code 130, one line, no process and no folder left."""
    argv = f"--backends {backends.first_installed()} --shapes 3x6,5/7 --rounds 10000 --layers --out {tmp_path}/out"
    command = [sys.executable, "-m", "tasks.speed", *argv.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes) as process:
        try:
            assert any(line.startswith("timing") for line in process.stdout)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            assert len(children) >= 2
            time.sleep(0.5)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == INTERRUPTED and err == "interrupted\n"
    assert not (tmp_path / "out").exists() and not any(Path(f"/proc/{child}").exists() for child in children)
