"""Re-evaluate a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.dataset import Dataset
from core.models.heads.scores import Evaluation
from core.spec.experiment import replace
from core.train.metrics import evaluate
from core.train.ngrams import split_with_ngrams
from core.train.prepare_data import read_data
from core.train.run_folder import RunFolder
from core.train.setup import check_vocabulary
from tasks.cli.console import DataProgress, console
from tasks.run.evaluators import evaluator, evaluator_of_evaluation
from tasks.run.present import presenter
from tasks.run.worker import Request


@dataclass(frozen=True)
class Evaluated:
    """A split of a run's data, evaluated."""

    found: Evaluation
    dataset: Dataset
    computed_by: str
    """Name of the evaluator and its device."""


def evaluate_run(run: str, request: Request, moved: dict[str, str], split: str, cache: Path) -> int:
    """Evaluate a run's best checkpoint and compare its predictions with predictions.csv.

    `moved` maps spec fields of data to their new paths. Return the exit code.
    """
    folder = RunFolder.open(Path(run))
    experiment, execution = folder.read_record()
    evaluated = evaluate_split(folder, request, moved, split, cache)
    found, dataset = evaluated.found, evaluated.dataset
    console.print(f"{split} {found.describe()}  ({len(dataset):,} texts, {evaluated.computed_by})")
    presenter(experiment).breakdown(found, execution["classes"])
    if split == "test" and (folder.path / "predictions.csv").is_file():
        _compare(folder.read_predictions().by_name, execution["backend"], dataset, found)
    return 0


def evaluate_split(folder: RunFolder, request: Request, moved: dict[str, str], split: str, cache: Path) -> Evaluated:
    """Evaluate a run's best checkpoint on a split. Raises UserError if the data is not that of the run."""
    run = folder.path
    experiment, execution = folder.read_record()
    if moved:
        experiment = replace(experiment, moved, "--data")
    chosen = evaluator(folder, experiment, evaluator_of_evaluation(experiment, execution, request))
    more = ", --dev and --test" if experiment.data.kind in ("table", "tagged") else ""
    wanted = execution["data"]["fingerprint"], f"not the data of {run}; pass the original data with --data{more}"
    with DataProgress() as progress:
        prepared, _ = read_data(experiment, cache, wanted, progress)
    check_vocabulary(folder, experiment, prepared)
    dataset = split_with_ngrams(experiment, prepared, folder.read_ngrams(experiment.model), split)
    with DataProgress() as progress:
        found = evaluate(
            chosen.engine,
            experiment.model.head,
            dataset,
            lambda done, total: progress(f"evaluating on {split}", done, total),
        )
    return Evaluated(found, dataset, chosen.computed_by)


def _compare(written: dict[str, str], backend: str, dataset: Dataset, found: Evaluation) -> None:
    """Print how many predictions match those of the run, and how close to a tie the others are."""
    _, predicted = found.strings(dataset.targets, dataset.classes)
    different = np.array([written.get(name) != label for name, label in zip(dataset.names, predicted, strict=True)])
    matching = int((~different).sum())
    line = f"{matching:,} of {len(predicted):,} predictions match predictions.csv ({backend})"
    if different.any() and len(found.margins) == len(different):
        line += f"; top-two margin of the others at most {float(found.margins[different].max()):.1e}"
    console.print(line)
