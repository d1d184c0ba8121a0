"""Recurrent encoder with SRN, GRU or LSTM cells: spec and NumPy reference.

Notation: x_t [B, I], h and c [B, H], W = `weight_ih`, U = `weight_hh`. Equations follow nndl, chapter 6, and the
documentation of both frameworks; the GRU applies the reset gate after the recurrent product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from core.batch import Batch, Windows
from core.models.encoders.encoder import Block, Encoded, Encoder, Places, Products, States
from core.models.parameters import Init, Parameter
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout
from core.schema import DropoutRate

Cell = Literal["srn", "gru", "lstm", "residual_srn"]


GATES = {"srn": 1, "gru": 3, "lstm": 4, "residual_srn": 1}
"""Number of gate blocks G in the weights: SRN 1; GRU r, z, n; LSTM i, f, g, o."""


FRAMEWORK_CELLS = ("srn", "gru", "lstm")
"""Cells for which both frameworks have a built-in layer."""


class DirectionWeights(NamedTuple):
    """The weights of one direction of a layer: NumPy arrays, or a framework's tensors."""

    weight_ih: Any
    """[G*H, I]"""
    weight_hh: Any
    """[G*H, H]"""
    bias_ih: Any
    """[G*H]"""
    bias_hh: Any
    """[G*H]"""


WEIGHT_KINDS = DirectionWeights._fields


@dataclass(frozen=True)
class LayerSizes:
    """The cell and the sizes of one recurrent layer."""

    cell: Cell
    inputs: int
    """Input size I."""
    hidden: int
    """State size H."""
    directions: int
    """Number of directions D, 1 or 2."""
    models: int | None = None
    """Number of models M of an ensemble, whose weights are [M, ...]; None for a single model.

    A batch then contains equal numbers of sequences per model, model by model.
    """


class RecurrentEncoder(Encoder):
    poolings: ClassVar[tuple[str, ...]] = ("last", "mean", "max", "max_mean", "last_max_mean", "ends", "attention")
    part: ClassVar[str] = "recurrent"

    kind: Literal["recurrent"] = "recurrent"
    cell: Cell = "lstm"
    hidden_size: int = Field(default=128, ge=1)
    num_layers: int = Field(default=1, ge=1, le=16)
    bidirectional: bool = True
    dropout: DropoutRate = 0.0
    """Dropout rate after every layer except the last."""
    residual: bool = False
    """Add its input to the output of every layer but the first, y_k = layer_k(x) + x (Wu et al. 2016).

    x is the input after dropout. A layer has as many outputs as the one below, so that the widths are equal.
    """
    forget_bias: float = 0.0
    """Initial offset of the forget gate's `bias_ih` (LSTM; Jozefowicz et al. 2015 recommend 1)."""
    biases: Literal["two", "one"] = "two"
    """Number of bias vectors per layer and direction.

    `two`: `bias_ih` and `bias_hh`, as in both frameworks; they get equal gradients, so their sum moves twice as fast.
    `one`: the textbook's single b; `bias_hh` is zero and frozen.
    """
    init: Init = Init(scheme="fan_uniform")

    @property
    def implementations(self) -> tuple[str, ...]:
        own = ("builtin", "packed") if self.cell in FRAMEWORK_CELLS else ()
        return ("fast", *own, "loop")

    @property
    def per_token(self) -> bool:
        return True

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def output_size(self, inputs: int) -> int:
        return self.hidden_size * self.directions

    def values_per_token(self, inputs: int) -> int:
        return self.num_layers * self.directions * GATES[self.cell] * self.hidden_size

    def products(self, inputs: int, lengths: np.ndarray, pooling: str | None) -> Products:
        columns = 2.0 * int(lengths.sum()) * self.directions * GATES[self.cell] * self.hidden_size
        sizes = [self.layer_input_size(layer, inputs) + self.hidden_size for layer in range(self.num_layers)]
        whole, d_x = columns * sum(sizes), columns * inputs
        return Products(whole, whole, whole - d_x, d_x)

    def layer_input_size(self, layer: int, inputs: int) -> int:
        return inputs if layer == 0 else self.output_size(inputs)

    def layer_sizes(self, layer: int, inputs: int, models: int | None = None) -> LayerSizes:
        """Return the sizes of a layer; `inputs`: input size of the first one."""
        return LayerSizes(self.cell, self.layer_input_size(layer, inputs), self.hidden_size, self.directions, models)

    def parameters(self, inputs: int) -> list[Parameter]:
        """Return four rows per layer k and direction (suffix `""` or `"_reverse"`).

        They are `encoder.weight_ih_l{k}` [G*H, I], `encoder.weight_hh_l{k}` [G*H, H], `encoder.bias_ih_l{k}` and
        `encoder.bias_hh_l{k}` [G*H].
        """
        hidden, gates = self.hidden_size, GATES[self.cell]
        raised = (hidden, 2 * hidden, self.forget_bias) if self.cell == "lstm" and self.forget_bias else None
        rows = []
        for layer in range(self.num_layers):
            for suffix in direction_suffixes(self.bidirectional):
                shapes = {
                    "weight_ih": (gates * hidden, self.layer_input_size(layer, inputs)),
                    "weight_hh": (gates * hidden, hidden),
                    "bias_ih": (gates * hidden,),
                    "bias_hh": (gates * hidden,),
                }
                for kind, shape in shapes.items():
                    name = f"encoder.{kind}_l{layer}{suffix}"
                    trainable = kind != "bias_hh" or self.biases == "two"
                    own = raised if kind == "bias_ih" else None
                    rows.append(Parameter(name, shape, self.init, hidden, gates, trainable, raised=own))
        return rows

    def forward(
        self, arrays: Arrays, x: np.ndarray, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Encoded:
        layers, states = {}, []
        for layer in range(self.num_layers):
            if layer > 0:
                x = dropout(x, f"encoder.l{layer - 1}", self.dropout)
            weights = layer_weights(self, arrays, layer, rounded)
            found, last = recurrent_states(self.cell, weights, rounded(x), batch.lengths)
            x = layers[f"encoder.l{layer}"] = self.output_of(layer, x, found)
            states.append(last)
        return Encoded((Block(x, Windows(batch)),), layers, self.hidden_size, states=tuple(states))

    def output_of(self, layer: int, x: Any, found: Any) -> Any:
        """Return a layer's output [B, L, H * directions], from its input x and what its cells computed from it."""
        return found + x if self.residual and layer > 0 else found

    def dropout_places(self, rows: int, width: int, inputs: int) -> Places:
        shape = rows, width, self.output_size(inputs)
        return {f"encoder.l{layer}": (shape, self.dropout) for layer in range(self.num_layers - 1)}

    @property
    def label(self) -> str:
        layers = f"{self.num_layers} x " if self.num_layers > 1 else ""
        return f"{layers}{'Bi' if self.bidirectional else ''}{self.cell.upper()} {self.hidden_size}"

    def describe(self) -> str:
        direction = "bidirectional " if self.bidirectional else ""
        residual = ", residual" if self.residual else ""
        return f"{self.num_layers} x {direction}{self.cell.upper()} {self.hidden_size}{residual}"


def direction_suffixes(bidirectional: bool) -> tuple[str, ...]:
    """Return the name suffix of each direction, forward first."""
    return ("", "_reverse") if bidirectional else ("",)


def sigmoid(x: np.ndarray) -> np.ndarray:
    # tanh neither overflows nor loses the imaginary part of a complex step.
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def srn_step(x, hidden, cell, weights: DirectionWeights):
    """Return h' = tanh(W x + b_ih + U h + b_hh)."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    return np.tanh(x @ weight_ih.T + bias_ih + hidden @ weight_hh.T + bias_hh), cell


def residual_srn_step(x, hidden, cell, weights: DirectionWeights):
    """Return h' = h + tanh(W x + b_ih + U h + b_hh).

    The residual connection counters vanishing gradients (nndl, chapter 6).
    """
    step, _ = srn_step(x, hidden, cell, weights)
    return hidden + step, cell


def lstm_step(x, hidden, cell, weights: DirectionWeights):
    """Return h' = o tanh(c'), c' = f c + i g; gates are in the order i, f, g, o."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    gates = x @ weight_ih.T + bias_ih + hidden @ weight_hh.T + bias_hh
    i, f, g, o = np.split(gates, 4, axis=-1)
    new_cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(new_cell), new_cell


