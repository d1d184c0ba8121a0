"""Base of the heads of whole texts: pooling over real tokens, optional hidden layer, logits."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
from pydantic import Field

from core.batch import Batch
from core.models.encoders.encoder import Block, Encoded, Encoder, Places
from core.models.heads.head import Head
from core.models.parameters import Init, Parameter, linear_parameters
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout, activate
from core.schema import DropoutRate

Pooling = Literal["last", "mean", "max", "max_mean", "last_max_mean", "ends", "attention"]
ATTENTION = "head.attention"
JOINED = {"max_mean": ("max", "mean"), "last_max_mean": ("last", "max", "mean")}
"""Poolings that concatenate others, in their order."""


def joined(pooling: str) -> tuple[str, ...]:
    """Return the poolings that `pooling` concatenates, itself alone for a simple one."""
    return JOINED.get(pooling, (pooling,))


class PoolingHead(Head):
    """Base class of the heads with one row of logits per text: pooling over real tokens, then a linear layer."""

    kind: Any
    """Name of the subclass; declared here, so that it comes first in JSON."""
    pooling: Pooling = "mean"
    """Pooling over real tokens.

    `last` concatenates the forward state at the last real token and the reverse state at the first token. `max_mean`
    concatenates the maxima and the means over the real tokens, 2F features. `last_max_mean` puts the states of `last`
    before these, 3F features (Howard and Ruder 2018, section 3.3). `ends` concatenates the complete outputs at the
    first and at the last real token, 2F features (d2l's BiRNN). `attention` is the mean weighted by a_t = softmax(v .
    tanh(W x_t)) over the real tokens t, with W [F, F] (Lin et al. 2017, with one row of weights).
    """
    classes: int = Field(default=2, ge=2)
    hidden_size: int | None = Field(default=None, ge=1)
    """Size of an optional hidden layer before the logits."""
    activation: Literal["tanh", "relu"] = "relu"
    """Activation of the hidden layer."""
    dropout: DropoutRate = 0.0
    """Dropout rate of the pooled features and of the hidden layer."""
    init: Init = Init(scheme="fan_uniform")

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Return the number of logits."""

    @abstractmethod
    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the probabilities [N, C] float64 of the classes, for logits [N, outputs]."""

    def check_encoder(self, encoder: Encoder) -> None:
        if self.pooling not in encoder.poolings:
            allowed, kind = " or ".join(encoder.poolings), encoder.model_dump()["kind"]
            raise ValueError(f"head.pooling {self.pooling} is not supported by encoder.kind {kind}: use {allowed}")

    def pooled_size(self, features: int) -> int:
        """Return the number P of pooled features, of F = `features` per token."""
        return features * (2 if self.pooling == "ends" else len(joined(self.pooling)))

    def values_per_token(self, features: int) -> int:
        return features if self.pooling == "attention" else 0

    def parameters(self, features: int) -> list[Parameter]:
        """Return the rows of `attention` and of the optional hidden layer, then `head.weight` [C, P], `head.bias` [C].

        Attention has W, `head.attention.weight` [F, F], and v, `head.attention.score.weight` [1, F]. The hidden layer
        has `head.hidden.weight` [F', P] and `head.hidden.bias` [F']. P is `pooled_size`.
        """
        rows, size = [], self.pooled_size(features)
        if self.pooling == "attention":
            rows.append(Parameter(f"{ATTENTION}.weight", (features, features), self.init, fan=features))
            rows.append(Parameter(f"{ATTENTION}.score.weight", (1, features), self.init, fan=features))
        if self.hidden_size is not None:
            rows += linear_parameters("head.hidden", self.hidden_size, size, self.init)
        return rows + linear_parameters("head", self.outputs, self.hidden_size or size, self.init)

    def forward(
        self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Arrays:
        """Return `pooled` [B, P], optionally `head.hidden` [B, F'], and `logits` [B, outputs].

        With attention the weights a, `head.attention` [B, L], come first; they are exactly 0 at padding.
        """
        found = self._pool(arrays, encoded, rounded)
        found["pooled"] = activate(encoded.activation, found["pooled"])
        return self.with_logits(arrays, found, dropout, rounded)

    def with_logits(self, arrays: Arrays, found: Arrays, dropout: Dropout, rounded: Rounding = exactly) -> Arrays:
        """Return `found`, which has `pooled` [B, P], with the hidden layer, if any, and `logits` [B, outputs]."""
        features = dropout(found["pooled"], "head.pooled", self.dropout)
        if self.hidden_size is not None:
            found["head.hidden"] = activate(self.activation, self._hidden(arrays, features, rounded))
            features = dropout(found["head.hidden"], "head.hidden", self.dropout)
        found["logits"] = rounded(features) @ rounded(arrays["head.weight"]).T + arrays["head.bias"]
        return found

    def _pool(self, arrays: Arrays, encoded: Encoded, rounded: Rounding) -> Arrays:
        """Return `pooled` [B, P] before the activation, and with attention its weights first."""
        if self.pooling != "attention":
            return {"pooled": pool(self.pooling, encoded)}
        (block,) = encoded.blocks
        weights = attention_weights(arrays, block, rounded)
        return {ATTENTION: weights[:, :, 0], "pooled": (weights * block.values).sum(axis=1)}

    def _hidden(self, arrays: Arrays, features: np.ndarray, rounded: Rounding) -> np.ndarray:
        return rounded(features) @ rounded(arrays["head.hidden.weight"]).T + arrays["head.hidden.bias"]

    def dropout_places(self, rows: int, width: int, features: int) -> Places:
        places: Places = {"head.pooled": ((rows, self.pooled_size(features)), self.dropout)}
        if self.hidden_size is not None:
            places["head.hidden"] = (rows, self.hidden_size), self.dropout
        return places

    def margin(self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding) -> float:
        pooled = self._pool(arrays, encoded, rounded)["pooled"]
        smallest = float(np.abs(pooled).min()) if encoded.activation == "relu" else np.inf
        if "max" in joined(self.pooling):
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
    """Pool all blocks over their valid positions to [B, P]."""
    return np.concatenate([_pool(pooling, block, encoded.forward_columns) for block in encoded.blocks], axis=-1)


def _pool(pooling: str, block: Block, split: int) -> np.ndarray:
    """Pool a block [B, L, F] to [B, F], [B, 2F] or [B, 3F].

    The first `split` features are from the forward direction.
    """
    x, counts = block.values, block.windows.counts
    if pooling in JOINED:
        return np.concatenate([_pool(own, block, split) for own in JOINED[pooling]], axis=-1)
    if pooling == "mean":
        return x.sum(axis=1) / counts
    if pooling == "max":
        position = np.where(block.windows.mask, np.real(x), -np.inf).argmax(axis=1)  # [B, F], the first maximum
        return np.take_along_axis(x, position[:, None, :], axis=1)[:, 0]
    first, last = x[:, 0], x[np.arange(len(x)), counts[:, 0] - 1]
    return np.concatenate([first, last] if pooling == "ends" else [last[:, :split], first[:, split:]], axis=-1)


def attention_weights(arrays: Arrays, block: Block, rounded: Rounding = exactly) -> np.ndarray:
    """Return the weights [B, L, 1] of `attention` pooling, which add up to 1 over a text and are 0 at padding."""
    return attention_softmax(attention_scores(arrays, block.values, rounded), block.windows.mask)


def attention_scores(arrays: Arrays, x: np.ndarray, rounded: Rounding = exactly) -> np.ndarray:
    """Return v . tanh(W x), [..., 1], of outputs of the encoder [..., F]."""
    inner = np.tanh(rounded(x) @ rounded(arrays[f"{ATTENTION}.weight"]).T)
    return rounded(inner) @ rounded(arrays[f"{ATTENTION}.score.weight"]).T


def attention_softmax(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the softmax [B, L, 1] of scores over the positions of `mask`, both [B, L, 1], and 0 elsewhere."""
    largest = np.where(mask, np.real(scores), -np.inf).max(axis=1, keepdims=True)
    terms = np.where(mask, np.exp(np.where(mask, scores - largest, 0.0)), 0.0)
    # The sum is cumulative, as the order in which `sum` adds depends on the padded width.
    return terms / np.cumsum(terms, axis=1)[:, -1:]
