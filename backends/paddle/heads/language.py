"""Language head: predicts the neighbors of every token, by sampled softmax over the rows of the word table."""

from __future__ import annotations

from backends.paddle.dropout import Dropout
from backends.paddle.framework import paddle
from backends.paddle.heads.tokens import per_token
from backends.paddle.heads.word_scores import ScoresFunction
from backends.paddle.linear import Linear, empty
from backends.paddle.runtime import Inputs
from core import spec
from core.models.encoders.encoder import Encoded
from core.models.heads.language import LARGEST_GAP, TOKENS

nn, F = paddle.nn, paddle.nn.functional

ROWS = 512
"""Positions whose scores are computed at a time, so that they stay in the cache, and all words fit in memory."""


class LanguageHead(nn.Layer):
    """A linear layer per direction, and the bias of every word; the word table is the embedding's."""

    def __init__(
        self,
        head: spec.LanguageHead,
        features: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        """Create the layers for F = `features`. Raises ValueError with `models`: ensembles have no language model."""
        super().__init__()
        if models is not None:
            raise ValueError("a language head does not support ensembles: train single models")
        self.rate, self.directions = head.dropout, head.directions
        inputs = features // len(head.directions)
        self.outputs = nn.LayerList([Linear(inputs, head.dim, dtype, models) for _ in head.directions])
        self.bias = empty(head.num_words, dtype=dtype)

    def forward(self, encoded: Encoded, inputs: Inputs, dropout: Dropout) -> dict[str, paddle.Tensor]:
        """Return `logits` [B, L, 2 D] for D directions (`core/models/heads/language.py`)."""
        blocks = [block.values for block in encoded.blocks]
        features = dropout(blocks[0], "head.tokens", self.rate)
        vectors, candidates = encoded.words
        parts = features.split(len(self.directions), axis=-1)
        z, rows, words = [], [], []
        for layer, part, direction in zip(self.outputs, parts, self.directions, strict=True):
            z.append(per_token(layer, part).reshape([-1, vectors.shape[-1]]))
            rows.append(neighbors(vectors, direction).reshape([-1, vectors.shape[-1]]))
            words.append(neighbors(inputs.targets[TOKENS], direction).reshape([-1]))
        logs, gaps = self.compared(paddle.concat(z), paddle.concat(rows), paddle.concat(words), candidates, inputs)
        shape = len(self.directions), *inputs.ids.shape
        columns = paddle.concat([logs.reshape(shape), gaps.reshape(shape)]).transpose([1, 2, 0])
        return {"logits": columns * self.predicted(inputs).astype(columns.dtype).tile([1, 1, 2])}

    def compared(
        self,
        z: paddle.Tensor,
        rows: paddle.Tensor,
        words: paddle.Tensor,
        candidates: paddle.Tensor,
        inputs: Inputs,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Compare the scores of the true words [N] with those of `candidates` [K, E], for z and their `rows` [N, E].

        Return the logarithms of their probabilities, and the differences to the best other word, [N].
        """
        offsets, ids = self.offsets(inputs)
        true, others, found = (z * rows).sum(axis=-1) + self.bias[words], offsets[ids], []
        # Parts of a split have one gradient; every slice has one of the full size.
        sizes = [min(ROWS, len(words) - start) for start in range(0, len(words), ROWS)]
        for some, own in zip(z.split(sizes), words.split(sizes), strict=True):
            found.append(ScoresFunction.apply(some, candidates, others, self.equal(own, ids)))
        sums, best = (paddle.concat(parts) for parts in zip(*found, strict=True))
        return F.log_sigmoid(true - sums), (true - best).detach().clip(max=LARGEST_GAP)

    def offsets(self, inputs: Inputs) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return what is added to the scores of words as candidates [V], and the ids of the candidates [K]."""
        if inputs.noise is None:
            return self.bias, inputs.all_words(self.bias.shape[0])
        return self.bias - inputs.noise_logs, inputs.noise

    def equal(self, words: paddle.Tensor, ids: paddle.Tensor) -> paddle.Tensor:
        """Return where a candidate [K] is the true word [N], [N, K]."""
        return words.unsqueeze(1) == ids.unsqueeze(0)

    def predicted(self, inputs: Inputs) -> paddle.Tensor:
        """Return where a direction predicts a token, [B, L, D] bool."""
        words = [neighbors(inputs.targets[TOKENS], direction) for direction in self.directions]
        return (paddle.stack(words, axis=-1) != 0) & (inputs.mask > 0)

    def named(self) -> dict[str, paddle.Tensor]:
        layers = {}
        for direction, layer in zip(self.directions, self.outputs, strict=True):
            layers.update(layer.named(f"head.{direction}"))
        return {**layers, "head.bias": self.bias}

    def losses(self, outputs: dict[str, paddle.Tensor], inputs: Inputs, weights: paddle.Tensor | None) -> paddle.Tensor:
        """Return the negative log-likelihoods [B, L, D] of the tokens to predict, otherwise 0."""
        return -outputs["logits"][:, :, : len(self.directions)]

    def right(self, outputs: dict[str, paddle.Tensor], inputs: Inputs) -> paddle.Tensor:
        """Return 1 where the true word has the largest score, otherwise 0, [B, L, D] int64."""
        return (outputs["logits"][:, :, len(self.directions) :] > 0).astype("int64")


def neighbors(values: paddle.Tensor, direction: str) -> paddle.Tensor:
    """Return the values [B, L, ...] of the next (`forward`) or previous (`reverse`) position, 0 beyond the ends."""
    empty_column = paddle.zeros_like(values[:, :1])
    parts = [values[:, 1:], empty_column] if direction == "forward" else [empty_column, values[:, :-1]]
    return paddle.concat(parts, axis=1)
