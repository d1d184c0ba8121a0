"""Train a sentiment classifier on movie reviews, predict with it, evaluate it.

python -m tasks.imdb --backend paddle
python -m tasks.imdb --backend both
python -m tasks.imdb predict runs/imdb-paddle-... "A wonderful film."
python -m tasks.imdb evaluate runs/imdb-paddle-... --backend torch
"""

from __future__ import annotations

from tasks.cli.console import launch
from tasks.run.program import Program, refuse_table
from tasks.run.task import Task
from tasks.run.text_commands import run

PROGRAM = Program(
    Task("tasks.imdb", "A wonderful film, I loved every minute."),
    description="Train a classifier on movie reviews, evaluate it and save everything in a run folder.",
    data_help="packaged, official, or PATH of aclImdb",
    complete=refuse_table,
)


def main(argv: list[str]) -> int:
    return run(PROGRAM, argv)


if __name__ == "__main__":
    launch(main)
