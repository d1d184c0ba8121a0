"""Faults of recurrent encoders."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np

from core.models.encoders.recurrent import GATES
from core.parity.faults.fault import Fault, Patches, mixed, padding_as_real, reading


def _swapped_gates(side: ModuleType) -> Patches:
    def change(name: str, array: np.ndarray) -> np.ndarray:
        if not name.startswith("encoder."):
            return array
        i, f, g, o = np.split(array, GATES["lstm"])
        return np.concatenate([f, i, g, o])

    return reading(side, change)


def _transposed_weight(side: ModuleType) -> Patches:
    def change(name: str, array: np.ndarray) -> np.ndarray:
        if "weight_hh" not in name:
            return array
        gates = np.split(array, len(array) // array.shape[1])
        return np.concatenate([gate.T for gate in gates])

    return reading(side, change)


def _bias_on_pad(side: ModuleType) -> Patches:
    encoder = side.encoders.recurrent.RecurrentEncoder
    original = encoder.forward
    patches, seen = padding_as_real(side)

    def forward(self, x, inputs, dropout):
        seen["inputs"].reversal = inputs.reversal
        wrong = original(self, x, seen["inputs"], dropout)
        # The head still uses the true lengths.
        blocks = [dataclasses.replace(block, windows=inputs.windows(1)) for block in wrong.blocks]
        return dataclasses.replace(wrong, blocks=tuple(blocks))

    return [*patches, (encoder, "forward", forward)]


def _reverse_from_padding(side: ModuleType) -> Patches:
    encoder = side.encoders.recurrent.RecurrentEncoder
    original = encoder.forward
    patches, wrong = padding_as_real(side)

    def forward_both(self, x, inputs, dropout):
        right = original(self, x, inputs, dropout)
        values = right.blocks[0].values
        # The second half of the features belongs to the reverse direction.
        reverse = (np.arange(values.shape[-1]) >= values.shape[-1] // 2).astype(side.runtime.to_numpy(x).dtype)
        reverse = side.runtime.to_tensor(reverse, wrong["device"])
        other = original(self, x, wrong["inputs"], dropout)
        return mixed(right, other, lambda own, padded: own * (1.0 - reverse) + padded * inputs.mask * reverse)

    return [*patches, (encoder, "forward", forward_both)]


def _detached_input(side: ModuleType) -> Patches:
    encoder = side.encoders.recurrent.RecurrentEncoder
    original = encoder.forward

    def forward(self, x, inputs, dropout):
        attached = original(self, x, inputs, dropout)
        detached = original(self, x.detach(), inputs, dropout)
        # The mean has unchanged values, and half of the gradient with respect to x.
        return mixed(attached, detached, lambda one, other: (one + other) * 0.5)

    return [(encoder, "forward", forward)]


def _reset_before_product(side: ModuleType) -> Patches:
    layers = side.encoders.recurrent_layers

    def gru_step(x, h, c, weights):
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        r_x, z_x, n_x = layers.linear(x, weight_ih, bias_ih).chunk(3, -1)
        r_h, z_h, _ = layers.linear(h, weight_hh, bias_hh).chunk(3, -1)
        r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
        n_h = layers.linear(r * h, weight_hh, bias_hh).chunk(3, -1)[2]
        return (1.0 - z) * (n_x + n_h).tanh() + z * h, c

    loops = dict.fromkeys(layers.IMPLEMENTATIONS, layers.LoopLayer)
    steps = {**layers.STEPS, "gru": gru_step}
    return [(side.encoders.recurrent, "IMPLEMENTATIONS", loops), (layers, "STEPS", steps)]


def _residual_after_all_layers(side: ModuleType) -> Patches:
    encoder = side.encoders.recurrent.RecurrentEncoder
    original = encoder.forward

    def forward(self, x, inputs, dropout):
        output_of, wanted, inner = self.output_of, len(self.layers) - 1, []

        def only_last(layer, x, found):
            inner.append(found)
            return output_of(layer, inner[0], found) if layer == wanted else found

        self.output_of = only_last
        try:
            return original(self, x, inputs, dropout)
        finally:
            self.output_of = output_of

    return [(encoder, "forward", forward)]


BOTH_WAYS = {"model.encoder.bidirectional": True}

FAULTS = {
    "swapped-gates": Fault(
        "the LSTM's input and forget gates are swapped in the weights",
        1,
        "encoder.l0",
        _swapped_gates,
        {"model.encoder.cell": "lstm"},
    ),
    "transposed-weight": Fault("the recurrent weight of each gate is transposed", 1, "encoder.l0", _transposed_weight),
    "bias-on-pad": Fault(
        "the recurrent layer does not stop at PAD: biases change the state, and outputs at PAD are not zero",
        1,
        "encoder.l0",
        _bias_on_pad,
    ),
    "reverse-from-padding": Fault(
        "the reverse direction starts at the padding, not at the last token",
        1,
        "encoder.l0",
        _reverse_from_padding,
        BOTH_WAYS,
    ),
    "reset-before-product": Fault(
        "the GRU's reset gate is applied before the recurrent product",
        1,
        "encoder.l0",
        _reset_before_product,
        {"model.encoder.cell": "gru"},
    ),
    "residual-around-all": Fault(
        "one residual connection spans all layers, instead of one around each",
        1,
        "encoder.l1",
        _residual_after_all_layers,
        {"model.encoder.num_layers": 3, "model.encoder.residual": True},
    ),
    "detached-input": Fault(
        "half of the word vectors' gradient is lost in the recurrent layer",
        2,
        "embedding.weight",
        _detached_input,
        {"model.embedding.trainable": True, "model.encoder.num_layers": 1},
    ),
}
