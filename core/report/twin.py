"""Content of the page of a comparison of two models; its layout is templates/twin.html."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.report.figures import NONE, count, duration
from core.report.html import render
from core.twin.kinds import ALLOWED, FRAMEWORK_NAMES
from core.twin.recording import Module, Setting
from core.twin.verdict import RUNGS, Finding, Row, Verdict

PAGE = "docs/differences.md"
MOST_ROWS = 2000
"""Largest number of calls and modules on a page."""


@dataclass(frozen=True)
class Entry:
    """A line of a module tree."""

    depth: int
    name: str
    class_name: str
    settings: str
    calls: tuple[int, ...]
    """Numbers of the rows of its calls."""
    first: bool
    """Whether the first difference is in it."""
    note: str


def page(verdict: Verdict) -> str:
    """Return the HTML of a comparison, with a certificate if the models are the same."""
    names = [name for name in FRAMEWORK_NAMES if name in verdict.names]
    labels = [f"{FRAMEWORK_NAMES[name]}, {verdict.names[name]}" for name in names]
    first = verdict.first
    marked = first_row(verdict)
    shown = verdict.rows[:MOST_ROWS]
    return render(
        "twin.html",
        title=f"{' and '.join(verdict.names[name] for name in names)}: {'the same' if verdict.same else 'different'}",
        lead=verdict.sentence(),
        same=verdict.same,
        notes=verdict.warnings,
        labels=labels,
        rungs=[(f"{own.rung} {rung_name(own)}", _rung(own)) for own in verdict.findings],
        units=any(map(in_units, verdict.findings)),
        failed=[] if first is None else _first(first),
        rows=[(number, _call(row, names), number == marked) for number, row in enumerate(shown, start=1)],
        left_out=len(verdict.rows) - len(shown),
        trees=[_tree(verdict, name, shown, marked) for name in names],
        settings=differing_settings(verdict),
        pairing=_pairing(verdict, names),
        certificate=certificate(verdict),
        inputs={name: [text] for name, text in verdict.inputs.items()},
    )


def first_row(verdict: Verdict) -> int | None:
    """Return the number of the first row with the first difference, from 1; None if there is none.

    It is the first call of the modules that the cause names, in the mode of the finding; for code between two modules
    it is the first call whose figure is beyond the limit.
    """
    finding = verdict.first
    if finding is None:
        return None
    paths = finding.cause.paths if finding.cause is not None else {}
    own = [(number, row) for number, row in enumerate(verdict.rows, start=1) if row.mode in (finding.mode, "")]
    own = own or list(enumerate(verdict.rows, start=1))
    beyond = [number for number, row in own if _beyond(row, finding)]
    named = [number for number, row in own if paths and dict(row.paths) == {**row.paths, **paths}]
    both = [number for number in named if number in beyond]
    return next(iter(both or beyond or named), None)


def _beyond(row: Row, finding: Finding) -> bool:
    figures = (row.gradients,) if finding.rung == 2 else (row.inputs, row.outputs)
    return any(value is not None and not value <= finding.limit for value in figures)


def rung_name(own: Finding) -> str:
    """Return the name of a rung; the forward pass in float32 is a rung of its own."""
    return f"{RUNGS[own.rung]}{', float32' * in_units(own)}"


def in_units(own: Finding) -> bool:
    """Return whether a finding counts in units of the model's own float32 rounding, not relative to the outputs."""
    return own.limit > 1


def figure_of(own: Finding) -> str:
    """Return the largest difference of a finding."""
    return f"{own.value:.2g} units" if in_units(own) and own.value is not None else _figure(own.value)


def limit_of(own: Finding) -> str:
    return f"{own.limit:g} units" if in_units(own) else f"{own.limit:.0e}" if own.limit else "0"


def differing_settings(verdict: Verdict) -> list[tuple[str, dict[str, str]]]:
    """Return the settings that differ between modules whose calls are aligned: places, and values by column."""
    found: dict[str, dict[str, str]] = {}
    modules = {name: {own.path: own for own in entries} for name, entries in verdict.modules.items()}
    for row in verdict.rows:
        pair = {name: modules[name].get(path) for name, path in row.paths.items() if name in modules}
        if len(pair) < 2 or None in pair.values():
            continue
        (one, first), (two, second) = ((FRAMEWORK_NAMES[name], own) for name, own in pair.items() if own is not None)
        if first.kind != second.kind:
            continue
        for name in _different(first, second):
            places = " / ".join(dict.fromkeys((first.path, second.path)))
            values = {one: _value(first.settings[name]), two: _value(second.settings[name])}
            found[f"{places}: {name}"] = values
    return list(found.items())


def _different(first: Module, second: Module) -> list[str]:
    both = [name for name in first.settings if name in second.settings and name not in ALLOWED.get(first.kind, ())]
    return [name for name in both if first.settings[name] != second.settings[name]]


