"""Define the options that set fields of a word2vec spec; types, choices and defaults come from the spec."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property

from core.errors import UserError
from core.schema import FieldType, field_type
from core.spec.words import WordExperiment, replace_words
from tasks.cli.assignments import assigned
from tasks.cli.defaults import ABSENT, shown_value, value_at
from tasks.cli.options import Option, add_option, with_flag


@dataclass(frozen=True)
class WordOption(Option):
    """Map `flag` to fields of `WordExperiment`."""

    @cached_property
    def field(self) -> FieldType:
        return field_type(WordExperiment, self.paths[0])


RATE = "training.learning_rate"

WORD_OPTIONS = {
    "model": (
        WordOption("--kind", ("model.kind",), "model"),
        WordOption("--dim", ("model.dim",), "dimension of the vectors"),
        WordOption("--window", ("model.window",), "largest distance of a context word"),
        WordOption("--negatives", ("model.negatives",), "noise words per prediction"),
        WordOption("--noise-power", ("model.noise_power",), "exponent of counts for noise words"),
    ),
    "text": (
        WordOption("--tokenizer", ("text.tokenizer",), "tokenizer"),
        WordOption("--min-count", ("text.min_count",), "minimum word count; rarer words are dropped"),
        WordOption("--vocab-size", ("text.vocab_size",), "maximum number of words"),
        WordOption("--max-texts", ("text.max_texts",), "read the first N texts only"),
    ),
    "training": (
        WordOption("--epochs", ("training.epochs",), "training epochs"),
        WordOption("--learning-rate", (RATE,), "initial learning rate, falls linearly"),
        WordOption("--batch-size", ("training.batch_size",), "predictions per step"),
        WordOption("--subsample", ("training.subsample",), "threshold to drop frequent words; 0 keeps all"),
        WordOption("--seed", ("training.seed",), "seed of all random numbers"),
        WordOption("--dtype", ("training.dtype",), "training precision"),
    ),
}
CBOW_RATE = 0.2
"""Learning rate of CBOW if none is given.

The gradient of the mean is divided among its words, where word2vec.c and gensim give each word all of it.
"""

ALL = tuple(option for group in WORD_OPTIONS.values() for option in group)

WORD_FLAGS = {path: option.flag for option in ALL for path in option.paths} | {"data.column": "--column"}
"""Map fields to flags, for messages."""


def add_word_options(parser: argparse.ArgumentParser) -> None:
    """Add the table's options and `--set`; the help shows their defaults."""
    tree = WordExperiment().model_dump(mode="json")
    for title, options in WORD_OPTIONS.items():
        group = parser.add_argument_group(title)
        for option in options:
            default = shown_value(value_at(tree, option.paths[0]), "all")
            default += f"; cbow: {CBOW_RATE}" if option.paths[0] == RATE else ""
            add_option(group, option, f"{option.help} [{default}]")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="set any spec field by dotted name"
    )


def apply_word_options(experiment: WordExperiment, arguments: argparse.Namespace) -> WordExperiment:
    """Return the experiment with all given options set; CBOW has the learning rate `CBOW_RATE` if none is given.

    Raises UserError that names the option or field and the allowed values.
    """
    given = {option: value for option in ALL if (value := getattr(arguments, option.dest, None)) is not None}
    tree = experiment.model_dump(mode="json")
    for option, value in given.items():
        if option.choices and value not in option.choices:
            raise UserError(f"{option.flag} {value}: choose one of {', '.join(option.choices)}")
    changes: dict[str, object] = {option.paths[0]: value for option, value in given.items()}
    changes |= assigned(arguments.set, "training.chunk_words=32768")
    if changes.get("model.kind") == "cbow":
        changes = {RATE: CBOW_RATE} | changes
    for path in changes:
        if value_at(tree, path) is ABSENT or "." not in path:
            raise UserError(f"--set {path}: no such field in the spec: see experiment.json of a run")
    try:
        return replace_words(experiment, changes, "options")
    except UserError as error:
        raise UserError(with_flag(str(error), arguments, ALL)) from None
