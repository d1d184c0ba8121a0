"""Running a whole data set through a model; what the outputs are worth, the head says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, evaluation_batches
from core.engine.processes import SINGLE_PROCESS, ProcessGroup
from core.models.heads.head import Head
from core.models.heads.scores import Evaluation

EVALUATION_BATCH = 128
"""Sequences per batch when nothing is learned; it changes speed, not answers."""


Report = Callable[[int, int], None]
"""`report(done, total)` counts sequences."""


def no_report(done: int, total: int) -> None:
    pass


def evaluate(
    logits_of: Callable[[Batch], np.ndarray],
    head: Head,
    dataset: Dataset,
    report: Report = no_report,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Evaluation:
    """Run every sequence once through `logits_of` (an engine's `logits`); of several processes each runs its share,
    and all return the whole."""
    return head.score(all_logits(logits_of, dataset, report, group), dataset.targets)


def all_logits(
    logits_of: Callable[[Batch], np.ndarray],
    dataset: Dataset,
    report: Report = no_report,
    group: ProcessGroup = SINGLE_PROCESS,
) -> np.ndarray:
    """[N, outputs] in the data set's order."""
    logits, done = None, 0
    for number, (rows, batch) in enumerate(evaluation_batches(dataset, EVALUATION_BATCH)):
        mine = number % group.size == group.rank
        # Who has no batch at all must know all the same how wide an answer is.
        if mine or (number == 0 and group.rank * EVALUATION_BATCH >= len(dataset)):
            found = logits_of(batch)
            if logits is None:
                logits = np.zeros((len(dataset), found.shape[1]), dtype=found.dtype)
            if mine:
                logits[rows] = found
        done += len(rows)
        report(done, len(dataset))
    return logits if group.size == 1 else group.sum(logits)


def device_share(lines: list[dict]) -> float | None:
    """Of the training time of these lines of metrics, how much the device worked on a step; the rest is waiting, for a
    batch or for who reads the figures. None where no line says."""
    known = [line for line in lines if line["split"] == "train" and line.get("device_share") is not None]
    # The speed is rounded to tenths, and to 0 where a step took very long: a process that was halted and went on.
    seconds = [line["tokens"] / max(line["tokens_per_second"], 0.05) for line in known]
    worked = sum(line["device_share"] * taken for line, taken in zip(known, seconds, strict=True))
    return worked / sum(seconds) if known else None
