"""Bag of word vectors: the embedding is the output, in every implementation."""

from __future__ import annotations

from backends.torch.dropout import Dropout
from backends.torch.framework import torch
from backends.torch.runtime import Inputs
from core import spec
from core.models.encoders.encoder import Block, Encoded

nn = torch.nn


class BagEncoder(nn.Module):
    """An encoder without parameters."""

    def __init__(
        self,
        encoder: spec.BagEncoder,
        inputs: int,
        dtype: torch.dtype,
        implementation: str,
        models: int | None = None,
    ):
        super().__init__()

    def forward(self, x: torch.Tensor, inputs: Inputs, dropout: Dropout) -> Encoded:
        """Return x [B, L, I], zero at padding, as the only block."""
        return Encoded((Block(x, inputs.windows(1)),))

    def named(self) -> dict[str, nn.Parameter]:
        return {}
