"""The layers of the spec: embedding, recurrent encoder, pooling head.

Lengths rule: outputs past a length are zero and the reverse direction starts at the last real token.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backends.paddle.fast import KINDS, PoolFunction, RowGradient
from backends.paddle.framework import paddle
from backends.paddle.precision import rounded
from backends.paddle.recurrent import IMPLEMENTATIONS, empty, linear, side_by_side
from backends.paddle.runtime import Inputs, to_tensor
from core import spec
from core.batches import Part
from core.parameters import direction_suffixes

nn, F = paddle.nn, paddle.nn.functional

Dropout = Callable[[paddle.Tensor, str, float], paddle.Tensor]
"""`dropout(x, place, rate)`: x with units dropped and the rest scaled by 1 / (1 - rate), or x itself."""


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

    def forward(self, inputs: Inputs, dropout: Dropout) -> paddle.Tensor:  # -> [B, L, E]
        if self.models is not None:
            vectors = self.of_each_model(inputs.ids)
        elif self.lookup == "index":
            weight = self.weight.detach() if self.by_rows else self.weight
            vectors = F.embedding(inputs.ids, weight, padding_idx=0)
            if self.by_rows and paddle.is_grad_enabled():
                vectors.stop_gradient = False
                self.read = vectors
        else:
            # Without the column of PAD there is no path to row 0.
            one_hot = F.one_hot(inputs.ids, self.weight.shape[0])[:, :, 1:].astype(self.weight.dtype)
            vectors = paddle.matmul(one_hot, self.weight[1:])
        return dropout(vectors, "embedding", self.rate)

    def of_each_model(self, ids: paddle.Tensor) -> paddle.Tensor:
        """[M * B, L] -> [M * B, L, E]. Nothing that is seen comes from PAD's row, so no gradient goes there."""
        models, size, dim = self.weight.shape
        shares = ids.reshape([models, -1])
        if self.lookup == "index":
            rows = shares + size * paddle.arange(models, dtype=ids.dtype).unsqueeze(1)
            vectors = F.embedding(rows, self.weight.reshape([-1, dim]))
        else:
            vectors = paddle.bmm(F.one_hot(shares, size).astype(self.weight.dtype), self.weight)
        return vectors.reshape([*ids.shape, dim])

    def row_gradient(self, inputs: Inputs, whole: np.ndarray, part: Part | None) -> RowGradient:
        """With `by_rows`, after the loss was run backwards. Of a `part` of a batch whose ids [B, L] are `whole`: the
        rows of the whole batch, so that all processes have the same ones, and their values can be added up."""
        read, self.read = self.read, None
        if part is None:
            return RowGradient(inputs.ids, read.grad, self.weight.shape[0])
        vectors = paddle.zeros([*whole.shape, read.shape[-1]], read.dtype)
        vectors = paddle.scatter(vectors, to_tensor(part.chosen, vectors.place), read.grad)
        return RowGradient(to_tensor(whole, vectors.place), vectors, self.weight.shape[0])

    def named(self) -> dict[str, paddle.Tensor]:
        return {"embedding.weight": self.weight}


