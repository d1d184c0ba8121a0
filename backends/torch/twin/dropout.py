"""Dropout masks that both frameworks share during a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from backends.torch.framework import torch
from backends.torch.twin.modules import kind_of
from core.twin import kinds
from core.twin.inputs import dropout_uniform

F = torch.nn.functional
ALPHA = -1.7580993408473766
"""Value of dropped units in alpha dropout: minus scale times alpha of SELU."""


class SharedMasks:
    """Masks of the dropout calls of a run, drawn in their order."""

    def __init__(self, seed: int, stack: list[tuple[str, Any]]) -> None:
        """Draw by `seed`; the innermost module at work is the last of `stack`, as path and module."""
        self.seed = seed
        self.stack = stack
        self.calls: list[tuple[str, tuple[int, ...], float]] = []

    def keep(self, tensor: Any, rate: float, shape: tuple[int, ...]) -> Any:
        """Return the next mask of `shape`, 1 for kept units, in the precision of `tensor`."""
        path, module = self.stack[-1] if self.stack else ("", None)
        drawn = shape
        if module is not None and kind_of(module)[0] == kinds.ATTENTION and len(shape) == 3:
            drawn = (shape[0] // module.num_heads, module.num_heads, *shape[1:])  # [B H, L, S] as [B, H, L, S]
        kept = dropout_uniform(drawn, self.seed, len(self.calls)) >= rate
        self.calls.append((path, drawn, float(rate)))
        return torch.from_numpy(np.ascontiguousarray(kept.reshape(shape))).to(tensor.device, tensor.dtype)

    def dropout(self, tensor: Any, rate: float, shape: tuple[int, ...], scaled: bool = True) -> Any:
        """Return `tensor` with units dropped and the others scaled."""
        if rate >= 1:
            return tensor * 0.0
        kept = tensor * self.keep(tensor, rate, shape)
        return kept / (1 - rate) if scaled else kept

    def alpha_dropout(self, tensor: Any, rate: float, shape: tuple[int, ...]) -> Any:
        """Return `tensor` with units set to the negative limit of SELU, and mean and variance kept."""
        if rate >= 1:
            return tensor * 0.0
        mask = self.keep(tensor, rate, shape)
        scale = ((1 - rate) * (1 + rate * ALPHA**2)) ** -0.5
        return (tensor * mask + ALPHA * (1 - mask)) * scale - scale * ALPHA * rate


def replacements(masks: SharedMasks) -> dict[str, Callable]:
    """Return the functions that take the place of the framework's own during a run, by name."""

    def dropout(input, p=0.5, training=True, inplace=False):
        result = masks.dropout(input, p, tuple(input.shape)) if training and p > 0 else input
        return input.copy_(result) if inplace and result is not input else result

    def alpha_dropout(input, p=0.5, training=False, inplace=False):
        result = masks.alpha_dropout(input, p, tuple(input.shape)) if training and p > 0 else input
        return input.copy_(result) if inplace and result is not input else result

    def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
        result = masks.alpha_dropout(input, p, _channels(input, input.dim() - 2)) if training and p > 0 else input
        return input.copy_(result) if inplace and result is not input else result

    def features(axes: int) -> Callable:
        def feature_dropout(input, p=0.5, training=True, inplace=False):
            result = masks.dropout(input, p, _channels(input, axes)) if training and p > 0 else input
            return input.copy_(result) if inplace and result is not input else result

        return feature_dropout

    own_attention = F.scaled_dot_product_attention

    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **options):  # noqa: PLR0913
        if dropout_p == 0.0 or options.get("enable_gqa"):
            return own_attention(query, key, value, attn_mask, 0.0, is_causal, **options)
        scores = query @ key.transpose(-2, -1) * (options.get("scale") or 1 / math.sqrt(query.shape[-1]))
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
        if attn_mask is not None:
            blocked = ~attn_mask if attn_mask.dtype == torch.bool else None
            scores = scores + attn_mask if blocked is None else scores.masked_fill(blocked, -math.inf)
        weights = scores.softmax(-1)
        return masks.dropout(weights, dropout_p, tuple(weights.shape)) @ value

    return {
        "dropout": dropout,
        "dropout1d": features(1),
        "dropout2d": features(2),
        "dropout3d": features(3),
        "alpha_dropout": alpha_dropout,
        "feature_alpha_dropout": feature_alpha_dropout,
        "scaled_dot_product_attention": attention,
    }


def _channels(tensor: Any, axes: int, channels_last: bool = False) -> tuple[int, ...]:
    """Return the shape of a mask of whole channels; without a batch, the first axis has the channels."""
    spatial = tensor.dim() - 2 if tensor.dim() == 3 and axes == 2 else min(axes, tensor.dim() - 1)
    return (*tensor.shape[: tensor.dim() - spatial], *[1] * spatial)


@contextmanager
def shared_masks(model: torch.nn.Module, seed: int, stack: list[tuple[str, Any]]) -> Iterator[SharedMasks]:
    """Replace the framework's dropout for a while, also under names that the user's files imported."""
    masks = SharedMasks(seed, stack)
    own = {getattr(F, name): function for name, function in replacements(masks).items()}
    spaces = [vars(F), *user_spaces(model)]
    changed = [
        (space, name, value)
        for space in spaces
        for name, value in list(space.items())
        if callable(value) and _hashed(value) and value in own
    ]
    try:
        for space, name, value in changed:
            space[name] = own[value]
        yield masks
    finally:
        for space, name, value in changed:
            space[name] = value


def _hashed(value: Any) -> bool:
    return type(value).__hash__ is not None and type(value).__name__ in ("function", "builtin_function_or_method")


def user_spaces(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Return the global names of the files in which the classes of a model are written."""
    spaces = {id(own): own for module in model.modules() for own in [_globals(type(module))] if own is not None}
    return [own for key, own in spaces.items() if key != id(vars(F))]


def _globals(own: type) -> dict[str, Any] | None:
    return getattr(getattr(own, "forward", None), "__globals__", None)


def without_inner_dropout(model: torch.nn.Module) -> list[tuple[Any, float]]:
    """Set the dropout inside recurrent layers to 0, and return these layers with their rates."""
    found = []
    for module in model.modules():
        kind, settings = kind_of(module)
        if kind == kinds.RECURRENT and settings["dropout"]:
            found.append((module, module.dropout))
            module.dropout = 0.0
    return found
