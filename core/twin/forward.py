"""Rung 1: outputs of all layers in order of execution, and the first that differs.

If the inputs of a layer agree and its outputs differ, the fault is inside it. If its inputs differ although all
earlier outputs agree, the fault is in the code between. Models whose outputs agree pass, whatever is different on the
way there: what differs is a warning then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.twin.alignment import Pairs, inverted
from core.twin.buffers import compare_buffers
from core.twin.causes import Both, container_cause, inside, rounded_constant, warnings_of
from core.twin.dropouts import dropout_cause
from core.twin.guesses import between
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.naming import labels, pair_routes
from core.twin.recording import Call
from core.twin.sizes import figure, gap_of, input_figure, within_lengths
from core.twin.verdict import Cause, Finding, Row

LIMIT = 1e-9
"""Largest relative difference of float64 outputs that counts as equal."""
WIDER, WIDEST = 1e3, 1e-6
"""How far the limit rises behind a layer with rounded constants: times its difference, at most."""


@dataclass(frozen=True)
class Compared:
    """A pair of calls with its differences."""

    one: Call
    two: Call
    inputs: float | None
    outputs: float | None
    anchored: bool
    """Whether the modules have parameters."""

    def differs(self, limit: float) -> bool:
        """Return whether the outputs differ."""
        return self.outputs is not None and not self.outputs <= limit

    def starts_inside(self, limit: float) -> bool:
        """Return whether the inputs are equal, or there is none to compare."""
        return self.inputs is None or self.inputs <= limit

    def agrees(self, limit: float) -> bool:
        """Return whether inputs and outputs are equal."""
        return all(own is not None and own <= limit for own in (self.inputs, self.outputs))


@dataclass(frozen=True)
class Forward:
    """Outputs of two recordings, compared."""

    finding: Finding
    rows: tuple[Row, ...]
    """One per pair of calls, without gradients."""
    warnings: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    """Settings that differ without an effect on any output: names, and words."""
    agreeing: int
    """Number of inputs and outputs of calls before the first difference, all of them if there is none."""
    limit: float
    """Limit for what comes later: wider behind layers whose constants Paddle rounds."""


def compare_forward(both: Both, pairs: Pairs, limit: float = LIMIT, buffers: Sequence[tuple[str, str]] = ()) -> Forward:
    """Compare two runs; `pairs` are aligned calls, `buffers` pairs of names of buffers that a run may change."""
    found = [_compared(both, one, two) for one, two in pairs if one is not None and two is not None]
    warnings: list[str] = []
    finals, unpaired = _outputs(both)
    warnings += unpaired
    event, notes, limit = _event(both, found, finals, limit)
    warnings += notes
    sentence, cause = "", None
    if event is not None:
        sentence, cause = _explained(both, found, event, pairs, finals, limit)
    elif not finals:
        sentence = "the outputs of the models have no equal shapes"
    else:
        moved = next((own for own in found if own.differs(limit)), None)
        if moved is not None:
            warnings.append(
                f"{labels(both.paths(moved.one, moved.two))}: outputs {_differ(moved.outputs)},"
                " those of the models agree"
            )
    changed = compare_buffers(both.first, both.second, buffers, max(limit, LIMIT))
    warnings += changed.notes
    if event is None and finals and changed.cause is not None:
        sentence, cause = changed.sentence, changed.cause
    values = [own for own in finals if own is not None] + changed.values
    passed = not sentence
    compared = sum(1 for own in found if own.outputs is not None) + len(finals) + len(changed.values)
    finding = Finding(1, both.first.mode, max(values, default=None), limit, passed, compared, sentence, cause)
    agreeing = 2 * len(found)
    if event is not None and event >= 0:
        agreeing = 2 * event + found[event].starts_inside(limit)
    silent = [warning for own in found if not own.differs(limit) for warning in warnings_of(both, own.one, own.two)]
    return Forward(finding, _rows(both, pairs, found), tuple(warnings), tuple(silent), agreeing, limit)


def _compared(both: Both, one: Call, two: Call) -> Compared:
    held = {own.module for own in both.first.parameters}
    given = one.lengths if one.lengths is not None else two.lengths
    inputs = [within_lengths(call.inputs, given) for call in (one, two)]
    return Compared(one, two, input_figure(*inputs), figure(one.outputs, two.outputs), one.path in held)


def _outputs(both: Both) -> tuple[list[float], list[str]]:
    """Return the differences of the models' outputs, and what has no partner or another order of axes, in words."""
    one, two = both.first.outputs, both.second.outputs
    found, words = [], []
    routes = pair_routes(one, two)
    for here, there in routes:
        own = gap_of(one[here], two[there])
        found.append(float("inf") if own is None else own.value)
        if own is not None and own.axes is not None:
            words.append(f"output {_route(here)}: its axes are in the order {own.axes} in {_name(both, 1)}")
        if here != there:
            words.append(f"output {_route(here)} in {_name(both, 0)} is {_route(there)} in {_name(both, 1)}")
    used = [{pair[at] for pair in routes} for at in (0, 1)]
    for at, outputs in enumerate((one, two)):
        words += [f"output {_route(own)} is in {_name(both, at)} only" for own in outputs if own not in used[at]]
    return found, words


