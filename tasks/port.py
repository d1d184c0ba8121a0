"""Convert a classifier's weights to the other framework or to seqtwin's names, and verify the result.

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
from core.weights.finders_head import OTHER_LAYOUT
from tasks.cli.console import Parser, console, fact, launch
from tasks.cli.flags import name_flags
from tasks.cli.framework import load_backend
from tasks.parity.table import print_findings

PROGRAM = "python -m tasks.port"
DTYPES = ("float64", "float32")
LISTED = 12
"""Maximum number of skipped entries to list."""


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
    parts = ", ".join(f"{module or 'top level'} ({part})" for part, module in modules.items() if "conv" not in part)
    fact("load", f"{weight_files.LOADING[arguments.to].format(path=out)}; {parts}", command=True)
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
        console.print(f"[red]failed[/]  {escape(str(out))}: {escape(changed)} differs after reading the file back")
        return 1
    fact("verified", f"{out.name} read back is bit-identical")
    return _verify(read_again, arguments.draw)


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
    """Return the file to write. Raises UserError if it exists or its suffix does not fit."""
    path = Path(out) if out else source.with_suffix(weight_files.SUFFIXES[kind][0])
    if weight_files.kind_of(path) != kind:
        raise UserError(f"--out {path}: expected a {weight_files.SUFFIXES[kind][0]} file for --to {kind}")
    if path.exists():
        raise UserError(f"{path}: exists; choose another name with --out")
    return path


def _choices(arguments: argparse.Namespace, source: Path) -> Choices:
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
    record = source.parent / "experiment.json"
    if weight_files.kind_of(source) != weight_files.NEUTRAL or not record.is_file():
        return choices
    model = read_experiment(record).model
    fact("spec", f"pooling and activation from {record}, unless given")
    return dataclasses.replace(
        choices,
        pooling=choices.pooling or model.head.pooling,
        activation=choices.activation or model.head.activation,
        encoder_activation=choices.encoder_activation or getattr(model.encoder, "activation", None),
    )


def _describe(port: Port, source: Path) -> None:
    """Print the model found, the mapping of every array and the assumptions."""
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
        stored = "" if row.source_shape in ((), row.shape) else f", stored as {list(row.source_shape)}"
        fact("" if number else "mapped", f"{left:<{wide}}  {row.neutral:<{wide_neutral}}  {list(row.shape)}{stored}")
    if port.duplicates:
        names = list(port.duplicates)
        fact("aliases", f"{len(names)} duplicate names of equal arrays, e.g. {names[0]}")
    _listed("skipped", port.skipped)
    _listed("unmapped", port.unplaced)
    if port.unplaced:
        console.print("         [yellow]a model that uses these entries differs from the converted one[/]")
    for line in port.assumed:
        fact("assumed", name_flags(line))


def _listed(heading: str, entries: dict[str, str]) -> None:
    names = list(entries)
    for name in names[:LISTED]:
        fact(heading, f"{name}: {entries[name]}")
    if len(names) > LISTED:
        fact(heading, f"and {len(names) - LISTED} more")


def _verify(port: Port, draw: int | None) -> int:
    """Run rungs 1 and 2 of the parity check on random input of unequal lengths. Return the exit code."""
    sides = {name: load_backend(name) for name in backends.NAMES if backends.installed(name)}
    if not sides:
        fact("verified", "nothing computed, since no framework is installed")
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
    fact("", f"random input of unequal lengths, seed {seed} (repeat with --draw {seed})")
    print_findings(findings)
    if all(finding.passed for finding in findings):
        console.print("[green]models match[/] " + escape(f"in {', '.join(sides)} and the NumPy reference"))
        return 0
    if all(finding.passed for finding in findings if finding.dtype == "float64"):
        console.print("[red]failed in float32 only[/]: models match in float64, but float32 rounding exceeds the limit")
    else:
        console.print("[red]models differ[/]: see the findings above")
    return 1


def _instance(experiment: Experiment, arrays: Arrays, rng: np.random.Generator) -> tuple[Arrays, Batch]:
    """Return the model with a random batch whose labels are the least likely classes.

    If a trained model predicts a label confidently, its loss and gradients are mostly rounding errors.
    """
    batch = random_batch(experiment, rng)
    logits = forward(experiment.model, arrays, batch)["logits"]
    least = (logits[:, 0] < 0).astype(np.int64) if experiment.model.head.one_logit else logits.argmin(axis=1)
    return arrays, dataclasses.replace(batch, targets={"label": least})


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="Convert a classifier's weights (embedding, recurrent layer or TextCNN, linear head) to the other"
        " framework.",
        epilog="No code in SOURCE is executed. Exit code 1: the verification failed.",
    )
    suffixes = ", ".join(suffix for kind in weight_files.SUFFIXES.values() for suffix in kind)
    parser.add_argument("source", metavar="SOURCE", help=f"state dict file: {suffixes}")
    parser.add_argument(
        "--to", metavar="KIND", required=True, help=f"format to write: {', '.join(weight_files.SUFFIXES)}"
    )
    parser.add_argument("--out", metavar="FILE", help="file to write [SOURCE with the new suffix]")
    parser.add_argument("--names", metavar="N", default="source", help="parameter names: source or neutral [source]")
    parser.add_argument("--pooling", metavar="P", help="pooling to verify: last, mean or max [mean]")
    parser.add_argument("--activation", metavar="A", help="head hidden activation: tanh or relu [relu]")
    parser.add_argument("--encoder-activation", metavar="A", help="TextCNN activation: tanh or relu [relu]")
    parser.add_argument("--state", metavar="NAME", help="entry of SOURCE, if several are state dicts")
    parser.add_argument("--embedding", metavar="NAME", help="embedding module, if there are several")
    parser.add_argument("--encoder", metavar="NAME", help="recurrent or convolution module, if there are several")
    parser.add_argument("--head", metavar="NAME", help="linear layer of the logits, if ambiguous")
    parser.add_argument("--head-hidden", metavar="NAME", help="hidden linear layer of the head")
    parser.add_argument("--linear", metavar="L", help="linear layout of SOURCE: out_in, in_out [by format]")
    parser.add_argument("--draw", metavar="N", type=int, help="seed of the verification input [random]")
    return parser


if __name__ == "__main__":
    launch(main)
