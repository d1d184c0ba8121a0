"""Comparing named arrays of two sides: the largest difference, its place, and whether it is within the limit."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from core.models.types import Arrays

REFERENCE = "reference"


NAMED = 3
"""Tensors that a finding names of those beyond the limit."""


@dataclass(frozen=True)
class Finding:
    """The largest difference between two sides in one respect."""

    rung: int
    compared: str
    """As in `paddle ~ reference`."""
    quantity: str
    """What was compared, as in `every layer's output`."""
    dtype: str
    absolute: float
    """max|a - b|"""
    relative: float
    """max|a - b| / max|b| of one tensor"""
    where: str
    """The tensor and entry, or the step, of the largest difference."""
    value: float
    """What is held against the limit."""
    limit: float | None
    """None: recorded, not judged."""
    first: str = ""
    """If beyond the limit: the first tensors, in the order in which they are computed, or steps, that are."""
    step: int = 0
    """If beyond the limit, and steps were compared: the first step that is."""

    @property
    def passed(self) -> bool:
        return self.limit is None or self.value <= self.limit


def first_failure(findings: list[Finding]) -> Finding | None:
    """Where two sides first part: on the lowest rung, at the earliest step, in what is computed first."""
    failed = [finding for finding in findings if not finding.passed]
    return min(failed, key=lambda finding: (finding.rung, finding.step), default=None)


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Every two sides; those with the reference, which tell who is wrong, come first, the reference second in them."""
    own = sorted(name for name in names if name != REFERENCE)
    judged = [(name, REFERENCE) for name in own] if REFERENCE in names else []
    return judged + list(itertools.combinations(own, 2))


def named(names: list[str]) -> str:
    """The first of a list, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def widest(
    found: Arrays, wanted: Arrays, limit: float | None, scales: dict[str, float] | None = None, least_scale: float = 0.0
) -> dict:
    """The figures of a `Finding` over named arrays, in order; both hold the same names and shapes.

    What is held against `limit` is max|a - b| / max(`least_scale`, scale) of each array, its scale being max|b| unless
    `scales` gives another; 0 / 0 is 0, and what is not a number is infinitely far from everything.
    """
    if found.keys() != wanted.keys():
        raise ValueError(f"nothing to compare with: {', '.join(sorted(found.keys() ^ wanted.keys()))}")
    worst, beyond = (-1.0, 0.0, 0.0, ""), []
    for name, array in found.items():
        if array.shape != wanted[name].shape:
            raise ValueError(f"{name}: shape {array.shape} on one side, {wanted[name].shape} on the other")
        differences = distances(array, wanted[name])
        place = np.unravel_index(differences.argmax(), differences.shape)
        absolute = float(differences[place])
        scale = float(np.abs(wanted[name]).max()) if scales is None else scales[name]
        value, relative = ratio(absolute, max(least_scale, scale)), ratio(absolute, scale)
        if value > worst[0]:
            entry = "[" + ", ".join(map(str, place)) + "]" if array.ndim else ""
            worst = (value, absolute, relative, f"{name}{entry}")
        if limit is not None and value > limit:
            beyond.append(name)
    value, absolute, relative, where = worst
    return {
        "absolute": absolute,
        "relative": relative,
        "where": where,
        "value": value,
        "limit": limit,
        "first": named(beyond),
    }


def distances(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """|a - b|, infinite where that is not a number."""
    with np.errstate(invalid="ignore"):
        differences = np.abs(np.subtract(found, wanted, dtype=np.float64))
    return np.where(np.isnan(differences), np.inf, differences)


def ratio(difference: float, scale: float) -> float:
    """difference / scale, where 0 / 0 is 0 and anything else over 0, or over what is not finite, is infinite."""
    if difference == 0.0:
        return 0.0
    return difference / scale if 0.0 < scale < np.inf else float("inf")
