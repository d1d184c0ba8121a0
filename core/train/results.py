"""Results of a run: best checkpoint evaluated on test, `predictions.csv`, `result.json`."""

from __future__ import annotations

import numpy as np

from core.data.dataset import Dataset
from core.engine import machine
from core.engine.contract import Engine
from core.engine.processes import ProcessGroup, broadcast
from core.models.heads.multilabel_scores import MultilabelEvaluation
from core.models.heads.scores import Evaluation
from core.train.loop import check_finite
from core.train.metrics import Report, device_share, evaluate, no_report
from core.train.predictions_file import Predictions
from core.train.record import Run


def evaluate_best(engine: Engine, run: Run, group: ProcessGroup, report: Report = no_report) -> Evaluation:
    """Evaluate the best checkpoint on test.

    Every process of the run must call this; the process of rank 0 reads and broadcasts the checkpoint.
    """
    best = run.folder.read_best(run.experiment.model) if group.rank == 0 else engine.parameters()
    engine.load(broadcast(group, best), {}, 0)
    return evaluate(engine, run.experiment.model.head, run.data.test, report, group)


def summarize_run(run: Run, found: Evaluation) -> dict:
    """Write `predictions.csv` and return the content of `result.json`.

    The caller writes `result.json` last, as it marks the run as finished. Raises UserError for a loss that is not
    finite.
    """
    check_finite(found.loss, "the loss on test", run.state.step)
    test = run.data.test
    run.folder.write_predictions(predictions_of(test, found))
    return result_of(run, found, run.folder.read_metrics())


def predictions_of(dataset: Dataset, found: Evaluation) -> Predictions:
    """Return the predictions of an evaluated data set; probabilities if a text has one for each class."""
    labels, predicted = found.strings(dataset.targets, dataset.classes)
    if len(found.probabilities) != len(dataset) or found.probabilities.shape[1] != len(dataset.classes):
        return Predictions(dataset.names, labels, predicted, np.zeros((len(dataset), 0)), [])
    several = isinstance(found, MultilabelEvaluation)
    return Predictions(dataset.names, labels, predicted, found.probabilities, list(dataset.classes), several)


def result_of(run: Run, found: Evaluation, metrics: list[dict]) -> dict:
    """Return the content of `result.json`; `metrics` are the lines of `metrics.jsonl`."""
    experiment, execution, state = run.experiment, run.execution, run.state
    return {
        "task": experiment.task,
        "recipe": experiment.recipe,
        "backend": execution["backend"],
        "device": execution["device"],
        "implementation": execution["implementation"],
        "data": execution["data"]["description"],
        "test": {
            "documents": len(run.data.test),
            **found.figures(),
        },
        "dev": _best_on_dev(run, found, metrics),
        **({"baseline": execution["data"]["baseline"]} if "baseline" in execution["data"] else {}),
        "training": {
            "steps": state.step,
            "seconds": round(state.seconds, 3),
            "epoch_seconds": [round(seconds, 3) for seconds in state.epoch_seconds],
            "tokens": state.tokens,
            "tokens_per_second": round(state.tokens / state.seconds, 1),
            "device_share": device_share(metrics),
        },
        "peak_memory_mb": machine.peak_memory_mb(),
    }


def _best_on_dev(run: Run, found: Evaluation, metrics: list[dict]) -> dict:
    """Return the figures of the best checkpoint on dev; its score may be another quantity than the accuracy."""
    state = run.state
    lines = (line for line in metrics if line.get("split") == "dev" and line.get("step") == state.best_step)
    line = next(lines, {})
    more = {name: line[name] for name in found.quantities() if name in line}
    accuracy = line.get("accuracy", state.best_score)
    return {"accuracy": accuracy, "loss": state.best_loss, "step": state.best_step, **more}
