"""One plan trained in every framework, one after the other, and the comparison written: `--backend both`.

Each trains in a process of its own, so that time and memory are that framework's alone. The folder holds the plan, a
run folder per framework, and the report:

    runs/imdb-both-DATE-TIME/plan.json, paddle/, torch/, report.html
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

import backends
from backends import launchers
from core.errors import UserError
from core.files import write_json_atomic
from core.spec.experiment import FORMAT_VERSION, Experiment, parse_experiment
from core.train.run_folder import RunFolder, read_json
from tasks.cli.console import INTERRUPTED, console, errors
from tasks.cli.paths import new_name
from tasks.run.report import write_report
from tasks.run.train import Task, check_task

BOTH = "both"
"""In place of a framework's name."""
PLAN, REPORT = "plan.json", "report.html"
ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Work:
    """What is particular to the program that trains in every framework."""

    program: str
    """Its module."""
    begin: Callable[[Path], list[str]]
    """Arguments that begin what the plan at this path says; framework, device and folder stand behind them."""
    report: Callable[[list[Path], list[str], Path], None]
    """Writes the page about these runs, with these labels, at a path."""
    result: str = "result.json"
    """File that a finished run has."""
    checkpoint: str | None = "last.safetensors"
    """File without which a begun run cannot be gone on with; None where it never can."""
    options: tuple[str, ...] = ()
    """Arguments for beginning and for going on."""

    def finished(self, run: Path) -> bool:
        return (run / self.result).is_file()

    def stuck(self, run: Path) -> bool:
        """Whether it is begun, and neither finished nor to be gone on with."""
        begun = run.exists() and not self.finished(run)
        return begun and (self.checkpoint is None or not (run / self.checkpoint).is_file())


def is_both(run: str) -> bool:
    """Whether a folder is one that `start` made."""
    path = Path(run) / PLAN
    return path.is_file() and read_json(path).get("kind") == BOTH


def start(
    task: Task,
    experiment: Experiment,
    device: str,
    implementation: str,
    out: str | None,
    cache: Path,
    tensorboard: bool = False,
) -> int:
    """Train a task on texts in every framework from the beginning, then write the report. Returns the exit code."""
    plan = {"experiment": experiment.model_dump(mode="json")}
    return begin(_on_texts(task, cache, tensorboard), experiment.task, plan, device, implementation, out)


def resume(
    task: Task,
    run: str,
    backend: str | None,
    device: str | None,
    implementation: str,
    cache: Path,
    tensorboard: bool = False,
) -> int:
    """Go on with what `start` began. Returns the exit code."""

    def check(plan: dict, where: str) -> None:
        if "program" in plan:
            check_program(plan, task.program, run)
        check_task(task, parse_experiment(plan.get("experiment"), where), run)

    return go_on(_on_texts(task, cache, tensorboard), check, run, backend, device, implementation)


def _on_texts(task: Task, cache: Path, tensorboard: bool) -> Work:
    options = ("--cache-dir", str(cache.absolute()), *(("--tensorboard",) if tensorboard else ()))
    return Work(
        task.program,
        lambda plan: ["--config", str(plan)],
        lambda paths, labels, out: write_report(paths, labels, out, cache),
        options=options,
    )


def start_again(work: Work, name: str, argv: list[str], device: str, implementation: str, out: str | None) -> int:
    """Train by a program that takes `argv` again for each framework, where of an option given twice the last counts."""
    return begin(work, name, {"program": work.program, "options": argv}, device, implementation, out)


def resume_again(work: Work, run: str, backend: str | None, device: str | None, implementation: str) -> int:
    """Go on with what `start_again` began. Returns the exit code."""

    def check(plan: dict, where: str) -> None:
        check_program(plan, work.program, run)
        options_again(Path(where))

    return go_on(work, check, run, backend, device, implementation)


def check_program(plan: dict, program: str, run: str) -> None:
    """Raises UserError for the plan of another program."""
    own = plan.get("program")
    if own != program:
        task = plan["experiment"].get("task") if isinstance(plan.get("experiment"), dict) else None
        other = own or f"tasks.{task}"
        raise UserError(f"{run}: a run of another program, not {program}: see python -m {other}")


def options_again(path: Path) -> list[str]:
    """The options in a plan. Raises UserError where they are none."""
    options = read_json(path).get("options")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise UserError(f"{path}: holds no options: the file is damaged")
    return options


