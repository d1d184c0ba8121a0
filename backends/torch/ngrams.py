"""N-grams next to the network: their values join the word vectors, their logits those of the head."""

from __future__ import annotations

from backends.torch.framework import torch
from backends.torch.linear import empty, stacked_shape
from backends.torch.runtime import Inputs
from core import spec
from core.models.ngrams import SCALE

nn = torch.nn


class Ngrams(nn.Module):
    """The part of a model that reads n-grams (`core/models/ngrams.py`); without a spec it changes nothing."""

    def __init__(self, model: spec.Model, dtype: torch.dtype, models: int | None):
        """Create the scale, [1], or [models, 1] in an ensemble."""
        super().__init__()
        own = model.ngrams
        self.inputs = own is not None and own.inputs
        self.scale = empty(*stacked_shape(models, 1), dtype=dtype) if own is not None and own.logits else None
        self.outputs = model.outputs if own is not None else 0

    def join(self, x: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        """Join the values [B, L, V] to the word vectors [B, L, E]."""
        return torch.cat([x, inputs.ngram_values], dim=-1) if self.inputs else x

    def add(self, logits: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        """Add the scaled logits of the linear model to logits [B, C]."""
        if self.scale is None:
            return logits
        scale = self.scale.reshape(-1, 1)
        if len(scale) > 1:  # an ensemble: equal numbers of rows per model
            scale = scale.repeat_interleave(len(logits) // len(scale), 0)
        return logits + scale * inputs.ngram_logits(self.outputs)

    def named(self) -> dict[str, nn.Parameter]:
        return {} if self.scale is None else {SCALE: self.scale}
