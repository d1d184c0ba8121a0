"""Convert a classifier's weights to the other framework or to seqtwin's names, and verify the result.

python -m tasks.port model.pt --to paddle --against my_model.py:Reviews
python -m tasks.port model.pdparams --to torch --logits logits.npz
python -m tasks.port runs/imdb-paddle-.../best.safetensors --to torch
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from backends import weight_files
from core.parity.layers import Sides
from core.spec.experiment import read_experiment
from core.weights.choices import Choices, classifier_head
from core.weights.convert import NEUTRAL_MODULES, Port, convert, difference, to_state
from core.weights.witness import Fit, Space, candidates, layouts_to_try, search
from core.weights.witness_logits import Witness
from tasks.cli.console import console, fact, launch
from tasks.cli.terminal import literal
from tasks.port import certificate, layers
from tasks.port.against import witness_of
from tasks.port.arguments import choices_of, free_name, parse, record_of
from tasks.port.describe import NOT_CHECKED, describe, describe_fits, failed, left_out, options_of
from tasks.port.verify import load_sides, run_rungs


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    reader = weight_files.reader(weight_files.kind_of_source(arguments.source))
    weight_files.writer(arguments.to)
    out = free_name(arguments)
    seed = int.from_bytes(os.urandom(4), "little") if arguments.draw is None else arguments.draw
    if arguments.layers:
        return layers.main(arguments, out, seed)
    state, choices = reader.read_state(arguments.source, arguments.state), choices_of(arguments)
    layouts = layouts_to_try(reader.LINEAR_LAYOUT, arguments.linear)
    witness, fits = None, []
    if arguments.against or arguments.logits:
        keep_row_0 = arguments.to != weight_files.NEUTRAL
        witness, fits = _try_all(arguments, Space(state, layouts, choices, arguments.padding, keep_row_0), seed)
        choices = fits[0].candidate.choices
    port = convert(state, layouts[0], choices)
    describe(port, Path(arguments.source))
    if witness is not None and not _decided(fits, witness):
        return 1
    if port.unplaced and not arguments.partial:
        failed(f"{left_out(port.unplaced)}: nothing written; give --partial to leave it out")
        return 1
    if not _write(arguments, port, out):
        return 1
    sides = load_sides()
    findings = run_rungs(port, sides, seed) if sides else []
    if findings is None:
        return 1
    if port.unplaced:
        fact("left out", left_out(port.unplaced))
    if witness is None:
        _claim_conversion(arguments, port, sides)
        return 0
    files = {"source": Path(arguments.source), "written": out}
    files["witness"] = Path(arguments.logits or arguments.against.rpartition(":")[0])
    proof = certificate.Proof(port, fits, witness, findings, files, sides, seed)
    fact("proof", str(certificate.write(proof, out)))
    console.print(f"[green]{literal(certificate.claim(proof))}[/]")
    return 0


def _try_all(arguments: argparse.Namespace, space: Space, seed: int) -> tuple[Witness, list[Fit]]:
    """Return the witness and all candidates, the best fit first. Raises UserError."""
    size = next(candidates(space)).port.model.embedding.vocab_size
    witness = witness_of(arguments, space.state, size, seed)
    return witness, search(space, witness)


def _decided(fits: list[Fit], witness: Witness) -> bool:
    """Print the candidates, and return whether exactly one fits."""
    describe_fits(fits, witness)
    within = [fit for fit in fits if fit.within(witness)]
    if not within:
        failed(f"no candidate computes the logits of {witness.where}: it is not the model read from the file")
    if len(within) > 1:
        advice = f"give {options_of(within)}, or texts of unequal lengths"
        failed(f"{len(within)} candidates fit, and the witness cannot tell them apart: {advice}")
    return len(within) == 1


def _write(arguments: argparse.Namespace, port: Port, out: Path) -> bool:
    """Write the file, read it back, and return whether it is identical."""
    kind, writer = arguments.to, weight_files.writer(arguments.to)
    modules, arrays = port.modules, port.arrays
    if arguments.names == "neutral" or kind == weight_files.NEUTRAL:
        modules = {part: NEUTRAL_MODULES.get(part, part) for part in modules}
    if kind != weight_files.NEUTRAL:
        arrays = to_state(port, modules, writer.LINEAR_LAYOUT)
    writer.write_state(out, arrays)
    fact("written", str(out))
    parts = ", ".join(f"{module or 'top level'} ({part})" for part, module in modules.items() if "conv" not in part)
    fact("load", f"{weight_files.LOADING[kind].format(path=out)}; {parts}", command=True)
    head = classifier_head(port.model, str(out))
    again = Choices(
        pooling=head.pooling,
        activation=head.activation,
        embedding=modules["embedding"],
        encoder=modules["encoder"],
        encoder_activation=getattr(port.model.encoder, "activation", None),
        hidden=modules.get("head.hidden"),
        head=modules["head"],
        ngrams=port.model.ngrams,
        ngram_inputs=port.model.encoder_inputs - port.model.embedding.output_size,
    )
    read_again = convert(writer.read_state(out), writer.LINEAR_LAYOUT, again)
    changed = difference(port, read_again, with_pad_row=kind != weight_files.NEUTRAL)
    if changed is not None:
        failed(f"{out}: {changed} differs after reading the file back")
        return False
    fact("read", f"{out.name} read back is bit-identical")
    return True


def _claim_conversion(arguments: argparse.Namespace, port: Port, sides: Sides) -> None:
    """Print what is verified without a witness, and what is not."""
    names = [*sides, "the NumPy reference"]
    same = f"{', '.join(names[:-1])} and {names[-1]} compute the same with the converted weights"
    computed = same if sides else "nothing computed, since no framework is installed"
    console.print(f"[green]converted {len(port.rows)} arrays[/]: {literal(computed)}")
    record = record_of(arguments)
    if record is not None and not (arguments.pooling or arguments.activation or arguments.encoder_activation):
        what = "model" if read_experiment(record).model.ngrams is None else "network"
        console.print(f"the {what} is that of {literal(str(record))}")
    else:
        console.print(f"not checked: {literal(NOT_CHECKED)}")


if __name__ == "__main__":
    launch(main)
