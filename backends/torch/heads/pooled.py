"""Classification head: pooling over real tokens, optional hidden layer, logits, loss."""

from __future__ import annotations

from backends.kernels.training import POOLINGS, fused
from backends.torch.dropout import Dropout
from backends.torch.fast import PoolFunction
from backends.torch.framework import torch
from backends.torch.linear import Linear, empty, linear, stacked_shape
from backends.torch.precision import rounded
from backends.torch.runtime import Inputs, to_tensor
from core import spec
from core.models.encoders.encoder import Block, Encoded
from core.models.heads.pooling import joined
from core.spec.class_weights import weights_of

nn, F = torch.nn, torch.nn.functional


ACTIVATIONS = {"none": lambda x: x, "tanh": torch.tanh, "relu": torch.relu}


class Attention(nn.Module):
    """Weights of `attention` pooling (`core/models/heads/pooling.py`)."""

    def __init__(self, features: int, dtype: torch.dtype, models: int | None):
        """Create the layers for F = `features`. With `models`, every weight is [models, ...]."""
        super().__init__()
        self.weight = empty(*stacked_shape(models, features, features), dtype=dtype)
        self.score = empty(*stacked_shape(models, 1, features), dtype=dtype)
        self.rounds = False
        """True if the inputs of both products are rounded to bfloat16."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return weights [B, L, 1], exactly 0 where `mask` [B, L, 1] is 0, for x [B, L, F]."""
        flat = x.reshape(-1, x.shape[-1])
        inner = torch.tanh(linear(rounded(flat, self.rounds), self.weight, None))
        scores = linear(rounded(inner, self.rounds), self.score, None).reshape(mask.shape)
        scores = torch.where(mask > 0, scores, torch.full_like(scores, float("-inf")))
        terms = torch.exp(scores - scores.detach().amax(dim=1, keepdim=True)) * mask
        return terms / terms.sum(dim=1, keepdim=True)

    def named(self, prefix: str) -> dict[str, nn.Parameter]:
        return {f"{prefix}.weight": self.weight, f"{prefix}.score.weight": self.score}


class PooledHead(nn.Module):
    """Pooling over real tokens, an optional hidden layer, a linear layer to logits."""

    def __init__(
        self,
        head: spec.PoolingHead,
        features: int,
        dtype: torch.dtype,
        implementation: str,
        models: int | None = None,
    ):
        """Create the layers for F = `features`. With `models`, every weight is [models, ...]."""
        super().__init__()
        self.fast = implementation == "fast"
        self.poolings = fused(joined(head.pooling)) if self.fast else joined(head.pooling)
        self.rate = head.dropout
        self.activation = ACTIVATIONS[head.activation]
        size = head.pooled_size(features)
        self.attention = Attention(features, dtype, models) if head.pooling == "attention" else None
        self.hidden = None if head.hidden_size is None else Linear(size, head.hidden_size, dtype, models)
        self.output = Linear(head.hidden_size or size, head.outputs, dtype, models)

    def forward(self, encoded: Encoded, inputs: Inputs, dropout: Dropout) -> dict[str, torch.Tensor]:
        """Return `pooled` [B, P], optionally `head.hidden` [B, F'], and `logits` [B, outputs].

        With attention its weights `head.attention` [B, L] come first.
        """
        found = {}
        if self.attention is not None:
            block = encoded.blocks[0]
            weights = self.attention(block.values, block.windows.mask)
            found["head.attention"] = weights[:, :, 0]
            pooled = [(weights * block.values).sum(dim=1)]
        else:
            pooled = [
                self.pool(pooling, block, encoded.forward_columns, inputs)
                for block in encoded.blocks
                for pooling in self.poolings
            ]
        pooled = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)
        found["pooled"] = ACTIVATIONS[encoded.activation](pooled)
        features = dropout(found["pooled"], "head.pooled", self.rate)
        if self.hidden is not None:
            found["head.hidden"] = self.activation(self.hidden(features))
            features = dropout(found["head.hidden"], "head.hidden", self.rate)
        found["logits"] = self.output(features)
        return found

    def pool(self, pooling: str, block: Block, split: int, inputs: Inputs) -> torch.Tensor:
        """Pool [B, L, F] to [B, P] over valid positions.

        The first `split` features are forward ones. A block that the encoder pooled is returned as it is.
        """
        x = block.values
        if block.pooled:
            return x
        if self.fast and pooling in POOLINGS:
            return PoolFunction.apply(x, inputs.lengths, pooling)
        if pooling == "mean":
            return x.sum(dim=1) / block.windows.counts
        if pooling == "max":
            # By index, so that the first of several equal maxima gets the gradient.
            with torch.no_grad():
                lowest = torch.full_like(x, float("-inf"))
                position = torch.where(block.windows.mask > 0, x, lowest).argmax(dim=1)  # [B, F]
                columns = torch.arange(x.shape[-1], device=x.device)
                flat = (inputs.first[:, None] + position) * x.shape[-1] + columns
            return x.reshape(-1).index_select(0, flat.reshape(-1)).reshape(flat.shape)
        rows = x.reshape(-1, x.shape[-1])
        if pooling == "ends":
            ends = rows.index_select(0, inputs.first), rows.index_select(0, inputs.last)
            return torch.cat(ends, dim=-1)
        forward = rows.index_select(0, inputs.last)[:, :split]
        reverse = rows.index_select(0, inputs.first)[:, split:]
        return torch.cat([forward, reverse], dim=-1)

    def named(self) -> dict[str, nn.Parameter]:
        attention = {} if self.attention is None else self.attention.named("head.attention")
        hidden = {} if self.hidden is None else self.hidden.named("head.hidden")
        return {**attention, **hidden, **self.output.named("head")}

    def losses(self, outputs: dict[str, torch.Tensor], inputs: Inputs, weights: torch.Tensor | None) -> torch.Tensor:
        """Return [B]: cross-entropies of logits [B, C], binary ones of a single logit [B, 1].

        Class weights `weights` [C] multiply the losses; that of a text without a label, -1, is 0
        (`core/models/heads/pooled.py`).
        """
        logits, labels = outputs["logits"], inputs.targets["label"]
        known, labels = (labels >= 0).to(logits.dtype), labels.clamp(min=0)
        if logits.shape[1] == 1:
            found = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
        else:
            found = F.nll_loss(log_probabilities_of(logits), labels, reduction="none")
        # The functions' `weight` argument is not used, as their mean divides by the sum of weights.
        return found * (known if weights is None else known * weights[labels])

    def right(self, outputs: dict[str, torch.Tensor], inputs: Inputs) -> torch.Tensor:
        """Return 1 for correct predictions, 0 for others, [B] int64."""
        logits, labels = outputs["logits"], inputs.targets["label"]
        predicted = (logits[:, 0] > 0).to(labels.dtype) if logits.shape[1] == 1 else logits.argmax(dim=1)
        return (predicted == labels).to(labels.dtype)


def log_probabilities_of(logits: torch.Tensor) -> torch.Tensor:
    """Return the log-softmax of logits [N, C]."""
    return F.log_softmax(logits, dim=1)


def class_weights(training: spec.Training, device: torch.device) -> torch.Tensor | None:
    """Return class weights [C] in the model's dtype, None for an unweighted loss.

    Raises ValueError for `balanced`.
    """
    weights = weights_of(training.class_weights)
    return None if weights is None else to_tensor(weights.astype(training.array_dtype), device)
