"""Finished runs, read from their folders for a page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.models.model import parameter_table
from core.spec.experiment import Experiment
from core.train.predictions_file import Predictions
from core.train.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """A finished run; `problems` lists what could not be read, one line each."""

    label: str
    path: Path
    experiment: Experiment
    execution: dict
    result: dict
    metrics: list[dict]
    predictions: Predictions | None
    problems: list[str]

    def figure(self, name: str) -> Any:
        """Return a figure of the result by its dotted name, None if this kind of model has none."""
        return _at(self.result, name)

    @property
    def framework(self) -> str:
        """Framework and version; several, in order, if the run was resumed in another one."""
        return _changes(f"{own['backend']} {own['versions'][own['backend']]}" for own in self.execution["segments"])

    @property
    def implementation(self) -> str:
        return _changes(own["implementation"] for own in self.execution["segments"])

    @property
    def resumed(self) -> str:
        """The steps at which the run was resumed; empty if never."""
        segments = self.execution["segments"]
        steps = ", ".join(f"{own['backend']} from step {own['from_step']:,}" for own in segments)
        return f"stopped and resumed ({steps})" if len(segments) > 1 else ""

    @property
    def started(self) -> str:
        return self.execution.get("started", "").replace("T", " ")

    @property
    def parameters(self) -> int:
        return sum(math.prod(row.shape) for row in parameter_table(self.experiment.model))

    @property
    def seconds_per_epoch(self) -> float | None:
        """Mean seconds per epoch; None for models trained together, and for runs without a complete epoch."""
        epochs = self.result["training"].get("epoch_seconds") or []
        return sum(epochs) / len(epochs) if epochs else None

    @property
    def confusion(self) -> list[list[int]] | None:
        """Counts by true and predicted class; None if the result has no such matrix."""
        matrix, size = self.result["test"].get("confusion"), len(self.execution["classes"])
        square = isinstance(matrix, list) and len(matrix) == size and all(len(row) == size for row in matrix)
        return matrix if square else None

    @property
    def predicts_classes(self) -> bool:
        """Whether the model predicts one of a few classes, for a text or a token."""
        return bool(self.execution["classes"])

    @property
    def models_together(self) -> int:
        """Number of models trained together, this one included."""
        return self.execution.get("stacked_shape", 1)

    def curve(self, split: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Return epochs, and `loss` (mean per text) or `accuracy`, of `split`; NaN where training diverged."""
        lines = [line for line in self.metrics if line.get("split") == split]
        values = np.array([np.nan if line[quantity] is None else line[quantity] for line in lines], dtype=np.float64)
        if quantity == "loss" and split == "train" and self.experiment.training.loss_reduction == "sum":
            # A line covers one step, or holds the mean of several steps' sums.
            values = values / np.array([line["counted"] / line.get("steps", 1) for line in lines])
        return np.array([line["epoch"] for line in lines], dtype=np.float64), values


def read_run(path: Path, label: str) -> Run:
    """Read a finished run. Missing optional files are listed in `problems`.

    Raises UserError if the folder is not a run, the run is not finished, or its spec or result is damaged.
    """
    folder = RunFolder.open(path)
    if not (path / "experiment.json").is_file():
        inner = sorted(str(own.parent) for pattern in ("*", "*/*") for own in path.glob(f"{pattern}/experiment.json"))
        more = f"; it contains runs: choose them, such as {inner[0]}" if inner else ": experiment.json is missing"
        raise UserError(f"{path}: not a run folder{more}")
    experiment, execution = folder.read_record()
    if not (path / "result.json").is_file():
        command = f"`tasks.{experiment.task} resume` {path}"
        raise UserError(f"{path}: this run is not finished (result.json is missing); resume with: {command}")
    result = folder.read_result()
    problems, metrics, predictions = [], [], None
    try:
        metrics, problem = folder.metrics.read(result.get("files", {}).get("metrics.jsonl"))
        if problem:
            problems.append(f"metrics.jsonl: {problem}")
        if not metrics:
            problems.append("metrics.jsonl is missing or empty: no curves are shown")
    except UserError:
        problems.append("metrics.jsonl cannot be read: no curves are shown")
    try:
        predictions = folder.read_predictions()
    except UserError as error:
        problems.append(f"{error}: its predictions are not compared")
    return Run(label, path, experiment, execution, result, metrics, predictions, problems)


def _at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _changes(names: Iterable[str]) -> str:
    """Join names with arrows, without consecutive repeats."""
    return " \u2192 ".join(name for name, _ in groupby(names))
