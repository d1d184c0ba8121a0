"""The classification head: pooling over real tokens, an optional hidden layer, logits, and the loss."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from core.batch import Batch, real_mask
from core.models.parameters import Init
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout
from core.schema import DropoutRate, Spec


class PooledHead(Spec):
    """One answer per sequence: pool the encoder's outputs over real tokens, then a linear map to logits."""

    kind: Literal["pooled"] = "pooled"
    pooling: Literal["last", "mean", "max"] = "mean"
    """`last`: the forward state at the last real token joined with the reverse state at the first."""
    classes: int = Field(2, ge=2)
    one_logit: bool = False
    """One logit with binary cross-entropy instead of two with cross-entropy; two classes only."""
    hidden_size: int | None = Field(None, ge=1)
    """Size of an optional hidden layer before the logits."""
    activation: Literal["tanh", "relu"] = "relu"
    """Of the hidden layer."""
    dropout: DropoutRate = 0.0
    """On the pooled features, and on the hidden layer where there is one."""
    init: Init = Init(scheme="fan_uniform")

    @model_validator(mode="after")
    def _one_logit_is_binary(self):
        if self.one_logit and self.classes != 2:
            raise ValueError("one_logit needs classes = 2")
        return self

    @property
    def outputs(self) -> int:
        return 1 if self.one_logit else self.classes


def classify(
    head: PooledHead,
    parameters: Arrays,
    x: np.ndarray,
    batch: Batch,
    split: int,
    dropout: Dropout,
    rounded: Rounding = exactly,
) -> Arrays:
    """x [B, L, F] -> `pooled` [B, F], `head.hidden` [B, F'] where there is one, `logits` [B, outputs]."""
    found = {"pooled": pool(head.pooling, x, batch, split)}
    features = dropout(found["pooled"], "head.pooled", head.dropout)
    if head.hidden_size is not None:
        hidden = rounded(features) @ rounded(parameters["head.hidden.weight"]).T + parameters["head.hidden.bias"]
        found["head.hidden"] = np.tanh(hidden) if head.activation == "tanh" else np.where(hidden.real > 0, hidden, 0.0)
        features = dropout(found["head.hidden"], "head.hidden", head.dropout)
    found["logits"] = rounded(features) @ rounded(parameters["head.weight"]).T + parameters["head.bias"]
    return found


def pool(pooling: str, x: np.ndarray, batch: Batch, split: int) -> np.ndarray:
    """x [B, L, F] -> [B, F], over real tokens; the first `split` columns are the forward direction's."""
    if pooling == "mean":
        return x.sum(axis=1) / batch.lengths[:, None]
    if pooling == "max":
        position = np.where(real_mask(batch)[:, :, None], x.real, -np.inf).argmax(axis=1)  # [B, F]
        return np.take_along_axis(x, position[:, None, :], axis=1)[:, 0]
    rows = np.arange(len(x))
    return np.concatenate([x[rows, batch.lengths - 1, :split], x[:, 0, split:]], axis=-1)


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, reduction: str, class_weights: np.ndarray | None = None
) -> np.ndarray:
    """Cross-entropy of logits [B, C], or binary cross-entropy of one logit [B, 1]: a scalar.

    With `class_weights` [C] each text's is multiplied by its class's. The mean divides by B, not by the sum of weights
    as both frameworks' own does: a text counts so many times whatever its company, and parts of a batch can be added.
    """
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - logits.real.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    if class_weights is not None:
        losses = losses * class_weights[labels]
    return losses.mean() if reduction == "mean" else losses.sum()