def begin(work: Work, name: str, plan: dict, device: str, implementation: str, out: str | None) -> int:
    """Train in every framework from the beginning, then write the report. Returns the exit code."""
    _check_installed()
    path = Path(out) if out else new_name(Path("runs"), f"{name}-{BOTH}")
    made = [own for own in (path, *path.parents) if not own.exists()]
    folder = RunFolder.create(path)
    how = {"format": FORMAT_VERSION, "kind": BOTH, "device": device, "implementation": implementation}
    write_json_atomic(path / PLAN, {**how, **plan})
    code = _run(work, folder, device, implementation)
    if code == 2 and _is_empty(path):
        # Refused before anything was made: a mistake leaves nothing behind.
        (path / PLAN).unlink()
        for own in made:
            if not any(own.iterdir()):
                own.rmdir()
    return code


def go_on(
    work: Work,
    check: Callable[[dict, str], None],
    run: str,
    backend: str | None,
    device: str | None,
    implementation: str,
) -> int:
    """Go on with what is unfinished, then write the report. Without a device, or with `auto`, as the plan has it.

    `check` raises UserError for a plan, which stands at a place, that is not this program's. Returns the exit code.
    """
    if backend not in (None, BOTH):
        raise UserError(f"{run}: a run in every framework: leave out --backend {backend}")
    folder = RunFolder.open(Path(run))
    plan = read_json(folder.file(PLAN))
    check(plan, str(folder.path / PLAN))
    report, finished = folder.path / REPORT, all(work.finished(folder.path / name) for name in backends.NAMES)
    if report.exists():
        what = "both runs are finished; they are compared in" if finished else "a run is unfinished; remove first"
        raise UserError(f"{run}: {what} {report}")
    for own in (folder.path / name for name in backends.NAMES):
        if work.stuck(own):
            raise UserError(f"{own}: stopped before its first step, nothing in it to go on with: remove it first")
    _check_installed()
    if device in (None, "auto"):
        device = plan.get("device", "auto")
    if implementation == "auto":
        implementation = plan.get("implementation", "auto")
    return _run(work, folder, device, implementation)


def _check_installed() -> None:
    launchers.refuse_several(f"--backend {BOTH}")
    for name in backends.NAMES:
        if not backends.installed(name):
            backends.load(name)  # says what to install, and imports nothing


def _run(work: Work, folder: RunFolder, device: str, implementation: str) -> int:
    how = ["--device", device, "--impl", implementation, *work.options]
    for number, name in enumerate(backends.NAMES, start=1):
        own = folder.path / name
        done = work.finished(own)
        console.print(f"\n[bold]{number} of {len(backends.NAMES)}: {name}[/]{', finished' if done else ''}")
        if done:
            continue
        begun = ["--resume", str(own)] if own.exists() else [*work.begin(folder.path / PLAN), "--out", str(own)]
        code, stopped = _in_a_process(work, [*begun, "--backend", name, *how])
        if code == 0 and not stopped:
            continue
        if code == 2 and _is_empty(folder.path):
            return code  # it said why
        console.print("the runs are kept as they are; go on with:")
        console.print(escape(f"  python -m {work.program} --resume {shlex.quote(str(folder.path))}"))
        return INTERRUPTED if stopped else code if code > 0 else 1
    console.print()
    names = list(backends.NAMES)
    work.report([folder.path / name for name in names], names, folder.path / REPORT)
    return 0


def _is_empty(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == [PLAN]


def command(work: Work, argv: list[str]) -> list[str]:
    """What starts the program in a process of its own."""
    return [sys.executable, "-m", work.program, *argv]


def _in_a_process(work: Work, argv: list[str]) -> tuple[int, bool]:
    """Exit code of the program with these arguments, and whether it was told to stop.

    The process has a session of its own, so that Ctrl-C in a terminal reaches it once, from here, and not twice: the
    second would stop it at once, with nothing saved.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    received: list[int] = []
    sys.stdout.flush()  # what was said so far comes before what the process says
    with _signals(received) as forward_to:
        process = subprocess.Popen(
            command(work, argv), env={**os.environ, "PYTHONPATH": path}, start_new_session=os.name == "posix"
        )
        forward_to(process)
        code = process.wait()
    if code < 0 and not received:
        errors.print(f"[red]error:[/] the training process was ended by signal {-code}")
    return code, bool(received) or code == INTERRUPTED


@contextmanager
def _signals(received: list[int]):
    """Signals are noted and sent on to the process that is named, also those that came before there was one."""
    process: list[subprocess.Popen] = []

    def note(number, frame):
        received.append(number)
        if process and os.name == "posix":  # elsewhere the console sends them to both
            process[0].send_signal(number)

    def forward_to(started: subprocess.Popen) -> None:
        process.append(started)
        for number in received:
            started.send_signal(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield forward_to
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
