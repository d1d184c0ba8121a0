"""Options of `python -m tasks.port`, and their checks."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from backends import weight_files
from core.errors import UserError
from core.models.heads.pooling import JOINED
from core.models.model import check_network
from core.spec.experiment import read_experiment
from core.weights.choices import Choices, classifier_head
from core.weights.finders_head import OTHER_LAYOUT
from core.weights.witness import ACTIVATIONS, PADDINGS, POOLINGS
from tasks.cli.commands import program_command
from tasks.cli.console import Parser, fact
from tasks.cli.streams import keep_working

PROGRAM = "tasks.port"


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the checked arguments. Raises UserError."""
    arguments = _parser().parse_args(argv)
    keep_working("the conversion")
    for flag, value, allowed in (
        ("--to", arguments.to, tuple(weight_files.SUFFIXES)),
        ("--names", arguments.names, ("source", "neutral")),
        ("--linear", arguments.linear, tuple(OTHER_LAYOUT)),
        ("--pooling", arguments.pooling, (*POOLINGS, *JOINED)),
        ("--activation", arguments.activation, ACTIVATIONS),
        ("--encoder-activation", arguments.encoder_activation, ACTIVATIONS),
        ("--padding", arguments.padding, tuple(PADDINGS)),
    ):
        if value is not None and value not in allowed:
            raise UserError(f"{flag} {value}: choose one of {', '.join(allowed)}")
    if not Path(arguments.source).is_file():
        raise UserError(f"{arguments.source}: no such file")
    if arguments.against and arguments.logits:
        raise UserError("--against and --logits: give one of them")
    record = record_of(arguments)
    if record is not None:
        check_network(read_experiment(record).model)
    if arguments.layers and (arguments.against or arguments.logits):
        raise UserError("--layers with --against or --logits: give one of them, as --layers builds no whole model")
    return arguments


def free_name(arguments: argparse.Namespace) -> Path:
    """Return the file to write. Raises UserError if it exists or its suffix does not fit."""
    source, kind = Path(arguments.source), arguments.to
    path = Path(arguments.out) if arguments.out else source.with_suffix(weight_files.SUFFIXES[kind][0])
    if weight_files.kind_of(path) != kind:
        raise UserError(f"--out {path}: expected a {weight_files.SUFFIXES[kind][0]} file for --to {kind}")
    if path.exists():
        raise UserError(f"{path}: exists; choose another name with --out")
    return path


def choices_of(arguments: argparse.Namespace) -> Choices:
    """Return the choices of the options; for a file of a run folder, its spec adds the others."""
    choices = Choices(
        pooling=arguments.pooling,
        activation=arguments.activation,
        embedding=arguments.embedding,
        encoder=arguments.encoder,
        hidden=arguments.head_hidden,
        head=arguments.head,
        encoder_activation=arguments.encoder_activation,
    )
    record = record_of(arguments)
    if record is None:
        return choices
    model = read_experiment(record).model
    head = classifier_head(model, str(record))
    joined = model.encoder_inputs - model.embedding.output_size
    if joined and (arguments.against or arguments.logits):
        raise UserError(
            f"{record}: the network reads values of n-grams, which --against and --logits do not give: omit them"
        )
    fact("spec", f"pooling and activation from {record}, unless given")
    return dataclasses.replace(
        choices,
        pooling=choices.pooling or head.pooling,
        activation=choices.activation or head.activation,
        encoder_activation=choices.encoder_activation or getattr(model.encoder, "activation", None),
        ngrams=model.ngrams,
        ngram_inputs=joined,
    )


def record_of(arguments: argparse.Namespace) -> Path | None:
    """Return the record of the run that the file belongs to, None if it is no file of a run."""
    record = Path(arguments.source).parent / "experiment.json"
    own = weight_files.kind_of_source(arguments.source) == weight_files.NEUTRAL and record.is_file()
    return record if own else None


def _parser() -> Parser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Convert a classifier's weights (embedding, recurrent layer or TextCNN, linear head) to the other"
        " framework. With --against or --logits, verify that the converted model is the same model.",
        epilog="No code in SOURCE is executed; --against runs your own file. Exit code 1: the verification failed, or"
        " an array has no place.",
    )
    suffixes = ", ".join(suffix for kind in weight_files.SUFFIXES.values() for suffix in kind)
    parser.add_argument("source", metavar="SOURCE", help=f"state dict file, read by content: {suffixes}, .npz or any")
    parser.add_argument(
        "--to", metavar="KIND", required=True, help=f"format to write: {', '.join(weight_files.SUFFIXES)}"
    )
    parser.add_argument("--out", metavar="FILE", help="file to write [SOURCE with the new suffix]")
    parser.add_argument("--names", metavar="N", default="source", help="parameter names: source or neutral [source]")
    witness = parser.add_argument_group("witness: logits of your own model")
    witness.add_argument("--against", metavar="F:CLASS", help="your model, e.g. my_model.py:Reviews; it is run")
    witness.add_argument("--logits", metavar="FILE", help=".npz with ids, lengths and logits; nothing is run")
    parser.add_argument("--layers", action="store_true", help="convert any layers, each one compared alone")
    parser.add_argument("--partial", action="store_true", help="leave out arrays without a place")
    parser.add_argument("--pooling", metavar="P", help="pooling: last, mean, max, max_mean or last_max_mean [mean]")
    parser.add_argument("--activation", metavar="A", help="head hidden activation: tanh or relu [relu]")
    parser.add_argument("--encoder-activation", metavar="A", help="TextCNN activation: tanh or relu [relu]")
    parser.add_argument("--padding", metavar="P", help="role of padding with a witness: tokens, all [both tried]")
    parser.add_argument("--state", metavar="NAME", help="entry of SOURCE, if several are state dicts")
    parser.add_argument("--embedding", metavar="NAME", help="embedding module, if there are several")
    parser.add_argument("--encoder", metavar="NAME", help="recurrent or convolution module, if there are several")
    parser.add_argument("--head", metavar="NAME", help="linear layer of the logits, if ambiguous")
    parser.add_argument("--head-hidden", metavar="NAME", help="hidden linear layer of the head")
    parser.add_argument("--linear", metavar="L", help="linear layout of SOURCE: out_in, in_out [by format]")
    parser.add_argument("--draw", metavar="N", type=int, help="seed of the verification input [random]")
    return parser
