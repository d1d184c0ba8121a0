"""Causes of the first training step in which two models part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.twin.arrays import difference
from core.twin.backward_guesses import name_of, proportion
from core.twin.contract import Optimization
from core.twin.gradients import gap, parameter_gradients
from core.twin.naming import label
from core.twin.optimizers import Formula, formula_of, recognize
from core.twin.recording import Arrays, Recording, Step
from core.twin.verdict import Cause, Pairing

EXACT = 1e-9
"""Largest relative error of a ratio that explains a difference."""
FLOAT32 = 1e-6
"""Largest difference of updates that a coefficient in float32 explains (docs/differences.md#momentum_rounding)."""


@dataclass(frozen=True)
class Parting:
    """What differs first in training."""

    what: str
    """`loss`, `gradient`, `rate`, `update` or `buffer`."""
    step: int
    value: float
    name: str = ""
    """Name of the parameter in PyTorch that differs most; of a buffer the difference in words."""
    names: tuple[str, ...] = ()
    """All that differ."""
    cause: Cause | None = None


@dataclass(frozen=True)
class Training:
    """Training steps of two models: starting values, steps and names."""

    recordings: tuple[Recording, Recording]
    steps: tuple[Sequence[Step], Sequence[Step]]
    pairing: Pairing
    optimization: Optimization

    @cached_property
    def starts(self) -> tuple[Arrays, Arrays]:
        """Return the starting values of both models by name."""
        one, two = ({own.name: own.values for own in recording.parameters} for recording in self.recordings)
        return one, two

    def movements(self, name: str, pair: tuple[Step, Step]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return how far a parameter has moved in both models, in the same order of axes; None if it is missing."""
        names = (name, self.pairing.names[name])
        if any(own not in step.values for own, step in zip(names, pair, strict=True)):
            return None
        one, two = (
            np.subtract(step.values[own], start[own], dtype=np.float64)
            for own, step, start in zip(names, pair, self.starts, strict=True)
        )
        found = difference(one, two)
        if found is None:
            return None
        if found.axes is not None:
            two = (two if len(found.axes) == two.ndim else two.squeeze()).transpose(found.axes)
        return one, two.reshape(one.shape)


def explain(parting: Parting, training: Training) -> tuple[str, Cause]:
    """Return the first difference in words, and its cause."""
    first, second = map(name_of, training.recordings)
    one, two = (own[parting.step - 1] for own in training.steps)
    step = f"step {parting.step}"
    if parting.what == "loss":
        where = "the forward pass in training mode" if parting.step == 1 else "state that is no parameter"
        sentence = f"{step}: the losses differ, {one.loss:.6g} in {first}, {two.loss:.6g} in {second}"
        return sentence, Cause(f"all values agree before this step: {where} differs", {}, "")
    if parting.what == "rate":
        sentence = f"{step}: the learning rate is {one.rate:.6g} in {first}, {two.rate:.6g} in {second}"
        setting = "rate" if parting.step == 1 else "schedule"
        return sentence, Cause(f"other settings of the {setting}", {}, "optimizer", setting)
    if parting.what == "buffer" and parting.cause is not None:
        return f"{step}: {parting.name}", parting.cause
    paths: dict[str, str] = {}
    if parting.name:
        owners = (parting.name, training.pairing.names[parting.name])
        paths = {
            own.framework: own.parameter(name).module for own, name in zip(training.recordings, owners, strict=True)
        }
    more = f" and {len(parting.names) - 1} more" if len(parting.names) > 1 else ""
    if parting.what == "gradient":
        sentence = f"{step}: the gradients of {label(parting.name)}{more} differ by up to {parting.value:.1e}"
        return sentence, _gradient_cause(parting, training, paths)
    sentence = (
        f"{step}: the gradients agree, but the updates of {label(parting.name)}{more} differ by up to"
        f" {parting.value:.1e}"
    )
    return sentence, _update_cause(parting, training, paths)


def _gradient_cause(parting: Parting, training: Training, paths: dict[str, str]) -> Cause:
    one, two = (own[parting.step - 1] for own in training.steps)
    first, second = training.recordings
    pairs = parameter_gradients(training.pairing, one.gradients, two.gradients, (first.parameters, second.parameters))
    gaps = [found for pair in pairs.values() if (found := gap(pair, 0.0, EXACT)) is not None]
    whole = [np.concatenate([getattr(own, side).reshape(-1) for own in gaps]) for side in ("one", "two")]
    ratio = proportion(whole[0], whole[1], EXACT)
    if ratio is not None:
        large, small, times = (first, second, ratio) if ratio > 1 else (second, first, 1 / ratio)
        sentence = f"all gradients are {times:.6g} times as large in {name_of(large)} as in {name_of(small)}"
        return Cause(f"{sentence}: clipping differs, or a factor of the loss", {}, "optimizer", "clip_norm")
    found = gap(pairs[parting.name], 0.0, EXACT)
    if found is not None and found.missing is not None:
        without = training.recordings[found.missing]
        return Cause(f"{label(parting.name)} has no gradient in {name_of(without)}", paths, "detached")
    if parting.step == 1:
        return Cause("the backward pass differs in training mode", paths, "")
    return Cause("all values agree before this step: gradients of earlier steps, or other state", paths, "")


def _update_cause(parting: Parting, training: Training, paths: dict[str, str]) -> Cause:
    first, second = training.recordings
    still = _never_moved(parting, training)
    if still is not None:
        own = training.recordings[still]
        name = (parting.name, training.pairing.names[parting.name])[still]
        reason = "is not given to the optimizer" if own.parameter(name).trainable else "is frozen"
        setting = "" if own.parameter(name).trainable else "trainable"
        return Cause(f"{label(name)} never moves in {name_of(own)}: it {reason}", paths, "optimizer", setting)
    one, two = (_formula(parting.name, training, side) for side in (0, 1))
    if one is not None and two is not None and one != two:
        sentence = (
            f"the updates are those of {one.without(two)} in {name_of(first)}, {two.without(one)} in {name_of(second)}"
        )
        return Cause(sentence, paths, "optimizer", one.differing(two)[0])
    moved = training.movements(parting.name, (training.steps[0][parting.step - 1], training.steps[1][parting.step - 1]))
    ratio = None if moved is None else proportion(*moved, EXACT)
    if ratio is not None and abs(ratio - 1) > FLOAT32:
        large, small, times = (first, second, ratio) if ratio > 1 else (second, first, 1 / ratio)
        sentence = f"the updates are {times:.6g} times as large in {name_of(large)} as in {name_of(small)}"
        return Cause(f"{sentence}: the learning rate differs", paths, "optimizer", "rate")
    if parting.value <= FLOAT32:
        sentence = "the size of a coefficient that Paddle rounds to float32, such as momentum or weight decay"
        return Cause(sentence, paths, "optimizer", "", False, "momentum_rounding")
    known = [
        f"they are those of {own.optimizer} in {name_of(side)}"
        for own, side in zip((one, two), training.recordings, strict=True)
        if own is not None
    ]
    told = f", {known[0]} and unknown in the other" if len(known) == 1 else ""
    return Cause(
        f"settings of the optimizers differ (epsilon, betas, momentum, weight decay){told}", paths, "optimizer"
    )


def _never_moved(parting: Parting, training: Training) -> int | None:
    """Return the model, 0 or 1, in which a parameter keeps its starting values in all steps."""
    last = training.movements(parting.name, (training.steps[0][-1], training.steps[1][-1]))
    still = [] if last is None else [number for number, own in enumerate(last) if not own.any()]
    return still[0] if len(still) == 1 else None


def _formula(name: str, training: Training, side: int) -> Formula | None:
    """Return the formula that the steps of a parameter follow in one model."""
    own = (name, training.pairing.names[name])[side]
    steps = training.steps[side]
    if any(own not in step.gradients or own not in step.values for step in steps):
        return None
    start = training.starts[side][own]
    values, gradients = [step.values[own] for step in steps], [step.gradients[own] for step in steps]
    return recognize(formula_of(training.optimization), start, values, gradients, [step.rate for step in steps])