def gru_step(x, hidden, cell, weights: DirectionWeights):
    """Return h' = (1 - z) n + z h; gates are in the order r, z, n.

    n = tanh(W_n x + b + r (U_n h + b)).
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    r_x, z_x, n_x = np.split(x @ weight_ih.T + bias_ih, 3, axis=-1)
    r_h, z_h, n_h = np.split(hidden @ weight_hh.T + bias_hh, 3, axis=-1)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    n = np.tanh(n_x + r * n_h)
    return (1.0 - z) * n + z * hidden, cell


CELLS = {"srn": srn_step, "lstm": lstm_step, "gru": gru_step, "residual_srn": residual_srn_step}


def recurrent_layer(cell: Cell, weights: list[DirectionWeights], x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Compute one layer from zero states, x [B, L, I] -> [B, L, H * directions] (`recurrent_states`)."""
    return recurrent_states(cell, weights, x, lengths)[0]


def recurrent_states(
    cell: Cell, weights: list[DirectionWeights], x: np.ndarray, lengths: np.ndarray, start: States | None = None
) -> tuple[np.ndarray, States]:
    """Compute one layer, x [B, L, I] -> [B, L, H * directions], zero at padding, and its final states.

    `weights` are those of each direction, forward first; `lengths` [B]; `start` None for zero states. The state is not
    updated at padding. The reverse direction iterates from the right, so its state is that of the start up to the last
    real token.
    """
    sides, h_n, c_n, size = [], [], [], weights[0].weight_hh.shape[1]
    for side, own in enumerate(weights):
        walk = range(x.shape[1]) if side == 0 else reversed(range(x.shape[1]))
        h = np.zeros((x.shape[0], size), dtype=x.dtype) if start is None else start.h[side]
        c = np.zeros_like(h) if start is None or start.c is None else start.c[side]
        outputs = np.zeros((*x.shape[:2], size), dtype=x.dtype)
        for t in walk:
            real = (t < lengths)[:, None]
            new_h, new_c = CELLS[cell](x[:, t], h, c, own)
            h, c = np.where(real, new_h, h), np.where(real, new_c, c)
            outputs[:, t] = np.where(real, new_h, 0.0)
        sides.append(outputs)
        h_n.append(h)
        c_n.append(c)
    return np.concatenate(sides, axis=-1), States(np.stack(h_n), np.stack(c_n) if cell == "lstm" else None)


def layer_weights(
    encoder: RecurrentEncoder, parameters: Arrays, layer: int, rounded: Rounding = exactly
) -> list[DirectionWeights]:
    """Return the weights of a layer's directions, forward first; matrices are `rounded`."""
    found = []
    for suffix in direction_suffixes(encoder.bidirectional):
        weight_ih, weight_hh, *biases = (parameters[f"encoder.{kind}_l{layer}{suffix}"] for kind in WEIGHT_KINDS)
        found.append(DirectionWeights(rounded(weight_ih), rounded(weight_hh), *biases))
    return found
