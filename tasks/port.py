"""Bring the weights of an existing classifier from one framework to the other, or under seqtwin's names, with a proof.

python -m tasks.port model.pt --to paddle
python -m tasks.port model.pdparams --to torch --pooling last
python -m tasks.port runs/imdb-paddle-.../best.safetensors --to torch
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from functools import partial
from pathlib import Path

import numpy as np
from rich.markup import escape

import backends
from backends import weight_files
from core.batch import Batch
from core.errors import UserError
from core.models.model import forward
from core.models.types import Arrays
from core.parity.findings import Finding
from core.parity.instances import random_batch, well_conditioned
from core.parity.layers import compare_forward, compare_gradients
from core.spec.experiment import Experiment, read_experiment, replace
from core.weights.convert import NEUTRAL_MODULES, Choices, Port, convert, difference, to_state
from core.weights.recognise import OTHER_LAYOUT
from tasks.cli.console import Parser, console, fact, launch
from tasks.cli.flags import name_flags
from tasks.cli.framework import load_backend
from tasks.parity.table import print_findings

PROGRAM = "python -m tasks.port"
DTYPES = ("float64", "float32")
LISTED = 12
"""Most entries that are listed of what was left out."""


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    _check(arguments)
    source = Path(arguments.source)
    reader = weight_files.reader(weight_files.kind_of(source))
    writer = weight_files.writer(arguments.to)
    out = _free_name(source, arguments.to, arguments.out)
    state = reader.read_state(source, arguments.state)
    port = convert(state, arguments.linear or reader.LINEAR_LAYOUT, _choices(arguments, source))
    _describe(port, source)
    modules, arrays = port.modules, port.arrays
    if arguments.names == "neutral" or arguments.to == weight_files.NEUTRAL:
        modules = {part: NEUTRAL_MODULES.get(part, part) for part in modules}
    if arguments.to != weight_files.NEUTRAL:
        arrays = to_state(port, modules, writer.LINEAR_LAYOUT)
    writer.write_state(out, arrays)
    fact("written", str(out))
    parts = ", ".join(f"{module or 'the top'} ({part})" for part, module in modules.items() if "conv" not in part)
    fact("load", f"{weight_files.LOADING[arguments.to].format(path=out)}; {parts}")
    head = port.model.head
    again = Choices(
        pooling=head.pooling,
        activation=head.activation,
        embedding=modules["embedding"],
        encoder=modules["encoder"],
        encoder_activation=getattr(port.model.encoder, "activation", None),
        hidden=modules.get("head.hidden"),
        head=modules["head"],
    )
    read_again = convert(writer.read_state(out), writer.LINEAR_LAYOUT, again)
    changed = difference(port, read_again, with_pad_row=arguments.to != weight_files.NEUTRAL)
    if changed is not None:
        console.print(
            f"[red]failed[/]  {escape(str(out))} read again is not what was written: {escape(changed)} differs"
        )
        return 1
    fact("proof", f"{out.name} was read again: the same bits")
    return _prove(read_again, arguments.draw)


def _check(arguments: argparse.Namespace) -> None:
    for flag, value, allowed in (
        ("--to", arguments.to, tuple(weight_files.SUFFIXES)),
        ("--names", arguments.names, ("source", "neutral")),
        ("--linear", arguments.linear, tuple(OTHER_LAYOUT)),
        ("--pooling", arguments.pooling, ("last", "mean", "max")),
        ("--activation", arguments.activation, ("tanh", "relu")),
        ("--encoder-activation", arguments.encoder_activation, ("tanh", "relu")),
    ):
        if value is not None and value not in allowed:
            raise UserError(f"{flag} {value}: choose one of {', '.join(allowed)}")
    if not Path(arguments.source).is_file():
        raise UserError(f"{arguments.source}: no such file")


def _free_name(source: Path, kind: str, out: str | None) -> Path:
    """The file to write, which must not be there yet."""
    path = Path(out) if out else source.with_suffix(weight_files.SUFFIXES[kind][0])
    if weight_files.kind_of(path) != kind:
        raise UserError(f"--out {path}: --to {kind} writes a {weight_files.SUFFIXES[kind][0]} file")
    if path.exists():
        raise UserError(f"{path}: exists; give another name with --out")
    return path


def _choices(arguments: argparse.Namespace, source: Path) -> Choices:
    """What the options say; for a file of a run folder, its spec says the rest."""
    choices = Choices(
        pooling=arguments.pooling,
        activation=arguments.activation,
        embedding=arguments.embedding,
        encoder=arguments.encoder,
        hidden=arguments.head_hidden,
        head=arguments.head,
        encoder_activation=arguments.encoder_activation,
    )
    record = source.parent / "experiment.json"
    if weight_files.kind_of(source) != weight_files.NEUTRAL or not record.is_file():
        return choices
    model = read_experiment(record).model
    fact("spec", f"pooling and activation as {record} says, where no option does")
    return dataclasses.replace(
        choices,
        pooling=choices.pooling or model.head.pooling,
        activation=choices.activation or model.head.activation,
        encoder_activation=choices.encoder_activation or getattr(model.encoder, "activation", None),
    )


def _describe(port: Port, source: Path) -> None:
    """What was found, what became of every array, and what was assumed."""
    model = port.model
    head = model.head
    dtype = next(iter(port.arrays.values())).dtype
    size = sum(array.size for array in port.arrays.values())
    logits = "one logit" if head.one_logit else f"{head.classes} classes"
    fact("source", str(source))
    fact("model", f"{model.describe()}, {logits}; {size:,} parameters, {dtype}")
    for line in port.notes:
        fact("note", line)
    wide = max(len(row.source) for row in port.rows)
    wide_neutral = max(len(row.neutral) for row in port.rows)
    for number, row in enumerate(port.rows):
        left = row.source or "(zeros)"
        turned = "" if row.source_shape in ((), row.shape) else f", in the file {list(row.source_shape)}"
        fact("" if number else "placed", f"{left:<{wide}}  {row.neutral:<{wide_neutral}}  {list(row.shape)}{turned}")
    if port.duplicates:
        names = list(port.duplicates)
        fact("twice", f"{len(names)} second names of the same arrays, such as {names[0]}: equal, as they must be")
    _listed("left out", port.left_out)
    _listed("no place", port.unplaced)
    if port.unplaced:
        console.print("         [yellow]a model that computes with these is not the one that was ported[/]")
    for line in port.assumed:
        fact("assumed", name_flags(line))


def _listed(heading: str, entries: dict[str, str]) -> None:
    names = list(entries)
    for name in names[:LISTED]:
        fact(heading, f"{name}: {entries[name]}")
    if len(names) > LISTED:
        fact(heading, f"and {len(names) - LISTED} more")


def _prove(port: Port, draw: int | None) -> int:
    """Rungs 1 and 2 of the ladder, on random input of unequal lengths. Returns the exit code."""
    sides = {name: load_backend(name) for name in backends.NAMES if backends.installed(name)}
    if not sides:
        fact("proof", "no framework is installed: nothing was computed")
        return 0
    seed = int.from_bytes(os.urandom(4), "little") if draw is None else draw
    findings: list[Finding] = []
    for dtype in DTYPES:
        experiment = replace(Experiment(), {"model": port.model.model_dump(mode="json"), "training.dtype": dtype})
        arrays = {name: array.astype(dtype) for name, array in port.arrays.items()}
        rng = np.random.default_rng(seed)
        parameters, batch = well_conditioned(experiment, partial(_instance, experiment, arrays, rng))
        findings += compare_forward(experiment, parameters, batch, sides)
        findings += compare_gradients(experiment, parameters, batch, sides)
    fact("", f"random input of unequal lengths, drawn from seed {seed}: --draw {seed} repeats it")
    print_findings(findings)
    if all(finding.passed for finding in findings):
        console.print("[green]the same model[/] " + escape(f"in {', '.join(sides)} and the NumPy reference"))
        return 0
    if all(finding.passed for finding in findings if finding.dtype == "float64"):
        console.print("[red]failed in float32 only[/]: the same model in float64, but rounding is more than allowed")
    else:
        console.print("[red]not the same model[/]: see the findings above")
    return 1


def _instance(experiment: Experiment, arrays: Arrays, rng: np.random.Generator) -> tuple[Arrays, Batch]:
    """The model with a random batch, each text labelled with the class that the model holds least likely.

    Where a trained model is right and sure of it, its loss is all rounding, and so are the gradients of that loss.
    """
    batch = random_batch(experiment, rng)
    logits = forward(experiment.model, arrays, batch)["logits"]
    least = (logits[:, 0] < 0).astype(np.int64) if experiment.model.head.one_logit else logits.argmin(axis=1)
    return arrays, dataclasses.replace(batch, targets={"label": least})


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="Bring a classifier's weights (embedding, recurrent layer or TextCNN, linear head) to the other"
        " framework.",
        epilog="Nothing in SOURCE is run, whatever it asks for. Exit code 1: the proof failed.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=110),
    )
    suffixes = ", ".join(suffix for kind in weight_files.SUFFIXES.values() for suffix in kind)
    parser.add_argument("source", metavar="SOURCE", help=f"file with a state dict: {suffixes}")
    parser.add_argument(
        "--to", metavar="KIND", required=True, help=f"what to write: {', '.join(weight_files.SUFFIXES)}"
    )
    parser.add_argument("--out", metavar="FILE", help="file to write [SOURCE with the ending of that kind]")
    parser.add_argument("--names", metavar="N", default="source", help="names to write: source or neutral [source]")
    parser.add_argument("--pooling", metavar="P", help="last, mean or max, for the proof: no weight tells [mean]")
    parser.add_argument("--activation", metavar="A", help="tanh or relu, of the hidden layer in the head [relu]")
    parser.add_argument("--encoder-activation", metavar="A", help="tanh or relu, of a TextCNN [relu]")
    parser.add_argument("--state", metavar="NAME", help="entry of SOURCE to take, where several are state dicts")
    parser.add_argument("--embedding", metavar="NAME", help="module that is the embedding, where several could be")
    parser.add_argument(
        "--encoder", metavar="NAME", help="module of the recurrent layer or convolutions, where there are several"
    )
    parser.add_argument("--head", metavar="NAME", help="linear layer that gives the logits, where several could")
    parser.add_argument("--head-hidden", metavar="NAME", help="linear layer below it")
    parser.add_argument("--linear", metavar="L", help="out_in or in_out: linear weights of SOURCE [by its kind]")
    parser.add_argument("--draw", metavar="N", type=int, help="seed of the random input of the proof [fresh]")
    return parser


if __name__ == "__main__":
    launch(main)
