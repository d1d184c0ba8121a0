"""Evaluation of a model on a data set; the head computes the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, evaluation_batches
from core.engine.processes import SINGLE_PROCESS, ProcessGroup
from core.models.heads.head import Head
from core.models.heads.scores import Evaluation
from core.models.types import Arrays

EVALUATION_BATCH = 128
"""Sequences per batch in evaluation; it affects speed, not predictions."""


Report = Callable[[int, int], None]
"""Callback `report(done, total)`, in sequences."""


def no_report(done: int, total: int) -> None:
    """Show nothing."""


class Evaluator(Protocol):
    """What computes an evaluation: an engine, or the NumPy reference."""

    def logits(self, batch: Batch) -> np.ndarray: ...

    def parameters(self) -> Arrays: ...


def evaluate(
    engine: Evaluator,
    head: Head,
    dataset: Dataset,
    report: Report = no_report,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Evaluation:
    """Evaluate every sequence.

    Several processes share the batches, and all return the complete result.
    """
    arrays = engine.parameters() if head.reads_parameters else {}

    def outcomes(batch: Batch) -> np.ndarray:
        return head.evaluated(engine, batch, arrays)

    counts = head.answers(dataset.targets, dataset.lengths)
    return head.score(collected(outcomes, counts, dataset, report, group), dataset.targets, dataset.classes)


def all_logits(logits_of: Callable[[Batch], np.ndarray], dataset: Dataset) -> np.ndarray:
    """Return logits [N, outputs] of a classifier in the order of the data set. Raises ValueError if it is empty."""
    return collected(logits_of, np.ones(len(dataset), np.int64), dataset)


def collected(
    rows_of: Callable[[Batch], np.ndarray],
    counts: np.ndarray,
    dataset: Dataset,
    report: Report = no_report,
    group: ProcessGroup = SINGLE_PROCESS,
) -> np.ndarray:
    """Return the rows [counts.sum(), K] of all texts, in the order of the data set.

    `rows_of(batch)` returns those of a batch, `counts` [N] of them per text. Raises ValueError for an empty data set.
    """
    starts = np.cumsum(counts) - counts
    found, done = None, 0
    for number, (rows, batch) in enumerate(evaluation_batches(dataset, EVALUATION_BATCH)):
        mine = number % group.size == group.rank
        # A process without any batch computes the first one, to know the number of columns.
        if mine or (number == 0 and group.rank * EVALUATION_BATCH >= len(dataset)):
            own = rows_of(batch)
            if found is None:
                found = np.zeros((int(counts.sum()), own.shape[1]), dtype=own.dtype)
            if mine:
                found[positions(starts[rows], counts[rows])] = own
        done += len(rows)
        report(done, len(dataset))
    if found is None:
        raise ValueError("expected a data set with at least one sequence")
    return found if group.size == 1 else group.sum(found)


def positions(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the concatenated ranges [start, start + count)."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


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
