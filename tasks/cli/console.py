"""Print one-line errors, progress bars and training metrics."""

from __future__ import annotations

import argparse
import functools
import shutil
import textwrap
from typing import TYPE_CHECKING

from backends import launchers
from core.errors import UserError
from core.strings import one_line
from tasks.cli.entry import INTERRUPTED as INTERRUPTED
from tasks.cli.entry import launch as launch
from tasks.cli.entry import run_program as run_program
from tasks.cli.terminal import console, errors, literal

if TYPE_CHECKING:
    # Not imported for a prediction, which then starts faster.
    from rich.progress import Progress, TaskID

    from core.models.heads.scores import Evaluation
    from core.train.trainer import Interval

HELP_WIDTH = 110
"""Largest width of `--help`, in columns."""


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


def fact(name: str, text: str, width: int = 8, command: bool = False) -> None:
    """Print a labeled line; `width` is that of the label column.

    On a terminal a long text continues in its own column. A `command` stays one line, to be copied.
    """
    room = console.width - width - 1
    text = one_line(text)
    lines = [text]
    if console.is_terminal and not command and room > 20:
        lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        console.print(f"[bold]{'' if number else name:<{width}}[/] {literal(line)}")


def bar(*columns) -> Progress:
    """Return a transient progress bar on standard error, disabled if that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

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
            self._tasks[description] = self._bar.add_task(literal(description), total=total)
        self._bar.update(self._tasks[description], completed=done, total=total)


QUANTITIES = {"f1": "F1", "micro_f1": "micro F1", "macro_f1": "macro F1", "exact_match": "exact match", "bleu": "BLEU"}
"""Names of the metrics of some heads, by their key in `metrics.jsonl`."""


class TrainingDisplay:
    """Show training (`core.train.trainer.Observer`): a bar on a terminal, else lines; a line per evaluation.

    Without `lines`, the bar alone.
    """

    def __init__(self, epochs: int, total_steps: int, done: int, lines: bool = True) -> None:
        self._with_lines = lines
        self.epochs = epochs
        self._live = errors.is_terminal
        # If both streams share a terminal, lines must go through the bar's console, or they break the bar.
        self._lines = errors if errors.is_terminal and console.is_terminal else console
        self._line_every = max(total_steps // (epochs * 4), 1)
        self._next_line = done + self._line_every
        from rich.progress import TextColumn

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
        if self._with_lines and not self._live and interval.step >= self._next_line:
            self._next_line = interval.step + self._line_every
            self._lines.print(f"{name}  step {interval.step}/{interval.total_steps}  {figures}")

    def on_evaluating(self, done: int, total: int) -> None:
        self._bar.update(self._task, figures=f"evaluating on dev {done}/{total}")

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None:
        if not self._with_lines:
            return
        star = "  [green]best so far[/]" if is_best else ""
        more = "".join(f"  {QUANTITIES.get(name, name)} {value:.4f}" for name, value in evaluation.quantities().items())
        self._lines.print(
            f"epoch {epoch:g}/{self.epochs}  step {step}  dev loss {evaluation.loss:.4f}"
            f"  dev accuracy [bold]{evaluation.accuracy:.4f}[/]{more}{star}"
        )
