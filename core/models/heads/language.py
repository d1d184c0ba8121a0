"""Language head: predicts the neighbors of every token, by sampled softmax over the rows of the word table.

The forward direction of the encoder predicts the next token, the reverse one the token before. A linear layer per
direction maps its output to the dimension of the word vectors, and the word table is the output table too (Press and
Wolf 2017; Inan et al. 2017):

    z_t = W h_t + b, score of word w: s_w = z_t . table_w + bias_w

A training step compares the true word with K noise words that the whole batch shares (Jean et al. 2015). They are drawn
with replacement from q, and the score of noise is s_w - log(K q_w). Noise that equals the true word does not count. The
sum of exp(score) of the true word and of the noise is then an unbiased estimate of that of all words (Bengio and
Senecal 2008), and the loss one of the exact loss, from below. Evaluation compares with all words but PAD, without q.

Ids are ranks by count, as a vocabulary is sorted: q_w is proportional to w^-power, Zipf's law in place of counts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from core.batch import PAD, Batch, Noise, Targets, real_mask
from core.errors import UserError
from core.models.encoders.encoder import Encoded, Encoder, Places
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.heads.head import Head
from core.models.heads.language_scores import LanguageEvaluation, score_words
from core.models.heads.tag_scores import sequences_of
from core.models.heads.tokens import token_features
from core.models.parameters import Init, Parameter, linear_parameters
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout
from core.rng import generator
from core.schema import DropoutRate

TOKENS = "tokens"
"""Name of the target: the tokens themselves, which word dropout leaves alone."""
MASKED = -1e30
"""Score of noise that equals the true word; its exponential is 0."""
LARGEST_GAP = 100.0
"""Largest difference of two scores that is told apart, so that `MASKED` has no part in it."""
DIRECTIONS = ("forward", "reverse")


class LanguageHead(Head):
    """Language model: predicts the next token, and with two directions the one before, from a recurrent encoder."""

    targets: ClassVar[tuple[str, ...]] = (TOKENS,)
    aligned: ClassVar[tuple[str, ...]] = (TOKENS,)
    reads_table: ClassVar[bool] = True
    classes: ClassVar[int] = 0

    kind: Literal["language"] = "language"
    num_words: int = Field(default=30000, ge=3)
    """Number of words, including PAD (0) and UNK (1); that of the embedding."""
    dim: int = Field(default=128, ge=1)
    """Dimension of the output words, that of the embedding."""
    bidirectional: bool = True
    """Also predict the token before, from the reverse direction of the encoder, which has one as well."""
    negatives: int = Field(default=1000, ge=1)
    """Number K of noise words of a training step."""
    power: float = Field(default=1.0, ge=0.0)
    """Exponent of the noise distribution: word w has a probability proportional to w^-power."""
    dropout: DropoutRate = 0.0
    """Dropout rate of the encoder's output."""
    init: Init = Init(scheme="fan_uniform")

    def check_encoder(self, encoder: Encoder) -> None:
        if not isinstance(encoder, RecurrentEncoder):
            kind = encoder.model_dump()["kind"]
            raise ValueError(f"head.kind language needs a recurrent encoder, got encoder.kind {kind}: use recurrent")
        if encoder.bidirectional != self.bidirectional:
            raise ValueError(
                f"head.bidirectional is {self.bidirectional}, but encoder.bidirectional is {encoder.bidirectional}:"
                " set both to the same value"
            )
        if encoder.bidirectional and encoder.num_layers > 1:
            raise ValueError(
                f"head.kind language with encoder.num_layers {encoder.num_layers}: the second layer of a bidirectional"
                " encoder reads the tokens to predict: set encoder.num_layers 1, or bidirectional false"
            )

    def check_targets(self, targets: Targets, lengths: np.ndarray) -> None:
        tokens = sequences_of(targets, TOKENS)
        if not np.array_equal(tokens.lengths, lengths):
            raise UserError("the tokens to predict are not those of the texts: encode the texts again")
        low, high = int(tokens.values.min()), int(tokens.values.max())
        if low <= PAD or high >= self.num_words:
            raise UserError(f"expected token ids in 1..{self.num_words - 1}, got {low}..{high}: encode the texts again")

    @property
    def directions(self) -> tuple[str, ...]:
        return DIRECTIONS if self.bidirectional else DIRECTIONS[:1]

    def values_per_token(self, features: int) -> int:
        return len(self.directions) * (3 * self.negatives + 3 * self.dim)

    def parameters(self, features: int) -> list[Parameter]:
        """Return `head.forward.weight` [E, H] and `.bias` [E], `head.reverse.*` if bidirectional, `head.bias` [V]."""
        inputs = features // len(self.directions)
        rows = [
            row for name in self.directions for row in linear_parameters(f"head.{name}", self.dim, inputs, self.init)
        ]
        return [*rows, Parameter("head.bias", (self.num_words,), self.init, fan=self.dim, constant=0.0)]

    def sampled(self, batch: Batch, seed: int, step: int) -> Batch:
        """Return the batch with the noise words of a training step."""
        uniform = generator(seed, "noise", step).random(self.negatives)
        cumulated, logs = noise_distribution(self.num_words, self.power)
        ids = np.minimum(np.searchsorted(cumulated, uniform, side="right") + 1, self.num_words - 1)
        return replace(batch, noise=Noise(ids.astype(np.int64), logs + np.log(self.negatives)))

    def forward(
        self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Arrays:
        """Return `logits` [B, L, 2 D] for D directions, zero where there is no token to predict.

        The first D columns are logarithms of the probabilities of the true tokens, among the noise words of a batch
        with noise, otherwise among all. The others are the differences of its score and the best other one, so that
        the accuracy of a training step is that among its noise words.
        """
        features = dropout(token_features(encoded), "head.tokens", self.dropout)
        parts = np.split(features, len(self.directions), axis=-1)
        noise, bias, (vectors, candidates) = batch.noise, arrays["head.bias"], encoded.words
        ids, logs = (np.arange(1, self.num_words), 0.0 * np.real(bias)) if noise is None else (noise.ids, noise.logs)
        columns = []
        for name, part in zip(self.directions, parts, strict=True):
            z = rounded(part) @ rounded(arrays[f"head.{name}.weight"]).T + arrays[f"head.{name}.bias"]
            words = neighbors(batch.targets[TOKENS], name)
            true = (z * neighbors(vectors, name)).sum(axis=-1) + bias[words]
            others = z @ candidates.T + (bias - logs)[ids]
            counts = ids != words[:, :, None]
            columns.append(_compared(true, others, counts))
        logits = np.stack([own[number] for number in (0, 1) for own in columns], axis=-1)
        return {"logits": logits * np.tile(self.predicted(batch), 2)}

    def predicted(self, batch: Batch) -> np.ndarray:
        """Return [B, L, D] bool: True where a direction predicts a token."""
        words = [neighbors(batch.targets[TOKENS], name) for name in self.directions]
        return (np.stack(words, axis=-1) != PAD) & real_mask(batch)[:, :, None]

    def dropout_places(self, rows: int, width: int, features: int) -> Places:
        return {"head.tokens": ((rows, width, features), self.dropout)}

    def counted(self, batch: Batch) -> int:
        return max(int(self._numbers(batch.lengths).sum()), 1)

    def answers(self, targets: Targets, lengths: np.ndarray) -> np.ndarray:
        return self._numbers(lengths)

    def _numbers(self, lengths: np.ndarray) -> np.ndarray:
        return (lengths - 1) * len(self.directions)

    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        """Return the negative log-likelihoods [B, L, D] of the tokens to predict, otherwise 0."""
        return -outputs["logits"][:, :, : len(self.directions)]

    def outcomes(self, logits: np.ndarray, batch: Batch, arrays: Arrays) -> np.ndarray:
        """Return logarithm of the probability, and difference to the best other word, [predictions, 2]."""
        pairs = logits.astype(np.float64).reshape(*logits.shape[:2], 2, len(self.directions))
        return np.swapaxes(pairs, 2, 3)[self.predicted(batch)]

    def score(self, outcomes: np.ndarray, targets: Targets, classes: tuple[str, ...] = ()) -> LanguageEvaluation:
        return score_words(outcomes, self._numbers(sequences_of(targets, TOKENS).lengths))

    def margin(self, arrays: Arrays, encoded: Encoded, batch: Batch, dropout: Dropout, rounded: Rounding) -> float:
        return np.inf

    def random_targets(self, rng: np.random.Generator, lengths: np.ndarray) -> dict[str, np.ndarray]:
        real = np.arange(lengths.max()) < lengths[:, None]
        return {TOKENS: np.where(real, rng.integers(1, self.num_words, real.shape), PAD)}

    def constant_targets(self, batch: Batch, index: int) -> dict[str, np.ndarray]:
        return {**batch.targets, TOKENS: np.where(real_mask(batch), index, PAD)}

    def describe(self) -> str:
        which = "next and previous" if self.bidirectional else "next"
        return f"{which} word, {self.negatives:,} noise words"


@lru_cache(maxsize=4)
def noise_distribution(num_words: int, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Return cumulated probabilities of the words 1 .. V - 1 [V - 1], and logarithms by id [V], 0 for PAD."""
    weights = np.arange(1, num_words, dtype=np.float64) ** -power
    shares = weights / weights.sum()
    return np.cumsum(shares), np.concatenate(([0.0], np.log(shares)))


def neighbors(values: np.ndarray, direction: str) -> np.ndarray:
    """Return the values [B, L, ...] of the next (`forward`) or previous (`reverse`) position, 0 beyond the ends."""
    empty = np.zeros_like(values[:, :1])
    parts = [values[:, 1:], empty] if direction == "forward" else [empty, values[:, :-1]]
    return np.concatenate(parts, axis=1)


def _compared(true: np.ndarray, others: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare the scores `true` [B, L] with those of `others` [B, L, K] that count.

    Return the logarithms of the probabilities and the differences to the best other, [B, L]. Supports complex steps.
    """
    others = np.where(counts, others, MASKED)
    best = np.real(others).argmax(axis=-1)[:, :, None]
    largest = np.take_along_axis(others, best, axis=-1)[:, :, 0]
    top = np.maximum(np.real(largest), np.real(true))
    total = np.exp(true - top) + np.exp(others - top[:, :, None]).sum(axis=-1)
    return true - top - np.log(total), np.minimum(np.real(true - largest), LARGEST_GAP)
