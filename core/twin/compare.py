"""The whole comparison of two models: all rungs, in both modes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from core.errors import UserError
from core.twin.alignment import Pairs, align
from core.twin.backward import Backward, compare_gradients
from core.twin.causes import Both, may_round
from core.twin.contract import Optimization, Progress, Run, Side
from core.twin.forward import LIMIT, Forward, compare_forward
from core.twin.kinds import FRAMEWORK_NAMES, MODES
from core.twin.naming import label
from core.twin.parameters import judge_parameters
from core.twin.placing import permutations, place
from core.twin.recording import Arrays, Recording
from core.twin.rounding import compare_rounding
from core.twin.splitting import SplitSide, fused
from core.twin.steps import compare_steps
from core.twin.values import judge_values
from core.twin.verdict import Finding, Pairing, Row, Verdict

ROUNDED_GRADIENTS = 1e-7
"""Largest difference of gradients, behind equal outputs, that constants in float32 explain."""
ROUNDED_VALUES = 1e-6
"""Largest difference of copied values that float32 explains."""
MOST_COPIED = 1_000_000_000
"""Largest number of values that are copied to try pairings of equal shapes."""
AMPLIFIED = 100.0
"""Largest difference of outputs, relative to that of copied values."""


@dataclass
class _Comparison:
    """What is known so far, and how the models are run."""

    sides: tuple[Side, Side]
    inputs: Arrays
    to: str | None
    seed: int
    modes: Sequence[str]
    progress: Progress
    limit: float = LIMIT
    """Limit of training steps."""
    done: int = 0
    total: int = 1
    findings: list[Finding] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def run(self, mode: str, dtype: str = "float64", backward: bool = True) -> tuple[Recording, Recording]:
        how = Run(self.inputs, mode, dtype, self.seed, backward)
        found = []
        for side in self.sides:
            self.tell(f"{FRAMEWORK_NAMES[side.framework]}, {mode} mode, {dtype}")
            found.append(side.run(how))
        return found[0], found[1]

    def tell(self, text: str) -> None:
        self.progress(text, min(self.done, self.total), self.total)
        self.done += 1


def compare_sides(  # noqa: PLR0913
    first: Side,
    second: Side,
    inputs: Arrays,
    *,
    to: str | None = "paddle",
    mapping: Mapping[str, str] | None = None,
    modes: Sequence[str] = MODES,
    dtype: str = "float64",
    seed: int = 0,
    optimization: Optimization | None = None,
    batches: Sequence[Arrays] | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Compare a PyTorch model (`first`) with a Paddle model and return all findings.

    The model of the framework `to` gets the values of the other first; with None each keeps its own. `mapping` has
    names in Paddle by names in PyTorch. With an `optimization`, both are trained on the `batches` in turn. With
    `dtype` float32, differences are also judged against the rounding of the models, after all float64 rungs.
    Errors of the models' code pass through. Raises UserError for two models of one framework.
    """
    start = time.perf_counter()
    if (first.framework, second.framework) != tuple(FRAMEWORK_NAMES):
        got = f"{first.framework} and {second.framework}"
        raise UserError(f"got models of {got}, expected one of torch and one of paddle, in this order")
    own = _Comparison((first, second), inputs, to, seed, modes, progress or (lambda text, done, total: None))
    own.total = 2 * (1 + len(modes) * (1 if dtype == "float64" else 2)) + 2 * (optimization is not None)
    pairing = _placed(own, mapping)
    if to is not None:
        _copy(own, pairing)
    runs: dict[str, tuple[Recording, Recording]] = {}
    passes: dict[str, tuple[Pairs, Forward]] = {}
    for mode in modes:
        runs[mode] = own.run(mode)
        found = _forward(own, runs[mode], pairing)
        if not found[1].finding.passed and to is not None and pairing.ambiguous and not passes:
            pairing, better = _permuted(own, pairing, mode, found[1])
            if better:
                runs[mode] = own.run(mode)
                found = _forward(own, runs[mode], pairing)
        passes[mode] = found
    parameters, pairing, notes = judge_parameters(*runs[modes[-1]], pairing, copied=to is not None)
    own.findings.append(parameters)
    own.warnings += notes
    for mode in modes:
        _backward(own, runs[mode], pairing, *passes[mode])
    passed = all(finding.passed for finding in own.findings)
    if optimization is not None and passed:
        _train(own, runs.get("training", runs[modes[-1]]), pairing, optimization, batches or [inputs])
    rounding = _rounding(own, runs, passes) if dtype == "float32" and passed else {}
    for recordings in runs.values():
        for side in recordings:
            name = FRAMEWORK_NAMES[side.framework]
            own.warnings += [f"{name}: {note}" for note in side.notes]
            own.warnings += [f"{name}, {label(module.path)}: {module.note}" for module in side.modules if module.note]
    causes = [finding.cause.sentence for finding in own.findings if finding.cause is not None]
    idle = [text for text in own.settings if not any(text in cause for cause in causes)]
    own.warnings += [f"{text}: no effect on these outputs" for text in idle]
    one, two = runs[modes[0]]
    return Verdict(
        {side.framework: side.name for side in (first, second)},
        {side.framework: str(side.version) for side in (first, second)},
        dtype,
        seed,
        {name: f"{array.dtype.name} {list(array.shape)}" for name, array in inputs.items()},
        pairing,
        tuple(own.findings),
        tuple(own.rows),
        tuple(dict.fromkeys(own.warnings)),
        time.perf_counter() - start,
        rounding,
        {one.framework: one.modules, two.framework: two.modules},
    )


