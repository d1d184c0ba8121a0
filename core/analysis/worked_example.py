"""The worked example of nndl, chapter 6: forward steps of an SRN and an LSTM.

The notation is the book's: vectors are rows, h_t = tanh(x_t W + h_{t-1} U + b), with W [I, H], U [H, H], one bias b
[H]. Every value is computed in float64, in the order of the formulas; the book's results are only for comparison.
seqtwin stores W and U transposed and has two biases: `arrays` converts them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.models.encoders.recurrent import GATES, Cell

W = np.array([[0.1, 0.2], [0.1, 0.2]])
U = np.array([[0.0, 0.1], [0.1, 0.0]])
B = np.array([0.1, 0.1])
"""Weights of the SRN, and of every gate of the LSTM."""

INPUTS = {"srn": np.array([[1.0, 0.0], [0.0, 2.0]]), "lstm": np.array([[1.0, 0.0]])}
"""Inputs [L, I] of one sequence by cell."""
ANSWERS = {"srn": np.array([0.31774, 0.47750]), "lstm": np.array([0.05944, 0.09524])}
"""The book's last hidden state [H], to five decimals."""
ANSWER_LIMIT = 5e-6


@dataclass(frozen=True)
class Derivation:
    """A derivation: text `lines`, states `hidden` [L, H] and, for an LSTM, `cell` [L, H]."""

    lines: list[str]
    hidden: np.ndarray
    cell: np.ndarray | None = None


@dataclass(frozen=True)
class Example:
    """The forward pass of a model, layer `outputs` by the names of `Engine.activations`, and its mean loss."""

    lines: list[str]
    outputs: dict[str, np.ndarray]
    loss: float | None = None


def arrays(cell: str) -> dict[str, np.ndarray]:
    """Return the weights by neutral name: stacked gates [G*H, I], b as `bias_ih`, `bias_hh` 0."""
    gates = GATES[cell]
    return {
        "encoder.weight_ih_l0": np.tile(W.T, (gates, 1)),
        "encoder.weight_hh_l0": np.tile(U.T, (gates, 1)),
        "encoder.bias_ih_l0": np.tile(B, gates),
        "encoder.bias_hh_l0": np.zeros(gates * len(B)),
    }


def derive(cell: Cell, inputs: np.ndarray) -> Derivation:
    """Derive `srn` or `lstm` step by step, from inputs [L, 2] and zero states."""
    return DERIVATIONS[cell](inputs)


def derive_srn(inputs: np.ndarray) -> Derivation:
    lines = ["SRN    h_t = tanh(x_t W + h_{t-1} U + b)", "", *_weights()]
    h, found = np.zeros(len(B)), []
    for t, x in enumerate(inputs, start=1):
        a = _weighted_sum(lines, t, x, h)
        h = _write(lines, f"h_{t} = tanh(a_{t})", [f"tanh({_value(v)})" for v in a], np.tanh(a))
        found.append(h)
    return Derivation(lines, np.array(found))


def derive_lstm(inputs: np.ndarray) -> Derivation:
    lines = [
        "LSTM   i_t, f_t, o_t = sigma(x_t W + h_{t-1} U + b)   sigma(a) = 1 / (1 + exp(-a))",
        "       c~_t = tanh(x_t W + h_{t-1} U + b)",
        "       c_t = f_t * c_{t-1} + i_t * c~_t               * is element-wise",
        "       h_t = o_t * tanh(c_t)",
        "",
        *_weights(),
        "",
        "The gates and the candidate share W, U and b in this example, so all four use one weighted sum a_t.",
    ]
    h, c = np.zeros(len(B)), np.zeros(len(B))
    hidden, cell = [], []
    for t, x in enumerate(inputs, start=1):
        a = _weighted_sum(lines, t, x, h)
        power = np.exp(-a)
        steps = [f"1 / (1 + exp({_value(-v)})) = 1 / (1 + {_value(p)})" for v, p in zip(a, power, strict=True)]
        gate = _write(lines, f"i_{t} = f_{t} = o_{t} = sigma(a_{t})", steps, 1.0 / (1.0 + power))
        candidate = _write(lines, f"c~_{t} = tanh(a_{t})", [f"tanh({_value(v)})" for v in a], np.tanh(a))
        kept, added = gate * c, gate * candidate
        steps = [
            f"{_product(gate[j], c[j])} + {_product(gate[j], candidate[j])} = {_sum(kept[j], added[j])}"
            for j in range(len(B))
        ]
        c = _write(lines, f"c_{t} = f_{t} * c_{t - 1} + i_{t} * c~_{t}", steps, kept + added)
        squashed = np.tanh(c)
        steps = [f"{_value(gate[j])} * tanh({_value(c[j])}) = {_product(gate[j], squashed[j])}" for j in range(len(B))]
        h = _write(lines, f"h_{t} = o_{t} * tanh(c_{t})", steps, gate * squashed)
        hidden.append(h)
        cell.append(c)
    return Derivation(lines, np.array(hidden), np.array(cell))


DERIVATIONS: dict[Cell, Callable[[np.ndarray], Derivation]] = {"srn": derive_srn, "lstm": derive_lstm}


def _weights() -> list[str]:
    """Format W, U and b in two lines."""
    first, second = ("  ".join(f"{value:g}" for value in row) for row in W)
    upper, lower = ("  ".join(f"{value:3g}" for value in row) for row in U)
    bias = "  ".join(f"{value:g}" for value in B)
    return [f"W = | {first} |      U = | {upper} |      b = | {bias} |", f"    | {second} |          | {lower} |"]


def _weighted_sum(lines: list[str], t: int, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Compute a_t = x_t W + h_{t-1} U + b [H], and write its products."""
    lines += ["", f"step {t}:  x_{t} = {_vector(x)}   h_{t - 1} = {_vector(h)}"]
    from_input = _times(lines, f"x_{t} W", x, W)
    from_state = _times(lines, f"h_{t - 1} U", h, U)
    steps = [_sum(*parts) for parts in zip(from_input, from_state, B, strict=True)]
    return _write(lines, f"a_{t} = x_{t} W + h_{t - 1} U + b", steps, from_input + from_state + B)


def _times(lines: list[str], name: str, row: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Compute row times matrix [H], and write the products and sum of every unit."""
    products = row[:, None] * matrix  # [I, H]
    steps = [
        f"{' + '.join(_product(*pair) for pair in zip(row, column, strict=True))} = {_sum(*own)}"
        for column, own in zip(matrix.T, products.T, strict=True)
    ]
    return _write(lines, name, steps, products.sum(axis=0))


def _write(lines: list[str], name: str, steps: list[str], result: np.ndarray) -> np.ndarray:
    """Write a formula, and the steps and result of every unit; return the result [H]."""
    lines.append(f"  {name}")
    lines += [
        f"    unit {number}:  {step} = {_value(value)}"
        for number, (step, value) in enumerate(zip(steps, result, strict=True), start=1)
    ]
    return result


def _value(value: float) -> str:
    """Format with five decimals, zero without a sign."""
    text = f"{value:.5f}"
    return text if float(text) else "0.00000"


def _operand(value: float) -> str:
    """Format with parentheses if negative."""
    text = _value(value)
    return f"({text})" if text.startswith("-") else text


def _product(one: float, other: float) -> str:
    return f"{_operand(one)} * {_operand(other)}"


def _sum(*terms: float) -> str:
    return " + ".join(_operand(term) for term in terms)


def _vector(values: np.ndarray) -> str:
    return "(" + ", ".join(_value(value) for value in values) + ")"
