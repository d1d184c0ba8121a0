"""The gates and states of a recurrent layer over one text."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.plots.gates import draw_gates, gate_figure
from tasks.run.gate_values import GateValues


class Gates:
    """The gates and states of one recurrent layer, in one direction, at every token of a text.

    `values` maps names to arrays [L, H] of NumPy, for L tokens and H hidden units. An LSTM has `input_gate`,
    `forget_gate`, `output_gate`, `candidate`, `cell_state` and `hidden_state`; a GRU has `reset_gate`, `update_gate`,
    `candidate` and `hidden_state`. `gates["forget_gate"]` is short for `gates.values["forget_gate"]`.

    `tokens` are the L tokens, `prediction` the predicted class, `probability` its probability. A notebook shows a heat
    map of every gate.
    """

    def __init__(self, found: GateValues, run: str) -> None:
        self._found, self._run = found, run
        self.tokens: list[str] = list(found.sequence.tokens)
        self.values: dict[str, np.ndarray] = found.values
        self.prediction: str = found.prediction
        self.probability = float(found.probabilities.max())

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.values:
            raise UserError(f"no gate {name!r}: choose one of {', '.join(self.values)}")
        return self.values[name]

    def save(self, path: str) -> None:
        """Write the heat maps as a PNG file. Raises UserError if it exists."""
        if Path(path).exists():
            raise UserError(f"{path}: exists: give another name")
        draw_gates(self.values, self._found.quantities, self.tokens, self._found.title(self._run), Path(path))

    def __repr__(self) -> str:
        tokens, units = next(iter(self.values.values())).shape
        return f"Gates({self._found.where}: {', '.join(self.values)}, [{tokens}, {units}] each)"

    def _repr_png_(self) -> bytes:
        figure = gate_figure(self.values, self._found.quantities, self.tokens, self._found.title(self._run))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()
