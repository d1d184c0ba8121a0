"""Train a classifier on your own labeled texts, predict with it, evaluate it.

python -m tasks.classify train.csv --backend torch
python -m tasks.classify train.csv --test test.csv --text-column review --label-column stars
python -m tasks.classify train.csv --cross-validate 5
python -m tasks.classify train.csv --multi-label
python -m tasks.classify predict runs/classify-torch-... "Where is my parcel?"
python -m tasks.classify predict runs/classify-torch-... --file new.csv --out predictions.csv
"""

from __future__ import annotations

import argparse

from tasks.cli.console import Parser, launch
from tasks.run.program import Program
from tasks.run.several_labels import FIELDS, RECIPE, add_label_options, wants_several, with_several_labels
from tasks.run.table_options import COLUMNS, add_columns, complete
from tasks.run.task import Task
from tasks.run.text_commands import run


def add_arguments(parser: Parser) -> None:
    text = "labeled texts: CSV, TSV, JSON, fastText, Excel, Parquet"
    parser.add_argument("train", metavar="TRAIN", nargs="?", help=text)
    add_columns(parser)
    add_label_options(parser)


def preset(arguments: argparse.Namespace) -> str:
    """Return the recipe: with n-grams, unless the user names an encoder or a start, or does not want them.

    It is `multilabel` for texts with several labels; `complete` chooses that too if the table has them.
    """
    if wants_several(arguments):
        return RECIPE
    with_ngrams = arguments.encoder is None and arguments.start is None and arguments.ngrams is not False
    return "hybrid" if with_ngrams else "default"


PROGRAM = Program(
    Task("tasks.classify", ""),
    description="Train a classifier on your own labeled texts, evaluate it and save everything in a run folder.",
    data_help="",
    usage="TRAIN",
    without=("--data",),
    add_arguments=add_arguments,
    own_arguments=("TRAIN", *COLUMNS, *FIELDS),
    complete=lambda experiment, arguments: complete(experiment, arguments, with_several_labels),
    preset=preset,
    usual="hybrid; default with --encoder, --start or --no-ngrams; multilabel for several labels",
    several_labels=True,
)


def main(argv: list[str]) -> int:
    return run(PROGRAM, argv)


if __name__ == "__main__":
    launch(main)
