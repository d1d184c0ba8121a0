"""Guesses at the cause of a gradient that differs, each tried on the recorded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.twin.gradients import Gap
from core.twin.kinds import ALLOWED, EMBEDDING, FRAMEWORK_NAMES, GRADIENT_ONLY, LINEAR, TRAINING_ONLY
from core.twin.naming import label, labels
from core.twin.recording import Call, Module, Recording
from core.twin.verdict import Cause, Pairing

Pairs = Sequence[tuple[Call | None, Call | None]]

EXACT = 1e-9
"""Largest relative error of a formula that explains a difference."""
WAYS = {"padding_id": "padding_row", "ignored_label": "ignored_labels", "label_smoothing": "label_smoothing"}
"""Entries of docs/differences.md by setting."""


@dataclass(frozen=True)
class Passes:
    """Two recordings and their aligned calls."""

    first: Recording
    second: Recording
    pairing: Pairing
    calls: Pairs

    def paths(self, pair: tuple[Call | None, Call | None]) -> dict[str, str]:
        """Return the paths of a pair of calls by framework."""
        sides = zip((self.first, self.second), pair, strict=True)
        return {own.framework: call.path for own, call in sides if call is not None}

    def modules(self, paths: dict[str, str]) -> list[Module]:
        """Return the modules at `paths` of both models."""
        return [own.module(paths[own.framework]) for own in (self.first, self.second)]

    def values(self, values: list) -> str:
        """Return the values of a setting in words."""
        return f"{values[0]} in {name_of(self.first)}, {values[1]} in {name_of(self.second)}"

    def without(self, gap: Gap) -> tuple[Recording, Recording]:
        """Return the recording that lacks a gradient, and the one that has it."""
        return (self.second, self.first) if gap.missing else (self.first, self.second)


def path_cause(gap: Gap, number: int, both: Passes, paths: dict[str, str]) -> Cause | None:
    """Find a skip connection that one model detached: it passes the gradient of a later output on as it is."""
    rest = gap.one - gap.two
    size = np.abs(rest).max(initial=0.0)
    for pair in both.calls[number + 1 :]:
        for call in pair:
            for gradient in () if call is None else call.gradients.values():
                if gradient.shape != rest.shape or not gradient.any():
                    continue
                for sign, without in ((1.0, both.second), (-1.0, both.first)):
                    if np.abs(rest - sign * gradient).max() <= EXACT * size:
                        around = label(call.path) if call is not None else ""
                        sentence = f"the path around {around} is detached in {name_of(without)}"
                        return Cause(sentence, paths, "detached")
    return None


def linear_cause(gap: Gap, number: int, both: Passes, paths: dict[str, str]) -> Cause | None:
    """Find a linear layer that gets a detached input in one model: the other gets its gradient times its weight."""
    rest = gap.one - gap.two
    size = np.abs(rest).max(initial=0.0)
    for side, without in ((0, both.second), (1, both.first)):
        recording = (both.first, both.second)[side]
        weights = {own.module: own.values for own in recording.parameters if own.role == "weight"}
        for pair in both.calls[number + 1 :]:
            call = pair[side]
            if call is None or recording.module(call.path).kind != LINEAR or call.path not in weights:
                continue
            for gradient in call.gradients.values():
                passed_on = gradient @ weights[call.path].astype(gradient.dtype)
                if passed_on.shape != rest.shape or not passed_on.any():
                    continue
                if np.abs(rest - (1 - 2 * side) * passed_on).max() <= EXACT * size:
                    sentence = f"the input of {label(call.path)} is detached in {name_of(without)}"
                    return Cause(sentence, paths, "detached")
    return None


def tie_cause(gap: Gap, number: int, both: Passes, paths: dict[str, str]) -> Cause | None:
    """Explain a difference by tied maxima, among which the frameworks share a gradient in different ways."""
    rest, call = gap.one - gap.two, both.calls[number][0]
    moved = np.abs(rest) > EXACT * np.abs(rest).max(initial=0.0)
    for array in () if call is None else call.outputs.values():
        for axis in range(array.ndim) if array.shape == rest.shape else ():
            top = np.broadcast_to(array.max(axis, keepdims=True), array.shape)
            largest = np.abs(array[moved] - top[moved]) <= EXACT * np.abs(array).max()
            if largest.all() and np.abs(rest.sum(axis)).max() <= EXACT * np.abs(rest).max():
                sentence = f"maxima over axis {axis} of the output of {labels(paths)} are tied, and share a gradient"
                return Cause(f"{sentence} in different ways", paths, "between", "", False, "max_ties")
    return None


def padding_cause(gap: Gap, modules: list[Module], both: Passes, paths: dict[str, str]) -> Cause | None:
    """Explain a difference by the rows of an embedding's padding ids, which have no gradient."""
    if any(own.kind != EMBEDDING for own in modules) or gap.one.ndim != 2:
        return None
    ids = [own.settings.get("padding_id") for own in modules]
    if ids[0] == ids[1]:
        return None
    tolerance = EXACT * max(np.abs(gap.one).max(initial=0.0), np.abs(gap.two).max(initial=0.0))
    rows = set(np.flatnonzero(np.abs(gap.one - gap.two).max(axis=1) > tolerance).tolist())
    padding = {int(own) % len(gap.one) for own in ids if isinstance(own, int)}
    if not rows <= padding:
        return None
    sentence = f"{labels(paths)}: padding_id {both.values(ids)}; all other rows agree"
    return Cause(sentence, paths, "inside", "padding_id", True, WAYS["padding_id"])


def setting_cause(modules: list[Module], both: Passes, paths: dict[str, str]) -> Cause | None:
    """Name the first setting that differs, those that act on gradients alone first."""
    one, two = modules
    if one.kind != two.kind:
        return None
    names = [*GRADIENT_ONLY.get(one.kind, ()), *one.settings]
    without_effect = ALLOWED.get(one.kind, ())
    if both.first.mode == "evaluation":
        without_effect += TRAINING_ONLY.get(one.kind, ())
    for name in (own for own in names if own not in without_effect):
        values = [one.settings.get(name), two.settings.get(name)]
        if values[0] != values[1]:
            sentence = f"{labels(paths)}: {name} {both.values(values)}"
            return Cause(sentence, paths, "inside", name, False, WAYS.get(name, ""))
    return None


def ratio_cause(gap: Gap, both: Passes, paths: dict[str, str], place: str) -> Cause | None:
    """Explain a difference by a constant factor."""
    ratio = proportion(gap.one, gap.two)
    if ratio is None:
        return None
    large, small, times = (both.first, both.second, ratio) if abs(ratio) > 1 else (both.second, both.first, 1 / ratio)
    sentence = f"the gradient is {times:.6g} times as large in {name_of(large)} as in {name_of(small)}"
    return Cause(sentence, paths, place)


def proportion(one: np.ndarray, two: np.ndarray, exact: float = EXACT) -> float | None:
    """Return the factor by which `one` is a multiple of `two`, None if it is none."""
    square = float(np.vdot(two, two).real)
    if square == 0.0 or one.size < 2:
        return None
    ratio = float(np.vdot(two, one).real) / square
    size = np.abs(one).max(initial=0.0)
    return ratio if ratio and size and np.abs(one - ratio * two).max() <= exact * size else None


def name_of(recording: Recording) -> str:
    """Return the name of the framework in words."""
    return FRAMEWORK_NAMES.get(recording.framework, recording.framework)
