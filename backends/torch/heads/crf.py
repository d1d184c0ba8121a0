"""Linear-chain conditional random field: scores that do not depend on the input, and the two terms of its loss.

`core/models/heads/crf.py` defines them. Neither framework has a CRF.
"""

from __future__ import annotations

from backends.torch.framework import torch
from backends.torch.linear import empty, stacked_shape
from backends.torch.runtime import Inputs

nn = torch.nn


class Chain(nn.Module):
    """`transitions` [C, C] (from, to), `start` and `end` [C], or [models, ...] with `models`."""

    def __init__(self, classes: int, dtype: torch.dtype, models: int | None):
        super().__init__()
        self.transitions = empty(*stacked_shape(models, classes, classes), dtype=dtype)
        self.start = empty(*stacked_shape(models, classes), dtype=dtype)
        self.end = empty(*stacked_shape(models, classes), dtype=dtype)

    def by_row(self, rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return transitions [B, C, C] or [1, C, C], start and end [B, C] or [1, C], of B rows model by model."""
        scores = self.transitions, self.start, self.end
        if self.start.dim() == 1:
            return tuple(array[None] for array in scores)
        return tuple(array.repeat_interleave(rows // array.shape[0], dim=0) for array in scores)

    def log_partition(self, logits: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        """Return [B]: the log-sum-exp of the scores of all sequences of tags; logits [B, L, C].

        The largest score is moved from `alpha` to `shift` at every token: sums over a hundred tokens would leave
        float32 few digits for the differences between tags, on which the gradient depends.
        """
        transitions, start, end = self.by_row(logits.shape[0])
        real = inputs.mask > 0  # [B, L, 1]
        alpha, shift = start + logits[:, 0], torch.zeros_like(logits[:, 0, :1])
        for t in range(1, logits.shape[1]):
            found = torch.logsumexp(alpha[:, :, None] + transitions, dim=1) + logits[:, t]
            largest = found.detach().amax(dim=1, keepdim=True)
            alpha = torch.where(real[:, t], found - largest, alpha)
            shift = shift + largest * inputs.mask[:, t]
        return torch.logsumexp(alpha + end, dim=1) + shift[:, 0]

    def path_score(self, logits: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        """Return [B]: the score of each row's tags."""
        transitions, start, end = self.by_row(logits.shape[0])
        tags, mask = inputs.targets["tags"], inputs.mask[:, :, 0]
        rows, classes = logits.shape[0], logits.shape[2]
        last = tags.reshape(-1).index_select(0, inputs.last)[:, None]
        score = start.expand(rows, -1).gather(1, tags[:, :1]) + end.expand(rows, -1).gather(1, last)
        score = score[:, 0] + (logits.gather(2, tags[:, :, None])[:, :, 0] * mask).sum(dim=1)
        if logits.shape[1] > 1:
            flat = transitions.reshape(transitions.shape[0], -1).expand(rows, -1)
            steps = flat.gather(1, tags[:, :-1] * classes + tags[:, 1:]) * mask[:, 1:]
            score = score + steps.sum(dim=1)
        return score

    def named(self) -> dict[str, nn.Parameter]:
        return {"head.transitions": self.transitions, "head.start": self.start, "head.end": self.end}
