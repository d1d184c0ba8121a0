"""Figures of merit from logits, in NumPy float64, the same code for every backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, evaluation_batches
from core.engine.processes import SINGLE_PROCESS, ProcessGroup

EVALUATION_BATCH = 128
"""Sequences per batch when nothing is learned; it changes speed, not answers."""


Report = Callable[[int, int], None]
"""`report(done, total)` counts sequences."""


def no_report(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Evaluation:
    """Of one data set: `loss` (mean cross-entropy), `accuracy`, `macro_f1` (mean over the classes that occur, as labels
    or as answers), `confusion` [C, C] (rows: true class), `probabilities` [N, C] and `predicted` [N], in the data set's
    order."""

    loss: float
    accuracy: float
    macro_f1: float
    confusion: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """[N, C] logits, or [N, 1] of the second of two classes -> [N, C] float64 that sum to 1."""
    return np.exp(_log_probabilities(logits))


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def summarize(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Figures of logits [N, outputs] against labels [N]. Ties go to the lower class."""
    log_probabilities = _log_probabilities(logits)
    classes = log_probabilities.shape[1]
    predicted = log_probabilities.argmax(axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    hits, true, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occur = true + said > 0
    f1 = 2 * hits[occur] / (true + said)[occur]
    return Evaluation(
        loss=float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        accuracy=float(hits.sum() / len(labels)),
        macro_f1=float(f1.mean()),
        confusion=confusion,
        probabilities=np.exp(log_probabilities),
        predicted=predicted,
    )


def evaluate(
    logits_of: Callable[[Batch], np.ndarray],
    dataset: Dataset,
    report: Report = no_report,
    world: ProcessGroup = SINGLE_PROCESS,
) -> Evaluation:
    """Run every sequence once through `logits_of` (an engine's `logits`); of several processes each runs its share,
    and all return the whole."""
    return summarize(all_logits(logits_of, dataset, report, world), dataset.labels)


def all_logits(
    logits_of: Callable[[Batch], np.ndarray],
    dataset: Dataset,
    report: Report = no_report,
    world: ProcessGroup = SINGLE_PROCESS,
) -> np.ndarray:
    """[N, outputs] in the data set's order."""
    logits, done = None, 0
    for number, (rows, batch) in enumerate(evaluation_batches(dataset, EVALUATION_BATCH)):
        mine = number % world.size == world.rank
        # Who has no batch at all must know all the same how wide an answer is.
        if mine or (number == 0 and world.rank * EVALUATION_BATCH >= len(dataset)):
            found = logits_of(batch)
            if logits is None:
                logits = np.zeros((len(dataset), found.shape[1]), dtype=found.dtype)
            if mine:
                logits[rows] = found
        done += len(rows)
        report(done, len(dataset))
    return logits if world.size == 1 else world.sum(logits)
