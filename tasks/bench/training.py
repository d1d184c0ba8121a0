"""Train the runs of a plan one after the other, each in its own process, and resume them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from core.checked_json import read_checked_json
from core.report.figures import duration
from core.train.run_folder import CHECKED_SINCE, PLAN, RunFolder
from core.train.run_lock import LOCK
from tasks.bench.plan import RESULT, SPECS, Job, Plan
from tasks.cli.commands import run_command
from tasks.cli.console import INTERRUPTED, console
from tasks.cli.paths import quoted
from tasks.cli.terminal import literal
from tasks.run.child import run_child


def train(plan: Plan, cache: Path) -> int:
    """Train or resume every unfinished run. Return 0, or the exit code of the run that ended the bench.

    Exit code 2 of the first run, before it created its folder, is that of rejected arguments or missing data.
    """
    jobs = list(plan.jobs())
    times = Times(jobs)
    for number, job in enumerate(jobs, start=1):
        if job.finished:
            continue
        left = times.remaining(jobs[number - 1 :])
        more = "" if left is None else f"; about {duration(left)} remaining"
        console.print(f"\n[bold]model {number} of {len(jobs)}[/]: {job.backend}, {job.model}, seed {job.seed}{more}")
        begun = time.perf_counter()
        code, stopped = run_child(plan.program, _arguments(plan, job, cache))
        times.add(job, time.perf_counter() - begun)
        if code == 0 and not stopped:
            continue
        if code == 2 and is_unused(plan.folder):
            return code  # the run has printed the reason
        console.print("stopped, all runs are kept. Resume with:")
        console.print(literal(f"  {run_command('tasks.bench', 'resume')} {quoted(plan.folder)}"))
        return INTERRUPTED if stopped else code if code > 0 else 1
    return 0


def is_unused(folder: Path) -> bool:
    """Return whether no run has created its folder."""
    return {path.name for path in folder.iterdir()} <= {PLAN, SPECS, LOCK}


def _arguments(plan: Plan, job: Job, cache: Path) -> list[str]:
    """Return the arguments that start or resume a run."""
    if job.resumable:
        first = ["--resume", str(job.path)]
    else:
        _remove_empty(job.path)
        first = ["--config", str(plan.spec(job.model)), "--seed", str(job.seed), "--out", str(job.path)]
    how = ["--backend", job.backend, "--device", plan.device, "--impl", plan.implementation]
    return [*first, *how, "--cache-dir", str(cache.absolute())]


def _remove_empty(path: Path) -> None:
    """Remove the folder of a run that was killed before it wrote its spec."""
    if path.is_dir() and RunFolder(path).is_empty:
        for own in path.iterdir():
            own.unlink()
        path.rmdir()


class Times:
    """Estimate the remaining time from finished runs: of the same model and backend, else of all."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._seconds: dict[tuple[str, str], list[float]] = {}
        for job in jobs:
            if job.finished:
                result = read_checked_json(job.path / RESULT, CHECKED_SINCE)
                self.add(job, float(result["training"]["seconds"]))

    def add(self, job: Job, seconds: float) -> None:
        self._seconds.setdefault((job.backend, job.model), []).append(seconds)

    def remaining(self, jobs: Sequence[Job]) -> float | None:
        """Return the expected seconds of the unfinished ones of `jobs`; None before any is finished."""
        if not self._seconds:
            return None
        every = mean(mean(own) for own in self._seconds.values())
        known = {key: mean(own) for key, own in self._seconds.items()}
        return sum(known.get((job.backend, job.model), every) for job in jobs if not job.finished)
