"""Several processes that train one model together: what each of them knows of the others.

Every process builds every batch, takes each `size`-th of its rows, and computes the part of the loss and of the
gradients that comes from them; the sums over processes are those of the whole batch, and all take the same step.
So a run does not depend on how many processes it had.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.errors import UserError


class ProcessGroup(Protocol):
    """This process among all of them."""

    rank: int
    """From 0. The first one speaks and writes."""
    size: int
    local_rank: int
    """Among those of this machine."""

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over processes, element by element; every process calls this at the same place, with an array of the
        same shape and dtype (float32, float64 or int64). Raises UserError where another process has gone."""


class SingleProcess:
    """One process: the usual case."""

    rank, size, local_rank = 0, 1, 0

    def sum(self, array: np.ndarray) -> np.ndarray:
        return array


SINGLE_PROCESS = SingleProcess()


@dataclass(frozen=True)
class Launcher:
    """A program that starts several processes, and the variables by which it tells each of them its place."""

    command: str
    rank: str
    size: str
    local_rank: str

    def place(self) -> tuple[int, int, int] | None:
        """(rank, size, local rank), or None where it has not started several."""
        size = int(os.environ.get(self.size) or 1)
        if size < 2:
            return None
        rank = int(os.environ[self.rank])
        return rank, size, int(os.environ.get(self.local_rank) or rank)


class PeerLost(UserError):
    """Another process of this run has ended: what this one did was no mistake."""


def peer_lost(group: ProcessGroup, error: BaseException) -> PeerLost:
    """What to say when the others cannot be reached."""
    reason = " ".join(str(error).split())[:80]
    return PeerLost(
        f"another of this run's {group.size} processes has ended ({reason}); the last checkpoint is kept: continue"
        " with `resume`, on any number of processes"
    )


def broadcast(group: ProcessGroup, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the first process, in every one; all give arrays of the same names, shapes and dtypes."""
    if group.size == 1:
        return arrays
    # One message each: in the same order everywhere.
    return {name: group.sum(own if group.rank == 0 else np.zeros_like(own)) for name, own in sorted(arrays.items())}


@contextmanager
def in_turn(group: ProcessGroup) -> Iterator[None]:
    """The block for the first process of each machine, then for the others, who find done what can be done once.

    Where it fails in a first process, that one says why, and the others leave without a word.
    """
    first = group.local_rank == 0
    if not first:
        _leave_where_failed(group)
    done = False
    try:
        yield
        done = True
    finally:
        if first and not done:
            # Nothing is caught here. Others that have gone must not take the place of what failed.
            with suppress(PeerLost):
                group.sum(np.ones(1))
    if first:
        _leave_where_failed(group)


def _leave_where_failed(group: ProcessGroup) -> None:
    if group.sum(np.zeros(1))[0]:
        raise SystemExit(2)
