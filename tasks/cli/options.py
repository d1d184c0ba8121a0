"""Define the options that set fields of the spec; types, choices and defaults come from the spec."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from core.errors import UserError
from core.schema import FieldType, field_type
from core.spec.experiment import Experiment, replace
from core.spec.words import WORD2VEC
from tasks.cli.assignments import assigned
from tasks.cli.defaults import ABSENT, defaults, shown_value, value_at
from tasks.cli.devices import DEVICE_HELP as DEVICE_HELP
from tasks.cli.recipes import RECIPES, recipe
from tasks.cli.start_options import WITHOUT_VECTORS


@dataclass(frozen=True)
class Option:
    """Map `flag` to the dotted spec fields `paths`; fields that the chosen kinds lack are ignored."""

    flag: str
    paths: tuple[str, ...]
    help: str
    null: str | None = None
    """Choice that sets the fields to null."""
    section: bool = False
    """True for a flag that gives the model a whole section with its defaults, or removes it."""

    @property
    def dest(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")

    @cached_property
    def field(self) -> FieldType:
        """Return type and choices of the first field, from the spec."""
        return FieldType(bool) if self.section else field_type(Experiment, self.paths[0])

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


"""Help text of `--device` in every program."""

LANGUAGE = "language"
"""Options that only programs with a language model offer."""

DECODER = "decoder"
"""Options that only programs with a decoder offer."""

OPTIONS = {
    "model": (
        Option("--encoder", ("model.encoder.kind",), "encoder family"),
        Option("--cell", ("model.encoder.cell", "model.head.cell"), "recurrent cell"),
        Option("--biases", ("model.encoder.biases",), "bias vectors per recurrent layer"),
        Option("--hidden", ("model.encoder.hidden_size", "model.head.state_size"), "hidden units per direction"),
        Option("--layers", ("model.encoder.num_layers", "model.head.num_layers"), "recurrent layers"),
        Option("--residual", ("model.encoder.residual",), "residual connections between recurrent layers"),
        Option("--bidirectional", ("model.encoder.bidirectional", "model.head.bidirectional"), "bidirectional encoder"),
        Option("--kernels", ("model.encoder.kernels",), "TextCNN kernel widths, in tokens"),
        Option("--channels", ("model.encoder.channels",), "output channels of each kernel"),
        Option("--pooling", ("model.head.pooling",), "pooling over non-padding tokens"),
        Option("--embedding-dim", ("model.embedding.dim", "model.head.dim", "words.model.dim"), "embedding dimension"),
        Option("--lookup", ("model.embedding.lookup",), "embedding lookup"),
        Option("--vectors", ("model.embedding.vectors",), "pretrained word vectors: glove-6b-50d, PATH or RUN"),
        Option("--vectors-missing", ("model.embedding.vectors_missing",), "initial rows of words without a vector"),
        Option("--vectors-scale", ("model.embedding.vectors_scale",), "factor of the pretrained vectors"),
        Option("--start", ("start",), "finished run that gives embedding and encoder"),
        Option("--static-copy", ("model.embedding.static_copy",), "concatenate a frozen copy of the embedding"),
        Option("--ngrams", ("model.ngrams",), "a linear model of n-grams next to the network", section=True),
        Option("--ngram-orders", ("model.ngrams.orders",), "largest n of the n-grams of tokens"),
        Option("--ngram-characters", ("model.ngrams.characters",), "largest n of the n-grams of characters"),
        Option("--train-embedding", ("model.embedding.trainable",), "train the embedding"),
        Option(
            "--dropout",
            ("model.embedding.dropout", "model.encoder.dropout", "model.head.dropout"),
            "dropout on embedding, between layers, before head",
        ),
    ),
    DECODER: (
        Option("--attention", ("model.head.attention",), "score of the attention"),
        Option("--bridge", ("model.head.bridge",), "from the encoder's states to the decoder's"),
        Option("--context", ("model.head.context",), "steps that read the encoder's last state"),
        Option("--max-output", ("model.head.max_output",), "maximum target tokens, including EOS"),
        Option("--reverse-source", ("data.reverse_source",), "read the source from its end"),
        Option("--digits", ("data.digits",), "digits of a number, for addition"),
        Option("--longest", ("data.longest",), "longest sequence, for reverse"),
        Option("--beyond", ("data.beyond",), "longest sequence of its test set beyond"),
        Option("--examples", ("data.examples",), "generated examples of all splits"),
        Option("--examples-seed", ("data.seed",), "seed of the generated examples"),
    ),
    LANGUAGE: (
        Option("--negatives", ("model.head.negatives",), "noise words of a training step"),
        Option("--noise-power", ("model.head.power",), "exponent of the noise distribution"),
        Option("--unlabeled", ("data.unlabeled",), "train on the unlabeled reviews as well"),
        Option("--eval-limit", ("data.eval_limit",), "texts of dev and test to evaluate"),
    ),
    "text": (
        Option("--tokenizer", ("text.tokenizer",), "tokenizer"),
        Option(
            "--vocab-size",
            ("text.vocab_size", "model.embedding.vocab_size", "model.head.num_words"),
            "vocabulary size with PAD and UNK",
        ),
        Option("--min-count", ("text.min_count",), "minimum token count; rarer tokens become UNK"),
        Option("--max-length", ("text.max_length",), "maximum tokens per text"),
        Option("--truncate", ("text.truncate",), "which tokens of a longer text to keep"),
    ),
    "training": (
        Option("--optimizer", ("training.optimizer.kind",), "optimizer"),
        Option("--lr", ("training.optimizer.learning_rate",), "peak learning rate"),
        Option("--weight-decay", ("training.optimizer.weight_decay",), "decoupled weight decay, biases excluded"),
        Option("--schedule", ("training.schedule.kind",), "learning-rate schedule"),
        Option("--embedding-rate", ("training.rate_factors.embedding",), "factor of the embedding's learning rate"),
        Option("--encoder-rate", ("training.rate_factors.encoder",), "factor of the encoder's learning rate"),
        Option("--freeze-embedding", ("training.frozen_steps.embedding",), "first steps that keep the embedding"),
        Option("--freeze-encoder", ("training.frozen_steps.encoder",), "first steps that keep the encoder"),
        Option("--class-weights", ("training.class_weights",), "class weights in the loss", null="none"),
        Option("--clip", ("training.clip_mode",), "gradient clipping: by norm, or each entry"),
        Option("--clip-norm", ("training.clip_norm",), "maximum gradient norm or entry"),
        Option("--batch-size", ("training.batch_size",), "texts per batch"),
        Option("--shuffle", ("training.shuffle",), "reshuffle every epoch"),
        Option("--epochs", ("training.epochs",), "training epochs"),
        Option("--eval-interval", ("training.eval_interval",), "evaluate on dev every N steps"),
        Option("--eval-start", ("training.eval_start",), "evaluate on dev before the first step, too"),
        Option("--patience", ("training.patience",), "early-stopping patience, in evaluations"),
        Option("--word-dropout", ("training.word_dropout",), "probability of reading UNK in training"),
        Option("--adversarial", ("training.adversarial",), "perturbation per word vector in training; 0: none"),
        Option("--virtual-adversarial", ("training.virtual_adversarial",), "the same without labels; 0: none"),
        Option("--unlabeled-batch", ("training.unlabeled_batch_size",), "texts without labels in every batch; 0: none"),
        Option("--average", ("training.average_share",), "share of last steps whose parameters are averaged"),
        Option("--watch-gradients", ("training.watch_gradients",), "record gradient norms by parameter, and draw them"),
        Option("--seed", ("training.seed",), "seed of initialization, shuffling and dropout"),
        Option("--dtype", ("training.dtype",), "training precision; tf32 needs a GPU"),
        Option("--dropout-masks", ("training.dropout_masks",), "dropout masks: shared, or native per backend"),
    ),
    "data": (
        Option("--data", ("data.source",), "packaged, official, or PATH of aclImdb"),
        Option("--train-limit", ("data.train_limit",), "maximum number of training texts"),
        Option("--dev-share", ("data.dev_share",), "fraction held out as dev, unless given"),
        Option("--test-share", ("data.test_share",), "fraction held out as test, unless given"),
        Option("--split-seed", ("data.split_seed",), "seed of the held-out splits"),
        Option("--duplicates", ("data.duplicates",), "keep or drop duplicate texts"),
    ),
}


VECTOR_FLAGS = ("--vectors", "--vectors-missing", "--vectors-scale", "--start")
NGRAM_FLAGS = ("--ngrams", "--ngram-orders", "--ngram-characters")
"""Flags of classifiers of texts."""
TEXT_FLAGS = (*(option.flag for part in ("text", "data") for option in OPTIONS[part]), *VECTOR_FLAGS, *NGRAM_FLAGS)
"""Flags that apply only to text data."""


def add_options(
    parser: argparse.ArgumentParser,
    bases: dict[str, Experiment] | None = None,
    without: tuple[str, ...] = (),
    helps: dict[str, str] | None = None,
) -> None:
    """Add the table's options except `without`; the help shows their defaults in `bases`.

    `bases` are the recipes of tasks.imdb by default; `helps` overrides the help text of some flags. The
    options of a decoder or a language model need a base with one.
    """
    bases = bases or {name: recipe(name) for name in RECIPES}
    trees = {name: base.model_dump(mode="json") for name, base in bases.items()}
    for title, options in OPTIONS.items():
        if title in (DECODER, LANGUAGE) and not any(base.model.head.kind == title for base in bases.values()):
            continue
        offered = [option for option in options if option.flag not in without]
        if not offered:
            continue
        group = parser.add_argument_group(title)
        for option in offered:
            shown = {name: shown_value(value_at(tree, option.paths[0]), option.null) for name, tree in trees.items()}
            default = defaults(shown)
            text = f"{(helps or {}).get(option.flag, option.help)}{f' [{default}]' if default else ''}"
            add_option(group, option, text)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set any spec field by dotted name",
    )


def add_option(group: argparse._ActionsContainer, option: Option, text: str) -> None:
    """Add one option; its type comes from the spec."""
    if option.field.type is bool:
        group.add_argument(option.flag, action=argparse.BooleanOptionalAction, default=None, help=text)
    else:
        parse = _numbers if option.field.type is tuple else option.field.type
        group.add_argument(option.flag, type=parse, metavar=option.metavar, help=text)


def _numbers(text: str) -> list[int]:
    """Parse comma-separated integers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected integers such as 3,4,5") from None


