"""Rung 2: gradients of the parameters and of all outputs, from the loss back to the first that differs.

The gradient of a layer's output comes out of all that is computed after it. The last layer whose output gradient
differs has the fault behind it: in the code between it and the later layers, or in the backward pass of its consumer.
If the output gradient agrees and a gradient of the layer's parameters differs, the fault is inside the layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.twin.backward_causes import Event, Passes, explain, loss_event, without_backward
from core.twin.gradients import Gap, gap, of_recordings, output_gradients, owner, scale_of, worst
from core.twin.naming import pair_routes
from core.twin.recording import Call, Recording
from core.twin.verdict import Finding, Pairing

LIMIT = 1e-9
"""Largest relative difference of float64 gradients that counts as equal."""

Pairs = Sequence[tuple[Call | None, Call | None]]


@dataclass(frozen=True)
class Backward:
    """Gradients of two recordings, compared."""

    finding: Finding
    figures: tuple[float | None, ...]
    """Difference of the outputs' gradients of every pair of calls, None where they were not compared."""
    parameters: Mapping[str, float]
    """Difference of the gradients of every pair of parameters, by PyTorch's name."""


def compare_gradients(
    first: Recording, second: Recording, pairing: Pairing, calls: Pairs, limit: float = LIMIT
) -> Backward:
    """Compare the gradients of a PyTorch model (`first`) with those of a Paddle model.

    `calls` are pairs in order of execution (`core.twin.alignment`). Without a backward pass in both models nothing is
    compared: the finding passes, has no value, and its sentence says why. Gradients of outputs that differ though
    those of all parameters and inputs agree are told in the sentence of a finding that passes.
    """
    if lacking := [own for own in (first, second) if own.loss is None]:
        sentence, cause = without_backward(lacking)
        return Backward(Finding(2, first.mode, None, limit, True, 0, sentence, cause), (None,) * len(calls), {})
    outputs = [output_gradients(one, two) if one and two else [] for one, two in calls]
    scale = scale_of(pair for pairs in outputs for pair in pairs)
    layers = [worst(pairs, scale, limit) for pairs in outputs]
    of_names = of_recordings(first, second, pairing)
    scale = scale_of(of_names.values())
    parameters = {name: found for name, pair in of_names.items() if (found := gap(pair, scale, limit)) is not None}
    inputs = pair_routes(first.input_gradients, second.input_gradients)
    ends = {
        f"input {one}": found
        for one, two in inputs
        if (found := gap((first.input_gradients[one], second.input_gradients[two]), 0.0, limit)) is not None
    }
    event = loss_event(first, second, limit) or first_event(calls, layers, parameters, limit)
    # Where maxima are tied, the frameworks share a gradient in different ways; it may be the same again before them.
    harmless = event is not None and event.what == "outputs" and parameters and _agree([parameters, ends], limit)
    values = [own.value for own in (*(() if harmless else layers), *parameters.values()) if own is not None]
    if event is not None and not harmless:
        values.append(event.value)
    sentence, cause = ("", None) if event is None else explain(event, Passes(first, second, pairing, calls))
    compared = sum(map(len, outputs)) + len(parameters)
    if harmless:
        sentence, cause = f"{sentence}; those of all parameters and inputs agree", None
    passed = event is None or bool(harmless)
    finding = Finding(2, first.mode, max(values, default=None), limit, passed, compared, sentence, cause)
    figures = tuple(None if own is None else own.value for own in layers)
    return Backward(finding, figures, {name: own.value for name, own in parameters.items()})


def _agree(groups: Sequence[Mapping[str, Gap]], limit: float) -> bool:
    return all(own.value <= limit for group in groups for own in group.values())


def first_event(
    calls: Pairs, layers: Sequence[Gap | None], parameters: Mapping[str, Gap], limit: float
) -> Event | None:
    """Return the first difference on the way back from the loss, None if all gradients agree."""
    own_of: dict[str, list[str]] = {}
    paths = {one.path for one, _ in calls if one is not None}
    for name in parameters:
        own_of.setdefault(owner(name, dict.fromkeys(paths)), []).append(name)
    differing = {name for name, found in parameters.items() if not found.value <= limit}
    first_calls = {one.path: number for number, (one, _) in reversed(list(enumerate(calls))) if one is not None}
    for number in reversed(range(len(calls))):
        one, _ = calls[number]
        found = layers[number]
        if found is not None and not found.value <= limit:
            return Event("outputs", number, found)
        # A parameter that several calls share has the sum of their gradients: judged when the first call is reached.
        if one is not None and first_calls[one.path] == number:
            for name in own_of.get(one.path, ()):
                if name in differing:
                    return Event("parameter", number, parameters[name], name)
    rest = [name for name in parameters if name in differing]
    return Event("parameter", None, parameters[rest[-1]], rest[-1]) if rest else None
