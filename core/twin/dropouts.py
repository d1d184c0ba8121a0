"""Dropout of two models in training mode: calls that differ in rate or shape, or that one model lacks."""

from __future__ import annotations

from core.twin.causes import Both
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.naming import label
from core.twin.verdict import Cause


def dropout_cause(both: Both) -> Cause | None:
    """Return the first dropout call that differs between the models, None if all agree or none ran."""
    one, two = both.first.dropouts, both.second.dropouts
    if both.first.mode != "training" or _plain(one) == _plain(two):
        return None
    names = [FRAMEWORK_NAMES.get(own, own) for own in both.frameworks]
    for here, there in zip(one, two, strict=False):
        if sorted(here[1]) != sorted(there[1]):
            break
        if here[2] != there[2]:
            paths = dict(zip(both.frameworks, (here[0], there[0]), strict=True))
            where = " and ".join(dict.fromkeys(label(own) if own else "a function" for own in paths.values()))
            sentence = f"{where}: dropout rate {here[2]:g} in {names[0]}, {there[2]:g} in {names[1]}"
            return Cause(sentence, paths, "inside" if all(paths.values()) else "between", "rate")
    if len(one) == len(two):
        return None
    more = int(len(two) > len(one))
    longer, shorter = ((one, two), (two, one))[more]
    at = next((at for at, own in enumerate(shorter) if _plain((own,)) != _plain((longer[at],))), len(shorter))
    own = longer[at]
    where = label(own[0]) if own[0] else "a function"
    sentence = f"dropout of {own[2]:g} on {list(own[1])} ({where}) runs in {names[more]} only"
    paths = {both.frameworks[more]: own[0]}
    return Cause(sentence, paths, "between", "rate")


def _plain(calls: tuple[tuple[str, tuple[int, ...], float], ...]) -> list[tuple[list[int], float]]:
    return [(sorted(shape), rate) for _, shape, rate in calls]
