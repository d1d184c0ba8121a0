"""Batches made while a GPU computes: a thread builds the next ones and draws their dropout masks.

A small model's step takes a GPU a few milliseconds, and drawing the masks of its embeddings takes a processor core one.
Not on a CPU, where that core is the one that computes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from core.batch import Batch
from core.models.model import dropout_places
from core.rng import dropout_mask
from core.spec.experiment import Experiment

DEPTH = 2
"""Batches that wait at most: enough for one that takes longer than a step."""


Item = TypeVar("Item")


def prefetch(items: Iterable[Item], depth: int = DEPTH) -> Iterator[Item]:
    """The same items in the same order, up to `depth` of them made by a thread before they are asked for.

    What making one raises is raised where it would have been handed out. Closing the iterator ends the thread.
    """
    source, end = iter(items), object()
    made = deque()
    worker = ThreadPoolExecutor(1, "ahead")
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
    """The batch with the dropout masks of a step, those that a backend would draw; with `native` it draws its own."""
    training = experiment.training
    if training.dropout_masks == "native":
        return batch
    places = dropout_places(experiment.model, *batch.ids.shape).items()
    masks = {place: dropout_mask(training.seed, step, place, shape, rate) for place, (shape, rate) in places}
    return replace(batch, masks=masks)
