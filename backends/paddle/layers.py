"""The layers of the spec: embedding, recurrent encoder, pooling head.

Lengths rule: outputs past a length are zero and the reverse direction starts at the last real token. Each direction is
a one-way built-in layer over padded input; the reverse one reads sequences reversed within their lengths and its
outputs are reversed back. That is exact, and as fast as the built-in layer's `sequence_length`.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.paddle.framework import paddle
from backends.paddle.runtime import Inputs
from core import spec
from core.parameters import direction_suffixes

nn, F = paddle.nn, paddle.nn.functional

Dropout = Callable[[paddle.Tensor, str, float], paddle.Tensor]
"""`dropout(x, place, rate)`: x with units dropped and the rest scaled by 1 / (1 - rate), or x itself."""

BUILTIN = {"srn": nn.SimpleRNN, "gru": nn.GRU, "lstm": nn.LSTM}


def empty(*shape: int, dtype: str) -> paddle.Tensor:
    """A parameter whose values come from core, later."""
    return paddle.create_parameter(list(shape), dtype, default_initializer=nn.initializer.Constant(0.0))


def builtin_layer(cell: spec.Cell, inputs: int, hidden: int, dtype: str) -> nn.Layer:
    """A one-way, one-layer built-in. Its dtype can only be told by the default: `to(dtype=...)` fails on Paddle 3.3."""
    previous = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        return BUILTIN[cell](inputs, hidden)
    finally:
        paddle.set_default_dtype(previous)


class Embedding(nn.Layer):
    """`weight` [V, E]; row 0 (PAD) is zero and gets no gradient."""

    def __init__(self, embedding: spec.Embedding, dtype: str):
        super().__init__()
        self.lookup = embedding.lookup
        self.rate = embedding.dropout
        self.weight = empty(embedding.vocab_size, embedding.dim, dtype=dtype)
        self.weight.stop_gradient = not embedding.trainable

    def forward(self, inputs: Inputs, dropout: Dropout) -> paddle.Tensor:  # -> [B, L, E]
        if self.lookup == "index":
            vectors = F.embedding(inputs.ids, self.weight, padding_idx=0)
        else:
            # Without the column of PAD there is no path to row 0.
            one_hot = F.one_hot(inputs.ids, self.weight.shape[0])[:, :, 1:].astype(self.weight.dtype)
            vectors = paddle.matmul(one_hot, self.weight[1:])
        return dropout(vectors, "embedding", self.rate)

    def named(self) -> dict[str, paddle.Tensor]:
        return {"embedding.weight": self.weight}


class RecurrentEncoder(nn.Layer):
    """Layers of one-way built-in SRN, GRU or LSTM layers, one per direction, under the neutral names."""

    def __init__(self, encoder: spec.RecurrentEncoder, embedding_dim: int, dtype: str):
        super().__init__()
        self.rate = encoder.dropout
        self.suffixes = direction_suffixes(encoder.bidirectional)
        self.layers = nn.LayerList(
            nn.LayerList(
                builtin_layer(encoder.cell, encoder.layer_input_size(layer, embedding_dim), encoder.hidden_size, dtype)
                for _ in self.suffixes
            )
            for layer in range(encoder.num_layers)
        )

    def forward(self, x: paddle.Tensor, inputs: Inputs, dropout: Dropout) -> list[paddle.Tensor]:
        """[B, L, E] -> every layer's output [B, L, H * directions], zero past the lengths, before dropout."""
        outputs = []
        for number, directions in enumerate(self.layers):
            if number > 0:
                x = dropout(x, f"encoder.l{number - 1}", self.rate)
            sides = [directions[0](x)[0]]
            if len(directions) == 2:
                reversed_output = directions[1](reorder(x, inputs.reversal))[0]
                sides.append(reorder(reversed_output, inputs.reversal))
            x = paddle.concat(sides, axis=-1) * inputs.mask
            outputs.append(x)
        return outputs

    def named(self) -> dict[str, paddle.Tensor]:
        return {
            f"encoder.{kind}_l{number}{suffix}": getattr(directions[side], f"{kind}_l0")
            for number, directions in enumerate(self.layers)
            for side, suffix in enumerate(self.suffixes)
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }


def reorder(x: paddle.Tensor, index: paddle.Tensor) -> paddle.Tensor:
    """Rows `index` [B * L] of x [B, L, D] flattened, in x's shape."""
    return x.reshape([-1, x.shape[-1]]).gather(index, axis=0).reshape(x.shape)


class Linear(nn.Layer):
    """`y = x W^T + b`, `weight` [out, in], `bias` [out]; `paddle.nn.Linear` would have [in, out]."""

    def __init__(self, inputs: int, outputs: int, dtype: str):
        super().__init__()
        self.weight = empty(outputs, inputs, dtype=dtype)
        self.bias = empty(outputs, dtype=dtype)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, in] -> [B, out]
        return paddle.matmul(x, self.weight, transpose_y=True) + self.bias

    def named(self, prefix: str) -> dict[str, paddle.Tensor]:
        return {f"{prefix}.weight": self.weight, f"{prefix}.bias": self.bias}


class PooledHead(nn.Layer):
    """Pooling over real tokens, an optional hidden layer, a linear map to logits."""

    def __init__(self, head: spec.PooledHead, features: int, split: int, dtype: str):
        """`features` F of the encoder's output; its first `split` columns are the forward direction's."""
        super().__init__()
        self.pooling = head.pooling
        self.split = split
        self.rate = head.dropout
        self.activation = {"tanh": F.tanh, "relu": F.relu}[head.activation]
        self.hidden = None if head.hidden_size is None else Linear(features, head.hidden_size, dtype)
        self.output = Linear(head.hidden_size or features, head.outputs, dtype)

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
        if self.pooling == "mean":
            return x.sum(axis=1) / inputs.mask.sum(axis=1)
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
