"""Which call of a layer in one model is which in the other.

Calls are aligned in order of execution. Modules with matched parameters are anchors; modules without parameters are
aligned if their kinds agree. Calls in another order are aligned afterwards, and `inverted` names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.twin.arrays import difference
from core.twin.kinds import OTHER
from core.twin.naming import pair_routes
from core.twin.recording import Call, Recording
from core.twin.similar import shared_tail
from core.twin.verdict import Pairing

Pairs = list[tuple[Call | None, Call | None]]

ANCHOR, SAME_KIND, SAME_FUNCTION, SAME_NAME, SAME_SHAPE = 100.0, 4.0, 2.0, 1.0, 1.0
"""Scores of a pair of calls."""
SAME = 1e-9
"""Largest relative difference of arrays that counts as equal when a whole is aligned."""
Key = tuple[str, tuple]
"""Path of a call's module, and the sorted shapes of its outputs."""


@dataclass(frozen=True)
class Anchors:
    """Modules whose parameters are matched."""

    pairs: frozenset[tuple[str, str]]
    """Paths in PyTorch and in Paddle of the modules that hold matched parameters."""
    partners: Mapping[str, str]
    """Paths in Paddle by paths in PyTorch, where all matched parameters of one are in one other module."""

    def holds(self, path: str, at: int) -> bool:
        """Return whether a module of a side has matched parameters."""
        return any(pair[at] == path for pair in self.pairs)


def align(first: Recording, second: Recording, pairing: Pairing) -> Pairs:
    """Return pairs of calls of leaves in order of execution; None stands for a call that has no partner.

    A module written by hand and a leaf that hold the same parameters are aligned as wholes if their outputs agree.
    """
    anchors = anchors_of(first, second, pairing)
    wholes = _wholes(first, second, anchors)
    anchors = Anchors(anchors.pairs, {**anchors.partners, **wholes})
    sides = (_units(first, set(wholes)), _units(second, set(wholes.values())))
    modules = tuple({own.path: own for own in side.modules} for side in (first, second))
    matched = _best(*sides, _scores(*sides, modules, anchors))
    matched += _out_of_order(*sides, matched, anchors)
    return _merged(*sides, sorted(matched))


def anchors_of(first: Recording, second: Recording, pairing: Pairing) -> Anchors:
    """Return the modules that hold matched parameters."""
    own = {entry.name: entry.module for entry in first.parameters}
    other = {entry.name: entry.module for entry in second.parameters}
    pairs = frozenset((own[one], other[two]) for one, two in pairing.names.items() if one in own and two in other)
    counts = [Counter(pair[at] for pair in pairs) for at in (0, 1)]
    return Anchors(pairs, {one: two for one, two in pairs if counts[0][one] == counts[1][two] == 1})


def inverted(pairs: Pairs) -> tuple[tuple[Call, Call], tuple[Call, Call]] | None:
    """Return two pairs of calls, the first that run in another order in the two models; None if there are none."""
    both = [(one, two) for one, two in pairs if one is not None and two is not None]
    for before, after in pairwise(both):
        if before[1].number > after[1].number:
            return before, after
    return None


def _wholes(first: Recording, second: Recording, anchors: Anchors) -> dict[str, str]:
    """Return containers of one model that hold the parameters of one leaf of the other, paths by PyTorch's path."""
    found: dict[str, str] = {}
    for at, (side, other) in enumerate(((first, second), (second, first))):
        leaves = {own.path for own in other.modules if own.leaf}
        for module in side.modules:
            if module.leaf or not module.path:
                continue
            inside = [pair for pair in anchors.pairs if f"{pair[at]}.".startswith(f"{module.path}.")]
            partners = {pair[1 - at] for pair in inside}
            if len(partners) != 1 or len(inside) < 2 or not partners <= leaves:
                continue
            partner = partners.pop()
            if all(pair in inside for pair in anchors.pairs if pair[1 - at] == partner):
                pair = (module.path, partner) if at == 0 else (partner, module.path)
                if _same_outputs(_calls(first, pair[0]), _calls(second, pair[1])):
                    found[pair[0]] = pair[1]
    return found


def _calls(side: Recording, path: str) -> list[Call]:
    return [call for call in side.calls if call.path == path]


def _same_outputs(first: list[Call], second: list[Call]) -> bool:
    if not first or len(first) != len(second):
        return False
    for one, two in zip(first, second, strict=True):
        routes = pair_routes(one.outputs, two.outputs)
        gaps = [difference(one.outputs[here], two.outputs[there]) for here, there in routes]
        if not gaps or gaps[0] is None or not gaps[0].value <= SAME:
            return False
    return True


