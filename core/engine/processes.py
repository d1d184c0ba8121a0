"""Process groups for data-parallel training.

Every process builds every batch and computes loss and gradients of its shard, every `size`-th row. An all-reduce sums
them over processes to those of the full batch, and all processes take the same step. A run therefore does not depend on
the number of processes.
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
    """The process group, seen from this process."""

    rank: int
    """Rank from 0; only rank 0 prints and writes files."""
    size: int
    local_rank: int
    """Rank among the processes of this machine."""

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Return the element-wise sum over processes (all-reduce).

        Every process must call this at the same point, with an array of the same shape and dtype (float32, float64 or
        int64). Raises PeerLost if another process ended.
        """
        ...


class SingleProcess:
    """The trivial group of one process."""

    rank, size, local_rank = 0, 1, 0

    def sum(self, array: np.ndarray) -> np.ndarray:
        return array


SINGLE_PROCESS = SingleProcess()


@dataclass(frozen=True)
class Launcher:
    """A launcher of several processes, and the environment variables that it sets for each."""

    command: str
    rank: str
    size: str
    local_rank: str

    def ranks(self) -> tuple[int, int, int] | None:
        """Return (rank, size, local rank), or None if the launcher did not start several processes."""
        size = int(os.environ.get(self.size) or 1)
        if size < 2:
            return None
        rank = int(os.environ[self.rank])
        return rank, size, int(os.environ.get(self.local_rank) or rank)


class PeerLost(UserError):
    """An error caused by the end of another process of this run."""


def peer_lost(group: ProcessGroup, error: BaseException) -> PeerLost:
    """Return the error for processes that cannot be reached."""
    return PeerLost(ended_peer(group.size, " ".join(str(error).split())[:80]))


def ended_peer(processes: int, reason: str) -> str:
    """Return the message about the end of one of a run's processes."""
    return (
        f"another of this run's {processes} processes has ended ({reason}), the last checkpoint is kept: continue"
        " with `resume`, on any number of processes"
    )


def broadcast(group: ProcessGroup, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Broadcast the arrays of rank 0; all processes pass equal names, shapes and dtypes."""
    if group.size == 1:
        return arrays
    # One all-reduce per array, in the same order in every process.
    return {name: group.sum(own if group.rank == 0 else np.zeros_like(own)) for name, own in sorted(arrays.items())}


@contextmanager
def local_rank_0_first(group: ProcessGroup) -> Iterator[None]:
    """Run the block first in local rank 0 of each machine, then in the other processes.

    The other processes reuse its results, such as caches. If it fails in local rank 0, that process reports the error,
    and the others exit silently.
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
            # No exception is caught here, and a lost peer must not replace the original error.
            with suppress(PeerLost):
                group.sum(np.ones(1))
    if first:
        _leave_where_failed(group)


def _leave_where_failed(group: ProcessGroup) -> None:
    if group.sum(np.zeros(1))[0]:
        raise SystemExit(2)
