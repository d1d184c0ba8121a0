"""Names that mean the same: roles of parameters, and paths of modules in two models."""

from __future__ import annotations

import re
from collections.abc import Iterable

ROLES = {
    **dict.fromkeys(("gamma", "scale", "gain", "g", "w", "kernel", "weights"), "weight"),
    **dict.fromkeys(("beta", "shift", "offset", "b", "biases"), "bias"),
    **dict.fromkeys(("_mean", "moving_mean"), "running_mean"),
    **dict.fromkeys(("_variance", "moving_variance", "moving_var"), "running_var"),
}
"""Usual names of parameters in layers written by hand."""
AFFIXES = re.compile(r"^(?:w|proj|linear|fc|lin|to)_|_(?:proj|projection|linear|layer|lin|fc)$")
SHORT = {"query": "q", "key": "k", "value": "v", "output": "out", "o": "out", "fw": "forward", "bw": "backward"}


def role_of(role: str) -> str:
    """Return the role in one form: that of a layer's first recurrent layer is that of a cell."""
    start, dot, name = role.rpartition(".")
    return start + dot + ROLES.get(name, re.sub(r"_l0(?=$|_reverse)", "", name))


def shared_tail(one: str, two: str) -> int:
    """Return how many components two paths share at their ends; 0 if they end in a number, which places no layer."""
    parts = [[_plain(own) for own in path.split(".")] for path in (one, two)]
    count = 0
    for here, there in zip(reversed(parts[0]), reversed(parts[1]), strict=False):
        if here != there:
            break
        count += 1
    return 0 if parts[0][-1].isdigit() else count


def last_name(path: str) -> str:
    """Return the last component of a path that is no number."""
    return next((_plain(own) for own in reversed(path.split(".")) if not own.isdigit()), "")


def _plain(name: str) -> str:
    own = AFFIXES.sub("", name.lower())
    return SHORT.get(own, own)


def unequal_lists(first: Iterable[str], second: Iterable[str]) -> set[str]:
    """Return the paths of lists of modules whose numbers are not the same in both models.

    `net.2` of `Linear, ReLU, Linear` is not `net.2` of `Linear, Linear, Linear`.
    """
    one, two = _numbers(first), _numbers(second)
    return {path for path in one.keys() | two.keys() if one.get(path) != two.get(path)}


def _numbers(paths: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in paths:
        for start, number in lists_of(path):
            found.setdefault(start, set()).add(number)
    return found


def lists_of(path: str) -> list[tuple[str, str]]:
    """Return the lists that hold a module, and its number in each."""
    parts = path.split(".")
    return [(".".join(parts[:at]), own) for at, own in enumerate(parts) if own.isdigit()]


def role_with_module(path: str, role: str) -> str:
    """Return the role with the last name of its module: `q.weight` of `attention.q_proj` and of `attention`."""
    return role_of(role) if "." in role else f"{last_name(path)}.{role_of(role)}"
