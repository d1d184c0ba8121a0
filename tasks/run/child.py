"""Run a program of seqtwin in a child process, and forward stop signals to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from core.child_process import python
from tasks.cli.commands import module_arguments
from tasks.cli.console import INTERRUPTED
from tasks.cli.terminal import error
from tasks.run.signals import stop_numbers

ROOT = Path(__file__).parents[2]


def command(program: str, argv: list[str]) -> list[str]:
    """Return the command that starts a program in a new process."""
    return [*python(), *module_arguments(program), *argv]


def run_child(program: str, argv: list[str]) -> tuple[int, bool]:
    """Run a program in a child process; return its exit code and whether it was told to stop.

    The child has a separate session, so that Ctrl-C in a terminal reaches it once, through this process: a second
    signal would abort it without saving.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    received: list[int] = []
    sys.stdout.flush()  # lines printed so far come before those of the child
    with _signals(received) as forward_to:
        process = subprocess.Popen(
            command(program, argv),
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=os.name == "posix",
        )
        forward_to(process)
        code = process.wait()
    if code < 0 and not received:
        error(f"the training process was killed by signal {-code}")
    return code, bool(received) or code == INTERRUPTED


@contextmanager
def _signals(received: list[int]):
    """Record stop signals and forward them to the child, including those received before it started."""
    process: list[subprocess.Popen] = []

    def note(number, frame):
        received.append(number)
        if process and os.name == "posix":  # elsewhere the console sends them to both processes
            process[0].send_signal(number)

    def forward_to(started: subprocess.Popen) -> None:
        process.append(started)
        for number in received:
            started.send_signal(number)

    before = {number: signal.signal(number, note) for number in stop_numbers()}
    try:
        yield forward_to
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
