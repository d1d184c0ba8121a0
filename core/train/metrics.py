"""Evaluation of a model on a data set; the head computes the metrics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, evaluation_batches
from core.engine.processes import SINGLE_PROCESS, ProcessGroup
from core.models.heads.head import Head
from core.models.heads.scores import Evaluation

EVALUATION_BATCH = 128
"""Sequences per batch in evaluation; it affects speed, not predictions."""


Report = Callable[[int, int], None]
"""Callback `report(done, total)`, in sequences."""


def no_report(done: int, total: int) -> None:
    """Show nothing."""


def evaluate(
    logits_of: Callable[[Batch], np.ndarray],
    head: Head,
    dataset: Dataset,
    report: Report = no_report,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Evaluation:
    """Evaluate every sequence by `logits_of` (an engine's `logits`).

    Several processes share the batches, and all return the complete result.
    """
    return head.score(all_logits(logits_of, dataset, report, group), dataset.targets)


def all_logits(
    logits_of: Callable[[Batch], np.ndarray],
    dataset: Dataset,
    report: Report = no_report,
    group: ProcessGroup = SINGLE_PROCESS,
) -> np.ndarray:
    """Return logits [N, outputs] in the order of the data set. Raises ValueError if it is empty."""
    logits, done = None, 0
    for number, (rows, batch) in enumerate(evaluation_batches(dataset, EVALUATION_BATCH)):
        mine = number % group.size == group.rank
        # A process without any batch computes the first one, to know the number of outputs.
        if mine or (number == 0 and group.rank * EVALUATION_BATCH >= len(dataset)):
            found = logits_of(batch)
            if logits is None:
                logits = np.zeros((len(dataset), found.shape[1]), dtype=found.dtype)
            if mine:
                logits[rows] = found
        done += len(rows)
        report(done, len(dataset))
    if logits is None:
        raise ValueError("expected a data set with at least one sequence")
    return logits if group.size == 1 else group.sum(logits)


def device_share(lines: list[dict]) -> float | None:
    """Return the share of training time in which the device computed steps, from metrics lines.

    The device is idle while it waits for batches and reads of statistics. Returns None without measurements.
    """
    timed = [line for line in lines if {"tokens", "tokens_per_second"} <= line.keys()]
    known = [line for line in timed if line["split"] == "train" and line.get("device_share") is not None]
    # Speeds are rounded to tenths, so a very slow step (of a suspended process) has speed 0.
    seconds = [line["tokens"] / max(line["tokens_per_second"], 0.05) for line in known]
    worked = sum(line["device_share"] * taken for line, taken in zip(known, seconds, strict=True))
    return worked / sum(seconds) if known else None