def _placed(own: _Comparison, mapping: Mapping[str, str] | None) -> Pairing:
    """Match the parameters by one run of each model, after which fused projections count as three."""
    one, two = own.run(own.modes[0], backward=False)
    plans = fused(one, two)
    if any(plans):
        sides = SplitSide(own.sides[0], plans[0]), SplitSide(own.sides[1], plans[1])
        own.sides = cast("tuple[Side, Side]", sides)  # which wraps a side, not a model
        one, two = sides[0].split(one), sides[1].split(two)
        for plan, side in zip(plans, (one, two), strict=True):
            names = ", ".join(f"`{name}`" for name in plan)
            if plan:
                own.warnings.append(f"{names} in {FRAMEWORK_NAMES[side.framework]}: taken as q, k and v, in this order")
    return place(one, two, mapping)


def _copy(own: _Comparison, pairing: Pairing) -> None:
    """Write the values of one model into the other."""
    at = 1 if own.to == own.sides[1].framework else 0
    _, parameters = own.sides[1 - at].describe()
    values = {entry.name: entry.values for entry in parameters}
    pairs = pairing.names.items()
    own.sides[at].write({pair[at]: values[pair[1 - at]] for pair in pairs if pair[1 - at] in values})


def _forward(own: _Comparison, runs: tuple[Recording, Recording], pairing: Pairing) -> tuple[Pairs, Forward]:
    pairs = align(*runs, pairing)
    how = Run(own.inputs, runs[0].mode, runs[0].dtype, own.seed)
    limit = LIMIT
    if own.to is not None and 0.0 < (gap := judge_values(*runs, pairing).value) <= ROUNDED_VALUES:
        # Magnitude and direction of a normalized weight are held in float32 each.
        limit = max(LIMIT, min(AMPLIFIED * gap, ROUNDED_VALUES))
        own.warnings.append(f"copied values are equal up to {gap:.1e} alone, as both models hold them in float32")
    return pairs, compare_forward(Both(*runs, own.sides, how), pairs, limit, _buffers(runs, pairing))


def _buffers(runs: tuple[Recording, Recording], pairing: Pairing) -> list[tuple[str, str]]:
    """Return the pairs of buffers that training mode changes."""
    if runs[0].mode != "training":
        return []
    names = {entry.name for entry in runs[0].parameters if entry.buffer and entry.values.dtype.kind == "f"}
    return [(one, two) for one, two in pairing.names.items() if one in names]


