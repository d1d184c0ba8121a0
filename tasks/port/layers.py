"""`--layers`: every layer of a file is converted and compared alone; its wiring is left to the user."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import numpy as np

import backends
from backends import weight_files
from core.errors import UserError
from core.weights.layers import Layer, Layers, all_arrays, find_layers, random_input
from tasks.cli.console import console, fact
from tasks.cli.framework import load_backend
from tasks.cli.terminal import literal
from tasks.port.describe import failed, left_out, listed

LIMIT = 1e-12
"""Largest difference in float64, relative to the largest output if that is above 1."""
WIRING = "how your model connects the layers, and settings without arrays (stride, padding, eps)"


def main(arguments: argparse.Namespace, out: Path, seed: int) -> int:
    """Convert all layers of the file and compare each one. Return the exit code."""
    kind = weight_files.kind_of_source(arguments.source)
    reader, original = weight_files.reader(kind), kind if kind in backends.NAMES else "torch"
    if arguments.to not in backends.NAMES:
        raise UserError(f"--layers with --to {arguments.to}: choose one of {', '.join(backends.NAMES)}")
    source, target = load_backend(original), load_backend(arguments.to)
    state = reader.read_state(arguments.source, arguments.state)
    layers = find_layers(state, arguments.linear or reader.LINEAR_LAYOUT, tuple((arguments.embedding or "").split(",")))
    if not layers.found:
        raise UserError(f"{arguments.source}: no layer with names like fc.weight: give another file")
    rng = np.random.default_rng(seed)
    differences = [_difference(layer, (source, target), random_input(layer, rng)) for layer in layers.found]
    _describe(layers, differences, arguments.source)
    listed("skipped", state.skipped)
    listed("unmapped", layers.reasons)
    if not all(difference <= LIMIT for difference in differences):
        failed(f"a layer differs between {original} and {arguments.to}: nothing written")
        return 1
    if layers.reasons and not arguments.partial:
        failed(f"{left_out(layers.reasons)}: nothing written; give --partial to copy what can be copied unchanged")
        return 1
    arrays = all_arrays(layers, target.LINEAR_LAYOUT)
    target.write_state(out, arrays)
    fact("written", f"{out}: {len(arrays)} arrays")
    if layers.reasons:
        unchanged = f"{len(layers.unplaced)} copied unchanged" if layers.unplaced else "not written"
        fact("left out", f"{left_out(layers.reasons)}: {unchanged}, not compared")
    fact("", f"random input in float64, seed {seed} (repeat with --draw {seed})")
    claim = f"each computes the same in {original} and {arguments.to}, largest difference {max(differences):.1e}"
    console.print(f"[green]converted {len(layers.found)} layers[/]: {literal(claim)}")
    console.print(f"not checked: {literal(WIRING)}")
    return 0


def _difference(layer: Layer, sides: tuple, inputs: np.ndarray) -> float:
    """Return the largest difference between the original framework's layer and the target's. Raises UserError."""
    outputs = []
    for side in sides:
        state = layer.state(side.LINEAR_LAYOUT, _needs_biases(side))
        try:
            outputs.append(side.layer_output(layer.kind, state, inputs))
        except Exception as error:  # a framework can raise any exception for odd sizes
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            raise UserError(f"{layer.name}: {layer.kind} does not run in {side.NAME} ({reason})") from None
    one, other = outputs
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one - other).max() / max(1.0, np.abs(one).max()))


def _needs_biases(side: ModuleType) -> bool:
    return side.LINEAR_LAYOUT == "in_out"


def _describe(layers: Layers, differences: list[float], source: str) -> None:
    """Print a line per layer."""
    fact("source", source)
    for line in layers.notes:
        fact("note", line)
    cells = [(layer.name or "(top level)", layer.kind, layer.shapes) for layer in layers.found]
    wide = [max(map(len, column)) for column in zip(("layer", "kind", "weights"), *cells, strict=True)]
    head = "  ".join(f"{text:<{width}}" for text, width in zip(("layer", "kind", "weights"), wide, strict=True))
    console.print()
    console.print(f"[dim]{head}  difference  result[/]")
    for row, layer, difference in zip(cells, layers.found, differences, strict=True):
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, wide, strict=True))
        result = "[green]pass[/]" if difference <= LIMIT else "[red]FAIL[/]"
        note = f"  {layer.note}" if layer.note else ""
        console.print(f"{literal(text)}  {difference:10.1e}  {result}{literal(note)}")
    console.print()
