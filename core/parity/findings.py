"""Comparison of named arrays of two sides: the largest difference, its location, its limit."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from core.models.types import Arrays

REFERENCE = "reference"


NAMED = 3
"""Maximum number of tensors beyond the limit that a finding names."""


@dataclass(frozen=True)
class Finding:
    """The largest difference between two sides in one quantity."""

    rung: int
    """Level of the parity check, 1 to 5; 0 for the examples that all sides of word2vec share."""
    compared: str
    """The two sides, as `paddle ~ reference`."""
    quantity: str
    """The compared quantity, as `layer outputs`."""
    dtype: str
    absolute: float
    """max|a - b|"""
    relative: float
    """max|a - b| / max|b| of one tensor"""
    where: str
    """Tensor and entry, or step, of the largest difference."""
    value: float
    """The value compared with the limit."""
    limit: float | None
    """The limit; None if the difference is only recorded."""
    first: str = ""
    """The first tensors (in order of computation) or steps beyond the limit, "" for none."""
    step: int = 0
    """The first step beyond the limit, 0 for none."""

    @property
    def passed(self) -> bool:
        """Return whether the difference is finite and within its limit."""
        return bool(np.isfinite(self.value)) and (self.limit is None or self.value <= self.limit)


def first_failure(findings: list[Finding]) -> Finding | None:
    """Return the first failure: lowest rung, then earliest step, then order of computation."""
    failed = [finding for finding in findings if not finding.passed]
    return min(failed, key=lambda finding: (finding.rung, finding.step), default=None)


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Return all pairs of sides, starting with (side, reference), which identify a faulty side."""
    own = sorted(name for name in names if name != REFERENCE)
    judged = [(name, REFERENCE) for name in own] if REFERENCE in names else []
    return judged + list(itertools.combinations(own, 2))


def named(names: list[str]) -> str:
    """Join the first names of a list, and the number of further ones."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def widest(
    found: Arrays, wanted: Arrays, limit: float | None, scales: dict[str, float] | None = None, least_scale: float = 0.0
) -> dict:
    """Compute the numeric fields of a `Finding` over named arrays, in order.

    The value compared with `limit` is max|a - b| / max(`least_scale`, scale) of each array, where the scale is max|b|
    unless given in `scales`; 0 / 0 is 0, and NaN has infinite distance. Raises ValueError for unequal names or shapes.
    """
    if found.keys() != wanted.keys():
        raise ValueError(f"arrays on one side only: {', '.join(sorted(found.keys() ^ wanted.keys()))}")
    worst, beyond = (-1.0, 0.0, 0.0, ""), []
    for name, array in found.items():
        if array.shape != wanted[name].shape:
            raise ValueError(f"{name}: got shape {array.shape}, expected {wanted[name].shape}")
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
    """Return |a - b|, infinite instead of NaN."""
    with np.errstate(invalid="ignore"):
        differences = np.abs(np.subtract(found, wanted, dtype=np.float64))
    return np.where(np.isnan(differences), np.inf, differences)


def ratio(difference: float, scale: float) -> float:
    """Return difference / scale.

    0 / 0 is 0, any other division by 0 or a non-finite scale is inf.
    """
    if difference == 0.0:
        return 0.0
    return difference / scale if 0.0 < scale < np.inf else float("inf")
