"""Derive forward passes of an SRN, an LSTM, a padded batch and a TextCNN step by step and check the code.

python -m tasks.derive
python -m tasks.derive --what batch
python -m tasks.derive --what textcnn
python -m tasks.derive --cell lstm --backend torch
python -m tasks.derive --cell srn --input 1 0 --input 0 2 --input 1 1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType, ModuleType

import numpy as np
from rich.markup import escape

import backends
from backends import implementations
from core.analysis import worked_batch, worked_textcnn
from core.analysis.worked_example import ANSWER_LIMIT, ANSWERS, DERIVATIONS, INPUTS, Derivation, Example, arrays, derive
from core.engine.executor import Executor
from core.errors import UserError
from core.models.encoders.recurrent import CELLS, WEIGHT_KINDS, Cell, DirectionWeights, RecurrentEncoder
from core.models.model import forward
from core.spec.training import Training
from tasks.cli.commands import program_command
from tasks.cli.console import Parser, console, launch
from tasks.cli.framework import load_backend

PROGRAM = "tasks.derive"
LIMIT = 1e-12
LARGEST_INPUT = 1000.0
"""Largest absolute value of `--input`; every activation is saturated beyond it."""

NOTE = """\
Vectors are rows; each column of W and U is one unit. Values are computed in float64 and rounded to five decimals, so
the last digit of a sum or product of the printed values may differ by one. The book's single bias b is bias_ih in
seqtwin, with bias_hh zero; its W and U are the transposes of weight_ih and weight_hh."""


@dataclass(frozen=True)
class Check:
    """Hold the largest difference between the derivation and another computation."""

    against: str
    difference: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.limit  # False for NaN


WHAT = ("rnn", "batch", "textcnn")
MODELS = MappingProxyType({"batch": worked_batch, "textcnn": worked_textcnn})
"""Examples of a whole model: modules with `derive`, `MODEL`, `arrays` and `batch`."""


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.what is not None and arguments.what not in WHAT:
        raise UserError(f"--what {arguments.what}: choose one of {', '.join(WHAT)}")
    cells, inputs = _cells(arguments.cell), _inputs(arguments.input)
    recurrent_only = arguments.cell is not None or inputs is not None
    if arguments.what not in (None, "rnn") and recurrent_only:
        raise UserError("--cell and --input apply to --what rnn: omit them")
    names, passed = _backends(arguments.backend), True
    if arguments.what in (None, "rnn"):
        passed &= _recurrent(cells, inputs, names)
    for what, worked in MODELS.items():
        if arguments.what == what or (arguments.what is None and not recurrent_only):
            passed &= _whole_model(worked, names)
    return 0 if passed else 1


def _whole_model(worked: ModuleType, names: list[str]) -> bool:
    """Print the example of a whole model and its checks. Return whether all passed."""
    example, passed = worked.derive(), True
    console.print()
    for line in example.lines:
        console.print(escape(line))
    console.print()
    for check in [*(textcnn_checks() if worked is worked_textcnn else ()), *model_checks(worked, example, names)]:
        _show(check)
        passed &= check.passed
    _print_skipped(names, with_book=True)
    return passed


def textcnn_checks() -> Iterator[Check]:
    """Compare the small cross-correlations with d2l's results."""
    for title, (read, kernel, answer) in worked_textcnn.SMALL.items():
        found = np.array(worked_textcnn.correlate(read, kernel))
        yield Check(f"d2l, {title}", float(np.abs(found - answer).max()), 0.0)


def model_checks(worked: ModuleType, example: Example, names: list[str]) -> Iterator[Check]:
    """Compare an example with the reference and every implementation of backends `names`."""
    model, given, batch = worked.MODEL, worked.arrays(), worked.batch()
    yield Check("core.models.model", _largest(example, forward(model, given, batch)), LIMIT)
    training = Training(dtype="float64")
    for name in names:
        for implementation in model.implementations:
            if implementation != "fast" or not implementations.why_not_fast("cpu"):
                engine = load_backend(name).Engine(model, training, given, Executor("cpu", implementation))
                yield Check(f"{name}, {implementation}", _largest(example, engine.activations(batch)), LIMIT)
                if example.loss is not None:
                    difference = abs(example.loss - engine.gradients(batch, 0)[0])
                    yield Check(f"{name}, {implementation}: loss", difference, LIMIT)


def _largest(example: Example, found: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(own - found[name]).max()) for name, own in example.outputs.items())


def _show(check: Check) -> None:
    verdict = "[green]pass[/]" if check.passed else "[red]FAIL[/]"
    console.print(
        f"{verdict}  by hand ~ {check.against:<26} largest difference {check.difference:.1e}  (limit {check.limit:g})"
    )


def _recurrent(cells: list[Cell], inputs: np.ndarray | None, names: list[str]) -> bool:
    """Print the examples of the recurrent cells and their checks. Return whether all passed."""
    console.print(escape(NOTE))
    passed = True
    for cell in cells:
        own = INPUTS[cell] if inputs is None else inputs
        derivation = derive(cell, own)
        console.print()
        for line in derivation.lines:
            console.print(escape(line))
        console.print()
        for check in checks(cell, own, derivation, names, with_book=inputs is None):
            _show(check)
            passed &= check.passed
        _print_skipped(names, with_book=inputs is None)
    return passed


