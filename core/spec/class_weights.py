"""Class weights: factors of the training loss, by class."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag

from core.errors import UserError


def _kind(value: object) -> str | None:
    if isinstance(value, list | tuple):
        return "weights"
    return "balanced" if value == "balanced" else None


ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("balanced")]
    | Annotated[tuple[Annotated[float, Field(gt=0.0)], ...], Tag("weights")],
    Discriminator(
        _kind,
        custom_error_type="class_weights",
        custom_error_message="Input should be 'balanced', a number for each class, or null",
    ),
]
"""One weight per class, or `balanced`, which is replaced by numbers before training."""


def balanced_weights(labels: np.ndarray, classes: int) -> tuple[float, ...]:
    """Return N / (C * n_c) for every class c, from labels [N] in 0..classes - 1.

    n_c is the number of labels of class c (King and Zeng 2001, as in scikit-learn). The mean weight over these texts is
    1. Raises UserError for a class without texts.
    """
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise UserError(
            f"training.class_weights balanced: no training text of class {int(counts.argmin())}: add texts of that"
            f" class, or give numbers"
        )
    return tuple((len(labels) / (classes * counts)).tolist())


def weights_of(class_weights: tuple[float, ...] | str | None) -> np.ndarray | None:
    """Return the weights [C] float64, None for an unweighted loss.

    Raises ValueError for `balanced`, which depends on the training labels, whereas a loss sees one batch.
    """
    if class_weights == "balanced":
        raise ValueError("class_weights is 'balanced': replace it by numbers first (with_class_weights)")
    return None if class_weights is None else np.array(class_weights, dtype=np.float64)
