"""The complete model of a spec, with neutral parameter names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backends.torch.dropout import Dropout, no_dropout
from backends.torch.embedding import Embedding
from backends.torch.encoders import ENCODERS
from backends.torch.framework import torch
from backends.torch.heads import HEADS
from backends.torch.ngrams import Ngrams
from backends.torch.runtime import Inputs, to_tensor
from core import spec
from core.models.heads.decoder_state import DecoderState
from core.models.model import parameter_table

nn, F = torch.nn, torch.nn.functional


class Model(nn.Module):
    """Embedding, encoder and head of a spec.

    `named` maps neutral names to all parameters, `trainable` to the trainable ones.
    """

    def __init__(self, model: spec.Model, dtype: str, implementation: str, models: int | None = None):
        """Create the layers with zero parameters. With `models`, every parameter is [models, ...].

        Batches then contain equal numbers of sequences per model, model by model.
        """
        super().__init__()
        native = getattr(torch, dtype)
        self.embedding = Embedding(model.embedding, native, models)
        self.encoder = ENCODERS[model.encoder.kind](model.encoder, model.encoder_inputs, native, implementation, models)
        self.head = HEADS[model.head.kind](model.head, model.features, native, implementation, models)
        self.ngrams = Ngrams(model, native, models)
        self.fast = implementation == "fast"
        self.reads_table = model.head.reads_table
        if model.head.needs_states:
            self.encoder.returns_states = True
        parts = (self.embedding, self.encoder, self.head, self.ngrams)
        self.named = {name: own for part in parts for name, own in part.named().items()}
        # The other parameters are not frozen: Paddle's recurrent layers need a gradient for all weights or for none.
        self.trainable = {row.name: self.named[row.name] for row in parameter_table(model) if row.trainable}

    def forward(self, inputs: Inputs, dropout: Dropout) -> dict[str, torch.Tensor]:
        """Return every layer's output by name (`core/engine/contract.py`, `Engine.activations`)."""
        return self.forward_vectors(self.embedding(inputs, dropout), inputs, dropout)

    def forward_vectors(self, x: torch.Tensor, inputs: Inputs, dropout: Dropout) -> dict[str, torch.Tensor]:
        """Return the same outputs for word vectors x [B, L, E]."""
        x = self.ngrams.join(x, inputs)
        encoded = self.encoder(x, inputs, dropout)
        if self.reads_table:
            encoded = replace(encoded, words=self.embedding.words(inputs))
        found = {"embedding": x, **encoded.layers, **self.head(encoded, inputs, dropout)}
        found["logits"] = self.ngrams.add(found["logits"], inputs)
        return found

    def begin_decoding(self, inputs: Inputs) -> DecoderState:
        """Encode the sources; return the state of the decoder head before its first step."""
        return self.head.begin(self.encoder(self.embedding(inputs, no_dropout), inputs, no_dropout), inputs)

    def assign(self, arrays: dict[str, np.ndarray]) -> None:
        """Copy arrays into the parameters, in place."""
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(to_tensor(arrays[name], parameter.device))
