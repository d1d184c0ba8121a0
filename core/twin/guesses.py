"""What the code between two layers does, guessed from recorded arrays.

Usual functions are tried on the arrays that agree, one model at a time: the function that gives the array that differs
is what this model computes. If that fails, the two arrays that differ are compared with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.twin.causes import Both
from core.twin.functions import combined, factor, factor_text, pooled, unary
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.naming import label, labels, pair_routes
from core.twin.recording import Call, Recording
from core.twin.sizes import gap_of, is_mask
from core.twin.verdict import Cause

MOST_SOURCES = 8
"""Number of arrays before the difference that functions are tried on."""
MOST_ENTRIES = 4_000_000
"""Largest number of entries of an array that functions are tried on."""
Pair = tuple[Call, Call]


@dataclass(frozen=True)
class Source:
    """An array that both models have."""

    name: str
    array: np.ndarray


def between(both: Both, last: Pair | None, here: Pair | None, earlier: Sequence[Pair], limit: float) -> Cause:
    """Explain why the inputs of the pair `here` differ, or the outputs of the models if it is None.

    `last` is the pair of calls before it, and `earlier` all pairs whose outputs agree.
    """
    where = f"between {_ends(both, last, here)}{_container(both, last, here)}"
    paths = both.paths(*here) if here is not None else dict.fromkeys(both.frameworks, "")
    arrays = _differing(both, here, limit)
    guess = _swapped(both, here, limit)
    if guess is None and arrays is not None and max(own.size for own in arrays) <= MOST_ENTRIES:
        guess = _guess(both, *arrays, [_sources(both, earlier, at) for at in (0, 1)], limit)
    if guess is None:
        return Cause(f"the code {where} differs", paths, "between")
    sentence, setting = guess
    return Cause(f"{where}: {sentence}", paths, "between", setting)


def _ends(both: Both, last: Pair | None, here: Pair | None) -> str:
    """Return the layers around the code, those of each framework if they have other names."""
    words = []
    for at in (0, 1):
        start = label(last[at].path) if last is not None else "the inputs"
        words.append(f"{start} and {label(here[at].path) if here is not None else 'the outputs of the model'}")
    if words[0] == words[1]:
        return words[0]
    return ", ".join(f"{own} in {FRAMEWORK_NAMES[name]}" for own, name in zip(words, both.frameworks, strict=True))


def _container(both: Both, last: Pair | None, here: Pair | None) -> str:
    """Return the smallest modules around the code, and the line that calls what comes after it."""
    words = []
    found = []
    for at in (0, 1):
        ends = [pair[at].path for pair in (last, here) if pair is not None]
        parts = [path.split(".")[:-1] for path in ends] if here is not None else [[]]
        common = []
        for own in zip(*parts, strict=False):
            if len(set(own)) > 1:
                break
            common.append(own[0])
        found.append(".".join(common))
    if any(found):
        words.append(f"in {labels(dict(zip(both.frameworks, found, strict=True)))}")
    if here is not None:
        words += [own for own in dict.fromkeys(call.place for call in here) if own]
    return f" ({', '.join(words)})" if words else ""


def _apart(both: Both, here: Pair | None, limit: float) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the arrays that answer to each other and differ, with the route of the first."""
    one, two = (here[0].inputs, here[1].inputs) if here is not None else (both.first.outputs, both.second.outputs)
    for own, other in pair_routes(one, two):
        if is_mask(one[own]) or is_mask(two[other]) or one[own].dtype.kind != "f" or two[other].dtype.kind != "f":
            continue
        if not _equal(one[own], two[other], limit):
            yield own, one[own].astype(np.float64), two[other].astype(np.float64)


def _equal(one: np.ndarray, two: np.ndarray, limit: float) -> bool:
    gap = gap_of(one, two)
    return gap is not None and gap.value <= limit


