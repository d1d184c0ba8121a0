"""Dropout of a training step, with masks drawn in core or by the framework."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backends.kernels.dropout import dropout_mask
from backends.torch.framework import torch
from backends.torch.runtime import to_tensor
from core import spec
from core.batch import BatchShard
from core.rng import native_seed

nn, F = torch.nn, torch.nn.functional


class Dropout:
    """Function `dropout(x, place, rate)`: drops units and scales the others by 1 / (1 - rate). This one drops none."""

    def __call__(self, x: torch.Tensor, place: str, rate: float) -> torch.Tensor:
        """Return `x` after dropout."""
        return x

    def keep(self, place: str, shape: tuple[int, ...], rate: float) -> torch.Tensor | np.ndarray | None:
        """Return the units to keep on the CPU, bool of `shape`, for a kernel in place of a call; None for all."""
        return None


no_dropout = Dropout()


class SharedDropout(Dropout):
    """Dropout with masks drawn in core."""

    def __init__(
        self,
        draw: Callable[[str, tuple[int, ...], float], list[np.ndarray]],
        models: int,
        shard: BatchShard | None,
    ):
        """Set how masks are drawn: `draw(place, shape, rate)` returns one of the full batch for each of `models`."""
        self.draw, self.models, self.shard = draw, models, shard

    def __call__(self, x: torch.Tensor, place: str, rate: float) -> torch.Tensor:
        if rate == 0.0:
            return x
        keep = to_tensor(self.keep(place, tuple(x.shape), rate), x.device)
        return x * keep.to(x.dtype) * (1.0 / (1.0 - rate))

    def keep(self, place: str, shape: tuple[int, ...], rate: float) -> np.ndarray | None:
        if rate == 0.0:
            return None
        rows = self.shard.rows if self.shard else shape[0] // self.models
        masks = self.draw(place, (rows, *shape[1:]), rate)
        if self.shard:
            masks = [mask[self.shard.chosen] for mask in masks]
        return masks[0] if len(masks) == 1 else np.concatenate(masks)


class NativeDropout(Dropout):
    """The framework's dropout, by its own generator."""

    def __call__(self, x: torch.Tensor, place: str, rate: float) -> torch.Tensor:
        return x if rate == 0.0 else F.dropout(x, p=rate, training=True)

    def keep(self, place: str, shape: tuple[int, ...], rate: float) -> torch.Tensor | None:
        return None if rate == 0.0 else self(torch.ones(shape), place, rate) > 0


def training_dropout(
    training: spec.Training,
    step: int,
    seeds: list[int] | None = None,
    shard: BatchShard | None = None,
    drawn: dict[str, np.ndarray] | None = None,
) -> Dropout:
    """Return the dropout of one step.

    Masks are drawn in core (`shared`), or by the framework's generator, seeded for the step (`native`). `seeds`: one
    per model of an ensemble (`shared` only). `shard`: its rows get the masks of the full batch (`shared`), or a
    separate seed (`native`). `drawn`: prefetched masks of the full batch by place.
    """
    if training.dropout_masks == "native":
        torch.manual_seed(native_seed(training.seed, step, shard.rank if shard else 0))
        return NativeDropout()
    own = [training.seed] if seeds is None else seeds

    def draw(place: str, shape: tuple[int, ...], rate: float) -> list[np.ndarray]:
        return [drawn[place]] if drawn else [dropout_mask(seed, step, place, shape, rate) for seed in own]

    return SharedDropout(draw, len(own), shard)
