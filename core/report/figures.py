"""Formatting of figures, specs and records of runs, shared by all pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

from core.spec.experiment import Experiment

NONE = "\u2013"
"""Shown for a figure that a run lacks."""


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def memory(record: dict) -> str:
    """Format `peak_memory_mb`, if measured."""
    megabytes = record.get("peak_memory_mb")
    return NONE if megabytes is None else f"{megabytes:,} MB"


def count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def spec_trees(experiments: Sequence[Experiment]) -> list[str]:
    """Return the spec of each experiment as JSON, or a single one if all are equal."""
    trees = [json.dumps(own.model_dump(mode="json"), indent=2, ensure_ascii=False) for own in experiments]
    return trees if len(set(trees)) > 1 else trees[:1]


def made_with(record: dict, implementation: str) -> list[dict[str, object]]:
    """Return versions, layers, device and machine of a run, for `rows_of`."""
    own = {"recurrent layers": implementation, "device": record["device"]}
    return [record["versions"], own, record.get("machine", {})]


def rows_of(*runs: Sequence[dict[str, object]], once: bool = True) -> dict[str, list[str]]:
    """Return table rows with one column per run, from each run's sections of values by name.

    With `once`, a row whose values are all equal has a single value.
    """
    rows = {
        name: [str(own.get(name) or NONE) for own in section]
        for section in zip(*runs, strict=True)
        for name in dict.fromkeys(chain(*section))
    }
    return {name: values[:1] if once and len(set(values)) == 1 else values for name, values in rows.items()}
