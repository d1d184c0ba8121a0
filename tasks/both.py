"""One spec trained in every framework, one after the other, and the comparison written: `--backend both`.

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
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape

import backends
from core.errors import UserError
from core.files import write_json_atomic
from core.run_folder import RunFolder, read_json
from core.spec import FORMAT_VERSION, Experiment, parse_experiment
from tasks.compare import write_report
from tasks.console import INTERRUPTED, console, errors
from tasks.training import Task, check_task, new_name

BOTH = "both"
"""In place of a framework's name."""
PLAN, REPORT = "plan.json", "report.html"
ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    """Train in every framework from the beginning, then write the report. Returns the exit code."""
    _check_installed()
    path = Path(out) if out else new_name(Path("runs"), f"{experiment.task}-{BOTH}")
    folder = RunFolder.create(path)
    plan = {"format": FORMAT_VERSION, "kind": BOTH, "device": device, "implementation": implementation}
    write_json_atomic(path / PLAN, {**plan, "experiment": experiment.model_dump(mode="json")})
    return _run(task, folder, device, implementation, cache, tensorboard)


def resume(
    task: Task,
    run: str,
    backend: str | None,
    device: str | None,
    implementation: str,
    cache: Path,
    tensorboard: bool = False,
) -> int:
    """Go on with what is unfinished, then write the report. Without a device, or with `auto`, as the plan has it.

    Returns the exit code.
    """
    if backend not in (None, BOTH):
        raise UserError(f"{run}: a run in every framework: leave out --backend {backend}")
    folder = RunFolder.open(Path(run))
    plan = read_json(folder.file(PLAN))
    check_task(task, parse_experiment(plan.get("experiment"), str(folder.path / PLAN)), run)
    report, finished = folder.path / REPORT, all(_finished(folder.path / name) for name in backends.NAMES)
    if report.exists():
        what = "both runs are finished; they are compared in" if finished else "a run is unfinished; remove first"
        raise UserError(f"{run}: {what} {report}")
    for own in (folder.path / name for name in backends.NAMES):
        if own.exists() and not _finished(own) and not (own / "last.safetensors").is_file():
            raise UserError(f"{own}: stopped before its first step, nothing in it to go on with: remove it first")
    _check_installed()
    if implementation == "auto":
        implementation = plan.get("implementation", "auto")
    return _run(task, folder, device or plan.get("device", "auto"), implementation, cache, tensorboard)


def _check_installed() -> None:
    for name in backends.NAMES:
        if not backends.installed(name):
            backends.load(name)  # says what to install, and imports nothing


def _run(task: Task, folder: RunFolder, device: str, implementation: str, cache: Path, tensorboard: bool) -> int:
    how = ["--device", device, "--impl", implementation, "--cache-dir", str(cache.absolute())]
    how += ["--tensorboard"] if tensorboard else []
    for number, name in enumerate(backends.NAMES, start=1):
        own = folder.path / name
        console.print(f"\n[bold]{number} of {len(backends.NAMES)}: {name}[/]{', finished' if _finished(own) else ''}")
        if _finished(own):
            continue
        begun = ["--resume", str(own)] if own.exists() else ["--config", str(folder.path / PLAN), "--out", str(own)]
        code, stopped = _in_a_process(task, [*begun, "--backend", name, *how])
        if code == 0 and not stopped:
            continue
        if code == 2 and _is_empty(folder.path):
            # Refused before anything was made: a mistake leaves nothing behind.
            (folder.path / PLAN).unlink()
            folder.path.rmdir()
            return code
        console.print("the runs are kept as they are; go on with:")
        console.print(escape(f"  python -m {task.program} --resume {shlex.quote(str(folder.path))}"))
        return INTERRUPTED if stopped else code if code > 0 else 1
    console.print()
    names = list(backends.NAMES)
    write_report([folder.path / name for name in names], names, folder.path / REPORT, cache)
    return 0


def _finished(run: Path) -> bool:
    return (run / "result.json").is_file()


def _is_empty(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == [PLAN]


def command(task: Task, argv: list[str]) -> list[str]:
    """What starts the program in a process of its own."""
    return [sys.executable, "-m", task.program, *argv]


def _in_a_process(task: Task, argv: list[str]) -> tuple[int, bool]:
    """Exit code of the program with these arguments, and whether it was told to stop.

    The process has a session of its own, so that Ctrl-C in a terminal reaches it once, from here, and not twice: the
    second would stop it at once, with nothing saved.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    received: list[int] = []
    sys.stdout.flush()  # what was said so far comes before what the process says
    with _signals(received) as forward_to:
        process = subprocess.Popen(
            command(task, argv), env={**os.environ, "PYTHONPATH": path}, start_new_session=os.name == "posix"
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
