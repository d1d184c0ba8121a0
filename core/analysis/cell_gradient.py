"""The four terms of dc_t/dc_{t-1} in an LSTM: the direct path and the paths through its gates.

c_t = f_t * c_{t-1} + i_t * g_t, and i_t, f_t, g_t read h_{t-1} = o_{t-1} * tanh(c_{t-1}). With the total derivative of
h_{t-1}, D = diag(o_{t-1} * (1 - tanh(c_{t-1})^2)), the chain rule gives

    dc_t/dc_{t-1} = diag(f_t)                                  directly
                  + diag(c_{t-1} * f_t * (1 - f_t)) U_f D      through the forget gate
                  + diag(g_t * i_t * (1 - i_t)) U_i D          through the input gate
                  + diag(i_t * (1 - g_t^2)) U_g D              through the candidate

o_{t-1} does not depend on c_{t-1} but on h_{t-2}, so it is constant here, and a product of these matrices over several
steps omits the path through the output gate.
"""

from __future__ import annotations

import itertools
from types import MappingProxyType

import numpy as np

from core.analysis.gates import Place, check_place
from core.errors import UserError
from core.models.encoders.recurrent import RecurrentEncoder, layer_weights
from core.models.model import Model
from core.models.precision import Rounding, exactly
from core.models.types import Arrays
from core.schema import of_kind

TERMS = MappingProxyType(
    {
        "direct": "directly, f",
        "forget_gate": "through the forget gate f",
        "input_gate": "through the input gate i",
        "candidate": "through the candidate g",
    }
)
"""Titles by term. The sum of the terms is `total`."""
TOTAL = "total"


def terms(values: Arrays, now: int, before: int, weight_hh: np.ndarray) -> Arrays:
    """Return the `TERMS`, [H, H] each: row j, column k is the derivative of c_t's unit j by c_{t-1}'s unit k.

    `values` [L, H] are those of `core.analysis.gates.trace`; `now` and `before` are the rows of two consecutive steps,
    in the order of the direction; `weight_hh` [4 * H, H].
    """
    i, f, g = (values[name][now] for name in ("input_gate", "forget_gate", "candidate"))
    cell = values["cell_state"][before]
    u_i, u_f, u_g, _ = np.split(weight_hh, 4)
    state = values["output_gate"][before] * (1.0 - np.tanh(cell) ** 2)  # the diagonal of D
    return {
        "direct": np.diag(f),
        "forget_gate": (cell * f * (1.0 - f))[:, None] * u_f * state,
        "input_gate": (g * i * (1.0 - i))[:, None] * u_i * state,
        "candidate": (i * (1.0 - g**2))[:, None] * u_g * state,
    }


def term_norms(
    model: Model, parameters: Arrays, values: Arrays, place: Place, rounded: Rounding = exactly
) -> dict[str, np.ndarray]:
    """Return the spectral norm of every term and of their `total`, [L - 1] each.

    The norms are in the order of the direction: entry k leads from its step k + 1 to step k + 2. `values` are those of
    `core.analysis.gates.trace`. Raises UserError if the cell is not an LSTM, or for a single token.
    """
    check_place(model, place)
    encoder = of_kind(model.encoder, RecurrentEncoder)
    if encoder.cell != "lstm":
        raise UserError(f"dc_t/dc_(t-1) is that of an LSTM, and the cell is {encoder.cell}")
    length = len(values["cell_state"])
    if length < 2:
        raise UserError("dc_t/dc_(t-1) needs at least 2 tokens, got 1")
    parameters = {name: array.astype(np.float64) for name, array in parameters.items()}
    weight_hh = layer_weights(encoder, parameters, place.layer, rounded)[int(place.reverse)].weight_hh
    order = list(reversed(range(length))) if place.reverse else list(range(length))
    found: dict[str, list[float]] = {name: [] for name in (*TERMS, TOTAL)}
    for before, now in itertools.pairwise(order):
        own = terms(values, now, before, weight_hh)
        own[TOTAL] = np.sum(list(own.values()), axis=0)
        for name, matrix in own.items():
            found[name].append(float(np.linalg.norm(matrix, 2)))
    return {name: np.array(norms) for name, norms in found.items()}
