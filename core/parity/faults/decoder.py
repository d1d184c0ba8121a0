"""Faults of encoder-decoders."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np

from core.batch import Batch
from core.models.encoders.encoder import States
from core.parity.faults.fault import Fault, Patches
from core.target_sequences import TARGET, target_lengths


def _attention_over_padding(side: ModuleType) -> Patches:
    head = side.heads.decoder.DecoderHead
    original = head.begin

    def begin(self, encoded, inputs):
        state = original(self, encoded, inputs)
        return dataclasses.replace(state, real=state.real * 0.0 + 1.0)

    return [(head, "begin", begin)]


def _zero_start(side: ModuleType) -> Patches:
    head = side.heads.decoder.DecoderHead
    original = head.begin

    def begin(self, encoded, inputs):
        state = original(self, encoded, inputs)
        layers = tuple(States(h * 0.0, None if c is None else c * 0.0) for h, c in state.layers)
        return dataclasses.replace(state, layers=layers)

    return [(head, "begin", begin)]


def _unshifted_target(side: ModuleType) -> Patches:
    def decoder_batch(batch: Batch) -> Batch:
        return Batch(batch.targets[TARGET], target_lengths(batch), {})

    return [(side.runtime, "decoder_batch", decoder_batch)]


def _padding_in_loss(side: ModuleType) -> Patches:
    head = side.heads.decoder.DecoderHead
    original = head.losses

    def losses(self, outputs, inputs, weights):
        logits = outputs["logits"]
        of_pad = logits.exp().sum(-1).log() - logits[:, :, 0]
        return original(self, outputs, inputs, weights) + of_pad * (1.0 - inputs.decoder.mask[:, :, 0])

    return [(head, "losses", losses)]


def _transposed_query(side: ModuleType) -> Patches:
    original = side.model.Model.assign

    def assign(self, arrays):
        query = "attention.query.weight"
        original(self, {**arrays, query: np.ascontiguousarray(arrays[query].T)} if query in arrays else arrays)

    return [(side.model.Model, "assign", assign)]


NEEDS = {
    "data": {"kind": "pairs", "source": "addition", "examples": 300},
    "text.tokenizer": "letters",
    "model": {
        "embedding": {"vocab_size": 20, "dim": 6},
        "encoder": {"kind": "recurrent", "hidden_size": 5},
        "head": {
            "kind": "decoder",
            "vocab_size": 20,
            "dim": 6,
            "state_size": 5,
            "attention": "additive",
            "max_output": 8,
        },
    },
}

FAULTS = {
    "attention-over-padding": Fault(
        "the softmax of the attention includes the padding", 1, "attention", _attention_over_padding, NEEDS
    ),
    "zero-start": Fault(
        "the decoder starts from zero states, not from the encoder's", 1, "decoder.l0", _zero_start, NEEDS
    ),
    "unshifted-target": Fault(
        "the decoder reads the token that it is to predict", 1, "decoder.l0", _unshifted_target, NEEDS
    ),
    "transposed-query": Fault(
        "the query weight of the attention is transposed", 1, "attention", _transposed_query, NEEDS
    ),
    "padding-in-loss": Fault("the loss counts the padding of the targets", 2, "loss", _padding_in_loss, NEEDS),
}