class RecurrentEncoder(nn.Layer):
    """Recurrent layers in one implementation (`recurrent.py`), under the neutral names."""

    def __init__(
        self,
        encoder: spec.RecurrentEncoder,
        embedding_dim: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        """With `models`, every weight is [models, ...]; `builtin` has no such layers."""
        super().__init__()
        self.rate = encoder.dropout
        self.rounds = False
        """Whether every layer's input is rounded to bfloat16 (`precision.py`)."""
        self.suffixes = direction_suffixes(encoder.bidirectional)
        self.layers = nn.LayerList(
            IMPLEMENTATIONS[implementation](
                encoder.cell,
                encoder.layer_input_size(layer, embedding_dim),
                encoder.hidden_size,
                encoder.directions,
                dtype,
                *(() if models is None else (models,)),
            )
            for layer in range(encoder.num_layers)
        )

    def forward(self, x: paddle.Tensor, inputs: Inputs, dropout: Dropout) -> list[paddle.Tensor]:
        """[B, L, E] -> every layer's output [B, L, H * directions], zero past the lengths, before dropout."""
        outputs = []
        for number, layer in enumerate(self.layers):
            if number > 0:
                x = dropout(x, f"encoder.l{number - 1}", self.rate)
            x, _, _ = layer(rounded(x, self.rounds), inputs)
            outputs.append(x)
        return outputs

    def named(self) -> dict[str, paddle.Tensor]:
        return {
            f"encoder.{kind}_l{number}{suffix}": weight
            for number, layer in enumerate(self.layers)
            for suffix, direction in zip(self.suffixes, layer.weights(), strict=True)
            for kind, weight in zip(KINDS, direction, strict=True)
        }


class Linear(nn.Layer):
    """`y = x W^T + b`, `weight` [out, in], `bias` [out]; `paddle.nn.Linear` would have [in, out]."""

    def __init__(self, inputs: int, outputs: int, dtype: str, models: int | None):
        super().__init__()
        self.weight = empty(*side_by_side(models, outputs, inputs), dtype=dtype)
        self.bias = empty(*side_by_side(models, outputs), dtype=dtype)
        self.rounds = False
        """Whether x is rounded to bfloat16."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, in] -> [B, out]
        return linear(rounded(x, self.rounds), self.weight, self.bias)

    def named(self, prefix: str) -> dict[str, paddle.Tensor]:
        return {f"{prefix}.weight": self.weight, f"{prefix}.bias": self.bias}


class PooledHead(nn.Layer):
    """Pooling over real tokens, an optional hidden layer, a linear map to logits."""

    def __init__(
        self,
        head: spec.PooledHead,
        features: int,
        split: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        """`features` F of the encoder's output; its first `split` columns are the forward direction's. With `models`,
        every weight is [models, ...]."""
        super().__init__()
        self.pooling = head.pooling
        self.split = split
        self.fast = implementation == "fast"
        self.rate = head.dropout
        self.activation = {"tanh": F.tanh, "relu": F.relu}[head.activation]
        self.hidden = None if head.hidden_size is None else Linear(features, head.hidden_size, dtype, models)
        self.output = Linear(head.hidden_size or features, head.outputs, dtype, models)

    def forward(self, x: paddle.Tensor, inputs: Inputs, dropout: Dropout) -> dict[str, paddle.Tensor]:
        """[B, L, F] -> `pooled` [B, F], `head.hidden` [B, F'] if there is one, `logits` [B, outputs]."""
        found = {"pooled": self.pool(x, inputs)}
        features = dropout(found["pooled"], "head.pooled", self.rate)
        if self.hidden is not None:
            found["head.hidden"] = self.activation(self.hidden(features))
            features = dropout(found["head.hidden"], "head.hidden", self.rate)
        found["logits"] = self.output(features)
        return found

    def pool(self, x: paddle.Tensor, inputs: Inputs) -> paddle.Tensor:  # [B, L, F] -> [B, F]
        if self.fast and self.pooling != "last":
            return PoolFunction.apply(x, inputs.lengths, self.pooling)
        if self.pooling == "mean":
            return x.sum(axis=1) / inputs.counts
        if self.pooling == "max":
            # By position, so that of equal maxima the first gets the gradient. Paddle's own `max` and `amax` also take
            # a hundred times the time backwards.
            with paddle.no_grad():
                lowest = paddle.full_like(x, float("-inf"))
                position = paddle.where(inputs.mask > 0, x, lowest).argmax(axis=1)  # [B, F]
                columns = paddle.arange(x.shape[-1])
                flat = (inputs.first[:, None] + position) * x.shape[-1] + columns
            return x.reshape([-1]).gather(flat.reshape([-1])).reshape(flat.shape)
        rows = x.reshape([-1, x.shape[-1]])
        forward = rows.gather(inputs.last, axis=0)[:, : self.split]
        reverse = rows.gather(inputs.first, axis=0)[:, self.split :]
        return paddle.concat([forward, reverse], axis=-1)

    def named(self) -> dict[str, paddle.Tensor]:
        hidden = {} if self.hidden is None else self.hidden.named("head.hidden")
        return {**hidden, **self.output.named("head")}
