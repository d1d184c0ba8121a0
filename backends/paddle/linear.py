"""Linear layers of single models and ensembles."""

from __future__ import annotations

from backends.paddle.framework import paddle
from backends.paddle.precision import rounded

nn, F = paddle.nn, paddle.nn.functional


def empty(*shape: int, dtype: str) -> paddle.Tensor:
    """Create a zero parameter; core assigns its values later."""
    return paddle.create_parameter(list(shape), dtype, default_initializer=nn.initializer.Constant(0.0))


def stacked_shape(models: int | None, *shape: int) -> tuple[int, ...]:
    """Return the shape of a parameter: `shape`, or [models, ...] in an ensemble."""
    return shape if models is None else (models, *shape)


def linear(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor | None) -> paddle.Tensor:
    """Compute x W^T + b for x [B, in] and `weight` [out, in] or [models, out, in].

    In an ensemble each model has B / models rows. `paddle.nn.functional.linear` would use [in, out].
    """
    if weight.ndim == 2:
        found = paddle.matmul(x, weight, transpose_y=True)
        return found if bias is None else found + bias
    rows = x.reshape([weight.shape[0], -1, x.shape[-1]])
    found = paddle.bmm(rows, weight.transpose([0, 2, 1]))
    return (found if bias is None else found + bias.unsqueeze(1)).reshape([x.shape[0], -1])


class Linear(nn.Layer):
    """A linear layer, y = x W^T + b, with `weight` [out, in] and `bias` [out].

    `paddle.nn.Linear` would use [in, out].
    """

    def __init__(self, inputs: int, outputs: int, dtype: str, models: int | None):
        super().__init__()
        self.weight = empty(*stacked_shape(models, outputs, inputs), dtype=dtype)
        self.bias = empty(*stacked_shape(models, outputs), dtype=dtype)
        self.rounds = False
        """True if x is rounded to bfloat16."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, in] -> [B, out]
        return linear(rounded(x, self.rounds), self.weight, self.bias)

    def named(self, prefix: str) -> dict[str, paddle.Tensor]:
        return {f"{prefix}.weight": self.weight, f"{prefix}.bias": self.bias}
