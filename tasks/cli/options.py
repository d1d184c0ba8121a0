"""Command-line options that set fields of the spec: one table; types, choices and defaults come from the spec."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cached_property

from core.engine import devices
from core.errors import UserError
from core.schema import FieldType, field_type
from core.spec.experiment import Experiment, replace
from tasks.cli.recipes import RECIPES, recipe


@dataclass(frozen=True)
class Option:
    """`flag` sets every one of `paths` (dotted, in the spec), or those of them that the chosen kinds have."""

    flag: str
    paths: tuple[str, ...]
    help: str
    null: str | None = None
    """The choice that sets the fields to null."""

    @property
    def dest(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")

    @cached_property
    def field(self) -> FieldType:
        """What the spec allows."""
        return field_type(Experiment, self.paths[0])

    @property
    def choices(self) -> tuple[str, ...]:
        return ((self.null,) if self.null else ()) + self.field.choices

    @property
    def metavar(self) -> str:
        return (
            "{" + ",".join(self.choices) + "}"
            if self.choices
            else {int: "N", float: "X", tuple: "N,N"}.get(self.field.type, "S")
        )


DEVICE_HELP = f"{devices.CHOICES}; auto takes the first usable GPU [auto]"
"""Help of every program's `--device`."""

OPTIONS = {
    "model": (
        Option("--encoder", ("model.encoder.kind",), "family of the encoder"),
        Option("--cell", ("model.encoder.cell",), "recurrent cell"),
        Option("--biases", ("model.encoder.biases",), "two per layer, or the textbook's one b"),
        Option("--hidden", ("model.encoder.hidden_size",), "hidden units per direction"),
        Option("--layers", ("model.encoder.num_layers",), "recurrent layers"),
        Option("--bidirectional", ("model.encoder.bidirectional",), "read both ways"),
        Option("--kernels", ("model.encoder.kernels",), "widths of a TextCNN's kernels, in tokens"),
        Option("--channels", ("model.encoder.channels",), "features of each kernel"),
        Option("--pooling", ("model.head.pooling",), "over the real tokens"),
        Option("--embedding-dim", ("model.embedding.dim",), "size of a word vector"),
        Option("--lookup", ("model.embedding.lookup",), "how a word finds its vector"),
        Option("--vectors", ("model.embedding.vectors",), "word vectors to start from: glove-6b-50d or PATH"),
        Option("--static-copy", ("model.embedding.static_copy",), "join a second, frozen table of word vectors"),
        Option("--train-embedding", ("model.embedding.trainable",), "train the word vectors"),
        Option(
            "--dropout",
            ("model.embedding.dropout", "model.encoder.dropout", "model.head.dropout"),
            "on word vectors, between layers, and before the head",
        ),
    ),
    "text": (
        Option("--tokenizer", ("text.tokenizer",), "how a text is cut"),
        Option("--vocab-size", ("text.vocab_size", "model.embedding.vocab_size"), "words kept, PAD and UNK included"),
        Option("--min-count", ("text.min_count",), "rarer words become UNK"),
        Option("--max-length", ("text.max_length",), "tokens kept of a text"),
        Option("--truncate", ("text.truncate",), "part of a longer text to keep"),
    ),
    "training": (
        Option("--optimizer", ("training.optimizer.kind",), "optimiser"),
        Option("--lr", ("training.optimizer.learning_rate",), "peak learning rate"),
        Option("--weight-decay", ("training.optimizer.weight_decay",), "decoupled, never on biases"),
        Option("--schedule", ("training.schedule.kind",), "of the learning rate"),
        Option("--class-weights", ("training.class_weights",), "count rare classes more in the loss", null="none"),
        Option("--clip", ("training.clip_mode",), "gradients by which norm"),
        Option("--clip-norm", ("training.clip_norm",), "largest norm of the gradients"),
        Option("--batch-size", ("training.batch_size",), "texts per step"),
        Option("--shuffle", ("training.shuffle",), "another order in every epoch"),
        Option("--epochs", ("training.epochs",), "passes over the training texts"),
        Option("--eval-interval", ("training.eval_interval",), "steps between looks at dev within an epoch"),
        Option("--patience", ("training.patience",), "stop after this many looks at dev without a better one"),
        Option("--seed", ("training.seed",), "of starting values, order and dropout"),
        Option(
            "--dtype",
            ("training.dtype",),
            "precision; tf32: a GPU's rounded float32; bfloat16: float32 whose layers read 8 bits",
        ),
        Option("--dropout-masks", ("training.dropout_masks",), "who draws them"),
    ),
    "data": (
        Option("--data", ("data.source",), "packaged, official, or PATH of an aclImdb archive or folder"),
        Option("--train-limit", ("data.train_limit",), "use only so many training texts"),
        Option("--dev-share", ("data.dev_share",), "held out for choosing, where no dev part is given"),
        Option("--test-share", ("data.test_share",), "held out for testing, where no test part is given"),
        Option("--split-seed", ("data.split_seed",), "of what is held out"),
        Option("--duplicates", ("data.duplicates",), "texts that are there twice"),
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
            shown = {name: _shown(_get(tree, option.paths[0]), option.null) for name, tree in trees.items()}
            values = {name: value for name, value in shown.items() if value}  # a recipe of another kind has none
            described = "; ".join(f"{name}: {value}" for name, value in values.items())
            default = next(iter(values.values()), "") if len(set(values.values())) < 2 else described
            text = f"{(helps or {}).get(option.flag, option.help)}{f' [{default}]' if default else ''}"
            if option.field.type is bool:
                group.add_argument(option.flag, action=argparse.BooleanOptionalAction, default=None, help=text)
            else:
                parse = _numbers if option.field.type is tuple else option.field.type
                group.add_argument(option.flag, type=parse, metavar=option.metavar, help=text)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any other field of the spec by its dotted name",
    )


def _numbers(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def given(arguments: argparse.Namespace) -> list[str]:
    """Flags of the table that stand on the command line."""
    options = [option for group in OPTIONS.values() for option in group]
    flags = [option.flag for option in options if getattr(arguments, option.dest, None) is not None]
    return flags + (["--set"] if arguments.set else [])


def apply_options(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """The experiment with every given option set, all at once: two may only make sense together.

    Raises UserError naming the option or field, what is wrong and what is allowed.
    """
    options = [option for group in OPTIONS.values() for option in group]
    given = {option: value for option in options if (value := getattr(arguments, option.dest, None)) is not None}
    for option, value in given.items():
        if option.choices and value not in option.choices:
            raise UserError(f"{option.flag} {value}: choose one of {', '.join(option.choices)}")
        part, _, leaf = option.paths[0].rpartition(".")
        if (
            leaf == "kind"
            and field_type(Experiment, part).several
            and value != _get(experiment.model_dump(), option.paths[0])
        ):
            # Another kind has other fields: start from that kind's defaults.
            experiment = replace(experiment, {part: {"kind": value}}, f"{option.flag} {value}")
    tree = experiment.model_dump(mode="json")
    changes: dict[str, object] = {}
    for option, value in given.items():
        paths = [path for path in option.paths if _get(tree, path) is not _ABSENT]
        if not paths:
            part, _, leaf = option.paths[0].rpartition(".")
            kind = _get(tree, f"{part}.kind")
            raise UserError(f"{option.flag}: {part} of kind {kind} has no {leaf}: leave it out, or choose another kind")
        changes.update(dict.fromkeys(paths, None if value == option.null else value))
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


_ABSENT = object()


def _get(tree: dict, path: str) -> object:
    """The value at a path, or `_ABSENT` where the chosen kinds have no such field."""
    for part in path.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return _ABSENT
        tree = tree[part]
    return tree


def _shown(value: object, null: str | None) -> str:
    if value is _ABSENT:
        return ""
    if value is None:
        return null or "off"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