def certificate(verdict: Verdict) -> dict[str, list[str]]:
    """Return what a certificate holds, by name; empty if the models are not the same."""
    if not verdict.same:
        return {}
    largest = {}
    for own in verdict.findings:
        name = f"rung {own.rung}, {rung_name(own)}{', ' + own.mode if own.mode else ''}"
        figure = f"largest difference {figure_of(own)}, limit {limit_of(own)}" if own.value is not None else NONE
        largest[name] = [f"{figure}, {count(own.compared, 'array')}"]
    versions = {FRAMEWORK_NAMES[name]: [version] for name, version in verdict.versions.items()}
    return {
        **{f"model in {FRAMEWORK_NAMES[name]}": [text] for name, text in verdict.names.items()},
        **largest,
        "number type": [verdict.dtype],
        "seed": [str(verdict.seed)],
        **{f"input {name}": [text] for name, text in verdict.inputs.items()},
        **versions,
        "Python": [platform.python_version()],
        "NumPy": [np.__version__],
        "time": [duration(verdict.seconds)],
    }


def _rung(own: Finding) -> dict[str, str]:
    return {
        "mode": own.mode or NONE,
        "arrays": str(own.compared),
        "largest difference": figure_of(own),
        "limit": limit_of(own),
        "result": "same" if own.passed else "different",
        "first difference": own.sentence or NONE,
    }


def _first(finding: Finding) -> list[tuple[str, str]]:
    """Return what is known about the first difference, by name."""
    own = [("rung", f"{finding.rung} {rung_name(finding)}{', ' + finding.mode + ' mode' if finding.mode else ''}")]
    own += [("difference", finding.sentence)]
    cause = finding.cause
    if cause is None:
        return own
    own += [("likely cause", finding.why)] * bool(finding.why)
    own += [(f"module in {FRAMEWORK_NAMES[name]}", path or "the model") for name, path in cause.paths.items()]
    own += [("place", cause.place)] * bool(cause.place)
    own += [("setting", cause.setting)] * bool(cause.setting)
    own += [("repair", "with an equal setting the outputs agree")] * cause.repaired
    own += [("more", f"{PAGE}#{cause.link}")] * bool(cause.link)
    return own


def _call(row: Row, names: Sequence[str]) -> dict[str, object]:
    cells = []
    for name in names:
        path = row.paths.get(name)
        cells.append(None if path is None else (path or "(model)", row.classes.get(name, "")))
    return {
        "modules": cells,
        "mode": row.mode,
        "figures": [_figure(value) for value in (row.inputs, row.outputs, row.gradients)],
        "note": row.note,
    }


def _tree(verdict: Verdict, name: str, rows: Sequence[Row], marked: int | None) -> list[Entry]:
    calls: dict[str, list[int]] = {}
    for number, row in enumerate(rows, start=1):
        if name in row.paths:
            calls.setdefault(row.paths[name], []).append(number)
    finding = verdict.first
    named = finding.cause.paths.get(name) if finding is not None and finding.cause is not None else None
    return [
        Entry(
            depth=own.path.count(".") + 1 if own.path else 0,
            name=own.path.rpartition(".")[2] or "(model)",
            class_name=own.class_name,
            settings=settings_text(own.settings),
            calls=tuple(calls.get(own.path, ())),
            first=own.path == named or (marked is not None and marked in calls.get(own.path, ())),
            note=own.note,
        )
        for own in _depth_first(verdict.modules.get(name, ()))[:MOST_ROWS]
    ]


def _depth_first(modules: Sequence[Module]) -> list[Module]:
    """Return modules with each parent before its children; those that no parent lists come last."""
    by_path = {own.path: own for own in modules}
    inner = {child for own in modules for child in own.children}
    found: dict[str, Module] = {}
    stack = [own.path for own in reversed(modules) if own.path not in inner]
    while stack:
        path = stack.pop()
        if path in by_path and path not in found:
            found[path] = by_path[path]
            stack += reversed(by_path[path].children)
    return list(found.values())


def settings_text(settings: Mapping[str, Setting]) -> str:
    """Return settings in one line, without those that are None or False."""
    return ", ".join(f"{name} {_value(value)}" for name, value in settings.items() if value not in (None, False))


def _pairing(verdict: Verdict, names: Sequence[str]) -> dict[str, object]:
    own = verdict.pairing
    rows = [
        (first, {FRAMEWORK_NAMES["paddle"]: second, "matched by": own.how.get(first, NONE)})
        for first, second in own.names.items()
    ]
    left = [(FRAMEWORK_NAMES.get(name, name), ", ".join(found)) for name, found in own.left.items() if found]
    return {"rows": rows, "left": left, "ambiguous": [", ".join(group) for group in own.ambiguous], "notes": own.notes}


def _value(value: Setting) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figure(value: float | None) -> str:
    if value is None:
        return NONE
    return "0" if value == 0 else f"{value:.1e}" if np.isfinite(value) else "infinite"
