"""Tagging head: a class per token, by a linear layer at every position, optionally with a CRF over the tags."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from core.batch import Batch, Targets, real_mask
from core.errors import UserError
from core.models.encoders.encoder import Encoded, Encoder, Places
from core.models.heads.crf import Chain, Decoded, decode, decode_independently, log_partition, path_scores
from core.models.heads.head import Head
from core.models.heads.pooled import check_range, cross_entropies
from core.models.heads.tag_scores import TokenEvaluation, score_tags, sequences_of
from core.models.parameters import Init, Parameter, linear_parameters
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout, activate
from core.schema import DropoutRate


class TokenHead(Head):
    """Sequence labeling: a linear layer to the logits of every token's tag.

    The loss of a batch is the mean over its real tokens, with a CRF the sum of the sequences' negative log-likelihoods
    over their number. One divisor for the whole batch lets shards of processes add up.
    """

    targets: ClassVar[tuple[str, ...]] = ("tags",)
    aligned: ClassVar[tuple[str, ...]] = ("tags",)
    reads_parameters: ClassVar[bool] = True

    kind: Literal["tokens"] = "tokens"
    classes: int = Field(default=2, ge=2)
    """Number of tags; set to that of the data."""
    hidden_size: int | None = Field(default=None, ge=1)
    """Size of an optional hidden layer before the logits."""
    activation: Literal["tanh", "relu"] = "relu"
    """Activation of the hidden layer."""
    dropout: DropoutRate = 0.0
    """Dropout rate of the token features and of the hidden layer."""
    crf: bool = False
    """Score transitions between tags (`core/models/heads/crf.py`), and predict the best sequence of tags.

    Without it, tags are predicted independently. The accuracy of training steps counts the best tags by logits alone.
    """
    init: Init = Init(scheme="fan_uniform")

    def check_encoder(self, encoder: Encoder) -> None:
        if not encoder.per_token:
            kind = encoder.model_dump()["kind"]
            remedy = "encoder.padding same" if "padding" in type(encoder).model_fields else "encoder.kind recurrent"
            raise ValueError(
                f"head.kind tokens needs the features of every token, not of encoder.kind {kind}: set {remedy}"
            )

    def check_targets(self, targets: Targets, lengths: np.ndarray) -> None:
        tags = sequences_of(targets, "tags")
        if not np.array_equal(tags.lengths, lengths):
            text = int(np.flatnonzero(tags.lengths != lengths)[0])
            raise UserError(f"text {text + 1}: got {tags.lengths[text]} tags for {lengths[text]} tokens: correct it")
        check_range("tags", tags.values, self.classes)

    def values_per_token(self, features: int) -> int:
        return self.classes + (self.hidden_size or 0) + (self.classes**2 if self.crf else 0)

    def parameters(self, features: int) -> list[Parameter]:
        """Return the rows of the optional hidden layer, then `head.weight` [C, F], `head.bias` [C].

        A CRF adds `head.transitions` [C, C] (from, to), and `head.start` and `head.end` [C].
        """
        hidden = (
            [] if self.hidden_size is None else linear_parameters("head.hidden", self.hidden_size, features, self.init)
        )
        rows = hidden + linear_parameters("head", self.classes, self.hidden_size or features, self.init)
        if self.crf:
            size = self.classes
            rows.append(Parameter("head.transitions", (size, size), self.init, fan=size, added=True))
            rows += [Parameter(f"head.{name}", (size,), self.init, fan=size) for name in ("start", "end")]
        return rows

    def forward(
        self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Arrays:
        """Return optionally `head.hidden` [B, L, F'], and `logits` [B, L, C], zero at padding.

        A CRF adds, for a batch with tags, `head.log_partition` and `head.path_score` [B].
        """
        found, mask = {}, real_mask(batch)[:, :, None]
        features = dropout(token_features(encoded), "head.tokens", self.dropout)
        if self.hidden_size is not None:
            found["head.hidden"] = activate(self.activation, self._hidden(arrays, features, rounded)) * mask
            features = dropout(found["head.hidden"], "head.hidden", self.dropout)
        found["logits"] = (rounded(features) @ rounded(arrays["head.weight"]).T + arrays["head.bias"]) * mask
        if self.crf and "tags" in batch.targets:
            logits, lengths, chain = found["logits"], batch.lengths, chain_of(arrays)
            found["head.log_partition"] = log_partition(logits, lengths, chain)
            found["head.path_score"] = path_scores(logits, batch.targets["tags"], lengths, chain)
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
        """Return cross-entropies [B, L], 0 at padding, or negative log-likelihoods of the sequences [B] of a CRF."""
        if self.crf:
            return outputs["head.log_partition"] - outputs["head.path_score"]
        logits, tags = outputs["logits"], batch.targets["tags"]
        flat = cross_entropies(logits.reshape(-1, self.classes), tags.reshape(-1), class_weights)
        return flat.reshape(tags.shape) * real_mask(batch)

    def decode(self, logits: np.ndarray, lengths: np.ndarray, arrays: Arrays) -> Decoded:
        """Return the predicted tags of logits [B, L, C] of an engine, in NumPy float64."""
        return decode(logits, lengths, chain_of(arrays)) if self.crf else decode_independently(logits)

    def outcomes(self, logits: np.ndarray, batch: Batch, arrays: Arrays) -> np.ndarray:
        """Return of every real token its tag, margin, loss and the logarithms of the tags' probabilities.

        The result is [tokens, 3 + C]. The loss of a token is that of its tag, or with a CRF an equal share of the loss
        of its sequence.
        """
        decoded, real, tags = self.decode(logits, batch.lengths, arrays), real_mask(batch), batch.targets["tags"]
        shares = decoded.log_probabilities
        if self.crf:
            exact, chain = logits.astype(np.float64), chain_of(arrays)
            partition = log_partition(exact, batch.lengths, chain)
            losses = partition - path_scores(exact, tags, batch.lengths, chain)
            losses = np.broadcast_to((losses / batch.lengths)[:, None], tags.shape)
        else:
            losses = -np.take_along_axis(shares, tags[:, :, None], axis=2)[:, :, 0]
        columns = np.stack([decoded.tags, decoded.margins, losses], axis=2)
        return np.concatenate([columns, shares], axis=2)[real]

    def score(self, outcomes: np.ndarray, targets: Targets, classes: tuple[str, ...] = ()) -> TokenEvaluation:
        return score_tags(outcomes, sequences_of(targets, "tags"), classes)

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
        return f"{self.classes} tags per token{hidden}{', CRF' if self.crf else ''}"


def token_features(encoded: Encoded) -> np.ndarray:
    """Return the features of every token, [B, L, F]."""
    values = np.concatenate([block.values for block in encoded.blocks], axis=-1)
    return activate(encoded.activation, values)


def chain_of(arrays: Arrays) -> Chain:
    """Return the parameters of a CRF."""
    return Chain(arrays["head.transitions"], arrays["head.start"], arrays["head.end"])
