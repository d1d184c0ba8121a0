"""Linear layers of single models and ensembles."""

from __future__ import annotations

from backends.torch.framework import torch
from backends.torch.precision import rounded

nn, F = torch.nn, torch.nn.functional


def empty(*shape: int, dtype: torch.dtype) -> nn.Parameter:
    """Create a zero parameter; core assigns its values later."""
    return nn.Parameter(torch.zeros(*shape, dtype=dtype))


def stacked_shape(models: int | None, *shape: int) -> tuple[int, ...]:
    """Return the shape of a parameter: `shape`, or [models, ...] in an ensemble."""
    return shape if models is None else (models, *shape)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Compute x W^T + b for x [B, in] and `weight` [out, in] or [models, out, in].

    In an ensemble each model has B / models rows.
    """
    if weight.dim() == 2:
        return F.linear(x, weight, bias)
    rows = x.reshape(weight.shape[0], -1, x.shape[-1])
    columns = weight.transpose(1, 2)
    found = torch.bmm(rows, columns) if bias is None else torch.baddbmm(bias[:, None], rows, columns)
    return found.reshape(x.shape[0], -1)


class Linear(nn.Module):
    """A linear layer, y = x W^T + b, with `weight` [out, in] and `bias` [out]."""

    def __init__(self, inputs: int, outputs: int, dtype: torch.dtype, models: int | None):
        super().__init__()
        self.weight = empty(*stacked_shape(models, outputs, inputs), dtype=dtype)
        self.bias = empty(*stacked_shape(models, outputs), dtype=dtype)
        self.rounds = False
        """True if x is rounded to bfloat16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, in] -> [B, out]
        return linear(rounded(x, self.rounds), self.weight, self.bias)

    def named(self, prefix: str) -> dict[str, nn.Parameter]:
        return {f"{prefix}.weight": self.weight, f"{prefix}.bias": self.bias}
