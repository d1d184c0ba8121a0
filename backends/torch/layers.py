"""The layers of the spec: embedding, recurrent encoder, pooling head.

Lengths rule: outputs past a length are zero and the reverse direction starts at the last real token. Each direction is
a one-way built-in layer over padded input; the reverse one reads sequences reversed within their lengths and its
outputs are reversed back. That is exact, and on the CPU ten times faster than packed sequences.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.torch.framework import torch
from backends.torch.runtime import Inputs
from core import spec
from core.parameters import direction_suffixes

nn, F = torch.nn, torch.nn.functional

Dropout = Callable[[torch.Tensor, str, float], torch.Tensor]
"""`dropout(x, place, rate)`: x with units dropped and the rest scaled by 1 / (1 - rate), or x itself."""

BUILTIN = {"srn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def empty(*shape: int, dtype: torch.dtype) -> nn.Parameter:
    """A parameter whose values come from core, later."""
    return nn.Parameter(torch.zeros(*shape, dtype=dtype))


def builtin_layer(cell: spec.Cell, inputs: int, hidden: int, dtype: torch.dtype) -> nn.Module:
    """A one-way, one-layer built-in."""
    return BUILTIN[cell](inputs, hidden, batch_first=True, dtype=dtype)


class Embedding(nn.Module):
    """`weight` [V, E]; row 0 (PAD) is zero and gets no gradient."""

    def __init__(self, embedding: spec.Embedding, dtype: torch.dtype):
        super().__init__()
        self.lookup = embedding.lookup
        self.rate = embedding.dropout
        self.weight = empty(embedding.vocab_size, embedding.dim, dtype=dtype)
        self.weight.requires_grad_(embedding.trainable)

    def forward(self, inputs: Inputs, dropout: Dropout) -> torch.Tensor:  # -> [B, L, E]
        if self.lookup == "index":
            vectors = F.embedding(inputs.ids, self.weight, padding_idx=0)
        else:
            # Without the column of PAD there is no path to row 0.
            one_hot = F.one_hot(inputs.ids, self.weight.shape[0])[:, :, 1:].to(self.weight.dtype)
            vectors = torch.matmul(one_hot, self.weight[1:])
        return dropout(vectors, "embedding", self.rate)

    def named(self) -> dict[str, nn.Parameter]:
        return {"embedding.weight": self.weight}


class RecurrentEncoder(nn.Module):
    """Layers of one-way built-in SRN, GRU or LSTM layers, one per direction, under the neutral names."""

    def __init__(self, encoder: spec.RecurrentEncoder, embedding_dim: int, dtype: torch.dtype):
        super().__init__()
        self.rate = encoder.dropout
        self.suffixes = direction_suffixes(encoder.bidirectional)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                builtin_layer(encoder.cell, encoder.layer_input_size(layer, embedding_dim), encoder.hidden_size, dtype)
                for _ in self.suffixes
            )
            for layer in range(encoder.num_layers)
        )

    def forward(self, x: torch.Tensor, inputs: Inputs, dropout: Dropout) -> list[torch.Tensor]:
        """[B, L, E] -> every layer's output [B, L, H * directions], zero past the lengths, before dropout."""
        outputs = []
        for number, directions in enumerate(self.layers):
            if number > 0:
                x = dropout(x, f"encoder.l{number - 1}", self.rate)
            sides = [directions[0](x)[0]]
            if len(directions) == 2:
                reversed_output = directions[1](reorder(x, inputs.reversal))[0]
                sides.append(reorder(reversed_output, inputs.reversal))
            x = torch.cat(sides, dim=-1) * inputs.mask
            outputs.append(x)
        return outputs

    def named(self) -> dict[str, nn.Parameter]:
        return {
            f"encoder.{kind}_l{number}{suffix}": getattr(directions[side], f"{kind}_l0")
            for number, directions in enumerate(self.layers)
            for side, suffix in enumerate(self.suffixes)
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }


def reorder(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows `index` [B * L] of x [B, L, D] flattened, in x's shape."""
    return x.reshape(-1, x.shape[-1]).index_select(0, index).reshape(x.shape)


class Linear(nn.Module):
    """`y = x W^T + b`, `weight` [out, in], `bias` [out]."""

    def __init__(self, inputs: int, outputs: int, dtype: torch.dtype):
        super().__init__()
        self.weight = empty(outputs, inputs, dtype=dtype)
        self.bias = empty(outputs, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, in] -> [B, out]
        return torch.matmul(x, self.weight.T) + self.bias

    def named(self, prefix: str) -> dict[str, nn.Parameter]:
        return {f"{prefix}.weight": self.weight, f"{prefix}.bias": self.bias}


class PooledHead(nn.Module):
    """Pooling over real tokens, an optional hidden layer, a linear map to logits."""

    def __init__(self, head: spec.PooledHead, features: int, split: int, dtype: torch.dtype):
        """`features` F of the encoder's output; its first `split` columns are the forward direction's."""
        super().__init__()
        self.pooling = head.pooling
        self.split = split
        self.rate = head.dropout
        self.activation = {"tanh": torch.tanh, "relu": torch.relu}[head.activation]
        self.hidden = None if head.hidden_size is None else Linear(features, head.hidden_size, dtype)
        self.output = Linear(head.hidden_size or features, head.outputs, dtype)

    def forward(self, x: torch.Tensor, inputs: Inputs, dropout: Dropout) -> dict[str, torch.Tensor]:
        """[B, L, F] -> `pooled` [B, F], `head.hidden` [B, F'] if there is one, `logits` [B, outputs]."""
        found = {"pooled": self.pool(x, inputs)}
        features = dropout(found["pooled"], "head.pooled", self.rate)
        if self.hidden is not None:
            found["head.hidden"] = self.activation(self.hidden(features))
            features = dropout(found["head.hidden"], "head.hidden", self.rate)
        found["logits"] = self.output(features)
        return found

    def pool(self, x: torch.Tensor, inputs: Inputs) -> torch.Tensor:  # [B, L, F] -> [B, F]
        if self.pooling == "mean":
            return x.sum(dim=1) / inputs.mask.sum(dim=1)
        if self.pooling == "max":
            # By position, so that of equal maxima the first gets the gradient.
            with torch.no_grad():
                lowest = torch.full_like(x, float("-inf"))
                position = torch.where(inputs.mask > 0, x, lowest).argmax(dim=1)  # [B, F]
                columns = torch.arange(x.shape[-1], device=x.device)
                flat = (inputs.first[:, None] + position) * x.shape[-1] + columns
            return x.reshape(-1).index_select(0, flat.reshape(-1)).reshape(flat.shape)
        rows = x.reshape(-1, x.shape[-1])
        forward = rows.index_select(0, inputs.last)[:, : self.split]
        reverse = rows.index_select(0, inputs.first)[:, self.split :]
        return torch.cat([forward, reverse], dim=-1)

    def named(self) -> dict[str, nn.Parameter]:
        hidden = {} if self.hidden is None else self.hidden.named("head.hidden")
        return {**hidden, **self.output.named("head")}
