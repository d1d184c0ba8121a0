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
    "detached-input": Fault(
        "half of the word vectors' gradient is lost in the recurrent layer",
        2,
        "embedding.weight",
        _detached_input,
        {"model.embedding.trainable": True, "model.encoder.num_layers": 1},
    ),
}
