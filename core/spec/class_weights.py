"""Class weights: how many times a text of each class counts in the training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag

from core.errors import UserError

if TYPE_CHECKING:
    pass


from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


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
"""As the spec has them: a number for each class, or `balanced`, which a program turns into numbers."""


def balanced_weights(labels: np.ndarray, classes: int) -> tuple[float, ...]:
    """Of labels [N] in 0..classes - 1: N / (C * n_c) for class c, which n_c of them are (King and Zeng 2001, as
    scikit-learn has it). Over these texts the mean weight is 1. Raises UserError for a class that no text has."""
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise UserError(f"class_weights balanced: no training text is of class {int(counts.argmin())}")
    return tuple((len(labels) / (classes * counts)).tolist())


def weights_of(class_weights: tuple[float, ...] | str | None) -> np.ndarray | None:
    """[C] float64, or None where every text counts once. Raises ValueError for `balanced`: it depends on data, and
    what computes a loss sees none but its batch."""
    if class_weights == "balanced":
        raise ValueError("class_weights are 'balanced': put numbers in their place first (with_class_weights)")
    return None if class_weights is None else np.array(class_weights, dtype=np.float64)
