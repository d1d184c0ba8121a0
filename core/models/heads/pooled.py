"""The classification head: pooling over real tokens, an optional hidden layer, logits, and the loss."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from core.batch import Batch
from core.errors import UserError
from core.models.encoders.encoder import Block, Encoded, Encoder, Places
from core.models.heads.head import Head
from core.models.heads.scores import Evaluation, summarize
from core.models.parameters import Init, Parameter, linear_parameters
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout, activate
from core.schema import DropoutRate


class PooledHead(Head):
    """One label per sequence: pool the encoder's outputs over real tokens, then a linear map to logits."""

    targets: ClassVar[tuple[str, ...]] = ("label",)

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

    def check_encoder(self, encoder: Encoder) -> None:
        if self.pooling not in encoder.poolings:
            allowed = " or ".join(encoder.poolings)
            raise ValueError(f"head.pooling {self.pooling} does not fit encoder.kind {encoder.kind}: use {allowed}")

    def check_targets(self, targets: Arrays) -> None:
        low, high = int(targets["label"].min()), int(targets["label"].max())
        if low < 0 or high >= self.classes:
            raise UserError(f"labels must lie in 0..{self.classes - 1}, found {low}..{high}")

    @property
    def outputs(self) -> int:
        return 1 if self.one_logit else self.classes

    def parameters(self, features: int) -> list[Parameter]:
        """Optional `head.hidden.weight` [F', F] and `head.hidden.bias` [F']; `head.weight` [C, F], `head.bias` [C]."""
        hidden = (
            [] if self.hidden_size is None else linear_parameters("head.hidden", self.hidden_size, features, self.init)
        )
        return hidden + linear_parameters("head", self.outputs, self.hidden_size or features, self.init)

    def forward(self, arrays: Arrays, encoded: Encoded, dropout: Dropout, rounded: Rounding = exactly) -> Arrays:
        """Return `pooled` [B, F], `head.hidden` [B, F'] where there is one, `logits` [B, outputs]."""
        found = {"pooled": activate(encoded.activation, pool(self.pooling, encoded))}
        features = dropout(found["pooled"], "head.pooled", self.dropout)
        if self.hidden_size is not None:
            found["head.hidden"] = activate(self.activation, self._hidden(arrays, features, rounded))
            features = dropout(found["head.hidden"], "head.hidden", self.dropout)
        found["logits"] = rounded(features) @ rounded(arrays["head.weight"]).T + arrays["head.bias"]
        return found

    def _hidden(self, arrays: Arrays, features: np.ndarray, rounded: Rounding) -> np.ndarray:
        return rounded(features) @ rounded(arrays["head.hidden.weight"]).T + arrays["head.hidden.bias"]

    def dropout_places(self, rows: int, width: int, features: int) -> Places:
        places: Places = {"head.pooled": ((rows, features), self.dropout)}
        if self.hidden_size is not None:
            places["head.hidden"] = (rows, self.hidden_size), self.dropout
        return places

    def counted(self, batch: Batch) -> int:
        return len(batch.lengths)

    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        return cross_entropies(outputs["logits"], batch.targets["label"], class_weights)

    def score(self, logits: np.ndarray, targets: Arrays) -> Evaluation:
        return summarize(logits, targets["label"])

    def margin(self, arrays: Arrays, encoder: Encoder, encoded: Encoded, dropout: Dropout, rounded: Rounding) -> float:
        pooled = pool(self.pooling, encoded)
        smallest = encoder.margin(encoded, pooled)
        if self.pooling == "max":
            for block in encoded.blocks:
                for values, count in zip(block.values, block.windows.counts[:, 0], strict=True):
                    if count > 1:
                        top = np.sort(values[:count], axis=0)
                        smallest = min(smallest, float((top[-1] - top[-2]).min()))
        if self.hidden_size is not None and self.activation == "relu":
            features = dropout(activate(encoded.activation, pooled), "head.pooled", self.dropout)
            smallest = min(smallest, float(np.abs(self._hidden(arrays, features, rounded)).min()))
        return smallest

    def describe(self) -> str:
        hidden = "" if self.hidden_size is None else f", hidden layer {self.hidden_size} ({self.activation})"
        return f"{self.pooling} pooling{hidden}"


def pool(pooling: str, encoded: Encoded) -> np.ndarray:
    """[B, F], over the positions that count."""
    return np.concatenate([_pool(pooling, block, encoded.forward_columns) for block in encoded.blocks], axis=-1)


def _pool(pooling: str, block: Block, split: int) -> np.ndarray:
    """[B, F] of a block's [B, L, F]; the first `split` columns are the forward direction's."""
    x, counts = block.values, block.windows.counts
    if pooling == "mean":
        return x.sum(axis=1) / counts
    if pooling == "max":
        position = np.where(block.windows.mask, x.real, -np.inf).argmax(axis=1)  # [B, F], the first of equal ones
        return np.take_along_axis(x, position[:, None, :], axis=1)[:, 0]
    return np.concatenate([x[np.arange(len(x)), counts[:, 0] - 1, :split], x[:, 0, split:]], axis=-1)


def cross_entropies(logits: np.ndarray, labels: np.ndarray, class_weights: np.ndarray | None = None) -> np.ndarray:
    """Cross-entropy of logits [B, C], or binary cross-entropy of one logit [B, 1]: [B].

    With `class_weights` [C] each text's is multiplied by its class's.
    """
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - logits.real.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return losses if class_weights is None else losses * class_weights[labels]


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, reduction: str, class_weights: np.ndarray | None = None
) -> np.ndarray:
    """The scalar of `cross_entropies`. The mean divides by B, not by the sum of weights as both frameworks' own does: a
    text counts so many times whatever its company, and shards of a batch can be added."""
    losses = cross_entropies(logits, labels, class_weights)
    return losses.mean() if reduction == "mean" else losses.sum()
