"""Train one plan with each backend in turn and write the comparison: `--backend both`.

Each backend trains in a separate process, so that time and memory are measured separately. The folder holds the plan, a
run folder per backend, and the report:

    runs/imdb-both-DATE-TIME/plan.json, paddle/, torch/, report.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import backends
from backends import launchers
from core.checked_json import read_checked_json, write_checked_json
from core.errors import UserError
from core.spec.experiment import FORMAT_VERSION, Experiment, parse_experiment
from core.train.run_folder import CHECKED_SINCE, PLAN, RECORD, RunFolder
from core.train.run_lock import LOCK, held
from tasks.cli.commands import program_command, run_command
from tasks.cli.console import INTERRUPTED, console
from tasks.cli.paths import new_name, quoted
from tasks.cli.terminal import literal
from tasks.run.child import run_child
from tasks.run.report import write_report
from tasks.run.task import Task
from tasks.run.train import TrainOptions, check_task
from tasks.run.worker import Request

BOTH = "both"
"""Value of `--backend` that selects both."""
BACKEND_HELP = f"{', '.join(backends.NAMES)}, or {BOTH} (trains and compares) [first installed]"
"""Help text of `--backend` in the programs that train."""
REPORT = "report.html"


@dataclass(frozen=True)
class Work:
    """Describe a program that trains with each backend."""

    program: str
    """Module of the program."""
    start_arguments: Callable[[Path], list[str]]
    """Returns the arguments that start the plan at a path; backend, device and folder follow them."""
    report: Callable[[list[Path], list[str], Path], None]
    """Writes the page that compares these runs, with these labels, to a path."""
    result: str = "result.json"
    """File that marks a run as finished."""
    record: str | None = RECORD
    """File that resuming a started run needs; None if runs cannot be resumed."""
    options: tuple[str, ...] = ()
    """Arguments passed both on start and on resume."""

    def finished(self, run: Path) -> bool:
        return (run / self.result).is_file()

    def not_resumable(self, run: Path) -> bool:
        """Return whether a run was started, but is neither finished nor resumable."""
        started = run.exists() and not self.finished(run)
        return started and (self.record is None or not (run / self.record).is_file())


def is_both(run: str) -> bool:
    """Return whether `start` created a folder."""
    path = Path(run) / PLAN
    return path.is_file() and read_checked_json(path, CHECKED_SINCE).get("kind") == BOTH


def start(task: Task, experiment: Experiment, options: TrainOptions) -> int:
    """Train a text task with each backend and write the report. Return the exit code."""
    plan = {"experiment": experiment.model_dump(mode="json")}
    return _start(_on_texts(task, options), experiment.task, plan, options.request, options.out)


def resume(task: Task, run: str, options: TrainOptions) -> int:
    """Resume a run that `start` created. Return the exit code."""

    def check(plan: dict, where: str) -> None:
        if "program" in plan:
            check_program(plan, task.program, run)
        check_task(task, parse_experiment(plan.get("experiment"), where), run)

    return _resume(_on_texts(task, options), check, run, options.request)


def _on_texts(task: Task, options: TrainOptions) -> Work:
    cache = options.cache
    flags = ["--cache-dir", str(cache.absolute())]
    flags += [f"--{name}" for name in options.logs] + ["--no-baseline"] * (not options.baseline)
    return Work(
        task.program,
        lambda plan: ["--config", str(plan)],
        lambda paths, labels, out: write_report(paths, labels, out, cache),
        options=tuple(flags),
    )


def start_with_options(work: Work, name: str, argv: list[str], request: Request, out: str | None) -> int:
    """Train with each backend by repeating `argv`; the last value of a repeated option counts."""
    return _start(work, name, {"program": work.program, "options": argv}, request, out)


def resume_with_options(work: Work, run: str, request: Request) -> int:
    """Resume a run that `start_with_options` created. Return the exit code."""

    def check(plan: dict, where: str) -> None:
        check_program(plan, work.program, run)
        read_options(Path(where))

    return _resume(work, check, run, request)


def check_program(plan: dict, program: str, run: str) -> None:
    """Raise UserError for the plan of another program."""
    own = plan.get("program")
    if own != program:
        task = plan["experiment"].get("task") if isinstance(plan.get("experiment"), dict) else None
        other = own or f"tasks.{task}"
        raise UserError(f"{run}: run of program {other}, expected {program}: use {program_command(other)}")


def read_options(path: Path) -> list[str]:
    """Return the options in a plan. Raises UserError if they are missing or invalid."""
    options = read_checked_json(path, CHECKED_SINCE).get("options")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise UserError(f"{path}: no valid options, the file is damaged: start a new run")
    return options


def _start(work: Work, name: str, plan: dict, request: Request, out: str | None) -> int:
    """Train with each backend and write the report. Return the exit code."""
    _check_installed()
    path = Path(out) if out else new_name(Path("runs"), f"{name}-{BOTH}")
    made = [own for own in (path, *path.parents) if not own.exists()]
    folder = RunFolder.create(path)
    how = {"format": FORMAT_VERSION, "kind": BOTH, "device": request.device, "implementation": request.implementation}
    write_checked_json(path / PLAN, {**how, **plan})
    with held(path):
        code = _run(work, folder, request)
    if code == 2 and _is_empty(path):
        # The arguments were rejected before training: leave no folder behind.
        for name in (PLAN, LOCK):
            (path / name).unlink(missing_ok=True)
        for own in made:
            if not any(own.iterdir()):
                own.rmdir()
    return code


def _resume(work: Work, check: Callable[[dict, str], None], run: str, request: Request) -> int:
    """Resume the unfinished runs and write the report. Return the exit code.

    The device is the plan's unless another than `auto` is given. `check(plan, where)` raises UserError for the plan
    of another program.
    """
    if request.backend not in (None, BOTH):
        raise UserError(f"{run}: run of both backends, got --backend {request.backend}: omit it")
    folder = RunFolder.open(Path(run))
    plan = read_checked_json(folder.file(PLAN), CHECKED_SINCE)
    check(plan, str(folder.path / PLAN))
    report, finished = folder.path / REPORT, all(work.finished(folder.path / name) for name in backends.NAMES)
    if report.exists():
        what = "run is already finished; see the report" if finished else "a run is unfinished; first remove"
        raise UserError(f"{run}: {what} {report}")
    for own in (folder.path / name for name in backends.NAMES):
        if work.not_resumable(own):
            what = "cannot be resumed" if work.record is None else "ended before its spec was written"
            raise UserError(f"{own}: {what}: remove it with rm -r {quoted(own)}")
    _check_installed()
    device, implementation = request.device, request.implementation
    if device == "auto":
        device = plan.get("device", "auto")
    if implementation == "auto":
        implementation = plan.get("implementation", "auto")
    with held(folder.path):
        return _run(work, folder, Request(request.backend, device, implementation))


def _check_installed() -> None:
    launchers.require_single_process(f"--backend {BOTH}")
    for name in backends.NAMES:
        if not backends.installed(name):
            backends.load(name)  # raises with the install command, before any import


def _run(work: Work, folder: RunFolder, request: Request) -> int:
    how = ["--device", request.device, "--impl", request.implementation, *work.options]
    for number, name in enumerate(backends.NAMES, start=1):
        own = folder.path / name
        done = work.finished(own)
        console.print(f"\n[bold]{number} of {len(backends.NAMES)}: {name}[/]{', finished' if done else ''}")
        if done:
            continue
        arguments = (
            ["--resume", str(own)] if own.exists() else [*work.start_arguments(folder.path / PLAN), "--out", str(own)]
        )
        code, stopped = _run_child(work, [*arguments, "--backend", name, *how])
        if code == 0 and not stopped:
            continue
        if code == 2 and _is_empty(folder.path):
            return code  # the process has printed the reason
        console.print("stopped, all runs are kept. Resume with:")
        console.print(literal(f"  {run_command(work.program, 'resume')} {quoted(folder.path)}"))
        return INTERRUPTED if stopped else code if code > 0 else 1
    console.print()
    names = list(backends.NAMES)
    work.report([folder.path / name for name in names], names, folder.path / REPORT)
    return 0


def _is_empty(folder: Path) -> bool:
    return [path.name for path in folder.iterdir() if path.name != LOCK] == [PLAN]


def _run_child(work: Work, argv: list[str]) -> tuple[int, bool]:
    """Run the program in a child process; return its exit code and whether it was told to stop."""
    return run_child(work.program, argv)
