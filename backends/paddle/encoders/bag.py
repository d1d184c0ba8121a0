"""Bag of word vectors: the embedding is the output, in every implementation."""

from __future__ import annotations

from backends.paddle.dropout import Dropout
from backends.paddle.framework import paddle
from backends.paddle.runtime import Inputs
from core import spec
from core.models.encoders.encoder import Block, Encoded

nn = paddle.nn


class BagEncoder(nn.Layer):
    """An encoder without parameters."""

    def __init__(
        self,
        encoder: spec.BagEncoder,
        inputs: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        super().__init__()

    def forward(self, x: paddle.Tensor, inputs: Inputs, dropout: Dropout) -> Encoded:
        """Return x [B, L, I], zero at padding, as the only block."""
        return Encoded((Block(x, inputs.windows(1)),))

    def named(self) -> dict[str, paddle.Tensor]:
        return {}
