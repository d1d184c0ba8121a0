"""Members of an ensemble: models of one spec that differ in seed and data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.data.dataset import Prepared, check_dataset
from core.errors import UserError
from core.models.model import initial_parameters
from core.spec.experiment import Experiment
from core.spec.training import Training


@dataclass(frozen=True)
class Member:
    """One model of an ensemble: name, spec and data."""

    name: str
    experiment: Experiment
    data: Prepared


def check_members(members: list[Member]) -> Training:
    """Return the training section that all members share, except for the seed.

    Raises ValueError for members with different specs or numbers of examples, UserError for unsupported settings.
    """
    first = members[0].experiment
    training = first.training
    for member in members:
        own = member.experiment
        if own.model != first.model or own.training.model_copy(update={"seed": training.seed}) != training:
            raise ValueError(
                f"{member.name}: its spec differs from that of {members[0].name} in more than seed and data:"
                f" train it separately"
            )
        if len(member.data.train) != len(members[0].data.train):
            raise ValueError(
                f"{member.name}: got {len(member.data.train)} training examples, expected"
                f" {len(members[0].data.train)}: give all members the same number"
            )
        for dataset in (member.data.train, member.data.dev, member.data.test):
            check_dataset(dataset, own.model)
    supported = {
        "bucket_batches": (0, 1),
        "patience": (None,),
        "dropout_masks": ("shared",),
        "eval_start": (False,),
        "watch_gradients": (False,),
        "adversarial": (0.0,),
        "virtual_adversarial": (0.0,),
        "average_share": (0.0,),
    }
    for path, allowed in supported.items():
        if getattr(training, path) not in allowed:
            raise UserError(
                f"training.{path} {getattr(training, path)}: not supported by ensemble training, set {allowed[0]}"
            )
    return training


def starting_values(members: list[Member]) -> dict[str, np.ndarray]:
    """Return initial parameters [M, ...], equal to those of each model trained alone."""
    each = [
        initial_parameters(own.model, own.training.seed, own.training.array_dtype)
        for own in (member.experiment for member in members)
    ]
    return {name: np.stack([own[name] for own in each]) for name in each[0]}
