"""Scores of candidate words: the logarithm of the sum of their exponentials, and the best, with their gradient."""

from __future__ import annotations

from backends.paddle.framework import paddle
from core.models.heads.language import MASKED


class ScoresFunction(paddle.autograd.PyLayer):
    """Autograd function of log sum_k exp(z_n . v_k + offset_k).

    The exponentials are computed once and kept for the backward pass, where the framework's own functions would read
    and write them several times.
    """

    @staticmethod
    def forward(ctx, z, candidates, offsets, equal):
        """Return the logarithms of the sums, and the largest scores, [N], the latter without a gradient.

        `z` [N, E], `candidates` [K, E], `offsets` [K]; `equal` [N, K] bool: scores that do not count.
        """
        scores = paddle.matmul(z, candidates, transpose_y=True).add_(offsets).masked_fill_(equal, MASKED)
        best = scores.amax(axis=-1)
        shares = scores.subtract_(best.unsqueeze(1)).exp_()
        totals = shares.sum(axis=-1)
        ctx.save_for_backward(z, candidates, shares, totals)
        ctx.mark_non_differentiable(best)
        return best + totals.log(), best

    @staticmethod
    def backward(ctx, d_sums, d_best):
        z, candidates, shares, totals = ctx.saved_tensor()
        # The rows of z are scaled, not those of `shares`, of which there are many more columns.
        weights = (d_sums / totals).unsqueeze(1)
        d_z = paddle.matmul(shares, candidates) * weights
        wanted = not candidates.stop_gradient
        d_candidates = paddle.matmul(shares, z * weights, transpose_x=True) if wanted else None
        return d_z, d_candidates, paddle.matmul(weights, shares, transpose_x=True)[0], None
