"""Show the defaults of spec fields in the help, where they differ between recipes."""

from __future__ import annotations

ABSENT = object()
"""Value of a field that the chosen kinds lack."""


def value_at(tree: dict, path: str) -> object:
    """Return the value at a path, or `ABSENT` if the chosen kinds lack the field."""
    for part in path.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return ABSENT
        tree = tree[part]
    return tree


def shown_value(value: object, null: str | None) -> str:
    """Return a value for the help, "" if it is absent; `null` is the choice that sets the field to null."""
    if value is ABSENT:
        return ""
    if value is None:
        return null or "off"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "yes"  # a section that is there
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def defaults(shown: dict[str, str]) -> str:
    """Return the default of the first recipe, and the recipes with another one; "" for a field that a recipe lacks."""
    recipes_of: dict[str, list[str]] = {}
    for name, value in shown.items():
        if value:
            recipes_of.setdefault(value, []).append(name)
    first = next(iter(shown.values()))
    named = (f"{', '.join(names)}: {value}" for value, names in recipes_of.items() if value != first)
    if not first and len(recipes_of) == 1:
        return next(iter(recipes_of))
    return "; ".join([first, *named] if first else named)