def given(arguments: argparse.Namespace) -> list[str]:
    """Return the table's flags that were given on the command line."""
    options = [option for group in OPTIONS.values() for option in group]
    flags = [option.flag for option in options if getattr(arguments, option.dest, None) is not None]
    return flags + (["--set"] if arguments.set else [])


def apply_options(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Return the experiment with all given options set at once, since some are valid only together.

    Raises UserError that names the option or field and the allowed values.
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
            and value != value_at(experiment.model_dump(), option.paths[0])
        ):
            # Another kind has other fields, so its own defaults replace them.
            experiment = replace(experiment, {part: {"kind": value}}, f"{option.flag} {value}")
    experiment = _with_sections(experiment, given)
    tree = experiment.model_dump(mode="json")
    changes: dict[str, object] = {}
    for option, value in given.items():
        if option.section:
            continue
        paths = [path for path in option.paths if value_at(tree, path) is not ABSENT]
        if not paths:
            part, _, leaf = option.paths[0].rpartition(".")
            if value_at(tree, part) is None:
                raise UserError(f"{option.flag}: the model has no section {part}: add --{part.rpartition('.')[2]}")
            kind = value_at(tree, f"{part}.kind")
            raise UserError(f"{option.flag}: {part} of kind {kind} has no {leaf}: omit it, or choose another kind")
        changes.update(dict.fromkeys(paths, None if value == option.null else value))
    more = assigned(arguments.set)
    if {**changes, **more}.get("model.embedding.vectors", WORD2VEC) != WORD2VEC:
        # The recipe may train vectors, which others then replace.
        changes = {"words": None} | {path: value for path, value in changes.items() if not path.startswith("words.")}
    changes.update(more)
    if changes.get("start") is not None and "model.embedding.vectors" not in changes:
        changes = {**WITHOUT_VECTORS, **{path: own for path, own in changes.items() if not path.startswith("words.")}}
    try:
        return replace(experiment, changes, "options")
    except UserError as error:
        raise UserError(with_flag(str(error), arguments, options)) from None


def _with_sections(experiment: Experiment, given: dict[Option, object]) -> Experiment:
    """Add the sections whose flags are given, unless they are there, and remove those that are not wanted."""
    for option, value in given.items():
        if option.section:
            path, found = option.paths[0], value_at(experiment.model_dump(), option.paths[0])
            if value and found is None:
                experiment = replace(experiment, {path: {}}, option.flag)
            elif not value and found is not None:
                if experiment.model.is_linear:
                    raise UserError(f"--no-{option.dest}: a model of encoder ngrams is nothing else: omit one of them")
                experiment = replace(experiment, {path: None}, f"--no-{option.dest}")
    return experiment


def with_flag(message: str, arguments: argparse.Namespace, options: Sequence[Option]) -> str:
    """Replace the field in an error message by the given option that sets it, if there is one."""
    field = message.removeprefix("options: ").partition(":")[0]
    for option in options:
        value = getattr(arguments, option.dest, None)
        same_field = any(path.rpartition(".")[2] == field.rpartition(".")[2] for path in option.paths)
        if value is not None and same_field:
            return message.replace("options:", f"{option.flag} {value}:", 1)
    return message
