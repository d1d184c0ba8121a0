"""Faults of TextCNN encoders."""

from __future__ import annotations

import dataclasses
from types import ModuleType

from core.parity.faults.fault import Fault, Patches, padding_as_real, reading


def _windows_over_padding(side: ModuleType) -> Patches:
    encoder = side.encoders.textcnn.TextCNNEncoder
    original = encoder.forward
    patches, seen = padding_as_real(side)

    def forward(self, x, inputs, dropout):
        return original(self, x, seen["inputs"], dropout)

    return [*patches, (encoder, "forward", forward)]


def _flipped_kernel(side: ModuleType) -> Patches:
    return reading(side, lambda name, array: array[..., ::-1] if array.ndim == 3 else array)


def _features_by_width(side: ModuleType) -> Patches:
    encoder = side.encoders.textcnn.TextCNNEncoder
    original = encoder.forward

    def forward(self, x, inputs, dropout):
        encoded = original(self, x, inputs, dropout)
        order = sorted(range(len(self.kernels)), key=lambda number: self.kernels[number])
        return dataclasses.replace(encoded, blocks=tuple(encoded.blocks[number] for number in order))

    return [(encoder, "forward", forward)]


def _static_table_trained(side: ModuleType) -> Patches:
    original = side.engine.Engine.train_step

    def train_step(self, batch, step, learning_rate):
        before = self.parameters()["embedding.weight"]
        original(self, batch, step, learning_rate)
        values = self.parameters()
        values["embedding.static.weight"] += values["embedding.weight"] - before
        self._model.assign(values)

    return [(side.engine.Engine, "train_step", train_step)]


def _windows_not_centered(side: ModuleType) -> Patches:
    encoder = side.encoders.textcnn.TextCNNEncoder
    original = encoder.forward

    def forward(self, x, inputs, dropout):
        contexts, self.contexts = self.contexts, (0,) * len(self.contexts)
        try:
            return original(self, x, inputs, dropout)
        finally:
            self.contexts = contexts

    return [(encoder, "forward", forward)]


ENCODER = {"kind": "textcnn", "kernels": [4, 2], "channels": [3, 5]}
NEEDS = {"model.encoder": ENCODER, "model.head.pooling": "max"}

FAULTS = {
    "windows-over-padding": Fault(
        "windows that extend into the padding are pooled",
        1,
        "encoder.conv",
        _windows_over_padding,
        NEEDS,
    ),
    "flipped-kernel": Fault(
        "kernels are flipped, as in a true convolution",
        1,
        "encoder.conv0",
        _flipped_kernel,
        NEEDS,
    ),
    "features-by-width": Fault(
        "pooled features are concatenated by kernel width, not in the order of the spec",
        1,
        "pooled",
        _features_by_width,
        NEEDS,
    ),
    "windows-not-centered": Fault(
        "windows begin at their token instead of being centered on it",
        1,
        "encoder.conv0",
        _windows_not_centered,
        {"model.encoder": {**ENCODER, "padding": "same"}, "model.head.pooling": "max"},
    ),
    "static-table-trained": Fault(
        "the static word vectors are trained",
        3,
        "after step 1: embedding.static.weight",
        _static_table_trained,
        {**NEEDS, "model.embedding.static_copy": True, "model.embedding.trainable": True},
    ),
}
