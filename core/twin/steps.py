"""Rung 3: training steps with each framework's own optimizer, and the first step and tensor that part.

Movements are compared, values less the starting values, as these may be a thousand times larger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.twin.buffers import Changed, compare_buffers
from core.twin.contract import Optimization
from core.twin.gradients import Gap, Two, gap, parameter_gradients, scale_of
from core.twin.recording import Arrays, Recording, Step
from core.twin.step_causes import Parting, Training, explain
from core.twin.verdict import Finding, Pairing

LIMIT = 1e-9
"""Largest relative difference of float64 training that counts as equal."""
ROUNDING = 16 * np.finfo(np.float64).eps
"""Error of a value that is rounded in every step, as a share of it."""
BUFFER_LIMIT = 2e-6
"""Largest difference of running statistics that counts as equal, as Paddle rounds their momentum to float32."""
AMPLIFIED = 4.0
"""Change of an update of Adam, in learning rates, per relative change of one gradient.

Where a gradient is nothing but rounding, Adam turns its sign into a whole step: there is nothing to compare.
"""


@dataclass(frozen=True)
class StepFigures:
    """Largest differences of one step."""

    number: int
    loss: float
    gradients: float | None
    values: float | None
    buffers: float | None
    """Without those that are expected."""


@dataclass(frozen=True)
class Steps:
    """Training steps of two models, compared."""

    finding: Finding
    figures: tuple[StepFigures, ...]
    notes: tuple[str, ...] = ()
    """Differences that the frameworks have by design."""


def compare_steps(
    recordings: tuple[Recording, Recording],
    steps: tuple[Sequence[Step], Sequence[Step]],
    pairing: Pairing,
    optimization: Optimization,
    limit: float = LIMIT,
) -> Steps:
    """Compare the steps of a PyTorch model and a Paddle model, in this order.

    `recordings` hold the starting values and the modules of both.
    """
    training = Training(recordings, steps, pairing, optimization)
    mode, buffers = recordings[0].mode, {own.name for own in recordings[0].parameters if own.buffer}
    names = [name for name in pairing.names if name not in buffers]
    doubt = {name: np.zeros(()) for name in names}
    figures: list[StepFigures] = []
    parting: Parting | None = None
    notes: dict[str, None] = {}
    apart = 0.0
    before: tuple[Arrays, Arrays] = training.starts
    for one, two in zip(*steps, strict=True):
        gradients = parameter_gradients(
            pairing, one.gradients, two.gradients, (recordings[0].parameters, recordings[1].parameters)
        )
        found = _gradient_gaps(gradients, limit)
        _add_doubt(doubt, gradients, one.rate)
        # A bias whose updates are nothing but rounding moves the running mean behind it: no buffer is compared then.
        changed = Changed()
        if apart <= max(limit, BUFFER_LIMIT):
            changed = _buffers(training, before, (one.values, two.values), max(limit, BUFFER_LIMIT))
        values = _movements(training, (one, two), names, doubt)
        apart = max((_apart(training, (one, two), name) for name in names), default=0.0)
        notes |= dict.fromkeys(changed.notes)
        figures.append(_figures(one, two, found, values, changed))
        parting = parting or _parting((one, two), found, values, changed, limit)
        before = (one.values, two.values)
    value = max((own for row in figures for own in _of(row)), default=None)
    sentence, cause = ("", None) if parting is None else explain(parting, training)
    compared = len(figures) * (len(names) + len(buffers))
    finding = Finding(3, mode, value, limit, parting is None and bool(figures), compared, sentence, cause)
    return Steps(finding, tuple(figures), tuple(notes))


def _buffers(training: Training, before: tuple[Arrays, Arrays], after: tuple[Arrays, Arrays], limit: float) -> Changed:
    """Compare the buffers after a step, which had the values `before`."""
    first, second = (
        replace(
            recording,
            parameters=tuple(replace(own, values=start[own.name]) for own in recording.parameters if own.name in start),
            after={own.name: end[own.name] for own in recording.parameters if own.buffer and own.name in end},
        )
        for recording, start, end in zip(training.recordings, before, after, strict=True)
    )
    # PyTorch counts batches, which has no effect.
    names = {own.name for own in first.parameters if own.buffer and own.values.dtype.kind == "f"}
    pairs = [(one, two) for one, two in training.pairing.names.items() if one in names]
    return compare_buffers(first, second, pairs, limit)


def _gradient_gaps(gradients: Mapping[str, Two], limit: float) -> dict[str, Gap]:
    scale = scale_of(gradients.values())
    return {name: own for name, pair in gradients.items() if (own := gap(pair, scale, limit)) is not None}


def _add_doubt(doubt: dict[str, np.ndarray], gradients: Mapping[str, Two], rate: float) -> None:
    """Add how far each entry may have moved by the rounding of its gradient."""
    for name, (one, two) in gradients.items():
        if one is None or two is None or one.shape != two.shape:
            continue
        size = np.maximum(np.abs(one), np.abs(two)).astype(np.float64)
        gaps = np.abs(np.subtract(one, two, dtype=np.float64))
        doubt[name] = doubt[name] + AMPLIFIED * rate * np.divide(gaps, size, out=np.zeros_like(size), where=size > 0)


def _movements(
    training: Training, pair: tuple[Step, Step], names: Sequence[str], doubt: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return the difference of the movements of all parameters, relative to the largest one."""
    moved = {name: own for name in names if (own := training.movements(name, pair)) is not None}
    sizes = {name: max(float(np.abs(own).max(initial=0.0)) for own in both) for name, both in moved.items()}
    least = 0.01 * max(sizes.values(), default=0.0)
    found = {}
    for name, (one, two) in moved.items():
        rounding = ROUNDING * float(np.abs(training.starts[0][name]).max(initial=0.0))
        gaps = np.abs(one - two)
        gaps = np.where(np.isnan(gaps), np.inf, gaps)
        rest = np.maximum(gaps - rounding - doubt[name], 0.0).max(initial=0.0)
        found[name] = float(rest / max(sizes[name], least)) if rest else 0.0
    return found