def checks(
    cell: Cell, inputs: np.ndarray, derivation: Derivation, names: list[str], with_book: bool
) -> Iterator[Check]:
    """Compare the derivation with the book, the reference and every implementation of backends `names`."""
    if with_book:
        # The book rounds to five decimals, so it is off by at most half of the last digit.
        difference = np.abs(derivation.hidden[-1] - ANSWERS[cell]).max()
        yield Check("the book's result", float(difference), ANSWER_LIMIT)
    yield Check("core.models.model", _difference(derivation, *by_reference(cell, inputs)), LIMIT)
    for name in names:
        for implementation in implementations.IMPLEMENTATIONS:
            if implementation != "fast" or not implementations.why_not_fast("cpu"):
                found = by_framework(name, implementation, cell, inputs)
                yield Check(f"{name}, {implementation}", _difference(derivation, *found), LIMIT)


def by_reference(cell: str, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hidden states [L, H] and the last cell state [H] of the NumPy reference."""
    weights = DirectionWeights(*(arrays(cell)[f"encoder.{kind}_l0"] for kind in WEIGHT_KINDS))
    h = c = np.zeros((1, weights.weight_hh.shape[1]))
    hidden = []
    for x in inputs:
        h, c = CELLS[cell](x[None], h, c, weights)
        hidden.append(h[0])
    return np.array(hidden), c[0]


def by_framework(name: str, implementation: str, cell: Cell, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hidden states [L, H] and the last cell state [H] (zeros for an SRN) of a backend's layer."""
    given = {"x": inputs[None], **arrays(cell)}  # [1, L, I]
    hidden_size = given["encoder.weight_hh_l0"].shape[1]
    states = ("h_0", "c_0") if cell == "lstm" else ("h_0",)
    given |= {state: np.zeros((1, 1, hidden_size)) for state in states}
    encoder = RecurrentEncoder(cell=cell, hidden_size=hidden_size, bidirectional=False)
    lengths = np.array([len(inputs)], dtype=np.int64)
    found = load_backend(name).LayerProbe(encoder, given, lengths, Executor("cpu", implementation)).forward()
    return found["output"][0], found["c_n"][0, 0] if "c_n" in found else np.zeros(hidden_size)


def _difference(derivation: Derivation, hidden: np.ndarray, cell: np.ndarray) -> float:
    """Return the largest difference of the hidden states and of an LSTM's last cell state."""
    differences = [np.abs(derivation.hidden - hidden).max()]
    if derivation.cell is not None:
        differences.append(np.abs(derivation.cell[-1] - cell).max())
    return float(np.max(differences))


def _print_skipped(names: list[str], with_book: bool) -> None:
    if not with_book:
        console.print("      not checked against the book: it has no result for --input")
    for name in backends.NAMES:
        if not backends.installed(name):
            console.print(f"      not checked against {name}: its framework is not installed")
    reason = implementations.why_not_fast("cpu")
    if names and reason:
        console.print(f"      not checked with implementation fast: {escape(reason)}")


def _cells(given: str | None) -> list[Cell]:
    if given is not None and given not in DERIVATIONS:
        raise UserError(f"--cell {given}: choose one of {', '.join(DERIVATIONS)}")
    return [cell for cell in DERIVATIONS if given in (None, cell)]


def _inputs(given: list[list[float]] | None) -> np.ndarray | None:
    """Return the inputs [L, I] of `--input`, None without it."""
    if given is None:
        return None
    for pair in given:
        for value in pair:
            if not abs(value) <= LARGEST_INPUT:
                raise UserError(f"--input {value:g}: expected numbers from {-LARGEST_INPUT:g} to {LARGEST_INPUT:g}")
    return np.array(given)


def _backends(given: list[str] | None) -> list[str]:
    """Return the given backends, which must be installed, or all installed ones."""
    for name in given or []:
        if name not in backends.NAMES or not backends.installed(name):
            load_backend(name)  # raises with the reason
    return list(dict.fromkeys(given)) if given else [name for name in backends.NAMES if backends.installed(name)]


def _parser() -> Parser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Derive forward passes of an SRN and an LSTM on the worked example of nndl, chapter 6, of a"
        " padded batch and of a TextCNN step by step, and check the results against the reference and the backends.",
        epilog="Exit code 1: a check failed.",
    )
    parser.add_argument("--what", metavar="W", help=f"{', '.join(WHAT)} [all]")
    parser.add_argument("--cell", metavar="C", help=f"{' or '.join(DERIVATIONS)} [both]")
    parser.add_argument(
        "--input", metavar=("X1", "X2"), nargs=2, type=float, action="append",
        help="one input pair per step [the book's]",
    )  # fmt: skip
    parser.add_argument(
        "--backend",
        metavar="B",
        nargs="+",
        action="extend",
        help="backends to check [all installed]",
    )
    return parser


if __name__ == "__main__":
    launch(main)
