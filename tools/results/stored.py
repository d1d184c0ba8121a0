"""Figures of finished runs, as stored in docs/results.json."""

from __future__ import annotations

import json
from pathlib import Path

from core.errors import UserError
from core.files import write_json_atomic
from core.report.runs import Run, read_run

Row = dict
"""Figures of a run: task, recipe, framework, seed, accuracies, seconds, parameters, baseline, date and versions."""
OFFICIAL = ("imdb", 25000)
"""Task and number of test texts of the official data, which may be a local copy."""
IDENTITY = ("task", "data", "recipe", "framework", "seed")
"""Fields that tell the runs apart; a newer run replaces an older one."""


def row_of(run: Run) -> Row:
    """Return the figures of a run."""
    execution, baseline = run.execution, run.figure("baseline") or {}
    kind, official = execution["data"]["kind"], (run.experiment.task, run.figure("test.documents")) == OFFICIAL
    return {
        "task": run.experiment.task,
        "data": "official" if official else kind,
        "recipe": run.experiment.recipe,
        "framework": execution["backend"],
        "seed": run.experiment.training.seed,
        "test": run.figure("test.accuracy"),
        "dev": run.figure("dev.accuracy"),
        "test_texts": run.figure("test.documents"),
        "dev_texts": execution["data"]["dev"]["documents"],
        "train_texts": execution["data"]["train"]["documents"],
        "seconds": run.figure("training.seconds"),
        "parameters": run.parameters,
        "ngrams": {
            "test": baseline["test"]["accuracy"],
            "dev": baseline["dev"]["accuracy"],
            "seconds": baseline.get("seconds"),
        }
        if "mcnemar" in baseline
        else None,
        "date": run.started[:10],
        "versions": execution["versions"],
        "cores": execution.get("machine", {}).get("cores"),
    }


def collect(folder: Path) -> list[Row]:
    """Return the figures of all finished runs in a folder. Raises UserError if there are none."""
    paths = sorted(path.parent for path in folder.glob("*/result.json"))
    if not paths:
        raise UserError(f"{folder}: no finished runs: train some with python -m tools.results run --out {folder}")
    return [row_of(read_run(path, path.name)) for path in paths]


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """Return the old rows and the new ones, which replace those of the same run."""
    found = {identity(row): row for row in (*old, *new)}
    return [found[key] for key in sorted(found)]


def identity(row: Row) -> tuple:
    """Return what tells a run apart."""
    return tuple(row[name] for name in IDENTITY)


def read(path: Path) -> list[Row]:
    """Return the stored rows, none if the file does not exist."""
    return json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []


def write(path: Path, rows: list[Row]) -> None:
    """Write the rows."""
    write_json_atomic(path, {"runs": rows})
