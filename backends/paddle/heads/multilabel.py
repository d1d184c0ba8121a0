"""Multi-label classification head: pooling as for one class per text, and one sigmoid per label."""

from __future__ import annotations

from backends.paddle.framework import paddle
from backends.paddle.heads.pooled import PooledHead
from backends.paddle.runtime import Inputs
from core import spec

F = paddle.nn.functional


class MultilabelHead(PooledHead):
    """The layers of `PooledHead`, and the loss of independent labels."""

    def __init__(
        self,
        head: spec.MultilabelHead,
        features: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        """Create the layers for F = `features`. With `models`, every weight is [models, ...]."""
        super().__init__(head, features, dtype, implementation, models)
        self.least = head.least_logit

    def losses(self, outputs: dict[str, paddle.Tensor], inputs: Inputs, weights: paddle.Tensor | None) -> paddle.Tensor:
        """Return [B]: means over the labels of the binary cross-entropies of logits [B, C].

        There are no class weights: `weights` is None (`core/models/heads/multilabel.py`).
        """
        logits = outputs["logits"]
        # Of signed logits, as the formula with max(z, 0) and |z| has a wrong gradient at a logit of exactly 0.
        signs = 2 * inputs.targets["labels"].astype(logits.dtype) - 1
        return -F.log_sigmoid(signs * logits).mean(axis=1)

    def right(self, outputs: dict[str, paddle.Tensor], inputs: Inputs) -> paddle.Tensor:
        """Return 1 for texts whose labels are all correct, 0 for others, [B] int64."""
        labels = inputs.targets["labels"]
        predicted = (outputs["logits"] > self.least).astype(labels.dtype)
        return (predicted == labels).all(axis=1).astype("int64")
