"""Name the commands of seqtwin: `python -m tasks.imdb`, or `seqtwin imdb` in a process that `seqtwin` started.

Programs name one another, and themselves, through these functions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SEQTWIN = "seqtwin"
"""Name of the console script, and of its package."""

_by_seqtwin = False


@contextmanager
def started_by_seqtwin() -> Iterator[None]:
    """Name commands as `seqtwin NAME` while the block runs."""
    global _by_seqtwin
    before, _by_seqtwin = _by_seqtwin, True
    try:
        yield
    finally:
        _by_seqtwin = before


def program_command(program: str) -> str:
    """Return the command that starts a program, such as `tasks.imdb`."""
    return f"{SEQTWIN} {program.rpartition('.')[2]}" if _by_seqtwin else f"python -m {program}"


def run_command(program: str, action: str) -> str:
    """Return the command for a run of a program; a run folder follows it.

    `action`: `predict`, `evaluate` or `resume`.
    """
    if _by_seqtwin:
        return f"{SEQTWIN} {action}"
    return f"python -m {program} {'--resume' if action == 'resume' else action}"


def module_arguments(program: str) -> list[str]:
    """Return the arguments of Python that start a program in a child process, whose hints name the same commands."""
    return ["-m", SEQTWIN, program.rpartition(".")[2]] if _by_seqtwin else ["-m", program]
