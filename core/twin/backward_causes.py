"""Causes of the first gradient that differs, as far as two recordings tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.twin.arrays import difference
from core.twin.backward_guesses import (
    EXACT,
    Pairs,
    Passes,
    linear_cause,
    name_of,
    padding_cause,
    path_cause,
    ratio_cause,
    setting_cause,
    tie_cause,
)
from core.twin.gradients import Gap
from core.twin.kinds import FRAMEWORK_NAMES, RECURRENT
from core.twin.naming import label, labels, pair_routes
from core.twin.recording import Call, Recording
from core.twin.verdict import Cause

OUTPUT_SHARE = 0.01
"""Smallest scale of the loss, as a share of the largest output: the terms of a loss may cancel."""
WITHOUT_BACKWARD = {"paddle": RECURRENT}
"""Kinds that have no backward pass in evaluation mode on the CPU (docs/differences.md#eval_backward)."""


@dataclass(frozen=True)
class Event:
    """The first difference on the way back from the loss."""

    what: str
    """`loss`, `outputs` of a call, or `parameter`."""
    number: int | None
    """Number of the pair of calls; None for the loss and for parameters of no compared layer."""
    gap: Gap
    parameter: str = ""
    """Name of the parameter in PyTorch."""

    @property
    def value(self) -> float:
        """Return the relative difference."""
        return self.gap.value


def loss_event(first: Recording, second: Recording, limit: float) -> Event | None:
    """Return the difference of the losses if the outputs agree: then the loss functions differ."""
    sizes, routes = [0.0], pair_routes(first.outputs, second.outputs)
    for one, two in routes:
        found = difference(first.outputs[one], second.outputs[two])
        if found is None or not found.value <= limit:
            return None
        sizes.append(float(np.abs(first.outputs[one].astype(np.float64)).max(initial=0.0)))
    losses = np.array(first.loss, np.float64), np.array(second.loss, np.float64)
    found = difference(*losses, floor=max(OUTPUT_SHARE * max(sizes), 1e-300))
    if not routes or found is None or found.value <= limit:
        return None
    return Event("loss", None, Gap(found.value, *losses))


def without_backward(lacking: Sequence[Recording]) -> tuple[str, Cause | None]:
    """Return why the gradients of these recordings are missing."""
    for own in lacking:
        kind, name = WITHOUT_BACKWARD.get(own.framework), FRAMEWORK_NAMES.get(own.framework, own.framework)
        paths = [module.path for module in own.modules if module.kind == kind]
        if paths and own.mode == "evaluation":
            layers = ", ".join(label(path) for path in paths)
            sentence = f"{name} has no backward pass for {layers} in evaluation mode: compared in training mode only"
            return f"gradients were not compared: {sentence}", Cause(
                sentence, {own.framework: paths[0]}, "inside", "", False, "eval_backward"
            )
    names = " and ".join(FRAMEWORK_NAMES.get(own.framework, own.framework) for own in lacking)
    return f"gradients were not compared: no backward pass was run in {names}", None


def explain(event: Event, both: Passes) -> tuple[str, Cause]:
    """Return the difference in words, and its cause."""
    if event.what == "loss":
        return _explain_loss(event, both.first, both.second)
    if event.what == "parameter":
        return _explain_parameter(event, both)
    assert event.number is not None
    return _explain_outputs(event, event.number, both)


def _explain_loss(event: Event, first: Recording, second: Recording) -> tuple[str, Cause]:
    one, two = float(event.gap.one), float(event.gap.two)
    sentence = f"the losses of equal outputs differ: {one:.6g} in {name_of(first)}, {two:.6g} in {name_of(second)}"
    large, small, larger = (one, two, first) if abs(one) > abs(two) else (two, one, second)
    times = large / small if small else np.inf
    if np.isfinite(times) and round(times) >= 2 and abs(times - round(times)) <= EXACT * times:
        cause = f"the loss is {round(times)} times as large in {name_of(larger)}: a sum in one and a mean in the other"
        return sentence, Cause(cause, {}, "between", "reduction")
    return sentence, Cause("the loss functions differ", {}, "between")


def _explain_parameter(event: Event, both: Passes) -> tuple[str, Cause]:
    first, second = both.first, both.second
    partner = both.pairing.names[event.parameter]
    one, two = first.parameter(event.parameter), second.parameter(partner)
    paths = {first.framework: one.module, second.framework: two.module}
    place = "between"
    if event.number is not None:
        paths, place = both.paths(both.calls[event.number]), "inside"
    name = labels({first.framework: event.parameter, second.framework: partner})
    if event.gap.missing is not None:
        without, having = both.without(event.gap)
        sentence = f"{name} has no gradient in {name_of(without)}, but one in {name_of(having)}"
        if one.trainable != two.trainable:
            return sentence, Cause(f"it is frozen in {name_of(without)} only", paths, "detached", "trainable")
        return sentence, Cause(f"it is detached from the loss in {name_of(without)}", paths, "detached")
    sentence = f"the gradient of {name} differs by {event.value:.1e}, those of later layers agree"
    tied_here, tied_there = _tied(first, event.parameter), _tied(second, partner)
    if tied_here != tied_there:
        tied, free = (first, second) if tied_here else (second, first)
        return sentence, Cause(
            f"it is tied in {name_of(tied)}, but not in {name_of(free)}", paths, "parameters", "tied"
        )
    modules = both.modules(paths)
    if cause := padding_cause(event.gap, modules, both, paths):
        return sentence, cause
    if cause := setting_cause(modules, both, paths):
        return sentence, cause
    if cause := ratio_cause(event.gap, both, paths, place):
        return sentence, cause
    where = f"inside {labels(paths)}" if place == "inside" else f"in the code of {labels(paths)}"
    return sentence, Cause(f"the backward pass differs {where}", paths, place)


def _tied(recording: Recording, name: str) -> bool:
    return bool(recording.parameter(name).tied_to) or any(own.tied_to == name for own in recording.parameters)


def _explain_outputs(event: Event, number: int, both: Passes) -> tuple[str, Cause]:
    calls = both.calls
    paths, users = both.paths(calls[number]), _users(number, calls)
    later = next((pair for pair in calls[number + 1 :] if None not in pair), None) if not users else users[0]
    end = "the loss" if later is None else labels(both.paths(later))
    name = labels(paths)
    if event.gap.missing is not None:
        without, having = both.without(event.gap)
        sentence = f"the loss depends on the output of {name} in {name_of(having)}, but not in {name_of(without)}"
        if _frozen(without, paths) and not _frozen(having, paths):
            return sentence, Cause(f"{name} is frozen in {name_of(without)} only", paths, "detached", "trainable")
        where = f"two calls of {name}" if name == end else f"{name} and {end}"
        return sentence, Cause(f"detached between {where} in {name_of(without)}", paths, "detached")
    sentence = f"the gradient of the output of {name} differs by {event.value:.1e}, those of later layers agree"
    if cause := path_cause(event.gap, number, both, paths) or linear_cause(event.gap, number, both, paths):
        return sentence, cause
    if cause := tie_cause(event.gap, number, both, paths):
        return sentence, cause
    if len(users) == 1:
        consumer = both.paths(users[0])
        if cause := setting_cause(both.modules(consumer), both, consumer):
            return sentence, cause
    if cause := ratio_cause(event.gap, both, paths, "between"):
        return sentence, cause
    return sentence, Cause(f"the backward pass differs between {name} and {end}", paths, "between")


def _frozen(recording: Recording, paths: dict[str, str]) -> bool:
    path = paths[recording.framework]
    own = [one for one in recording.parameters if one.module == path and not one.buffer]
    return bool(own) and not any(one.trainable for one in own)


def _users(number: int, calls: Pairs) -> list[tuple[Call, Call]]:
    """Return the later pairs of calls that get an output of pair `number` as it is, in both models."""
    own = calls[number]
    if own[0] is None or own[1] is None:
        return []
    keys = [{_key(array) for array in call.outputs.values()} for call in own if call is not None]
    found = []
    for one, two in calls[number + 1 :]:
        if one is None or two is None:
            continue
        gets = [
            any(_key(array) in known for array in call.inputs.values())
            for call, known in zip((one, two), keys, strict=True)
        ]
        if all(gets):
            found.append((one, two))
    return found


def _key(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()
