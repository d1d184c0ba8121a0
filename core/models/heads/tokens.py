"""Tagging head: a class per token, by a linear layer at every position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from core.batch import Batch, Ragged, Targets, real_mask
from core.errors import UserError
from core.models.encoders.encoder import Encoded, Encoder, Places
from core.models.heads.head import Head
from core.models.heads.pooled import check_range, cross_entropies
from core.models.heads.scores import ClassEvaluation, summarize
from core.models.parameters import Init, Parameter, linear_parameters
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout, activate
from core.schema import DropoutRate


@dataclass(frozen=True)
class TokenEvaluation(ClassEvaluation):
    """Metrics of a tagger; `predicted` and `probabilities` have one row per token."""

    def strings(self, targets: Targets, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return the tags of every text, separated by spaces."""
        tags = sequences_of(targets, "tags")
        predicted = Ragged(self.predicted, tags.offsets)
        labels, answers = (
            [" ".join(classes[tag] for tag in own[n]) for n in range(len(own))] for own in (tags, predicted)
        )
        return labels, answers


class TokenHead(Head):
    """Sequence labeling: a linear layer to the logits of every token's tag."""

    targets: ClassVar[tuple[str, ...]] = ("tags",)
    aligned: ClassVar[tuple[str, ...]] = ("tags",)

    kind: Literal["tokens"] = "tokens"
    classes: int = Field(default=2, ge=2)
    """Number of tags; set to that of the data."""
    hidden_size: int | None = Field(default=None, ge=1)
    """Size of an optional hidden layer before the logits."""
    activation: Literal["tanh", "relu"] = "relu"
    """Activation of the hidden layer."""
    dropout: DropoutRate = 0.0
    """Dropout rate of the token features and of the hidden layer."""
    init: Init = Init(scheme="fan_uniform")

    def check_encoder(self, encoder: Encoder) -> None:
        if not encoder.per_token:
            kind = encoder.model_dump()["kind"]
            raise ValueError(f"head.kind tokens is not supported by encoder.kind {kind}: use encoder.kind recurrent")

    def check_targets(self, targets: Targets, lengths: np.ndarray) -> None:
        tags = sequences_of(targets, "tags")
        if not np.array_equal(tags.lengths, lengths):
            text = int(np.flatnonzero(tags.lengths != lengths)[0])
            raise UserError(f"text {text + 1}: got {tags.lengths[text]} tags for {lengths[text]} tokens: correct it")
        check_range("tags", tags.values, self.classes)

    def values_per_token(self, features: int) -> int:
        return self.classes + (self.hidden_size or 0)

    def parameters(self, features: int) -> list[Parameter]:
        """Return the rows of the optional hidden layer, then `head.weight` [C, F], `head.bias` [C]."""
        hidden = (
            [] if self.hidden_size is None else linear_parameters("head.hidden", self.hidden_size, features, self.init)
        )
        return hidden + linear_parameters("head", self.classes, self.hidden_size or features, self.init)

    def forward(
        self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Arrays:
        """Return optionally `head.hidden` [B, L, F'], and `logits` [B, L, C], zero at padding."""
        found, mask = {}, real_mask(batch)[:, :, None]
        features = dropout(token_features(encoded), "head.tokens", self.dropout)
        if self.hidden_size is not None:
            found["head.hidden"] = activate(self.activation, self._hidden(arrays, features, rounded)) * mask
            features = dropout(found["head.hidden"], "head.hidden", self.dropout)
        found["logits"] = (rounded(features) @ rounded(arrays["head.weight"]).T + arrays["head.bias"]) * mask
        return found

    def _hidden(self, arrays: Arrays, features: np.ndarray, rounded: Rounding) -> np.ndarray:
        return rounded(features) @ rounded(arrays["head.hidden.weight"]).T + arrays["head.hidden.bias"]

    def dropout_places(self, rows: int, width: int, features: int) -> Places:
        places: Places = {"head.tokens": ((rows, width, features), self.dropout)}
        if self.hidden_size is not None:
            places["head.hidden"] = (rows, width, self.hidden_size), self.dropout
        return places

    def counted(self, batch: Batch) -> int:
        return batch.tokens

    def answers(self, targets: Targets, lengths: np.ndarray) -> np.ndarray:
        return lengths

    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        """Return cross-entropies [B, L], 0 at padding."""
        logits, tags = outputs["logits"], batch.targets["tags"]
        flat = cross_entropies(logits.reshape(-1, self.classes), tags.reshape(-1), class_weights)
        return flat.reshape(tags.shape) * real_mask(batch)

    def outcomes(self, logits: np.ndarray, batch: Batch, arrays: Arrays) -> np.ndarray:
        """Return the logits of the real tokens, [tokens, C]."""
        return logits[real_mask(batch)]

    def score(self, outcomes: np.ndarray, targets: Targets, classes: tuple[str, ...] = ()) -> TokenEvaluation:
        return TokenEvaluation(**vars(summarize(outcomes, sequences_of(targets, "tags").values)))

    def random_targets(self, rng: np.random.Generator, lengths: np.ndarray) -> dict[str, np.ndarray]:
        real = np.arange(lengths.max()) < lengths[:, None]
        return {"tags": np.where(real, rng.integers(0, self.classes, real.shape), 0)}

    def constant_targets(self, batch: Batch, index: int) -> dict[str, np.ndarray]:
        return {**batch.targets, "tags": np.where(real_mask(batch), index, 0)}

    def margin(self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding) -> float:
        real, smallest = real_mask(batch), np.inf
        if encoded.activation == "relu":
            smallest = min(float(np.abs(block.values[real]).min()) for block in encoded.blocks)
        if self.hidden_size is not None and self.activation == "relu":
            features = dropout(token_features(encoded), "head.tokens", self.dropout)
            smallest = min(smallest, float(np.abs(self._hidden(arrays, features, rounded))[real].min()))
        return smallest

    def describe(self) -> str:
        hidden = "" if self.hidden_size is None else f", hidden layer {self.hidden_size} ({self.activation})"
        return f"{self.classes} tags per token{hidden}"


def token_features(encoded: Encoded) -> np.ndarray:
    """Return the features of every token, [B, L, F]."""
    values = np.concatenate([block.values for block in encoded.blocks], axis=-1)
    return activate(encoded.activation, values)


def sequences_of(targets: Targets, name: str) -> Ragged:
    """Return a target with a sequence per text. Raises TypeError for one entry per text."""
    found = targets[name]
    if not isinstance(found, Ragged):
        raise TypeError(f"{name}: got one entry per text, expected a sequence")
    return found
