"""Train an encoder-decoder on pairs of texts, translate with it, evaluate it.

python -m tasks.translate --backend torch --task addition
python -m tasks.translate --backend both --task dates --attention dot
python -m tasks.translate --backend paddle --task sentences.tsv
python -m tasks.translate predict runs/translate-torch-... "53+61"
"""

from __future__ import annotations

import argparse

from core.data.sources.pairs import BEYOND, read_pairs
from core.data.tokenizers import infer_tokenizer
from core.errors import UserError
from core.schema import of_kind
from core.spec.data import GENERATED_PAIRS, Pairs
from core.spec.experiment import Experiment, replace
from tasks.cli.console import DataProgress, Parser, fact, launch
from tasks.cli.options import NGRAM_FLAGS
from tasks.run.inferred import infer_epochs, is_set
from tasks.run.predict_outputs import predict_command
from tasks.run.program import NO_BASELINE, Program
from tasks.run.task import CROSS_VALIDATE, Task
from tasks.run.text_commands import run

SAMPLE = 1000
"""Number of pairs from which the tokenizer is inferred."""


def add_arguments(parser: Parser) -> None:
    text = f"{', '.join(GENERATED_PAIRS)}, or FILE of tab-separated pairs [addition]"
    parser.add_argument("--task", metavar="TASK", help=text)
    parser.add_argument("--encoding", metavar="NAME", help="file encoding, e.g. gb18030 [utf-8]")


def preset(arguments: argparse.Namespace) -> str:
    """Return the recipe of the task."""
    task = arguments.task or GENERATED_PAIRS[0]
    return task if task in GENERATED_PAIRS else "file"


def complete(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Set the file; without --config, infer its tokenizer and the number of epochs."""
    if experiment.data.kind != "pairs":
        raise UserError(f"data.kind is {experiment.data.kind}, expected pairs: give a spec of tasks.translate")
    changes: dict[str, object] = {}
    if arguments.task is not None:
        changes["data.source"] = arguments.task
    if arguments.encoding is not None:
        changes["data.encoding"] = arguments.encoding
    experiment = replace(experiment, changes, "options")
    data = of_kind(experiment.data, Pairs)
    if data.source == "FILE":
        raise UserError("--recipe file needs the file of pairs: add --task FILE.tsv")
    if data.generated or arguments.config:
        return experiment
    with DataProgress() as progress:
        pairs, _ = read_pairs(data, progress)
    changes = infer_epochs(experiment, arguments, len(pairs), "pairs")
    if arguments.tokenizer is None and not is_set(arguments, "text.tokenizer"):
        tokenizer, why = infer_tokenizer(side for pair in pairs[:SAMPLE] for side in (pair.source, pair.target))
        changes["text.tokenizer"] = tokenizer
        fact("inferred", f"--tokenizer {tokenizer} ({why})")
    return replace(experiment, changes)


PROGRAM = Program(
    Task("tasks.translate", ""),
    description="Train an encoder-decoder on pairs of texts, evaluate it and save everything in a run folder.",
    data_help="",
    without=(
        *NGRAM_FLAGS,
        NO_BASELINE,
        CROSS_VALIDATE,
        *("--data", "--encoder", "--kernels", "--channels", "--pooling", "--vectors", "--static-copy"),
        *("--vectors-missing", "--vectors-scale", "--class-weights", "--duplicates"),
    ),
    add_arguments=add_arguments,
    own_arguments=("--task", "--encoding"),
    complete=complete,
    preset=preset,
    splits=("test", "dev", "train", BEYOND),
    predict=predict_command,
)


def main(argv: list[str]) -> int:
    return run(PROGRAM, argv)


if __name__ == "__main__":
    launch(main)
