"""The engine `fast`: inference with the compiled kernels, without a framework.

The kernels look up words and compute the recurrent layers, mean and maximum, and the maxima of a TextCNN; NumPy
computes the rest of the model as the reference does, in the model's dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from backends import kernels
from backends.kernels import training
from backends.kernels.convolution import InferenceConvolutions
from backends.kernels.inference import InferenceLayer
from core.batch import Batch, Windows
from core.models.embedding import TABLE
from core.models.encoders import RecurrentEncoder, TextCNNEncoder
from core.models.encoders.encoder import Block, Encoded
from core.models.encoders.recurrent import layer_weights
from core.models.heads import TokenHead
from core.models.heads.pooling import PoolingHead, attention_scores, attention_softmax, joined, pool
from core.models.model import Model, inputs_of, with_ngrams
from core.models.precision import exactly
from core.models.types import Arrays, activate, no_dropout
from core.schema import of_kind
from core.spec.training import Training

HEADS = (PoolingHead, TokenHead)
"""Heads that read the outputs of the encoder only."""


class KernelEngine:
    """The inference methods of `core.engine.contract.Engine` with the compiled kernels. One call at a time."""

    device = "cpu"
    implementation = "fast"

    def __init__(self, model: Model, training: Training, parameters: Arrays) -> None:
        """Pack the weights. The kernels must support the model (`why_not`)."""
        dtype = np.dtype(training.array_dtype)
        self.model = model
        self._parameters = {name: np.ascontiguousarray(array, dtype) for name, array in parameters.items()}
        table = self._parameters[TABLE] if self._reads_table else None
        self._pool: Callable[[Batch], np.ndarray]
        """Return the pooled features [B, P] of a batch."""
        if isinstance(model.encoder, TextCNNEncoder):
            self._convolutions = InferenceConvolutions(model.encoder, self._parameters, table)
            self._pool = self._pooled_windows
            return
        self.encoder = of_kind(model.encoder, RecurrentEncoder)
        sizes = [self.encoder.layer_sizes(layer, model.encoder_inputs) for layer in range(self.encoder.num_layers)]
        self._layers = [
            InferenceLayer(own, layer_weights(self.encoder, self._parameters, layer), table if layer == 0 else None)
            for layer, own in enumerate(sizes)
        ]
        self._pool = self._pooled_tokens

    @staticmethod
    def why_not(model: Model, training: Training) -> str | None:
        """Return why this engine cannot run a model; None if it can."""
        kind, head = f"`model.encoder.kind` {model.encoder.kind}", model.head
        if not isinstance(model.encoder, (RecurrentEncoder, TextCNNEncoder)):
            return f"no compiled kernel for {kind}"
        convolutions = isinstance(model.encoder, TextCNNEncoder)
        if not isinstance(head, PoolingHead if convolutions else HEADS):
            return f"no compiled kernel for `model.head.kind` {head.kind}" + (f" of {kind}" if convolutions else "")
        if convolutions and isinstance(head, PoolingHead) and head.pooling != "max":
            return f"no compiled kernel for `model.head.pooling` {head.pooling} of {kind}"
        if training.dtype == "bfloat16":
            return "the compiled kernels do not round to bfloat16"
        return kernels.failure()

    @property
    def _reads_table(self) -> bool:
        """Whether the inputs of the encoder are rows of the word table alone."""
        own, ngrams = self.model.embedding, self.model.ngrams
        alone = own.lookup != "scalar" and not own.static_copy and not own.bigrams
        return alone and (ngrams is None or not ngrams.inputs)

    def parameters(self) -> Arrays:
        """Return the parameters, in the model's dtype."""
        return self._parameters

    def logits(self, batch: Batch) -> np.ndarray:
        """Return logits in the model's dtype: [B, outputs] of a classifier, [B, L, C] of a tagger.

        Raises KeyboardInterrupt.
        """
        head = self.model.head
        if not isinstance(head, PoolingHead):
            # The scores of a CRF's tags are no part of the logits.
            batch = replace(batch, targets={})
            return head.forward(self._parameters, self._encoded(batch), batch, no_dropout, exactly)["logits"]
        found = head.with_logits(self._parameters, {"pooled": self._pool(batch)}, no_dropout)
        return with_ngrams(self.model, self._parameters, batch, found["logits"])

    def _pooled_windows(self, batch: Batch) -> np.ndarray:
        encoder = of_kind(self.model.encoder, TextCNNEncoder)
        return activate(encoder.activation, self._convolutions.forward(batch.lengths, self._inputs(batch)))

    def _pooled_tokens(self, batch: Batch) -> np.ndarray:
        encoded, pooling = self._encoded(batch), of_kind(self.model.head, PoolingHead).pooling
        if pooling == "attention":
            return self._attended(encoded)
        return np.concatenate([_pooled(own, encoded, batch.lengths) for own in training.fused(joined(pooling))], axis=1)

    def _inputs(self, batch: Batch) -> np.ndarray:
        """Return what the encoder reads: ids [B, L], or vectors [B, L, I]."""
        x = batch.ids if self._reads_table else inputs_of(self.model, self._parameters, batch, no_dropout)
        return np.ascontiguousarray(x)

    def _attended(self, encoded: Encoded) -> np.ndarray:
        """Return the output of the encoder [B, L, F], pooled by attention to [B, F].

        The scores are those of the real tokens alone, so that padding changes neither the time nor a bit.
        """
        (block,) = encoded.blocks
        mask = block.windows.mask
        scores = np.zeros(mask.shape, block.values.dtype)
        scores[mask[:, :, 0]] = attention_scores(self._parameters, block.values[mask[:, :, 0]])
        return (attention_softmax(scores, mask) * block.values).sum(axis=1)

    def _encoded(self, batch: Batch) -> Encoded:
        """Return the output of the encoder; its values are valid until the next call."""
        x = self._inputs(batch)
        for number, layer in enumerate(self._layers):
            found = layer.forward(batch.lengths, np.ascontiguousarray(x))
            x = self.encoder.output_of(number, x, found)
        return Encoded((Block(x, Windows(batch)),), forward_columns=self.encoder.hidden_size)


def _pooled(pooling: str, encoded: Encoded, lengths: np.ndarray) -> np.ndarray:
    """Return the output of the encoder [B, L, F] pooled to [B, P]."""
    if pooling not in training.POOLINGS:
        return pool(pooling, encoded)
    x = encoded.blocks[0].values
    pooled, positions = np.empty(training.pooled_shape(x, pooling), x.dtype), training.position_shape(x, pooling)
    position = None if positions is None else np.empty(positions, np.int32)
    training.pool(pooling, lengths, x, pooled, position)
    return pooled
