"""Re-evaluate a finished run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.spec.experiment import replace
from core.train.metrics import evaluate
from core.train.run_folder import RunFolder
from core.train.setup import check_vocabulary, read_data
from tasks.cli.console import DataProgress, console
from tasks.run.evaluators import evaluator
from tasks.run.worker import Request


def evaluate_run(run: str, request: Request, moved: dict[str, str], split: str, cache: Path) -> int:
    """Evaluate a run's best checkpoint and compare its predictions with predictions.csv.

    `moved` maps spec fields of data to their new paths. Return the exit code.
    """
    folder = RunFolder.open(Path(run))
    experiment, execution = folder.read_record()
    if moved:
        experiment = replace(experiment, moved, "--data")
    request = request.or_backend(execution["backend"])
    engine = evaluator(folder, experiment, request)
    more = ", --dev and --test" if experiment.data.kind == "table" else ""
    wanted = execution["data"]["fingerprint"], f"not the data of {run}; pass the original data with --data{more}"
    with DataProgress() as progress:
        prepared, _ = read_data(experiment, cache, wanted, progress)
    check_vocabulary(folder, experiment, prepared)
    dataset = getattr(prepared, split)
    with DataProgress() as progress:
        found = evaluate(
            engine.logits,
            experiment.model.head,
            dataset,
            lambda done, total: progress(f"evaluating on {split}", done, total),
        )
    console.print(
        f"{split} accuracy {found.accuracy:.4f}  loss {found.loss:.6f}  macro F1 {found.macro_f1:.4f}"
        f"  ({len(dataset):,} texts, {request.backend} on {engine.device})"
    )
    if split == "test" and (folder.path / "predictions.csv").is_file():
        _compare(folder.read_predictions().by_name, execution, dataset, found)
    return 0


def _compare(written: dict[str, str], execution: dict, dataset, found) -> None:
    """Print how many predictions match those of the run, and how close to a tie the others are."""
    predicted = [execution["classes"][index] for index in found.predicted]
    different = np.array([written.get(name) != label for name, label in zip(dataset.names, predicted, strict=True)])
    matching = int((~different).sum())
    line = f"{matching:,} of {len(predicted):,} predictions match predictions.csv ({execution['backend']})"
    if different.any():
        top = np.sort(found.probabilities[different], axis=1)
        line += f"; top-two margin of the others at most {float((top[:, -1] - top[:, -2]).max()):.1e}"
    console.print(line)
