"""Routes of tensors in nested arguments and results, and the user's line of a call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def flatten(value: Any, is_tensor: Callable[[Any], bool], route: str = "") -> dict[str, Any]:
    """Return all tensors of a nested value by route; numbers, texts and None are left out.

    Tuples and lists count from 0, dictionaries and dataclasses have their keys in sorted order.
    """
    if is_tensor(value):
        return {route: value}
    found: dict[str, Any] = {}
    for key, own in _items(value):
        found |= flatten(own, is_tensor, f"{route}.{key}" if route else key)
    return found


def _items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return sorted((str(key), own) for key, own in value.items()) if _distinct(value) else []
    if isinstance(value, (tuple, list)):
        return [(str(index), own) for index, own in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return sorted((own.name, getattr(value, own.name)) for own in fields(value))
    return []


def _distinct(value: Mapping) -> bool:
    return len({str(key) for key in value}) == len(value)


def replace(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a nested value with `change` of everything that is no tuple, list or dictionary."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(replace(own, change) for own in value))
    if type(value) in (tuple, list):
        return type(value)(replace(own, change) for own in value)
    if type(value) is dict:
        return {key: replace(own, change) for key, own in value.items()}
    return change(value)


def nest(found: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call, positions and keywords, from values by route; a missing position is None."""
    tree = _tree(found)
    count = 1 + max((int(key) for key in tree if key.isdigit()), default=-1)
    places = [_grown(tree.get(str(index))) for index in range(count)]
    return places, {key: _grown(own) for key, own in tree.items() if not key.isdigit()}


class _Branch(dict):
    """Part of a nested value under construction, distinct from dictionaries of the user."""


def _tree(found: Mapping[str, Any]) -> _Branch:
    tree = _Branch()
    for route, value in found.items():
        *path, last = route.split(".")
        own = tree
        for key in path:
            own = own.setdefault(key, _Branch())
        own[last] = value
    return tree


def _grown(own: Any) -> Any:
    if not isinstance(own, _Branch):
        return own
    if all(key.isdigit() for key in own):
        return tuple(_grown(own.get(str(index))) for index in range(1 + max(int(key) for key in own)))
    return {key: _grown(value) for key, value in own.items()}


def arguments(function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by position; keywords that have no position keep their names."""
    found = {str(index): value for index, value in enumerate(args)}
    names = _positions(function)
    return found | {str(names.index(key)) if key in names else key: value for key, value in kwargs.items()}


def _positions(function: Callable) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a compiled function
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [own.name for own in parameters if own.kind in positional]


def user_line(skipped: tuple[str, ...]) -> str:
    """Return the innermost line of the call stack outside the folders `skipped`, as `mine.py:31`."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((*skipped, "<")):  # "<string>" and "<frozen ...>" are no files
            return f"{Path(name).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