def _differ(value: float | None) -> str:
    if value is None or not value < float("inf"):
        return "differ in shape or have a NaN"
    return f"differ by {value:.1e}"


def _route(route: str) -> str:
    return route or "0"


def _name(both: Both, at: int) -> str:
    own = both.frameworks[at]
    return FRAMEWORK_NAMES.get(own, own)


def _event(both: Both, found: list[Compared], finals: list[float], limit: float) -> tuple[int | None, list[str], float]:
    """Return the number of the first pair that differs, -1 for the end, None if outputs agree; notes, and the limit."""
    notes: list[str] = []
    while any(not own <= limit for own in finals):
        event = next((at for at in range(len(found)) if _counts(found, at, limit)), -1)
        if event < 0:
            return event, notes, limit
        own = found[event]
        if own.inputs is not None and own.inputs <= limit and own.outputs is not None:
            note = rounded_constant(both, own.one, own.two, own.outputs, limit)
            if note is not None:
                notes.append(note.sentence)
                limit = max(limit, min(WIDER * own.outputs, WIDEST))
                continue
        return event, notes, limit
    return None, notes, limit


def _counts(found: list[Compared], at: int, limit: float) -> bool:
    """Return whether a pair is a first difference.

    A call of a layer without parameters may be another one of its kind, if its inputs differ too and the next layer
    with parameters agrees.
    """
    own = found[at]
    if not own.differs(limit):
        return False
    if own.anchored or (own.inputs is not None and own.inputs <= limit):
        return True
    later = next((pair for pair in found[at + 1 :] if pair.anchored), None)
    return later is None or not later.agrees(limit)


def _explained(  # noqa: PLR0913
    both: Both, found: list[Compared], event: int, pairs: Pairs, finals: list[float], limit: float
) -> tuple[str, Cause]:
    """Return the first difference in words, and its cause."""
    before = [own for own in found[: event if event >= 0 else len(found)] if not own.differs(limit)]
    last = before[-1] if before else None
    if event >= 0:
        own = found[event]
        name = labels(both.paths(own.one, own.two))
        if own.starts_inside(limit):
            sentence = f"{name}: inputs agree, outputs {_differ(own.outputs)}"
            cause = inside(both, own.one, own.two, limit)
            return sentence, cause if cause.repaired or cause.setting else dropout_cause(both) or cause
        sentence = f"{name}: inputs {_differ(own.inputs)}, all earlier outputs agree"
        turned = inverted(pairs)
        if turned is not None and any(call in (own.one, own.two) for pair in turned for call in pair):
            return sentence, container_cause(both, own.one, own.two, "order") or _order(both, turned, own)
    else:
        own = None
        worst = max(finals)
        sentence = f"the outputs of the models {_differ(worst)}, those of all layers agree"
    named = container_cause(both, own.one, own.two, "between") if own is not None else None
    cause = (
        named
        or dropout_cause(both)
        or between(
            both,
            (last.one, last.two) if last is not None else None,
            (own.one, own.two) if own is not None else None,
            [(pair.one, pair.two) for pair in before],
            limit,
        )
    )
    return sentence, cause


def _order(both: Both, turned: tuple[tuple[Call, Call], tuple[Call, Call]], event: Compared) -> Cause:
    (one, two), (later, other) = turned
    here, there = labels(both.paths(one, two)), labels(both.paths(later, other))
    sentence = f"{here} runs before {there} in {_name(both, 0)}, and after it in {_name(both, 1)}"
    return Cause(sentence, both.paths(event.one, event.two), "order")


def _rows(both: Both, pairs: Pairs, found: list[Compared]) -> tuple[Row, ...]:
    classes = [{own.path: own for own in side.modules} for side in (both.first, both.second)]
    figures = iter(found)
    rows = []
    for pair in pairs:
        own = next(figures) if None not in pair else None
        paths = both.paths(*pair)
        names = {
            framework: classes[at][paths[framework]].class_name
            for at, framework in enumerate(both.frameworks)
            if framework in paths
        }
        note = "" if own is not None else "no partner"
        rows.append(
            Row(paths, names, both.first.mode, own.inputs if own else None, own.outputs if own else None, None, note)
        )
    return tuple(rows)
