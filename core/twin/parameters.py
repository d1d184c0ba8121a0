"""Rung 0 as a finding: parameters without a partner, ties of one model alone, and values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.naming import labels
from core.twin.recording import Recording
from core.twin.values import EQUAL, judge_values
from core.twin.verdict import Cause, Finding, Pairing


@dataclass(frozen=True)
class _Tie:
    """Parameters that are one in one model and two in the other."""

    sentence: str
    cause: Cause
    conflict: bool
    """Whether the two have different values."""


def judge_parameters(
    first: Recording, second: Recording, pairing: Pairing, copied: bool
) -> tuple[Finding, Pairing, list[str]]:
    """Return the finding of rung 0, the pairing with what the values say, and notes.

    `copied`: one model has the values of the other, so that values are not compared. Parameters that no output
    depends on may lack a partner; so may buffers.
    """
    notes: list[str] = []
    sentence, cause, value = "", None, 0.0
    if not copied:
        judged = judge_values(first, second, pairing)
        pairing = replace(pairing, how={**pairing.how, **judged.how})
        sentence, cause, value = judged.sentence, judged.cause, judged.value
    if (tie := _tie(first, second, pairing)) is not None:
        # With equal values, only training takes apart what is one parameter in the other model.
        if tie.conflict:
            sentence, cause = tie.sentence, tie.cause
        else:
            notes.append(tie.sentence)
    reported = False
    for side in (first, second):
        missing, unused = _missing(side, pairing)
        name = FRAMEWORK_NAMES.get(side.framework, side.framework)
        notes += [f"`{own}` is in {name} only, and no output depends on it" for own in unused]
        if missing and not reported:
            sentence, cause = _unmatched(first, second, side, missing)
            reported = True
    finding = Finding(0, "", value, 0.0 if copied else EQUAL, not sentence, len(pairing.names), sentence, cause)
    if pairing.ambiguous and sentence == "":
        groups = "; ".join(", ".join(group) for group in pairing.ambiguous)
        notes.append(f"matched by order of execution alone: {groups}")
    return finding, pairing, notes


def _missing(side: Recording, pairing: Pairing) -> tuple[list[str], list[str]]:
    """Return parameters of a side without a partner: those that outputs depend on, and others."""
    found: list[str] = []
    unused: list[str] = []
    for name in pairing.left.get(side.framework, ()):
        own = side.parameter(name)
        if own.buffer or not own.values.size:
            continue
        known = side.loss is not None and own.trainable
        used = not known or (name in side.gradients and bool(side.gradients[name].any()))
        (found if used else unused).append(name)
    return found, unused


def _unmatched(first: Recording, second: Recording, side: Recording, missing: list[str]) -> tuple[str, Cause]:
    own = side.parameter(missing[0])
    other = second if side is first else first
    name, others = (FRAMEWORK_NAMES.get(entry.framework, entry.framework) for entry in (side, other))
    paths = {side.framework: own.module}
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    size = list(own.values.shape)
    same = next((entry for entry in other.parameters if entry.name == own.name), None)
    if same is not None and same.values.shape != own.values.shape:
        sentence = f"`{own.name}` has shape {size} in {name}, {list(same.values.shape)} in {others}{more}"
        paths[other.framework] = same.module
    else:
        sentence = f"`{own.name}` {size} is in {name} only{more}"
    module = side.module(own.module)
    words = f"{labels(paths)} ({module.class_name}) differs in its parameters: match them by a mapping, or mend it"
    return sentence, Cause(words, paths, "parameters")


def _tie(first: Recording, second: Recording, pairing: Pairing) -> _Tie | None:
    """Return parameters that are tied in one model and apart in the other."""
    sides = (first, second)
    roots = [{own.name: own.tied_to or own.name for own in side.parameters} for side in sides]
    seen: list[dict[str, tuple[str, str]]] = [{}, {}]
    for pair in pairing.names.items():
        for at in (0, 1):
            root, other = roots[at][pair[at]], roots[1 - at][pair[1 - at]]
            before = seen[at].setdefault(root, (pair[at], pair[1 - at]))
            if roots[1 - at][before[1]] == other:
                continue
            tied, free = (FRAMEWORK_NAMES.get(own.framework, own.framework) for own in (sides[at], sides[1 - at]))
            paths = {side.framework: side.parameter(name).module for side, name in zip(sides, pair, strict=True)}
            sentence = f"`{before[0]}` and `{pair[at]}` are one parameter in {tied}, two in {free}"
            words = f"tie `{before[1]}` and `{pair[1 - at]}` in {free}, or part them in {tied}"
            apart = [sides[1 - at].parameter(name).values for name in (before[1], pair[1 - at])]
            conflict = not np.array_equal(apart[0], apart[1])
            return _Tie(sentence, Cause(words, paths, "parameters", "tied"), conflict)
    return None
