"""Summing up a run: `result.json`."""

from __future__ import annotations

from core.data.dataset import Prepared
from core.engine import machine
from core.models.heads.scores import Evaluation
from core.spec.experiment import Experiment
from core.train.loop import device_share
from core.train.run_folder import TrainingState


def result_of(
    experiment: Experiment,
    execution: dict,
    prepared: Prepared,
    state: TrainingState,
    found: Evaluation,
    metrics: list[dict],
) -> dict:
    """What `result.json` holds; `metrics` are the run's lines."""
    return {
        "task": experiment.task,
        "recipe": experiment.recipe,
        "backend": execution["backend"],
        "device": execution["device"],
        "implementation": execution["implementation"],
        "data": execution["data"]["description"],
        "test": {
            "documents": len(prepared.test),
            "accuracy": found.accuracy,
            "loss": found.loss,
            "macro_f1": found.macro_f1,
            "confusion": found.confusion.tolist(),
        },
        "dev": {"accuracy": state.best_score, "loss": state.best_loss, "step": state.best_step},
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