def _differing(both: Both, here: Pair | None, limit: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the first two arrays that answer to each other and differ."""
    return next(((one, two) for _, one, two in _apart(both, here, limit)), None)


def _swapped(both: Both, here: Pair | None, limit: float) -> tuple[str, str] | None:
    """Return which two arrays have changed places, if the two that differ are these."""
    apart = list(_apart(both, here, limit))
    if len(apart) != 2:
        return None
    (name, one, two), (other, three, four) = apart
    if one.shape != three.shape or not (_equal(one, four, limit) and _equal(three, two, limit)):
        return None
    return f"{'inputs' if here is not None else 'outputs'} {name} and {other} are swapped", ""


def _sources(both: Both, earlier: Sequence[Pair], at: int) -> list[Source]:
    """Return arrays that both models have, the latest first, and then the floating-point inputs."""
    found: list[Source] = []
    for pair in reversed(earlier):
        for route, array in pair[at].outputs.items():
            if array.dtype.kind == "f" and array.size <= MOST_ENTRIES:
                own = f"output {route} of" if len(pair[at].outputs) > 1 else "the output of"
                found.append(Source(f"{own} {label(pair[at].path)}", array.astype(np.float64)))
        if len(found) >= MOST_SOURCES:
            break
    side: Recording = (both.first, both.second)[at]
    inputs = [(name, own) for name, own in side.inputs.items() if own.dtype.kind == "f" and own.size <= MOST_ENTRIES]
    return found[:MOST_SOURCES] + [Source(f"input {name}", own.astype(np.float64)) for name, own in inputs]


def _masks(side: Recording, length: int) -> list[tuple[str, np.ndarray]]:
    """Return masks `[B, L]` that inputs give: masks themselves, lengths, and ids that are not 0."""
    found = []
    for name, own in side.inputs.items():
        if own.ndim == 2 and own.dtype == bool:
            found += [(f"the mask {name}", own), (f"the inverse of the mask {name}", ~own)]
        elif own.ndim == 1 and own.dtype.kind == "i":
            found.append((f"the lengths {name}", np.arange(length)[None] < own[:, None]))
        elif own.ndim == 2 and own.dtype.kind == "i":
            found.append((f"the ids {name} that are not 0", own != 0))
    return found


def _guess(
    both: Both, one: np.ndarray, two: np.ndarray, sources: list[list[Source]], limit: float
) -> tuple[str, str] | None:
    """Return what the models compute, in words, and the name of a setting."""
    names = [FRAMEWORK_NAMES.get(own, own) for own in both.frameworks]
    sides = (both.first, both.second)
    known = [_computed(own, sides[at], sources[at], limit) for at, own in enumerate((one, two))]
    if all(known):
        return f"{known[0]} in {names[0]}, {known[1]} in {names[1]}", ""
    relation = _relation(one, two, sources, names, limit)
    if relation is not None:
        return relation
    for at in (0, 1):
        if known[at]:
            return f"{known[at]} in {names[at]}, something else in {names[1 - at]}", ""
    return None


def _computed(array: np.ndarray, side: Recording, sources: list[Source], limit: float) -> str | None:
    """Return how an array comes from the sources, None if no function gives it."""
    for text, found in _candidates(side, sources):
        if found.size == array.size and np.isfinite(found).all():
            gap = gap_of(array, found)
            if gap is not None and gap.value <= limit:
                return text
    for own in sources:
        if own.array.size == array.size:
            ratio = factor(array, own.array.reshape(array.shape))
            if ratio is not None:
                return f"{own.name} times {factor_text(ratio)}"
    return None


def _candidates(side: Recording, sources: list[Source]) -> Iterator[tuple[str, np.ndarray]]:
    for own in sources:
        yield own.name, own.array
    for own in sources:
        for name, found in unary(own.array):
            yield f"{name} of {own.name}", found
    for at, own in enumerate(sources):
        for other in sources[at + 1 :]:
            for pair in ((own, other), (other, own)):
                for name, found in combined(pair[0].array, pair[1].array):
                    yield f"{name} of {pair[0].name} and {pair[1].name}", found
    for own in sources:
        if own.array.ndim == 3:
            for name, found in pooled(own.array, _masks(side, own.array.shape[1])):
                yield f"{name} of {own.name}", found
        elif own.array.ndim > 1:
            for name, found in pooled(own.array, []):
                yield f"{name} of {own.name}", found


def _relation(
    one: np.ndarray, two: np.ndarray, sources: list[list[Source]], names: list[str], limit: float
) -> tuple[str, str] | None:
    """Return what one model does to the array of the other, in words, and the name of a setting."""
    if one.size != two.size:
        return f"shapes are {list(one.shape)} in {names[0]}, {list(two.shape)} in {names[1]}", ""
    two = two.reshape(one.shape)
    if (ratio := factor(one, two)) is not None:
        large, small, times = (names[0], names[1], ratio) if abs(ratio) > 1 else (names[1], names[0], 1.0 / ratio)
        return f"it is {factor_text(times)} times as large in {large} as in {small}", "scale"
    for own, other, name in ((one, two, names[1]), (two, one, names[0])):
        for text, found in unary(own):
            gap = gap_of(found, other)
            if gap is not None and gap.value <= limit and gap.axes is None:
                return f"{text} in {name} only", "function"
    for sign, at in ((1.0, 0), (-1.0, 1)):
        rest = sign * (one - two)
        for own in sources[at]:
            if own.array.shape != rest.shape:
                continue
            ratio = factor(rest, own.array)
            if ratio is not None and abs(ratio) > 1e-6:
                times = "" if abs(ratio - 1.0) <= 1e-9 else f" times {factor_text(ratio)}"
                return f"{own.name}{times} is added in {names[at]} only", "residual"
    return _places(one, two, names)


def _places(one: np.ndarray, two: np.ndarray, names: list[str]) -> tuple[str, str] | None:
    """Return which entries differ, if they are zero in one model or only moved."""
    tolerance = 1e-9 * max(float(np.abs(one).max(initial=0.0)), float(np.abs(two).max(initial=0.0)))
    apart = np.abs(one - two) > tolerance
    for at, (own, other) in enumerate(((one, two), (two, one))):
        if not own[apart].any() and other[apart].any() and not apart.all():
            return f"some entries are zero in {names[at]} only, such as those of a mask", "mask"
    for axis in range(one.ndim):
        if one.shape[axis] < 2 or one.shape[axis] > 256:
            continue
        here, there = (np.moveaxis(own, axis, 0).reshape(own.shape[axis], -1) for own in (one, two))
        gaps = np.abs(here[:, None] - there[None]).max(-1) <= tolerance
        if gaps.any(0).all() and gaps.any(1).all():
            order = gaps.argmax(1).tolist()
            return f"entries of axis {axis} are in another order: {order[:12]}", "order"
    return None
