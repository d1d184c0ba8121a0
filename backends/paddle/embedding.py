"""The embedding: look-up by index or by one-hot vectors, and its gradient by rows."""

from __future__ import annotations

import numpy as np

from backends.paddle.dropout import Dropout
from backends.paddle.fast import RowGradient
from backends.paddle.framework import paddle
from backends.paddle.linear import empty, side_by_side
from backends.paddle.runtime import Inputs, to_tensor
from core import spec
from core.batch import BatchShard
from core.models.embedding import STATIC_TABLE, TABLE

nn, F = paddle.nn, paddle.nn.functional


class Embedding(nn.Layer):
    """`weight` [V, E]; row 0 (PAD) is zero and gets no gradient."""

    def __init__(self, embedding: spec.Embedding, dtype: str, models: int | None = None):
        """With `models`, `weight` is [models, V, E], and sequences come model by model, as many for each."""
        super().__init__()
        self.models = models
        self.by_rows = False
        """Whether the gradient is read off the vectors (`row_gradient`): `weight` itself then gets none."""
        self.read = None
        self.lookup = embedding.lookup
        self.rate = embedding.dropout
        self.weight = empty(*side_by_side(models, embedding.vocab_size, embedding.dim), dtype=dtype)
        self.weight.stop_gradient = not embedding.trainable
        self.static = None
        """A second table, which is never trained."""
        if embedding.static_copy:
            self.static = empty(*self.weight.shape, dtype=dtype)
            self.static.stop_gradient = True

    def forward(self, inputs: Inputs, dropout: Dropout) -> paddle.Tensor:
        """Return [B, L, E], or [B, L, 2E] with a static copy."""
        weight = self.weight.detach() if self.by_rows else self.weight
        vectors = self.look_up(inputs.ids, weight)
        if self.by_rows and paddle.is_grad_enabled():
            vectors.stop_gradient = False
            self.read = vectors
        if self.static is not None:
            vectors = paddle.concat([vectors, self.look_up(inputs.ids, self.static)], axis=-1)
        return dropout(vectors, "embedding", self.rate)

    def look_up(self, ids: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:  # [B, L] -> [B, L, E]
        if self.models is not None:
            return self.of_each_model(ids, weight)
        if self.lookup == "index":
            return F.embedding(ids, weight, padding_idx=0)
        # Without the column of PAD there is no path to row 0.
        one_hot = F.one_hot(ids, weight.shape[0])[:, :, 1:].astype(weight.dtype)
        return paddle.matmul(one_hot, weight[1:])

    def of_each_model(self, ids: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """[M * B, L] -> [M * B, L, E]. Nothing that is seen comes from PAD's row, so no gradient goes there."""
        models, size, dim = weight.shape
        shares = ids.reshape([models, -1])
        if self.lookup == "index":
            rows = shares + size * paddle.arange(models, dtype=ids.dtype).unsqueeze(1)
            vectors = F.embedding(rows, weight.reshape([-1, dim]))
        else:
            vectors = paddle.bmm(F.one_hot(shares, size).astype(weight.dtype), weight)
        return vectors.reshape([*ids.shape, dim])

    def row_gradient(self, inputs: Inputs, whole: np.ndarray, shard: BatchShard | None) -> RowGradient:
        """With `by_rows`, after the loss was run backwards. Of a `shard` of a batch whose ids [B, L] are `whole`: the
        rows of the whole batch, so that all processes have the same ones, and their values can be added up."""
        read, self.read = self.read, None
        if shard is None:
            return RowGradient(inputs.ids, read.grad, self.weight.shape[0])
        vectors = paddle.zeros([*whole.shape, read.shape[-1]], read.dtype)
        vectors = paddle.scatter(vectors, to_tensor(shard.chosen, vectors.place), read.grad)
        return RowGradient(to_tensor(whole, vectors.place), vectors, self.weight.shape[0])

    def named(self) -> dict[str, paddle.Tensor]:
        own = {TABLE: self.weight}
        return own if self.static is None else {**own, STATIC_TABLE: self.static}
