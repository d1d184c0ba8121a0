"""Command-line options that set fields of the spec: one table, from which parsing and help are made."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

from core.engine import devices
from core.errors import UserError
from core.spec.experiment import Experiment, replace
from tasks.cli.recipes import RECIPES, recipe


@dataclass(frozen=True)
class Option:
    """`flag` sets every one of `paths` (dotted, in the spec) to a value of `type`."""

    flag: str
    paths: tuple[str, ...]
    type: type
    help: str
    choices: tuple[str, ...] = ()
    null: str | None = None
    """The choice that sets the fields to null."""

    @property
    def dest(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")


DEVICE_HELP = f"{devices.CHOICES}; auto takes the first usable GPU [auto]"
"""Help of every program's `--device`."""
DTYPES = ("float32", "float64", "tf32", "bfloat16")
TOKENIZERS = ("whitespace", "words", "jieba", "characters")

OPTIONS = {
    "model": (
        Option("--cell", ("model.encoder.cell",), str, "recurrent cell", ("srn", "gru", "lstm", "residual_srn")),
        Option("--biases", ("model.encoder.biases",), str, "two per layer, or the textbook's one b", ("two", "one")),
        Option("--hidden", ("model.encoder.hidden_size",), int, "hidden units per direction"),
        Option("--layers", ("model.encoder.num_layers",), int, "recurrent layers"),
        Option("--bidirectional", ("model.encoder.bidirectional",), bool, "read both ways"),
        Option("--pooling", ("model.head.pooling",), str, "over the real tokens", ("last", "mean", "max")),
        Option("--embedding-dim", ("model.embedding.dim",), int, "size of a word vector"),
        Option("--lookup", ("model.embedding.lookup",), str, "how a word finds its vector", ("index", "one_hot")),
        Option("--vectors", ("model.embedding.vectors",), str, "word vectors to start from: glove-6b-50d or PATH"),
        Option("--train-embedding", ("model.embedding.trainable",), bool, "train the word vectors"),
        Option(
            "--dropout",
            ("model.embedding.dropout", "model.encoder.dropout", "model.head.dropout"),
            float,
            "on word vectors, between layers, and before the head",
        ),
    ),
    "text": (
        Option("--tokenizer", ("text.tokenizer",), str, "how a text is cut", TOKENIZERS),
        Option(
            "--vocab-size", ("text.vocab_size", "model.embedding.vocab_size"), int, "words kept, PAD and UNK included"
        ),
        Option("--min-count", ("text.min_count",), int, "rarer words become UNK"),
        Option("--max-length", ("text.max_length",), int, "tokens kept of a text"),
        Option("--truncate", ("text.truncate",), str, "part of a longer text to keep", ("head", "tail", "both")),
    ),
    "training": (
        Option("--optimizer", ("training.optimizer.kind",), str, "optimiser", ("adam", "sgd")),
        Option("--lr", ("training.optimizer.learning_rate",), float, "peak learning rate"),
        Option("--weight-decay", ("training.optimizer.weight_decay",), float, "decoupled, never on biases"),
        Option(
            "--schedule", ("training.schedule.kind",), str, "of the learning rate", ("constant", "linear", "one_cycle")
        ),
        Option(
            "--class-weights",
            ("training.class_weights",),
            str,
            "count rare classes more in the loss",
            ("none", "balanced"),
            null="none",
        ),
        Option("--clip", ("training.clip_mode",), str, "gradients by which norm", ("none", "global", "tensor")),
        Option("--clip-norm", ("training.clip_norm",), float, "largest norm of the gradients"),
        Option("--batch-size", ("training.batch_size",), int, "texts per step"),
        Option("--shuffle", ("training.shuffle",), bool, "another order in every epoch"),
        Option("--epochs", ("training.epochs",), int, "passes over the training texts"),
        Option("--eval-interval", ("training.eval_interval",), int, "steps between looks at dev within an epoch"),
        Option("--patience", ("training.patience",), int, "stop after this many looks at dev without a better one"),
        Option("--seed", ("training.seed",), int, "of starting values, order and dropout"),
        Option(
            "--dtype",
            ("training.dtype",),
            str,
            "precision; tf32: a GPU's rounded float32; bfloat16: float32 whose layers read 8 bits",
            DTYPES,
        ),
        Option("--dropout-masks", ("training.dropout_masks",), str, "who draws them", ("shared", "native")),
    ),
    "data": (
        Option("--data", ("data.source",), str, "packaged, official, or PATH of an aclImdb archive or folder"),
        Option("--train-limit", ("data.train_limit",), int, "use only so many training texts"),
        Option("--dev-share", ("data.dev_share",), float, "held out for choosing, where no dev part is given"),
        Option("--test-share", ("data.test_share",), float, "held out for testing, where no test part is given"),
        Option("--split-seed", ("data.split_seed",), int, "of what is held out"),
        Option("--duplicates", ("data.duplicates",), str, "texts that are there twice", ("keep", "drop")),
    ),
}


