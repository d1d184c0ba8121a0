"""Dropout masks that both frameworks share during a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.twin.modules import kind_of
from core.twin import kinds
from core.twin.inputs import dropout_uniform

F = paddle.nn.functional
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
        return paddle.to_tensor(np.ascontiguousarray(kept.reshape(shape))).astype(tensor.dtype)

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

    own_dropout = F.dropout

    def dropout(x, p=0.5, axis=None, training=True, mode="upscale_in_train", name=None, **options):  # noqa: PLR0913
        if not training or p == 0:
            return own_dropout(x, p, axis=axis, training=training, mode=mode)
        axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
        shape = tuple(size if at in axes else 1 for at, size in enumerate(x.shape))
        return masks.dropout(x, p, shape, mode == "upscale_in_train")

    def features(axes: int) -> Callable:
        def feature_dropout(x, p=0.5, training=True, data_format="NC", name=None):
            last = data_format.endswith("C")
            return masks.dropout(x, p, _channels(x, axes, last)) if training and p > 0 else x

        return feature_dropout

    def alpha_dropout(x, p=0.5, training=True, name=None):
        return masks.alpha_dropout(x, p, tuple(x.shape)) if training and p > 0 else x

    def feature_alpha_dropout(x, p=0.5, training=True, name=None):
        return masks.alpha_dropout(x, p, _channels(x, x.ndim - 2)) if training and p > 0 else x

    own_attention = getattr(F, "scaled_dot_product_attention", None)

    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, training=True, **options):  # noqa: PLR0913
        if dropout_p == 0.0 or not training:
            return own_attention(query, key, value, attn_mask, 0.0, is_causal, training, **options)
        # Paddle's arrays are [B, L, H, D].
        turned = [own.transpose([0, 2, 1, 3]) for own in (query, key, value)]
        scores = turned[0] @ turned[1].transpose([0, 1, 3, 2]) * (query.shape[-1] ** -0.5)
        if is_causal:
            attn_mask = paddle.tril(paddle.ones(scores.shape[-2:])).astype("bool")
        if attn_mask is not None:
            blocked = paddle.where(attn_mask, 0.0, -1e30) if attn_mask.dtype == paddle.bool else attn_mask
            scores = scores + blocked.astype(scores.dtype)
        weights = F.softmax(scores)
        return (masks.dropout(weights, dropout_p, tuple(weights.shape)) @ turned[2]).transpose([0, 2, 1, 3])

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
    if channels_last:
        return (tensor.shape[0], *[1] * (tensor.ndim - 2), tensor.shape[-1])
    spatial = min(axes, tensor.ndim - 1)
    return (*tensor.shape[: tensor.ndim - spatial], *[1] * spatial)


@contextmanager
def shared_masks(model: paddle.nn.Layer, seed: int, stack: list[tuple[str, Any]]) -> Iterator[SharedMasks]:
    """Replace the framework's dropout for a while, also under names that the user's files imported."""
    masks = SharedMasks(seed, stack)
    own = {getattr(F, name): function for name, function in replacements(masks).items() if hasattr(F, name)}
    # The framework's files call one another's functions by their own names.
    spaces = [vars(F), vars(sys.modules[F.dropout.__module__]), *user_spaces(model)]
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


def user_spaces(model: paddle.nn.Layer) -> list[dict[str, Any]]:
    """Return the global names of the files in which the classes of a model are written."""
    spaces = {
        id(own): own
        for module in model.sublayers(include_self=True)
        for own in [_globals(type(module))]
        if own is not None
    }
    return [own for key, own in spaces.items() if key != id(vars(F))]


def _globals(own: type) -> dict[str, Any] | None:
    return getattr(getattr(own, "forward", None), "__globals__", None)


def without_inner_dropout(model: paddle.nn.Layer) -> list[tuple[Any, float]]:
    """Set the dropout inside recurrent layers to 0, and return these layers with their rates."""
    found = []
    for module in model.sublayers(include_self=True):
        kind, settings = kind_of(module)
        if kind == kinds.RECURRENT and settings["dropout"]:
            found.append((module, module.dropout))
            module.dropout = 0.0
    return found
