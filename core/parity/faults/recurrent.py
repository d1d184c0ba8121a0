"""Faults of recurrent encoders."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np

from core.models.encoders.recurrent import GATES
from core.parity.faults.fault import Fault, Patches, as_if_all_were_real, mixed, reading


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
    patches, seen = as_if_all_were_real(side)

    def forward(self, x, inputs, dropout):
        seen["inputs"].reversal = inputs.reversal
        wrong = original(self, x, seen["inputs"], dropout)
        # What comes after it knows the lengths.
        blocks = [dataclasses.replace(block, windows=inputs.windows(1)) for block in wrong.blocks]
        return dataclasses.replace(wrong, blocks=tuple(blocks))

    return [*patches, (encoder, "forward", forward)]


def _reverse_from_padding(side: ModuleType) -> Patches:
    encoder = side.encoders.recurrent.RecurrentEncoder
    original = encoder.forward
    patches, wrong = as_if_all_were_real(side)

    def forward_both(self, x, inputs, dropout):
        right = original(self, x, inputs, dropout)
        values = right.blocks[0].values
        # The second half of the features is the reverse direction's.
        reverse = (np.arange(values.shape[-1]) >= values.shape[-1] // 2).astype(side.runtime.to_numpy(x).dtype)
        reverse = side.runtime.to_tensor(reverse, wrong["device"])
        other = original(self, x, wrong["inputs"], dropout)
        return mixed(right, other, lambda own, padded: own * (1.0 - reverse) + padded * inputs.mask * reverse)

    return [*patches, (encoder, "forward", forward_both)]


def _detached_input(side: ModuleType) -> Patches:
    encoder = side.encoders.recurrent.RecurrentEncoder
    original = encoder.forward

    def forward(self, x, inputs, dropout):
        whole = original(self, x, inputs, dropout)
        cut_off = original(self, x.detach(), inputs, dropout)
        # Half of each: the values of either, and half the gradient to what comes before.
        return mixed(whole, cut_off, lambda one, other: (one + other) * 0.5)

    return [(encoder, "forward", forward)]


BOTH_WAYS = {"model.encoder.bidirectional": True}

FAULTS = {
    "swapped-gates": Fault(
        "weights are read with the LSTM's input and forget gates in each other's place",
        1,
        "encoder.l0",
        _swapped_gates,
        {"model.encoder.cell": "lstm"},
    ),
    "transposed-weight": Fault(
        "each gate's square recurrent weight is read transposed", 1, "encoder.l0", _transposed_weight
    ),
    "bias-on-pad": Fault(
        "the recurrent layer runs on over PAD: its biases move the state, and its outputs there are not zero",
        1,
        "encoder.l0",
        _bias_on_pad,
    ),
    "reverse-from-padding": Fault(
        "the reverse direction starts at the padding, not at the last word",
        1,
        "encoder.l0",
        _reverse_from_padding,
        BOTH_WAYS,
    ),
    "detached-input": Fault(
        "half the gradient to the word vectors is lost on its way through the recurrent layer",
        2,
        "embedding.weight",
        _detached_input,
        {"model.embedding.trainable": True, "model.encoder.num_layers": 1},
    ),
}
