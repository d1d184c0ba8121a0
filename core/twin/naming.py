"""Modules and figures in words, and tensors of one model that answer to those of the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.recording import Arrays


def label(path: str) -> str:
    """Return a path in backticks; the path "" is the model."""
    return f"`{path}`" if path else "the model"


def labels(paths: Mapping[str, str]) -> str:
    """Return the paths by framework in words, one of them if all are equal."""
    if len(set(paths.values())) == 1:
        return label(next(iter(paths.values())))
    return " and ".join(f"{label(path)} ({FRAMEWORK_NAMES.get(name, name)})" for name, path in paths.items())


def pair_routes(one: Arrays, two: Arrays) -> list[tuple[str, str]]:
    """Return the routes of arrays that answer to each other: by name, else by order and number of entries."""
    if one.keys() == two.keys():
        return [(route, route) for route in one]
    found, free = [], dict(two)
    for route, array in one.items():
        size = np.size(array)
        partner = route if route in free else next((key for key, own in free.items() if np.size(own) == size), None)
        if partner is not None:
            del free[partner]
            found.append((route, partner))
    return found
