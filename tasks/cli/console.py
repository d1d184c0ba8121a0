"""What a program shows: one-line errors, progress bars, and training as it goes on."""

from __future__ import annotations

import argparse
import atexit
import errno
import io
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from backends import launchers
from core.engine.processes import PeerLost
from core.errors import Note, UserError
from core.models.heads.scores import Evaluation
from core.train.trainer import Interval
from tasks.cli.flags import name_flags

INTERRUPTED = 130
"""Exit code of a run that was stopped by Ctrl-C: the shell's own, 128 + SIGINT."""

console = Console(highlight=False, soft_wrap=True, emoji=False)
"""Standard output; a line is never broken, so that it can be searched and cut, and `:cat:` stays what it is."""

errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


OTHERS_WAIT = 2.0
"""Seconds before a process that is not the first of several says what went wrong."""

REFUSED = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
"""What a system says of a path that no one looked at more closely before."""


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line, and no option can be shortened: a later one could change what it means.

    Without `several`, what it parses for is refused to one of several processes (`core/engine/processes.py`).
    """

    def __init__(self, prog: str, several: bool = False, **settings):
        if not several:
            launchers.refuse_several(prog)
        super().__init__(prog=prog, allow_abbrev=False, **settings)

    def error(self, message: str):
        raise UserError(f"{message} (see: {self.prog} --help)")


def run_program(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Call `main`; a mistake of the user's becomes one line on standard error and exit code 2.

    Of several processes the first alone says how things go; what goes wrong with another, that one says.
    """
    rank = launchers.rank()
    console.quiet = rank > 0
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        # A label that the terminal's encoding lacks must not end a run.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        return main(argv)
    except UserError as error:
        who = f"process {rank}: " if rank else ""
        if rank and not isinstance(error, PeerLost):
            # Where the first one says the same, the launcher ends the others meanwhile.
            time.sleep(OTHERS_WAIT)
        errors.print(f"{who}[red]error:[/] {escape(name_flags(' '.join(str(error).split())))}")
        return 2
    except KeyboardInterrupt:
        if not rank:
            errors.print("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`head`, say) has seen enough. Keep the interpreter from flushing into the pipe.
        sys.stdout = None
        return 0
    except OSError as error:
        if error.errno not in REFUSED or error.filename is None:
            raise
        errors.print(f"[red]error:[/] {escape(f'{error.filename}: {error.strerror}')}")
        return 2


def launch(main: Callable[[list[str]], int]) -> NoReturn:
    """Run `main` with the arguments of the command line, and end this process with its exit code.

    The interpreter's own end clears every module first, which takes seconds after PyTorch or PaddlePaddle. What counts
    of it is done here: threads are waited for, exit functions run, and output is flushed.
    """
    code = run_program(main, sys.argv[1:])
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # its reader has gone
                stream.flush()
    os._exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *_) -> None:
    kind = "note:" if issubclass(category, Note) else "[yellow]warning:[/]"
    errors.print(f"{kind} {escape(name_flags(str(message)))}")


def fact(name: str, text: str) -> None:
    """One line of the run's description."""
    console.print(f"[bold]{name:<8}[/] {escape(text)}")


def bar(*columns) -> Progress:
    """A progress bar on standard error that disappears when done; nothing where that is not a terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *columns,
        TimeRemainingColumn(elapsed_when_finished=True),
        console=errors,
        transient=True,
        disable=not errors.is_terminal or console.quiet,
    )


class DataProgress:
    """A bar for reading, downloading and tokenising: call it with (description, done, total)."""

    def __enter__(self) -> DataProgress:
        self._bar = bar()
        self._tasks: dict[str, int] = {}
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def __call__(self, description: str, done: int, total: int | None) -> None:
        if description not in self._tasks:
            self._tasks[description] = self._bar.add_task(escape(description), total=total)
        self._bar.update(self._tasks[description], completed=done, total=total)


class TrainingDisplay:
    """`core.train.trainer.Observer`: a bar on a terminal, plain lines elsewhere, and a line per evaluation in both."""

    def __init__(self, epochs: int, total_steps: int, done: int) -> None:
        self.epochs = epochs
        self._live = errors.is_terminal
        # On a terminal that shows both, a line must go through the bar's own console, or it lands in the bar.
        self._lines = errors if errors.is_terminal and console.is_terminal else console
        self._line_every = max(total_steps // (epochs * 4), 1)
        self._next_line = done + self._line_every
        self._bar = bar(TextColumn("{task.fields[figures]}"))
        self._task = self._bar.add_task(f"epoch 1/{epochs}", total=total_steps, completed=done, figures="")

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def on_interval(self, interval: Interval) -> None:
        speed = f"{interval.tokens_per_second:,.0f} tokens/s"
        figures = f"loss {interval.loss:.4f}  accuracy {interval.accuracy:.3f}  {speed}"
        name = f"epoch {interval.epoch}/{self.epochs}"
        self._bar.update(self._task, completed=interval.step, description=name, figures=figures)
        if not self._live and interval.step >= self._next_line:
            self._next_line = interval.step + self._line_every
            self._lines.print(f"{name}  step {interval.step}/{interval.total_steps}  {figures}")

    def on_evaluating(self, done: int, total: int) -> None:
        self._bar.update(self._task, figures=f"evaluating on dev {done}/{total}")

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None:
        star = "  [green]best so far[/]" if is_best else ""
        self._lines.print(
            f"epoch {epoch:g}/{self.epochs}  step {step}  dev loss {evaluation.loss:.4f}"
            f"  dev accuracy [bold]{evaluation.accuracy:.4f}[/]{star}"
        )
