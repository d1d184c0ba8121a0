"""Tagging head: a class per token, by a linear layer at every position, optionally with a CRF over the tags."""

from __future__ import annotations

from backends.torch.dropout import Dropout
from backends.torch.framework import torch
from backends.torch.heads.crf import Chain
from backends.torch.heads.pooled import ACTIVATIONS, log_probabilities_of
from backends.torch.linear import Linear
from backends.torch.runtime import Inputs
from core import spec
from core.models.encoders.encoder import Encoded

nn, F = torch.nn, torch.nn.functional


class TokenHead(nn.Module):
    """An optional hidden layer and a linear layer to logits, at every token, and optionally a CRF."""

    def __init__(
        self,
        head: spec.TokenHead,
        features: int,
        dtype: torch.dtype,
        implementation: str,
        models: int | None = None,
    ):
        """Create the layers for F = `features`. With `models`, every weight is [models, ...]."""
        super().__init__()
        self.rate = head.dropout
        self.activation = ACTIVATIONS[head.activation]
        self.hidden = None if head.hidden_size is None else Linear(features, head.hidden_size, dtype, models)
        self.output = Linear(head.hidden_size or features, head.classes, dtype, models)
        self.chain = Chain(head.classes, dtype, models) if head.crf else None

    def forward(self, encoded: Encoded, inputs: Inputs, dropout: Dropout) -> dict[str, torch.Tensor]:
        """Return optionally `head.hidden` [B, L, F'], and `logits` [B, L, C], zero at padding.

        A CRF adds, for a batch with tags, `head.log_partition` and `head.path_score` [B].
        """
        blocks = [block.values for block in encoded.blocks]
        values = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1)
        features, found = dropout(ACTIVATIONS[encoded.activation](values), "head.tokens", self.rate), {}
        if self.hidden is not None:
            found["head.hidden"] = self.activation(per_token(self.hidden, features)) * inputs.mask
            features = dropout(found["head.hidden"], "head.hidden", self.rate)
        found["logits"] = per_token(self.output, features) * inputs.mask
        if self.chain is not None and "tags" in inputs.targets:
            found["head.log_partition"] = self.chain.log_partition(found["logits"], inputs)
            found["head.path_score"] = self.chain.path_score(found["logits"], inputs)
        return found

    def named(self) -> dict[str, nn.Parameter]:
        hidden = {} if self.hidden is None else self.hidden.named("head.hidden")
        chain = {} if self.chain is None else self.chain.named()
        return {**hidden, **self.output.named("head"), **chain}

    def losses(self, outputs: dict[str, torch.Tensor], inputs: Inputs, weights: torch.Tensor | None) -> torch.Tensor:
        """Return cross-entropies [B, L], 0 at padding, or negative log-likelihoods of the sequences [B] of a CRF.

        Class weights `weights` [C] multiply the losses (`core/models/heads/tokens.py`).
        """
        if self.chain is not None:
            return outputs["head.log_partition"] - outputs["head.path_score"]
        logits, tags = outputs["logits"], inputs.targets["tags"]
        log_probabilities = log_probabilities_of(logits.reshape(-1, logits.shape[-1]))
        found = F.nll_loss(log_probabilities, tags.flatten(), reduction="none")
        found = found if weights is None else found * weights[tags.flatten()]
        return found.reshape(tags.shape) * inputs.mask[:, :, 0]

    def right(self, outputs: dict[str, torch.Tensor], inputs: Inputs) -> torch.Tensor:
        """Return 1 for correct tags, 0 for others and padding, [B, L] int64."""
        tags = inputs.targets["tags"]
        return (outputs["logits"].argmax(dim=-1) == tags).to(tags.dtype) * inputs.mask[:, :, 0].to(tags.dtype)


def per_token(layer: Linear, x: torch.Tensor) -> torch.Tensor:  # [B, L, F] -> [B, L, outputs]
    """Apply a linear layer at every position."""
    return layer(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)
