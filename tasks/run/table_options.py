"""Options and inferences of a data set in a table: columns, tokenizer, epochs."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable

from core.data.sources.table import survey
from core.data.sources.table_columns import infer_columns
from core.data.tokenizers import infer_tokenizer
from core.errors import UserError
from core.schema import of_kind
from core.spec.data import Table
from core.spec.experiment import Experiment, replace
from tasks.cli.commands import program_command
from tasks.cli.console import DataProgress, Parser, fact
from tasks.run.inferred import infer_epochs, is_set

COLUMNS = {
    "--test": ("data.test", "FILE", "test split [held out from TRAIN]"),
    "--dev": ("data.dev", "FILE", "dev split [held out from TRAIN]"),
    "--unlabeled-file": ("data.unlabeled_file", "FILE", "text per line, no labels; with --unlabeled-batch"),
    "--columns": ("data.columns", "NAMES", "column names, if the file has no header"),
    "--text-column": ("data.text_column", "NAMES", "text column; several are joined [inferred]"),
    "--label-column": ("data.label_column", "NAME", "label column, any strings [inferred]"),
    "--encoding": ("data.encoding", "NAME", "file encoding, e.g. gb18030 [utf-8]"),
}


def unchanged(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    return experiment


def add_columns(parser: Parser) -> None:
    """Add the options of `COLUMNS`."""
    for flag, (_, metavar, help_text) in COLUMNS.items():
        parser.add_argument(flag, metavar=metavar, help=help_text)


def complete(
    experiment: Experiment, arguments: argparse.Namespace, settle: Callable[..., Experiment] = unchanged
) -> Experiment:
    """Set the given files and columns; without --config, infer columns, tokenizer and epochs from the texts.

    `settle(experiment, arguments)` sets what the label column determines, once the columns are known.
    """
    given = {path: getattr(arguments, flag[2:].replace("-", "_")) for flag, (path, *_) in COLUMNS.items()}
    given["data.source"] = arguments.train
    if arguments.columns is not None:
        given["data.columns"] = [name.strip() for name in arguments.columns.split(",")]
    if arguments.train is None and not arguments.config:
        raise UserError(f"missing training file TRAIN: run {program_command('tasks.classify')} TRAIN.csv (see --help)")
    if experiment.data.kind != "table":
        raise UserError(f"data.kind is {experiment.data.kind}, expected table: give a spec of tasks.classify")
    given = {path: value for path, value in given.items() if value is not None}
    if arguments.config:
        return settle(replace(experiment, given, "options"), arguments)
    experiment = replace(experiment, given, "options")
    experiment = _with_columns(experiment, [*given, *(_field(assignment) for assignment in arguments.set)])
    experiment = settle(experiment, arguments)
    data = of_kind(experiment.data, Table)
    with DataProgress() as progress:
        sample, rows = survey(data, progress)
    changes: dict[str, object] = {}
    if experiment.start is None and arguments.tokenizer is None and not is_set(arguments, "text.tokenizer"):
        tokenizer, why = infer_tokenizer(sample)
        changes["text.tokenizer"] = tokenizer
        fact("inferred", f"--tokenizer {tokenizer} ({why})")
    return replace(experiment, changes | infer_epochs(experiment, arguments, rows))


def _with_columns(experiment: Experiment, given: list[str]) -> Experiment:
    """Set the text and label columns that are not `given` by the usual names, and print them."""
    prefix = "data."
    fields = {path.removeprefix(prefix) for path in given}
    changes: dict[str, object] = {}
    format_found, columns = infer_columns(of_kind(experiment.data, Table), fields)
    if format_found:
        fact("inferred", f"format {format_found} (by its content)")
    for own in columns:
        changes[prefix + own.field] = own.value
        if own.field not in fields:
            flag = next(flag for flag, (path, *_) in COLUMNS.items() if path == prefix + own.field)
            names = [own.value] if isinstance(own.value, str) else own.value
            joined = "; joined by a space" if len(names) > 1 else ""
            fact("inferred", f"{flag} {shlex.quote(','.join(names))} ({own.reason}{joined})")
    return replace(experiment, changes)


def _field(assignment: str) -> str:
    return assignment.partition("=")[0]