def _units(side: Recording, wholes: set[str]) -> list[Call]:
    """Return the calls of leaves and of `wholes`, without those inside the latter."""
    inside = tuple(f"{path}." for path in wholes)
    wanted = {own.path for own in side.modules if own.leaf and not (inside and own.path.startswith(inside))} | wholes
    return [call for call in side.calls if call.path in wanted]


def _scores(first: list[Call], second: list[Call], modules: tuple, anchors: Anchors) -> np.ndarray:
    """Return the score of every pair of calls; 0 for calls that do not answer to each other."""
    keys = [[_key(call) for call in calls] for calls in (first, second)]
    distinct = [list(dict.fromkeys(own)) for own in keys]
    counts = [Counter(call.path for call in calls) for calls in (first, second)]
    table = np.zeros((len(distinct[0]), len(distinct[1])), np.float32)
    for row, one in enumerate(distinct[0]):
        for column, two in enumerate(distinct[1]):
            if one[1][:1] == two[1][:1] or counts[0][one[0]] == counts[1][two[0]]:
                # A layer that runs over parts of a sequence does not answer to one that runs over all of it.
                table[row, column] = _score(one, two, modules, anchors)
    rows, columns = ([known.index(key) for key in own] for known, own in zip(distinct, keys, strict=True))
    return table[np.ix_(rows, columns)]


def _key(call: Call) -> Key:
    return call.path, tuple(tuple(sorted(size for size in own.shape if size != 1)) for own in call.outputs.values())


def _score(one: Key, two: Key, modules: tuple, anchors: Anchors) -> float:
    here, there = modules[0][one[0]], modules[1][two[0]]
    shapes = SAME_SHAPE * (one[1][:1] == two[1][:1])
    if anchors.partners.get(one[0]) == two[0]:
        return ANCHOR + shapes if shapes or here.kind == there.kind else 0.0
    if one[0] in anchors.partners or anchors.holds(one[0], 0) or anchors.holds(two[0], 1) or here.kind != there.kind:
        return 0.0
    if here.kind == OTHER and not shapes:
        return 0.0
    function = here.settings.get("function") == there.settings.get("function")
    return SAME_KIND + SAME_FUNCTION * function + SAME_NAME * bool(shared_tail(one[0], two[0])) + shapes


def _best(first: list[Call], second: list[Call], scores: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of numbers, both ascending, with the largest sum of scores."""
    total = np.zeros((len(first) + 1, len(second) + 1), np.float32)
    for row in range(len(first)):
        taken = np.where(scores[row] > 0, total[row, :-1] + scores[row], 0.0)
        total[row + 1, 1:] = np.maximum.accumulate(np.maximum(total[row, 1:], taken))
    pairs, row, column = [], len(first), len(second)
    while row and column:
        if total[row, column] == total[row - 1, column]:
            row -= 1
        elif total[row, column] == total[row, column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((row, column))
    return pairs[::-1]


def _out_of_order(
    first: list[Call], second: list[Call], matched: list[tuple[int, int]], anchors: Anchors
) -> list[tuple[int, int]]:
    """Return pairs of the calls that are left of modules with matched parameters, in order of each module's calls."""
    used = [{pair[at] for pair in matched} for at in (0, 1)]
    rest: dict[str, list[int]] = {}
    for number, call in enumerate(second):
        if number not in used[1]:
            rest.setdefault(call.path, []).append(number)
    found = []
    for number, call in enumerate(first):
        partners = rest.get(anchors.partners.get(call.path, ""), []) if call.path in anchors.partners else []
        if number in used[0] or not partners:
            continue
        if _key(call)[1][:1] == _key(second[partners[0]])[1][:1]:
            found.append((number, partners.pop(0)))
    return found


def _merged(first: list[Call], second: list[Call], matched: list[tuple[int, int]]) -> Pairs:
    """Return all calls in the order of the first model, those of the second alone where they run."""
    partner = dict(matched)
    taken, done, found = set(partner.values()), 0, []
    for number, call in enumerate(first):
        to = partner.get(number)
        if to is not None:
            found += [(None, second[at]) for at in range(done, to) if at not in taken]
            done = max(done, to)
        found.append((call, None if to is None else second[to]))
    return found + [(None, second[at]) for at in range(done, len(second)) if at not in taken]
