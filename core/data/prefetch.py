"""Prefetching for GPUs: a thread builds the next batches with their dropout masks.

A training step of a small model takes a few milliseconds on a GPU; drawing its embedding masks takes a CPU core one.
Runs on a CPU do not prefetch, as the thread would compete with the computation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from core.batch import Batch
from core.models.model import dropout_places
from core.rng import dropout_mask
from core.spec.experiment import Experiment

DEPTH = 2
"""Maximum number of waiting batches: enough to hide a batch that takes longer than a step."""


Item = TypeVar("Item")


def prefetch(items: Iterable[Item], depth: int = DEPTH) -> Generator[Item, None, None]:
    """Yield the same items in order; a thread produces up to `depth` of them ahead.

    An exception while producing an item is raised when that item is due. Closing the iterator ends the thread.
    """
    source, end = iter(items), object()
    made = deque()
    worker = ThreadPoolExecutor(1, "prefetch")
    try:
        while True:
            while len(made) <= depth:
                made.append(worker.submit(next, source, end))
            item = made.popleft().result()
            if item is end:
                return
            yield item
    finally:
        worker.shutdown(wait=True, cancel_futures=True)


def with_masks(batch: Batch, experiment: Experiment, step: int) -> Batch:
    """Return the batch with the dropout masks of a step, as a backend would draw them.

    With `dropout_masks = native` the framework draws the masks, and the batch is returned unchanged.
    """
    training = experiment.training
    if training.dropout_masks == "native":
        return batch
    model, (rows, width) = experiment.model, batch.ids.shape
    places = dropout_places(model, rows, width, model.head.output_width(batch)).items()
    masks = {place: dropout_mask(training.seed, step, place, shape, rate) for place, (shape, rate) in places}
    return replace(batch, masks=masks)