ABOUT_TEXTS = (*(option.flag for part in ("text", "data") for option in OPTIONS[part]), "--vectors")
"""Flags that mean nothing where the data are no texts."""


def add_options(
    parser: argparse.ArgumentParser,
    bases: dict[str, Experiment] | None = None,
    without: tuple[str, ...] = (),
    helps: dict[str, str] | None = None,
) -> None:
    """All options of the table but `without`; their help shows what they are in `bases`, by default the recipes of
    tasks.imdb. `helps` are texts of its own for some flags."""
    bases = bases or {name: recipe(name) for name in RECIPES}
    trees = {name: base.model_dump(mode="json") for name, base in bases.items()}
    for title, options in OPTIONS.items():
        offered = [option for option in options if option.flag not in without]
        group = parser.add_argument_group(title) if offered else None
        for option in offered:
            values = {name: _shown(_get(tree, option.paths[0]), option.null) for name, tree in trees.items()}
            same = len(set(values.values())) == 1
            described = "; ".join(f"{name}: {value}" for name, value in values.items())
            default = next(iter(values.values())) if same else described
            text = f"{(helps or {}).get(option.flag, option.help)} [{default}]"
            if option.type is bool:
                group.add_argument(option.flag, action=argparse.BooleanOptionalAction, default=None, help=text)
            else:
                metavar = "{" + ",".join(option.choices) + "}" if option.choices else _METAVAR[option.type]
                group.add_argument(option.flag, type=option.type, metavar=metavar, help=text)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any other field of the spec by its dotted name",
    )


_METAVAR = {int: "N", float: "X", str: "S"}


def given(arguments: argparse.Namespace) -> list[str]:
    """Flags of the table that stand on the command line."""
    options = [option for group in OPTIONS.values() for option in group]
    flags = [option.flag for option in options if getattr(arguments, option.dest, None) is not None]
    return flags + (["--set"] if arguments.set else [])


def apply_options(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """The experiment with every given option set, all at once: two may only make sense together.

    Raises UserError naming the option or field, what is wrong and what is allowed.
    """
    if arguments.optimizer is not None and arguments.optimizer != experiment.training.optimizer.kind:
        # Another kind has other fields: start from that kind's defaults.
        kind = {"training.optimizer": {"kind": arguments.optimizer}}
        experiment = replace(experiment, kind, f"--optimizer {arguments.optimizer}")
    changes: dict[str, object] = {}
    for group in OPTIONS.values():
        for option in group:
            value = getattr(arguments, option.dest, None)
            if option.choices and value is not None and value not in option.choices:
                raise UserError(f"{option.flag} {value}: choose one of {', '.join(option.choices)}")
            if value is not None:
                changes.update(dict.fromkeys(option.paths, None if value == option.null else value))
    for assignment in arguments.set:
        field, separator, text = assignment.partition("=")
        if not separator:
            raise UserError(f"--set {assignment}: write FIELD=VALUE, as in training.schedule.warmup_share=0.2")
        try:
            changes[field] = json.loads(text)
        except json.JSONDecodeError:
            changes[field] = text
    try:
        return replace(experiment, changes, "options")
    except UserError as error:
        raise UserError(_with_flag(str(error), arguments)) from None


def _with_flag(message: str, arguments: argparse.Namespace) -> str:
    """A mistake named by what was typed, where one option alone sets the field that it is about."""
    field = message.removeprefix("options: ").partition(":")[0]
    for group in OPTIONS.values():
        for option in group:
            value = getattr(arguments, option.dest, None)
            same_field = any(path.rpartition(".")[2] == field.rpartition(".")[2] for path in option.paths)
            if value is not None and same_field:
                return message.replace("options:", f"{option.flag} {value}:", 1)
    return message


def _get(tree: dict, path: str) -> object:
    for part in path.split("."):
        tree = tree[part]
    return tree


def _shown(value: object, null: str | None) -> str:
    if value is None:
        return null or "off"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
