"""Training of a run from Python, by the program of its task."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from core.errors import UserError, forget_notes
from seqtwin.api.calls import called
from seqtwin.api.options import PICTURES, arguments_of
from seqtwin.api.run import Run, load
from seqtwin.command.programs import load as load_program
from tasks.cli.console import INTERRUPTED
from tasks.cli.paths import quoted
from tasks.cli.recipes import TASK_RECIPES
from tasks.run.present.pictures import pictures
from tasks.run.program import Program
from tasks.run.train_command import train_with

TABLE_TASK = "classify"
"""Task whose program reads the user's own table."""
DATA_ARGUMENTS = {TABLE_TASK: "train", "translate": "task"}
"""Names of the arguments that take the data, where it is not `data`."""


def train(
    task: str,
    data: str | os.PathLike | None = None,
    *,
    out: str | os.PathLike | None = None,
    verbose: bool = False,
    **options: object,
) -> Run:
    """Train a model with the program of a task, and return its `Run`.

    `task` is `classify`, `imdb`, `reviews_zh`, `tag`, `translate` or `pretrain`. `data` is the path of the data: for
    `classify` a table with texts and labels, for `translate` a file of pairs, otherwise as in `--data`.

    `out` is the folder to create, by default one in `runs`. `verbose` prints what the program prints.

    Further keywords are the [options](#options) of the program. Raises UserError for an unknown one, with the nearest
    name, and KeyboardInterrupt after Ctrl-C, when a checkpoint is saved.
    """
    program = program_of(task)
    given = dict(options)
    if data is not None:
        given[DATA_ARGUMENTS.get(task, "data")] = data
    return train_run(program, given, new_folder(Path("runs"), task) if out is None else Path(out), "train", verbose)


def train_run(program: Program, options: Mapping[str, object], out: Path, where: str, verbose: bool = False) -> Run:
    """Train a run in the folder `out`. `where` names the caller in errors about options. Raises like `train`."""
    with called(verbose):
        forget_notes()
        arguments = arguments_of(program, options, where)
        arguments.out = str(out)
        with pictures(bool(options.get(PICTURES, True))):
            code = train_with(program, arguments)
        if code == INTERRUPTED:
            raise KeyboardInterrupt(f"stopped, checkpoint saved. Resume with: seqtwin resume {quoted(out)}")
    return load(out)


def program_of(task: str) -> Program:
    """Return the program of a task. Raises UserError for an unknown one."""
    if task not in TASK_RECIPES:
        raise UserError(f"unknown task {task!r}: choose one of {', '.join(TASK_RECIPES)}")
    return load_program(task).PROGRAM


def new_folder(parent: Path, task: str) -> Path:
    """Return the path of a new run, which no other thread or process chooses."""
    return parent / f"{task}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
