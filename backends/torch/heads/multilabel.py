"""Multi-label classification head: pooling as for one class per text, and one sigmoid per label."""

from __future__ import annotations

from backends.torch.framework import torch
from backends.torch.heads.pooled import PooledHead
from backends.torch.runtime import Inputs
from core import spec

F = torch.nn.functional


class MultilabelHead(PooledHead):
    """The layers of `PooledHead`, and the loss of independent labels."""

    def __init__(
        self,
        head: spec.MultilabelHead,
        features: int,
        dtype: torch.dtype,
        implementation: str,
        models: int | None = None,
    ):
        """Create the layers for F = `features`. With `models`, every weight is [models, ...]."""
        super().__init__(head, features, dtype, implementation, models)
        self.least = head.least_logit

    def losses(self, outputs: dict[str, torch.Tensor], inputs: Inputs, weights: torch.Tensor | None) -> torch.Tensor:
        """Return [B]: means over the labels of the binary cross-entropies of logits [B, C].

        There are no class weights: `weights` is None (`core/models/heads/multilabel.py`).
        """
        logits = outputs["logits"]
        # Of signed logits, as the formula with max(z, 0) and |z| has a wrong gradient at a logit of exactly 0.
        signs = 2 * inputs.targets["labels"].to(logits.dtype) - 1
        return -F.logsigmoid(signs * logits).mean(dim=1)

    def right(self, outputs: dict[str, torch.Tensor], inputs: Inputs) -> torch.Tensor:
        """Return 1 for texts whose labels are all correct, 0 for others, [B] int64."""
        labels = inputs.targets["labels"]
        predicted = (outputs["logits"] > self.least).to(labels.dtype)
        return (predicted == labels).all(dim=1).to(labels.dtype)