def _permuted(own: _Comparison, pairing: Pairing, mode: str, found: Forward) -> tuple[Pairing, bool]:
    """Try other pairings of equal signatures; return the best by the forward pass, and whether it is another one.

    A pairing is better if the outputs of the models agree, or if more arrays agree before the first difference.
    """
    best, score = pairing, _score(found)
    runs = own.run(mode, backward=False)
    promising = [other for other in permutations(pairing, *runs) if _promising(other, pairing, runs[0], found)]
    most = max(1, MOST_COPIED // max(1, sum(entry.values.size for entry in runs[0].parameters)))
    if len(promising) > most:
        own.warnings.append(f"equal shapes: {most} of {len(promising)} other pairings tried: match them by a mapping")
        promising = promising[:most]
    for tried, other in enumerate(promising, start=1):
        own.progress(f"equal shapes: pairing {tried}", own.done, own.total)
        _copy(own, other)
        runs = own.run(mode, backward=False)
        pairs = align(*runs, other)
        now = _score(compare_forward(Both(*runs), pairs))
        if now > score:
            best, score = other, now
        if now[0]:
            break
    _copy(own, best)
    if best is not pairing:
        moved = [name for name, how in best.how.items() if how == "permutation"]
        own.warnings.append(f"equal shapes matched in another order than they run, by the forward pass: {moved}")
    return best, best is not pairing


def _promising(other: Pairing, pairing: Pairing, first: Recording, found: Forward) -> bool:
    """Return whether another pairing may be better: it moves the first layer that differs, and none that agrees.

    Layers with equal inputs, such as branches, may agree with the wrong partner; so may those before a difference
    between two layers.
    """
    name = first.framework
    held = {own.name: own.module for own in first.parameters}
    moved = {held[own] for own, partner in other.names.items() if pairing.names[own] != partner}
    arrays = {call.path: next(iter(call.inputs.values())).tobytes() for call in first.calls if call.inputs}
    shared = Counter(own for path, own in arrays.items() if path in held.values())
    for row in found.rows:
        path = row.paths.get(name, "")
        if row.outputs is None or row.inputs is None or path not in moved:
            continue
        agrees = max(row.outputs, row.inputs) <= found.limit
        if agrees and shared[arrays.get(path, b"")] == 1:
            return False
    apart = (at for at, row in enumerate(found.rows) if row.outputs is not None and row.outputs > found.limit)
    last = next(apart, len(found.rows) - 1)
    if last < 0:
        return True
    differing = found.rows[last]
    if differing.inputs is None or differing.outputs is None or not found.limit >= differing.inputs:
        return bool(moved & {row.paths.get(name, "") for row in found.rows[: last + 1]})
    if differing.outputs <= found.limit:
        return True
    return differing.paths[name] not in held.values() or differing.paths[name] in moved


def _score(found: Forward) -> tuple[bool, int]:
    return found.finding.passed, found.agreeing


def _backward(
    own: _Comparison, runs: tuple[Recording, Recording], pairing: Pairing, pairs: Pairs, found: Forward
) -> None:
    """Add the findings of rungs 1 and 2 of one mode; gradients are compared if the outputs agree."""
    own.findings.append(found.finding)
    own.limit = max(own.limit, found.limit)
    own.warnings += found.warnings
    own.settings |= {text: name for name, text in found.settings}
    rows = found.rows
    if found.finding.passed:
        gradients = _gradients(own, runs, pairing, pairs, found)
        own.findings.append(gradients.finding)
        rows = tuple(replace(row, gradients=value) for row, value in zip(rows, gradients.figures, strict=True))
    own.rows += rows


def _gradients(
    own: _Comparison, runs: tuple[Recording, Recording], pairing: Pairing, pairs: Pairs, found: Forward
) -> Backward:
    """Compare gradients of calls whose outputs agree.

    Differences up to `ROUNDED_GRADIENTS` pass with a warning if a layer is known for constants in float32.
    """
    agreeing = _agreeing(pairs, found)
    gradients = compare_gradients(*runs, pairing, agreeing, found.limit)
    value = gradients.finding.value
    if gradients.finding.passed or value is None or not found.limit < value <= ROUNDED_GRADIENTS:
        return gradients
    rounding = list(dict.fromkeys(module.class_name for side in runs for module in side.modules if may_round(module)))
    if not rounding:
        return gradients
    own.limit = ROUNDED_GRADIENTS
    own.warnings.append(
        f"{gradients.finding.sentence}: as small as constants in float32 make it in {', '.join(rounding)}"
        " (docs/differences.md#float32_inside); which layer does was not isolated"
    )
    return compare_gradients(*runs, pairing, agreeing, ROUNDED_GRADIENTS)


def _agreeing(pairs: Pairs, found: Forward) -> Pairs:
    """Return pairs without the second call where outputs differ, though those of the models agree."""
    return [
        (one, two if row.outputs is not None and row.outputs <= found.limit else None)
        for (one, two), row in zip(pairs, found.rows, strict=True)
    ]


def _rounding(
    own: _Comparison,
    runs: Mapping[str, tuple[Recording, Recording]],
    passes: Mapping[str, tuple[Pairs, Forward]],
) -> dict[str, float]:
    """Judge a float32 run in every mode; return the largest differences in units of the models' own rounding."""
    units: dict[str, float] = {}
    for mode, exact in runs.items():
        rounded = own.run(mode, "float32", backward=False)
        found = compare_rounding(exact, rounded, _agreeing(*passes[mode]))
        own.findings.append(found.finding)
        own.warnings += found.notes
        if found.finding.value is not None:
            units[mode] = found.finding.value
    return units


def _train(
    own: _Comparison,
    runs: tuple[Recording, Recording],
    pairing: Pairing,
    optimization: Optimization,
    batches: Sequence[Arrays],
) -> None:
    how = Run(batches[0], "training", "float64", own.seed)
    steps = []
    for side in own.sides:
        own.tell(f"{FRAMEWORK_NAMES[side.framework]}, {optimization.steps} training steps")
        steps.append(side.train(how, list(batches), optimization))
    found = compare_steps(runs, (steps[0], steps[1]), pairing, optimization, own.limit)
    own.findings.append(found.finding)
    own.warnings += found.notes
