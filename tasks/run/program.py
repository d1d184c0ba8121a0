"""Describe the program of a text task."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import UserError
from core.files import user_path
from core.spec.experiment import Experiment
from tasks.cli.commands import program_command
from tasks.cli.console import Parser
from tasks.run.task import Task

NO_BASELINE = "--no-baseline"
"""Omits the simple models beside a classifier of texts."""


def _no_arguments(parser: Parser) -> None:
    pass


def _unchanged(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    return experiment


def refuse_table(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Return the experiment. Raises UserError for a table as its data, with the command that trains on it."""
    from core.data.sources.table import is_table

    source = arguments.data
    if source is not None and (path := user_path(source)).is_file() and is_table(path):
        command = f"{program_command('tasks.classify')} {shlex.quote(source)}"
        raise UserError(f"--data {source}: a table; this program reads reviews only: train on it with: {command}")
    return experiment


@dataclass(frozen=True)
class Program:
    """Describe one task's program."""

    task: Task
    description: str
    data_help: str
    """Help text of `--data`."""
    usage: str = ""
    """Names of its positional arguments."""
    without: tuple[str, ...] = ()
    """Options that it does not offer."""
    add_arguments: Callable[[Parser], None] = _no_arguments
    """Adds the task's own training arguments."""
    own_arguments: tuple[str, ...] = ()
    """Names of those arguments; `--resume` excludes them, since it takes the data from the run."""
    predicts: str = "Classify texts: print label, probability and text, tab-separated, for each."
    """What `predict` does, in its help."""
    writes: str = (
        "A text without tokens has an empty label. --out writes a CSV with the columns of a table (else row and text),"
        " the predicted label and the probability of each class."
    )
    """What `predict` prints and writes, in its help."""
    tags: bool = False
    """True if it predicts a tag per token: `predict` can then explain a token."""
    several_labels: bool = False
    """True if its texts may have several labels: `predict` can then explain a label."""
    complete: Callable[[Experiment, argparse.Namespace], Experiment] = field(default=_unchanged)
    """Sets those arguments in the experiment, and infers settings from the data."""

    preset: Callable[[argparse.Namespace], str] | None = None
    """Returns the recipe if none is given; None for the first one of the task."""
    usual: str = "that of the task"
    """The recipe if none is given, in the help, for a program with a `preset`."""
    splits: tuple[str, ...] = ("test", "dev", "train")
    """Splits that `evaluate` knows."""
    predict: Callable[[str, list[str]], int] | None = None
    """Runs `predict`, with the name of the program and its arguments; None for a classifier."""

    @property
    def name(self) -> str:
        """Return the command that starts it."""
        return program_command(self.task.program)
