"""How figures, specs and records of runs are written on every page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

from core.spec.experiment import Experiment

NONE = "\u2013"
"""For a figure that a run does not have."""


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def memory(record: dict) -> str:
    """`peak_memory_mb`, where it was measured."""
    megabytes = record.get("peak_memory_mb")
    return NONE if megabytes is None else f"{megabytes:,} MB"


def count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def spec_trees(experiments: Sequence[Experiment]) -> list[str]:
    """The whole spec of each, or one where all are the same."""
    trees = [json.dumps(own.model_dump(mode="json"), indent=2, ensure_ascii=False) for own in experiments]
    return trees if len(set(trees)) > 1 else trees[:1]


def made_with(record: dict, implementation: str) -> list[dict[str, object]]:
    """With what and where a run was computed, for `rows_of`."""
    own = {"recurrent layers": implementation, "device": record["device"]}
    return [record["versions"], own, record.get("machine", {})]


def rows_of(*runs: Sequence[dict[str, object]], once: bool = True) -> dict[str, list[str]]:
    """Rows of a table with a column for each run, which gives its values by name, section by section.

    With `once`, a value that all share stands once.
    """
    rows = {
        name: [str(own.get(name) or NONE) for own in section]
        for section in zip(*runs, strict=True)
        for name in dict.fromkeys(chain(*section))
    }
    return {name: values[:1] if once and len(set(values)) == 1 else values for name, values in rows.items()}
