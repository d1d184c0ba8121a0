"""Buffers of two models after a run in training mode: running statistics of a normalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.twin.arrays import difference
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.naming import label, labels
from core.twin.recording import Parameter, Recording
from core.twin.settings import differing, in_words, link_of
from core.twin.verdict import Cause

EXACT = 1e-6
"""Largest relative difference of two momentums that are the same setting."""


@dataclass(frozen=True)
class Changed:
    """Buffers after a run, compared."""

    values: list[float] = field(default_factory=list)
    """Differences of all pairs, but those that the frameworks define in different ways."""
    notes: list[str] = field(default_factory=list)
    sentence: str = ""
    cause: Cause | None = None


def compare_buffers(first: Recording, second: Recording, names: Sequence[tuple[str, str]], limit: float) -> Changed:
    """Compare the buffers that a run changed, pairs of names in PyTorch and Paddle."""
    found, biased = Changed(), []
    sentence, cause = "", None
    for one, two in names:
        if one not in first.after or two not in second.after:
            continue
        gap = difference(first.after[one], second.after[two])
        value = float("inf") if gap is None else gap.value
        own, other = first.parameter(one), second.parameter(two)
        if not value <= limit and _biased(first, second, own, other):
            biased.append(own.module)
            continue
        found.values.append(value)
        if not value <= limit and cause is None:
            sentence = f"`{one}` differs by {value:.1e} after a step in training mode"
            cause = _explained(first, second, own, other)
    if biased:
        found.notes.append(
            f"running variance of {', '.join(map(label, biased))}: PyTorch divides by n - 1, PaddlePaddle by n"
            " (docs/differences.md#batch_norm)"
        )
    return Changed(found.values, found.notes, sentence, cause)


def _variance(side: Recording, own: Parameter, keep: float) -> np.ndarray:
    """Return the variance `[C]` of the step that took `own` to its new value: new = keep old + (1 - keep) variance."""
    return (side.after[own.name].astype(np.float64) - keep * own.values.astype(np.float64)) / (1.0 - keep)


def _biased(first: Recording, second: Recording, one: Parameter, two: Parameter) -> bool:
    """Return whether PyTorch's new variance is n / (n - 1) times Paddle's, and no setting differs."""
    if not one.role.endswith("running_var"):
        return False
    momentum = [side.module(own.module).settings.get("momentum") for side, own in ((first, one), (second, two))]
    if not all(isinstance(own, float) for own in momentum) or abs(momentum[0] - momentum[1]) > EXACT:  # type: ignore
        return False
    keep = 1.0 - float(momentum[0])  # type: ignore[arg-type]
    # A framework that keeps the share as a float32 number computes with that number, in float64, too.
    kept = keep, float(np.float32(keep))
    pairs = [(_variance(first, one, own), _variance(second, two, other)) for own in kept for other in kept]
    precision = max(np.finfo(side.after[own.name].dtype).eps for side, own in ((first, one), (second, two)))
    rounding = 4.0 * precision * np.abs(one.values.astype(np.float64)) / (1.0 - keep)
    return any(_by_divisor(own, other, rounding) for own, other in pairs)


def _by_divisor(first: np.ndarray, second: np.ndarray, rounding: np.ndarray) -> bool:
    """Return whether `first` is n / (n - 1) times `second` for one whole n, `[C]` each, but for `rounding` `[C]`."""
    total = np.abs(second).sum()
    ratio = float(np.abs(first).sum() / total) if total > 0.0 else 1.0
    if not ratio > 1.0 or (np.abs(first - ratio * second) > 1e-4 * np.abs(second) + rounding).any():
        return False
    count = ratio / (ratio - 1.0)
    return abs(count - round(count)) <= 1e-3 * count + count**2 * rounding.sum() / total


def _explained(first: Recording, second: Recording, one: Parameter, two: Parameter) -> Cause:
    modules = first.module(one.module), second.module(two.module)
    paths = {first.framework: one.module, second.framework: two.module}
    settings = differing(*modules)
    frameworks = first.framework, second.framework
    if "momentum" in settings:
        words = in_words("momentum", settings["momentum"], frameworks)
        note = ", as the share of the new value" if modules[0].kind == modules[1].kind else ""
        link = link_of(modules[0].kind, "momentum")
        return Cause(f"{labels(paths)}: {words}{note}", paths, "inside", "momentum", False, link)
    moved = [
        not np.array_equal(side.after[own.name], own.values.astype(side.after[own.name].dtype))
        for side, own in ((first, one), (second, two))
    ]
    if moved[0] != moved[1]:
        own = frameworks[moved[0]]
        sentence = f"{labels(paths)} does not update it in {FRAMEWORK_NAMES.get(own, own)}"
        return Cause(sentence, paths, "inside", "running_statistics")
    return Cause(f"{labels(paths)} computes another statistic", paths, "inside")
