"""Print one-line errors, progress bars and training metrics."""

from __future__ import annotations

import argparse
import atexit
import errno
import functools
import io
import os
import shutil
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from backends import launchers
from core.engine.processes import PeerLost
from core.errors import Note, UserError
from core.models.heads.scores import Evaluation
from core.train.trainer import Interval
from tasks.cli.flags import name_flags

INTERRUPTED = 130
"""Exit code of a run stopped by Ctrl-C: 128 + SIGINT, as in the shell."""

console = Console(highlight=False, soft_wrap=True, emoji=False)
"""Standard output. Lines are not wrapped, so that other tools can process them; `:cat:` is no emoji."""

errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


ERROR_DELAY = 2.0
"""Seconds before a process of rank > 0 prints its error."""

HELP_WIDTH = 110
"""Largest width of `--help`, in columns."""

PATH_ERRORS = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
"""System errors about a path that become one line, since no caller checks for them."""


class Parser(argparse.ArgumentParser):
    """Parse arguments; errors are one line, and options cannot be abbreviated.

    An option added later could change the meaning of an abbreviation. Without `several`, a distributed launch
    (`core/engine/processes.py`) is refused. `--help` is as wide as the terminal, at most `HELP_WIDTH`; with `raw` it
    keeps the line breaks of description and epilog.
    """

    def __init__(self, prog: str, several: bool = False, raw: bool = False, **settings):
        if not several:
            launchers.require_single_process(prog)
        formatter = argparse.RawDescriptionHelpFormatter if raw else argparse.HelpFormatter
        width = min(HELP_WIDTH, shutil.get_terminal_size((HELP_WIDTH, 24)).columns)
        layout = functools.partial(formatter, max_help_position=32, width=width)
        super().__init__(prog=prog, allow_abbrev=False, formatter_class=layout, **settings)

    def error(self, message: str):
        raise UserError(f"{message} (see {self.prog} --help)")


def run_program(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Call `main`; a UserError becomes one line on standard error and exit code 2.

    In a distributed run only rank 0 prints progress; every rank prints its own errors.
    """
    rank = launchers.rank()
    console.quiet = rank > 0
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        # A label that the terminal cannot encode must not end a run.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        return main(argv)
    except UserError as error:
        who = f"process {rank}: " if rank else ""
        if rank and not isinstance(error, PeerLost):
            # If rank 0 fails with the same error, the launcher ends this process meanwhile.
            time.sleep(ERROR_DELAY)
        errors.print(f"{who}[red]error:[/] {escape(name_flags(' '.join(str(error).split())))}")
        return 2
    except KeyboardInterrupt:
        if not rank:
            errors.print("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output, e.g. `head`, has closed the pipe. Keep the interpreter from flushing into it.
        sys.stdout = None
        return 0
    except OSError as error:
        if error.errno not in PATH_ERRORS or error.filename is None:
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


def fact(name: str, text: str, width: int = 8, command: bool = False) -> None:
    """Print a labeled line; `width` is that of the label column.

    On a terminal a long text continues in its own column. A `command` stays one line, to be copied.
    """
    room = console.width - width - 1
    lines = [text]
    if console.is_terminal and not command and room > 20:
        lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        console.print(f"[bold]{'' if number else name:<{width}}[/] {escape(line)}")


def bar(*columns) -> Progress:
    """Return a transient progress bar on standard error, disabled if that is no terminal."""
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
    """Show the progress of downloading, reading and tokenizing: call it with (description, done, total)."""

    def __enter__(self) -> DataProgress:
        self._bar = bar()
        self._tasks: dict[str, TaskID] = {}
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def __call__(self, description: str, done: int, total: int | None) -> None:
        if description not in self._tasks:
            self._tasks[description] = self._bar.add_task(escape(description), total=total)
        self._bar.update(self._tasks[description], completed=done, total=total)


class TrainingDisplay:
    """Show training (`core.train.trainer.Observer`): a bar on a terminal, else lines; a line per evaluation."""

    def __init__(self, epochs: int, total_steps: int, done: int) -> None:
        self.epochs = epochs
        self._live = errors.is_terminal
        # If both streams share a terminal, lines must go through the bar's console, or they break the bar.
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
