"""Rung 0: which parameter of one model is which of the other.

In this order: as the user says, by equal names, and within modules of equal signature by similar names or in order of
execution. Equal signatures leave a choice, which `permutations` lists and the forward pass decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from itertools import permutations as orders

from core.errors import UserError
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.recording import Parameter, Recording
from core.twin.similar import last_name, lists_of, role_of, role_with_module, shared_tail, unequal_lists
from core.twin.verdict import Pairing

MOST_PERMUTATIONS = 120
"""Largest number of other pairings that are tried."""
LARGEST_GROUP = 5
"""Largest group of which all orders are tried; of larger ones two modules at a time change places."""


@dataclass(frozen=True)
class Unit:
    """A module with parameters that have no partner yet."""

    path: str
    kind: str
    position: int
    """Number of its first call; modules that are never called come last, in order of definition."""
    parameters: tuple[Parameter, ...]

    def signature(self, exact: bool) -> tuple:
        """Return what partners have in common: kind, roles and shapes, or the shapes alone."""
        shapes = sorted((role_of(own.role) if exact else "", own.values.shape) for own in self.parameters)
        return (self.kind if exact else "", tuple(shapes))


class _Matches:
    """The pairs found so far."""

    def __init__(self, first: Recording, second: Recording) -> None:
        self.sides = (first, second)
        self.names: dict[str, str] = {}
        self.how: dict[str, str] = {}
        self.taken: set[str] = set()

    def take(self, one: Parameter, two: Parameter, how: str) -> None:
        self.names[one.name], self.how[one.name] = two.name, how
        self.taken.add(two.name)

    def free(self, at: int) -> list[Parameter]:
        """Return the parameters of a side without a partner, of tied ones the first."""
        used = self.taken if at else self.names
        return [own for own in self.sides[at].parameters if own.name not in used and not own.tied_to]

    def units(self, at: int) -> list[Unit]:
        """Return the modules of a side that hold free parameters, in order of execution."""
        side, starts = self.sides[at], {}
        for call in side.calls:
            parts = call.path.split(".") if call.path else []
            for count in range(len(parts) + 1):
                starts.setdefault(".".join(parts[:count]), call.number)
        kinds = {own.path: own.kind for own in side.modules}
        held: dict[str, list[Parameter]] = {}
        for own in self.free(at):
            held.setdefault(own.module, []).append(own)
        units = [
            Unit(path, kinds.get(path, ""), starts.get(path, len(side.calls) + number), tuple(found))
            for number, (path, found) in enumerate(held.items())
        ]
        return sorted(units, key=lambda own: own.position)

    def pair(self, one: Unit, two: Unit, how: str) -> None:
        """Match the parameters of two modules: equal roles first, then equal shapes in order."""
        rest = list(two.parameters)
        for alike in (lambda own, other: role_of(own.role) == role_of(other.role), lambda own, other: True):
            for own in one.parameters:
                if own.name in self.names:
                    continue
                fits = [other for other in rest if other.values.shape == own.values.shape and alike(own, other)]
                if fits:
                    self.take(own, fits[0], how)
                    rest.remove(fits[0])


def place(first: Recording, second: Recording, mapping: Mapping[str, str] | None = None) -> Pairing:
    """Match the parameters of a PyTorch model (`first`) with those of a Paddle model.

    `mapping` has names of parameters or modules of `second` by those of `first`. Raises UserError for unknown ones.
    """
    found = _Matches(first, second)
    for one, two in _mapped(first, second, mapping or {}):
        found.take(one, two, "map")
    _equal_names(found)
    ambiguous: list[tuple[str, ...]] = []
    for exact in (True, False):
        groups: dict[tuple, tuple[list[Unit], list[Unit]]] = {}
        for at in (0, 1):
            for own in found.units(at):
                groups.setdefault(own.signature(exact), ([], []))[at].append(own)
        for group in groups.values():
            if all(group) and len(by_order := _match(*group, found)) > 1:
                ambiguous.append(tuple(by_order))
    _match_alone(found)
    _match_tied(found)
    left = {own.framework: tuple(entry.name for entry in found.free(at)) for at, own in enumerate(found.sides)}
    return Pairing(found.names, found.how, tuple(ambiguous), left)


def _mapped(first: Recording, second: Recording, mapping: Mapping[str, str]) -> Iterator[tuple[Parameter, Parameter]]:
    for here, there in mapping.items():
        sides = [_named(first, here), _named(second, there)]
        pairs: list[tuple[Parameter, Parameter]] = []
        for alike in (
            lambda own, other: own.name[len(here) :] == other.name[len(there) :],  # noqa: B023
            lambda own, other: role_of(own.role) == role_of(other.role),
            lambda own, other: own.values.shape == other.values.shape,
        ):
            for own in list(sides[0]):
                partner = next((other for other in sides[1] if alike(own, other)), None)
                if partner is not None:
                    pairs.append((own, partner))
                    sides[0].remove(own)
                    sides[1].remove(partner)
        for own, other in pairs:
            if own.values.shape != other.values.shape:
                shapes = f"{list(own.values.shape)} and {list(other.values.shape)}"
                raise UserError(f"mapping {here}={there}: {own.name} and {other.name} have shapes {shapes}")
        yield from pairs


def _named(side: Recording, name: str) -> list[Parameter]:
    inside = [own for own in side.parameters if name in (own.name, own.own_name)]
    inside = inside or [own for own in side.parameters if own.name.startswith(f"{name}.")]
    if not inside:
        framework = FRAMEWORK_NAMES.get(side.framework, side.framework)
        raise UserError(f"mapping: no parameter or module {name} in the model in {framework}: check the name")
    return inside


def _equal_names(found: _Matches) -> None:
    paths = [[own.module for own in side.parameters] for side in found.sides]
    unequal = unequal_lists(*paths)
    others = {own.name: own for own in found.free(1)}
    for own in found.free(0):
        other = others.get(own.name)
        if other is None or other.values.shape != own.values.shape:
            continue
        if not any(start in unequal for start, _ in lists_of(own.module)):
            found.take(own, other, "name")


def _match(first: list[Unit], second: list[Unit], found: _Matches) -> list[str]:
    """Match the units of a group; return the paths of those that only the order of execution told apart."""
    if len(first) == len(second) == 1:
        found.pair(first[0], second[0], "shape")
        return []
    scores = {(one.path, two.path): shared_tail(one.path, two.path) for one in first for two in second}
    rest = [list(first), list(second)]
    for one in first:
        two = _only_best(rest[1], {own.path: scores[one.path, own.path] for own in rest[1]})
        if two is not None and _only_best(rest[0], {own.path: scores[own.path, two.path] for own in rest[0]}) is one:
            found.pair(one, two, "name")
            rest[0].remove(one)
            rest[1].remove(two)
    by_order: list[str] = []
    for name in dict.fromkeys(last_name(own.path) for own in rest[0]):
        pair = [[own for own in side if last_name(own.path) == name] for side in rest]
        if len(pair[0]) == len(pair[1]):
            by_order += _in_order(pair[0], pair[1], rest, found)
    return by_order + _in_order(list(rest[0]), list(rest[1]), rest, found)


def _only_best(units: list[Unit], scores: Mapping[str, int]) -> Unit | None:
    """Return the unit with the highest score by path, None if it is 0 or two have it."""
    best = max(scores.values(), default=0)
    found = [own for own in units if scores[own.path] == best]
    return found[0] if best and len(found) == 1 else None


def _in_order(first: list[Unit], second: list[Unit], rest: list[list[Unit]], found: _Matches) -> list[str]:
    for one, two in zip(first, second, strict=False):
        found.pair(one, two, "order")
        rest[0].remove(one)
        rest[1].remove(two)
    return [own.path for own in first[: len(second)]]


def _match_alone(found: _Matches) -> None:
    """Match what is left, one parameter at a time: modules whose parameters are split in another way."""
    for alike in (_same_role, lambda own, other: True):
        second = [own for unit in found.units(1) for own in unit.parameters]
        for own in (own for unit in found.units(0) for own in unit.parameters):
            fits = [
                other
                for other in second
                if other.values.shape == own.values.shape and other.buffer == own.buffer and alike(own, other)
            ]
            same = [other for other in fits if last_name(other.module) == last_name(own.module)]
            if fits:
                partner = (same or fits)[0]
                found.take(own, partner, "order" if len(fits) > 1 else "shape")
                second.remove(partner)


def _same_role(own: Parameter, other: Parameter) -> bool:
    return role_with_module(own.module, own.role) == role_with_module(other.module, other.role)


def _match_tied(found: _Matches) -> None:
    """Pair the other names of tied parameters, or a tied one with a parameter that is free in the other model."""
    tied = [[own for own in side.parameters if own.tied_to] for side in found.sides]
    for at in (0, 1):
        used, others_used = (found.names, found.taken) if at == 0 else (found.taken, found.names)
        for own in (own for own in tied[at] if own.name not in used):
            root = next((pair[1 - at] for pair in found.names.items() if pair[at] == own.tied_to), None)
            others = [other for other in tied[1 - at] if other.tied_to == root] + found.free(1 - at)
            alike = [other for other in others if other.values.shape == own.values.shape]
            fits = [other for other in alike if other.name not in others_used]
            if fits:
                best = max(fits, key=lambda other: shared_tail(own.name, other.name))
                found.take(*((own, best) if at == 0 else (best, own)), "tied")


def permutations(pairing: Pairing, first: Recording, second: Recording) -> Iterator[Pairing]:
    """Yield other pairings of the ambiguous groups, at most `MOST_PERMUTATIONS`, the smallest changes first."""
    return islice(_permutations(pairing, first, second), MOST_PERMUTATIONS)


def _permutations(pairing: Pairing, first: Recording, second: Recording) -> Iterator[Pairing]:
    held = {own.name: own.module for own in first.parameters}
    roles = {own.name: own.role for side in (first, second) for own in side.parameters}
    for group in pairing.ambiguous:
        members = [[name for name in pairing.names if held.get(name) == path] for path in group]
        for order in _changes(len(group)):
            names = dict(pairing.names)
            for at, to in enumerate(order):
                if len(members[at]) != len(members[to]):
                    break
                for own, other in zip(members[at], _same_order(members[at], members[to], roles), strict=True):
                    names[own] = pairing.names[other]
            else:
                moved = {own for at, to in enumerate(order) if at != to for own in members[at]}
                how = {name: "permutation" if name in moved else own for name, own in pairing.how.items()}
                yield replace(pairing, names=names, how=how)


def _same_order(own: Sequence[str], other: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """Return the names of another module in the order of this one's roles."""
    by_role = {role_of(roles[name]): name for name in other}
    wanted = [role_of(roles[name]) for name in own]
    return [by_role[role] for role in wanted] if set(wanted) == by_role.keys() else list(other)


def _changes(size: int) -> list[tuple[int, ...]]:
    """Return orders of a group but the given one, those with the fewest moved members first."""
    straight = tuple(range(size))
    if size <= LARGEST_GROUP:
        found = [order for order in orders(straight) if order != straight]
        return sorted(found, key=lambda order: sum(at != to for at, to in enumerate(order)))
    swaps = [(at, to) for gap in range(1, size) for at in range(size - gap) for to in (at + gap,)]
    return [straight[::-1], *(tuple({at: to, to: at}.get(own, own) for own in straight) for at, to in swaps)]
