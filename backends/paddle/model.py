"""The whole model of a spec, its parameters under the neutral names."""

from __future__ import annotations

import numpy as np

from backends.paddle.dropout import Dropout
from backends.paddle.embedding import Embedding
from backends.paddle.encoders import ENCODERS
from backends.paddle.framework import paddle
from backends.paddle.heads import HEADS
from backends.paddle.runtime import Inputs
from core import spec
from core.models.model import parameter_table

nn, F = paddle.nn, paddle.nn.functional


class Model(nn.Layer):
    """Embedding, encoder and head of a spec. `named` holds every parameter under its neutral name,
    `trainable` those that learn."""

    def __init__(self, model: spec.Model, dtype: str, implementation: str, models: int | None = None):
        """With `models`, so many of them side by side: every parameter is [models, ...], and a batch holds as many
        sequences for each, model by model."""
        super().__init__()
        self.embedding = Embedding(model.embedding, dtype, models)
        self.encoder = ENCODERS[model.encoder.kind](
            model.encoder, model.embedding.output_size, dtype, implementation, models
        )
        self.head = HEADS[model.head.kind](model.head, model.features, dtype, implementation, models)
        self.named = {**self.embedding.named(), **self.encoder.named(), **self.head.named()}
        # Not by freezing the others: Paddle's own recurrent layers need a gradient for every weight or for none.
        self.trainable = {row.name: self.named[row.name] for row in parameter_table(model) if row.trainable}

    def forward(self, inputs: Inputs, dropout: Dropout) -> dict[str, paddle.Tensor]:
        """Every layer's output by name, `logits` among them (`core/engine/contract.py`, `activations`)."""
        x = self.embedding(inputs, dropout)
        encoded = self.encoder(x, inputs, dropout)
        return {"embedding": x, **encoded.layers, **self.head(encoded, inputs, dropout)}

    def assign(self, arrays: dict[str, np.ndarray]) -> None:
        """Copy values into the parameters, in place."""
        with paddle.no_grad():
            for name, parameter in self.named.items():
                parameter.set_value(arrays[name])
