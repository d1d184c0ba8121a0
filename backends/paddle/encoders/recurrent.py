"""The recurrent encoder: layers of one implementation, with neutral parameter names.

Lengths rule: outputs at padding are zero, and the reverse direction starts at the last real token.
"""

from __future__ import annotations

from backends.paddle.dropout import Dropout, no_dropout
from backends.paddle.encoders.recurrent_layers import IMPLEMENTATIONS, STACKS
from backends.paddle.framework import paddle
from backends.paddle.precision import rounded
from backends.paddle.runtime import Inputs
from core import spec
from core.models.encoders.encoder import Block, Encoded, States
from core.models.encoders.recurrent import WEIGHT_KINDS, direction_suffixes

nn, F = paddle.nn, paddle.nn.functional


class RecurrentEncoder(nn.Layer):
    """Recurrent layers in one implementation (`recurrent_layers.py`), with neutral names."""

    def __init__(
        self,
        encoder: spec.RecurrentEncoder,
        inputs: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        """Create the layers. With `models`, every weight is [models, ...] (not in `builtin`)."""
        super().__init__()
        self.rate, self.hidden = encoder.dropout, encoder.hidden_size
        self.output_of = encoder.output_of
        self.rounds = False
        """True if the input of every layer is rounded to bfloat16 (`precision.py`)."""
        self.returns_states = False
        """True if the head needs the final states."""
        self.suffixes = direction_suffixes(encoder.bidirectional)
        self.layers = nn.LayerList(
            IMPLEMENTATIONS[implementation](encoder.layer_sizes(layer, inputs, models), dtype)
            for layer in range(encoder.num_layers)
        )
        several = encoder.num_layers > 1 and not encoder.residual
        self.stack = STACKS.get(implementation) if several else None
        """The function that computes all layers in one call, or None."""

    def forward(self, x: paddle.Tensor, inputs: Inputs, dropout: Dropout) -> Encoded:
        """Encode x [B, L, E]; layer outputs are [B, L, H * directions], zero at padding."""
        plain = (self.rate == 0.0 or dropout is no_dropout) and not self.rounds and not self.returns_states
        if self.stack is not None and plain:
            outputs = self.stack(self.layers, x, inputs)
            layers = {f"encoder.l{number}": found for number, found in enumerate(outputs)}
            return Encoded((Block(outputs[-1], inputs.windows(1)),), layers, self.hidden)
        layers, states = {}, []
        for number, layer in enumerate(self.layers):
            if number > 0:
                x = dropout(x, f"encoder.l{number - 1}", self.rate)
            found, h_n, c_n = layer(rounded(x, self.rounds), inputs, states=self.returns_states)
            x = layers[f"encoder.l{number}"] = self.output_of(number, x, found)
            states.append(States(h_n, c_n))
        states = tuple(states) if self.returns_states else ()
        return Encoded((Block(x, inputs.windows(1)),), layers, self.hidden, states=states)

    def named(self) -> dict[str, paddle.Tensor]:
        return {
            f"encoder.{kind}_l{number}{suffix}": weight
            for number, layer in enumerate(self.layers)
            for suffix, direction in zip(self.suffixes, layer.weights(), strict=True)
            for kind, weight in zip(WEIGHT_KINDS, direction, strict=True)
        }
