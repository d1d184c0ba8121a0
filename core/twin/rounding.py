"""Whether differences in float32 are rounding.

A float64 run of each model tells how much that model rounds in float32 by itself. Differences between the models are
counted in these units: the sum of two roundings is 2 of them at most if the float64 runs agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.twin.arrays import difference
from core.twin.naming import labels, pair_routes
from core.twin.recording import Arrays, Call, Recording
from core.twin.verdict import Cause, Finding

LIMIT = 8.0
"""Largest difference that counts as rounding, in units of the model's own rounding."""
LEAST_ULPS = 4
"""Smallest unit, in float32 roundings of the largest value: a result may be exact by chance."""
LOPSIDED = 64.0
"""A layer loses precision in one model if it rounds this many times as much as in the other."""

Pairs = Sequence[tuple[Call | None, Call | None]]
Two = tuple[Recording, Recording]


@dataclass(frozen=True)
class Rounding:
    """Differences in float32, in units of the models' own rounding."""

    finding: Finding
    """Of rung 1; its value is the largest number of units."""
    units: tuple[float | None, ...]
    """Units of every pair of calls, None where they were not compared."""
    notes: tuple[str, ...]
    """The first layer that rounds far more in one model than in the other."""


@dataclass(frozen=True)
class Sizes:
    """Largest entries of differences and values, over the outputs of a pair of calls."""

    gap: float
    """Of the models in float32."""
    own: tuple[float, float]
    """Of the float32 and the float64 run of each model."""
    scale: float

    @property
    def least(self) -> float:
        """Return the smallest unit."""
        return LEAST_ULPS * float(np.finfo(np.float32).eps) * self.scale

    @property
    def units(self) -> float:
        """Return the difference in units of the larger rounding of the two models."""
        if not np.isfinite(self.gap):
            return float("inf")
        unit = max(*self.own, self.least)
        return self.gap / unit if self.gap else 0.0


def compare_rounding(exact: Two, rounded: Two, pairs: Pairs, limit: float = LIMIT) -> Rounding:
    """Judge float32 runs (`rounded`) of two models by their float64 runs (`exact`), PyTorch's first.

    `pairs` are the aligned calls of the float64 runs. Runs whose calls are not the same in both precisions are compared
    by their outputs alone.
    """
    same = all(_paths(one) == _paths(two) for one, two in zip(exact, rounded, strict=True))
    calls = [{call.number: call for call in recording.calls} for recording in rounded]
    found: list[Sizes | None] = []
    for one, two in pairs if same else ():
        if one is None or two is None:
            found.append(None)
            continue
        found.append(sizes_of((one.outputs, two.outputs), (calls[0][one.number].outputs, calls[1][two.number].outputs)))
    last = sizes_of((exact[0].outputs, exact[1].outputs), (rounded[0].outputs, rounded[1].outputs))
    units = [None if own is None else own.units for own in found]
    values = [own for own in (*units, None if last is None else last.units) if own is not None]
    sentence, cause = _first(exact, pairs, found, last, limit)
    notes = [] if same else ["the calls of the float32 runs are others than in float64: only outputs are compared"]
    notes += _lopsided(exact, pairs, found)
    passed = cause is None and bool(values)
    finding = Finding(1, exact[0].mode, max(values, default=None), limit, passed, len(values), sentence, cause)
    return Rounding(finding, tuple(units) if same else (None,) * len(pairs), tuple(notes))


def sizes_of(exact: tuple[Arrays, Arrays], rounded: tuple[Arrays, Arrays]) -> Sizes | None:
    """Return the differences of the outputs of a pair of calls; None if none can be compared."""
    gaps, own, scale = [], ([0.0], [0.0]), 0.0
    for routes in pair_routes(*exact):
        held = [side.get(route) for side, route in zip((*exact, *rounded), routes * 2, strict=True)]
        arrays = [array for array in held if array is not None and array.dtype.kind == "f"]
        if len(arrays) < len(held):
            continue
        gap = _gap(arrays[2], arrays[3])
        if gap is None:
            continue
        gaps.append(gap)
        for side in (0, 1):
            own[side].append(_gap(arrays[side], arrays[2 + side]) or 0.0)
            finite = arrays[side][np.isfinite(arrays[side])]
            scale = max(scale, float(np.abs(finite).max(initial=0.0)))
    return Sizes(max(gaps), (max(own[0]), max(own[1])), scale) if gaps else None


def _gap(one: np.ndarray, two: np.ndarray) -> float | None:
    """Return max|a - b| of two arrays up to the order of their axes."""
    found = difference(one, two)
    if found is None:
        return None
    sizes = [float(np.abs(own[np.isfinite(own)]).max(initial=0.0)) for own in (one, two)]
    return found.value * max(*sizes, 1e-12) if np.isfinite(found.value) else found.value


def _paths(recording: Recording) -> list[tuple[int, str]]:
    return [(call.number, call.path) for call in recording.calls]


def _first(
    exact: Two, pairs: Pairs, found: Sequence[Sizes | None], last: Sizes | None, limit: float
) -> tuple[str, Cause | None]:
    for (one, two), sizes in zip(pairs, found, strict=False):
        if one is None or two is None or sizes is None or sizes.units <= limit:
            continue
        paths = {exact[0].framework: one.path, exact[1].framework: two.path}
        sentence = f"float32: the outputs of {labels(paths)} differ by {sizes.units:.3g} times the model's own rounding"
        return sentence, Cause("a difference of this size is a fault, not rounding", paths, "inside")
    if last is not None and not last.units <= limit:
        sentence = f"float32: the outputs differ by {last.units:.3g} times the model's own rounding"
        return sentence, Cause("a difference of this size is a fault, not rounding", {}, "between")
    return "", None


def _lopsided(exact: Two, pairs: Pairs, found: Sequence[Sizes | None]) -> list[str]:
    """Name the first layer that rounds far more in one model, though what it gets is rounded alike."""
    for (one, two), sizes in zip(pairs, found, strict=False):
        if one is None or two is None or sizes is None:
            continue
        least = [max(own, sizes.least) for own in sizes.own]
        ratio = max(least) / min(least)
        if ratio <= LOPSIDED:
            continue
        side = int(sizes.own[1] > sizes.own[0])
        name = "PaddlePaddle" if side else "PyTorch"
        paths = {exact[0].framework: one.path, exact[1].framework: two.path}
        return [
            f"float32: {labels(paths)} rounds {ratio:.3g} times as much in {name} as in the other framework, by"
            f" {sizes.own[side] / sizes.scale:.1e} of its outputs: another formula, or a lower precision inside"
        ]
    return []
