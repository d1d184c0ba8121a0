"""Linear-chain conditional random field: scores that do not depend on the input, and the two terms of its loss.

`core/models/heads/crf.py` defines them. Neither framework has a CRF.
"""

from __future__ import annotations

from backends.paddle.framework import paddle
from backends.paddle.linear import empty, stacked_shape
from backends.paddle.runtime import Inputs

nn = paddle.nn


class Chain(nn.Layer):
    """`transitions` [C, C] (from, to), `start` and `end` [C], or [models, ...] with `models`."""

    def __init__(self, classes: int, dtype: str, models: int | None):
        super().__init__()
        self.transitions = empty(*stacked_shape(models, classes, classes), dtype=dtype)
        self.start = empty(*stacked_shape(models, classes), dtype=dtype)
        self.end = empty(*stacked_shape(models, classes), dtype=dtype)

    def by_row(self, rows: int) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Return transitions [B, C, C] or [1, C, C], start and end [B, C] or [1, C], of B rows model by model."""
        scores = self.transitions, self.start, self.end
        if self.start.ndim == 1:
            return tuple(array.unsqueeze(0) for array in scores)
        return tuple(array.repeat_interleave(rows // array.shape[0], axis=0) for array in scores)

    def log_partition(self, logits: paddle.Tensor, inputs: Inputs) -> paddle.Tensor:
        """Return [B]: the log-sum-exp of the scores of all sequences of tags; logits [B, L, C].

        The largest score is moved from `alpha` to `shift` at every token: sums over a hundred tokens would leave
        float32 few digits for the differences between tags, on which the gradient depends.
        """
        transitions, start, end = self.by_row(logits.shape[0])
        real = inputs.mask > 0  # [B, L, 1]
        alpha, shift = start + logits[:, 0], paddle.zeros_like(logits[:, 0, :1])
        for t in range(1, logits.shape[1]):
            found = paddle.logsumexp(alpha.unsqueeze(2) + transitions, axis=1) + logits[:, t]
            largest = found.detach().max(axis=1, keepdim=True)
            alpha = paddle.where(real[:, t], found - largest, alpha)
            shift = shift + largest * inputs.mask[:, t]
        return paddle.logsumexp(alpha + end, axis=1) + shift[:, 0]

    def path_score(self, logits: paddle.Tensor, inputs: Inputs) -> paddle.Tensor:
        """Return [B]: the score of each row's tags."""
        transitions, start, end = self.by_row(logits.shape[0])
        tags, mask = inputs.targets["tags"], inputs.mask[:, :, 0]
        rows, classes = logits.shape[0], logits.shape[2]
        last = tags.reshape([-1]).gather(inputs.last).unsqueeze(1)
        score = paddle.take_along_axis(start.expand([rows, -1]), tags[:, :1], axis=1)
        score = score + paddle.take_along_axis(end.expand([rows, -1]), last, axis=1)
        emitted = paddle.take_along_axis(logits, tags.unsqueeze(2), axis=2)[:, :, 0] * mask
        score = score[:, 0] + emitted.sum(axis=1)
        if logits.shape[1] > 1:
            flat = transitions.reshape([transitions.shape[0], -1]).expand([rows, -1])
            steps = paddle.take_along_axis(flat, tags[:, :-1] * classes + tags[:, 1:], axis=1) * mask[:, 1:]
            score = score + steps.sum(axis=1)
        return score

    def named(self) -> dict[str, paddle.Tensor]:
        return {"head.transitions": self.transitions, "head.start": self.start, "head.end": self.end}