def _apart(training: Training, pair: tuple[Step, Step], name: str) -> float:
    """Return the largest difference of the movements of a parameter."""
    moved = training.movements(name, pair)
    return 0.0 if moved is None else float(np.abs(moved[0] - moved[1]).max(initial=0.0))


def _figures(
    one: Step, two: Step, gradients: Mapping[str, Gap], values: Mapping[str, float], buffers: Changed
) -> StepFigures:
    return StepFigures(
        one.number,
        loss_gap(one, two),
        max((own.value for own in gradients.values()), default=None),
        max(values.values(), default=None),
        max(buffers.values, default=None),
    )


def loss_gap(one: Step, two: Step) -> float:
    """Return the relative difference of two losses."""
    if one.loss == two.loss:
        return 0.0
    found = abs(one.loss - two.loss) / max(abs(one.loss), abs(two.loss))
    return found if np.isfinite(found) else float("inf")


def _of(row: StepFigures) -> list[float]:
    return [own for own in (row.loss, row.gradients, row.values, row.buffers) if own is not None]


def _parting(
    pair: tuple[Step, Step], gradients: Mapping[str, Gap], values: Mapping[str, float], buffers: Changed, limit: float
) -> Parting | None:
    """Return what differs first in a step, in the order in which it is computed."""
    one, two = pair
    number = one.number
    if not loss_gap(one, two) <= limit:
        return Parting("loss", number, loss_gap(one, two))
    differing = {name: own for name, own in gradients.items() if not own.value <= limit}
    if differing:
        name = max(differing, key=lambda own: differing[own].value)
        return Parting("gradient", number, differing[name].value, name, tuple(differing))
    rates = abs(one.rate), abs(two.rate)
    if abs(one.rate - two.rate) > limit * max(rates):
        return Parting("rate", number, abs(one.rate - two.rate) / max(rates))
    moved = {name: own for name, own in values.items() if not own <= limit}
    if moved:
        name = max(moved, key=lambda own: moved[own])
        return Parting("update", number, moved[name], name, tuple(moved))
    if buffers.cause is not None:
        return Parting("buffer", number, max(buffers.values), buffers.sentence, cause=buffers.cause)
    return None
