"""Dropout of a training step, with masks drawn in core or by the framework."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backends.torch.framework import torch
from backends.torch.runtime import to_tensor
from core import spec
from core.batch import BatchShard
from core.rng import dropout_mask, native_seed

nn, F = torch.nn, torch.nn.functional


Dropout = Callable[[torch.Tensor, str, float], torch.Tensor]
"""Function `dropout(x, place, rate)`: drops units and scales the others by 1 / (1 - rate)."""


def no_dropout(x: torch.Tensor, place: str, rate: float) -> torch.Tensor:
    """Return `x` unchanged."""
    return x


def training_dropout(
    training: spec.Training,
    step: int,
    seeds: list[int] | None = None,
    shard: BatchShard | None = None,
    drawn: dict[str, np.ndarray] | None = None,
) -> Dropout:
    """Return the dropout function of one step.

    Masks are drawn in core (`shared`), or by the framework's generator, seeded for the step (`native`). `seeds`: one
    per model of an ensemble (`shared` only). `shard`: its rows get the masks of the full batch (`shared`), or a
    separate seed (`native`). `drawn`: prefetched masks of the full batch by place.
    """
    seeds = [training.seed] if seeds is None else seeds

    def shared(x: torch.Tensor, place: str, rate: float) -> torch.Tensor:
        if rate == 0.0:
            return x
        shape = (shard.rows if shard else x.shape[0] // len(seeds), *x.shape[1:])
        masks = [drawn[place]] if drawn else [dropout_mask(seed, step, place, shape, rate) for seed in seeds]
        if shard:
            masks = [mask[shard.chosen] for mask in masks]
        keep = to_tensor(masks[0] if len(masks) == 1 else np.concatenate(masks), x.device)
        return x * keep.to(x.dtype) * (1.0 / (1.0 - rate))

    def native(x: torch.Tensor, place: str, rate: float) -> torch.Tensor:
        return x if rate == 0.0 else F.dropout(x, p=rate, training=True)

    if training.dropout_masks == "shared":
        return shared
    torch.manual_seed(native_seed(training.seed, step, shard.rank if shard else 0))
    return native
