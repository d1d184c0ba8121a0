"""One's own labelled texts: train a classifier of them, predict, evaluate.

python -m tasks.classify train.csv --backend torch
python -m tasks.classify train.csv --test test.csv --text-column review --label-column stars
python -m tasks.classify predict runs/classify-torch-... "Where is my parcel?"
python -m tasks.classify predict runs/classify-torch-... --file new.csv --out answers.csv
"""

from __future__ import annotations

import argparse
import math

from core.data.sources.table import survey
from core.data.tokenizers import guess_tokenizer
from core.errors import UserError
from core.spec.experiment import Experiment, replace
from tasks.cli.console import DataProgress, Parser, fact, launch
from tasks.run.program import Program, run
from tasks.run.train import Task

STEPS = 1200
"""Of training with the default recipe, about: more where that is less than an epoch, fewer where texts are few."""
MOST_EPOCHS = 40

COLUMNS = {
    "--test": ("data.test", "FILE", "texts to test by [cut from TRAIN]"),
    "--dev": ("data.dev", "FILE", "texts to choose the best epoch by [cut from TRAIN]"),
    "--text-column": ("data.text_column", "NAME", "column of the texts [text]"),
    "--label-column": ("data.label_column", "NAME", "column of the labels, any strings [label]"),
    "--encoding": ("data.encoding", "NAME", "of the files, as gb18030 [utf-8]"),
}


def add_arguments(parser: Parser) -> None:
    text = "labelled texts: .csv, .tsv or .jsonl, plain or .gz; the first line names the columns"
    parser.add_argument("train", metavar="TRAIN", nargs="?", help=text)
    for flag, (_, metavar, help_text) in COLUMNS.items():
        parser.add_argument(flag, metavar=metavar, help=help_text)


def settle(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """The files and columns that were given; then, unless a spec was, what a look at the texts suggests."""
    given = {path: getattr(arguments, flag[2:].replace("-", "_")) for flag, (path, *_) in COLUMNS.items()}
    given["data.source"] = arguments.train
    if arguments.train is None and not arguments.config:
        raise UserError("which texts? give the file to train on: python -m tasks.classify TRAIN.csv (see: --help)")
    if experiment.data.kind != "table":
        raise UserError(f"data.kind {experiment.data.kind}: this task reads tables")
    experiment = replace(experiment, {path: value for path, value in given.items() if value is not None})
    if arguments.config:
        return experiment
    with DataProgress() as progress:
        sample, rows = survey(experiment.data, progress)
    changes: dict[str, object] = {}
    if arguments.tokenizer is None and not _is_set(arguments, "text.tokenizer"):
        tokenizer, why = guess_tokenizer(sample)
        changes["text.tokenizer"] = tokenizer
        fact("guessed", f"--tokenizer {tokenizer}: {why}")
    if arguments.epochs is None and not _is_set(arguments, "training.epochs"):
        data = experiment.data
        held_out = (data.dev_share if data.dev is None else 0) + (data.test_share if data.test is None else 0)
        texts = min(rows * (1 - held_out), data.train_limit or math.inf)
        epochs = min(math.ceil(STEPS * experiment.training.batch_size / max(texts, 1)), MOST_EPOCHS)
        changes["training.epochs"] = epochs
        fact("guessed", f"--epochs {epochs}: {rows:,} rows")
    return replace(experiment, changes)


def _is_set(arguments: argparse.Namespace, field: str) -> bool:
    return any(assignment.partition("=")[0] == field for assignment in arguments.set)


PROGRAM = Program(
    Task("tasks.classify", ""),
    description="Train a recurrent classifier of your own texts, test it, and keep everything in a run folder.",
    data_help="",
    usage="TRAIN",
    without=("--data",),
    add_arguments=add_arguments,
    own=("TRAIN", *COLUMNS),
    settle=settle,
)


def main(argv: list[str]) -> int:
    return run(PROGRAM, argv)


if __name__ == "__main__":
    launch(main)
