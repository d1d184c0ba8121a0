"""Train a recurrent language model on reviews without labels, from which a classifier can start.

python -m tasks.pretrain --backend torch
python -m tasks.pretrain --backend paddle --data official --hidden 256 --negatives 1000
python -m tasks.pretrain --resume runs/pretrain-torch-...
"""

from __future__ import annotations

import argparse

from core.errors import UserError
from core.spec.experiment import Experiment
from tasks.cli.console import launch
from tasks.cli.options import NGRAM_FLAGS
from tasks.run.program import NO_BASELINE, Program
from tasks.run.task import CROSS_VALIDATE, Task
from tasks.run.text_commands import run


def complete(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Return the experiment. Raises UserError for one of another task."""
    if experiment.data.kind != "texts":
        raise UserError(f"data.kind is {experiment.data.kind}, expected texts: give a spec of tasks.pretrain")
    return experiment


def predict(name: str, argv: list[str]) -> int:
    """Raise UserError: a language model classifies no text."""
    raise UserError(f"{name} has no predict: a language model classifies no text, use evaluate")


PROGRAM = Program(
    Task("tasks.pretrain", ""),
    description="Train a recurrent language model, forward and backward, and save everything in a run folder.",
    data_help="packaged, official (with 50,000 unlabeled), or PATH of aclImdb",
    without=(
        *NGRAM_FLAGS,
        NO_BASELINE,
        CROSS_VALIDATE,
        *("--encoder", "--kernels", "--channels", "--pooling", "--vectors", "--static-copy", "--truncate"),
        *("--vectors-missing", "--vectors-scale", "--class-weights", "--duplicates", "--residual"),
    ),
    complete=complete,
    predict=predict,
)


def main(argv: list[str]) -> int:
    return run(PROGRAM, argv)


if __name__ == "__main__":
    launch(main)
