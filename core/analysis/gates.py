"""Gates and states of a recurrent layer at every token of a sequence, in NumPy float64.

States are computed by the reference's step (`core.models.encoders.recurrent.CELLS`), so they equal the model's bit by
bit. The step does not return its gates, which are recomputed here from the previous states.
`tests/core/analysis/test_gates.py` verifies that both are consistent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.batch import Batch, pad
from core.errors import UserError
from core.models.encoders.recurrent import (
    CELLS,
    RecurrentEncoder,
    layer_weights,
    recurrent_layer,
    sigmoid,
)
from core.models.model import Model, inputs_of
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, no_dropout
from core.schema import of_kind


@dataclass(frozen=True)
class Quantity:
    """A quantity that a cell computes in every step.

    Gates are in 0..1, other quantities are signed.
    """

    name: str
    title: str
    is_gate: bool = False


INPUT_GATE = Quantity("input_gate", "input gate i", is_gate=True)
FORGET_GATE = Quantity("forget_gate", "forget gate f", is_gate=True)
OUTPUT_GATE = Quantity("output_gate", "output gate o", is_gate=True)
RESET_GATE = Quantity("reset_gate", "reset gate r", is_gate=True)
UPDATE_GATE = Quantity("update_gate", "update gate z", is_gate=True)
CANDIDATE = Quantity("candidate", "candidate")
CELL_STATE = Quantity("cell_state", "cell state c")
HIDDEN_STATE = Quantity("hidden_state", "hidden state h")

QUANTITIES = {
    "lstm": (INPUT_GATE, FORGET_GATE, OUTPUT_GATE, CANDIDATE, CELL_STATE, HIDDEN_STATE),
    "gru": (RESET_GATE, UPDATE_GATE, CANDIDATE, HIDDEN_STATE),
}
"""Quantities by cell.

The candidate is g in an LSTM, n in a GRU (`core/models/encoders/recurrent.py`); z is the kept share of the old state.
"""


@dataclass(frozen=True)
class Place:
    """A layer (from 0) and one of its directions."""

    layer: int = 0
    reverse: bool = False


FIRST = Place()


def check_place(model: Model, place: Place) -> None:
    """Raise UserError if the cell has no gates, or the layer or direction does not exist."""
    encoder, layer = model.encoder, place.layer
    if not isinstance(encoder, RecurrentEncoder):
        raise UserError(f"the encoder {encoder.describe()} has no gates: give a run with a recurrent encoder")
    if encoder.cell not in QUANTITIES:
        cells = " or ".join(cell.upper() for cell in QUANTITIES)
        raise UserError(f"the cell {encoder.cell} has no gates: give a run with {cells}")
    if not 0 <= layer < encoder.num_layers:
        there = "layer 0" if encoder.num_layers == 1 else f"one of layers 0 to {encoder.num_layers - 1}"
        raise UserError(f"no layer {layer} in the model: give {there}")
    if place.reverse and not encoder.bidirectional:
        raise UserError("a unidirectional model has no reverse direction: give forward")


def trace(
    model: Model, parameters: Arrays, text: np.ndarray | Batch, place: Place = FIRST, rounded: Rounding = exactly
) -> Arrays:
    """Return the cell's `QUANTITIES` by name, [L, H] float64, for ids [L] or a batch of one text, without dropout.

    Row t belongs to token t; in the reverse direction, to the state after reading tokens L-1, ..., t. Raises UserError
    like `check_place` and `pad`.
    """
    check_place(model, place)
    encoder = of_kind(model.encoder, RecurrentEncoder)
    parameters = {name: array.astype(np.float64) for name, array in parameters.items()}
    batch = text if isinstance(text, Batch) else pad([np.asarray(text)], {})
    x = inputs_of(model, parameters, batch, no_dropout)
    for below in range(place.layer):
        weights = layer_weights(encoder, parameters, below, rounded)
        x = encoder.output_of(below, x, recurrent_layer(encoder.cell, weights, rounded(x), batch.lengths))
    x, weights = rounded(x), layer_weights(encoder, parameters, place.layer, rounded)[int(place.reverse)]
    steps = range(x.shape[1])
    previous, hidden, cell = (np.zeros((len(steps), encoder.hidden_size)) for _ in range(3))
    h = c = np.zeros((1, encoder.hidden_size))
    for t in reversed(steps) if place.reverse else steps:
        previous[t] = h[0]
        h, c = CELLS[encoder.cell](x[:, t], h, c, weights)
        hidden[t], cell[t] = h[0], c[0]
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    from_input, from_state = x[0] @ weight_ih.T + bias_ih, previous @ weight_hh.T + bias_hh  # [L, G*H]
    found = {**GATE_VALUES[encoder.cell](from_input, from_state), CELL_STATE.name: cell, HIDDEN_STATE.name: hidden}
    return {quantity.name: found[quantity.name] for quantity in QUANTITIES[encoder.cell]}


def lstm_gates(from_input: np.ndarray, from_state: np.ndarray) -> Arrays:
    """Return LSTM gates from input and state summands [L, 4 * H], in the order i, f, g, o."""
    i, f, g, o = np.split(from_input + from_state, 4, axis=-1)
    return {
        INPUT_GATE.name: sigmoid(i),
        FORGET_GATE.name: sigmoid(f),
        OUTPUT_GATE.name: sigmoid(o),
        CANDIDATE.name: np.tanh(g),
    }


def gru_gates(from_input: np.ndarray, from_state: np.ndarray) -> Arrays:
    """Return GRU gates from input and state summands [L, 3 * H], in the order r, z, n."""
    r_x, z_x, n_x = np.split(from_input, 3, axis=-1)
    r_h, z_h, n_h = np.split(from_state, 3, axis=-1)
    r = sigmoid(r_x + r_h)
    return {RESET_GATE.name: r, UPDATE_GATE.name: sigmoid(z_x + z_h), CANDIDATE.name: np.tanh(n_x + r * n_h)}


GATE_VALUES = {"lstm": lstm_gates, "gru": gru_gates}


def memory(values: Arrays) -> np.ndarray:
    """Return the memory state [L, H]: c of an LSTM, h of a GRU."""
    return values.get(CELL_STATE.name, values[HIDDEN_STATE.name])
