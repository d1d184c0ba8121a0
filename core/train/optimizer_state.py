"""The state that each optimizer keeps, and its validation."""

from __future__ import annotations

import numpy as np

from core.errors import UserError
from core.models.model import Model, parameter_table
from core.spec.training import Adam, Optimizer


def moment_kinds(optimizer: Optimizer) -> tuple[str, ...]:
    """Return the kinds of state per trainable parameter; arrays are named `KIND/PARAMETER`."""
    if isinstance(optimizer, Adam):
        return ("moment1", "moment2")
    return ("velocity",) if optimizer.momentum else ()


def check_moments(moments: dict[str, np.ndarray], model: Model, optimizer: Optimizer, where: str) -> None:
    """Check optimizer state.

    Raises UserError naming an array that is missing, of another shape, or holds NaN.
    """
    for row in parameter_table(model):
        for kind in moment_kinds(optimizer) if row.trainable else ():
            name = f"{kind}/{row.name}"
            if name not in moments or moments[name].shape != row.shape:
                raise UserError(
                    f"{where}: optimizer state {name} {list(row.shape)} is missing or of another shape:"
                    f" use the checkpoint of this run"
                )
            if np.isnan(moments[name]).any():
                raise UserError(f"{where}: optimizer state {name} has NaN values: restore the checkpoint")
