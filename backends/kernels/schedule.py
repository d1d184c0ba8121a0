"""How the kernels divide their work over threads: the CPU time of every task, and what it gives on a number of cores.

While tasks are timed, one thread runs all of them, divided as for the threads that a problem asks for. So a machine
with any number of cores can be accounted for on a small one; what its cores share (memory, caches, clock) is not seen.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from backends.kernels import call

PHASES = ("serial", "other", "pack weights", "forward", "backward", "weight gradient", "input gradient")
"""Names of `Phase` in `recurrent.h`."""


@dataclass(frozen=True)
class Task:
    """A piece of work of one thread. Tasks of a job run side by side; jobs run one after the other."""

    job: int
    phase: str
    number: int
    seconds: float
    """CPU seconds."""


def timed_tasks(work: Callable[[], object]) -> list[Task]:
    """Return the tasks of `work`, which calls the kernels from this thread. A call's serial part is a job, too."""
    call("seqtwin_time_tasks", 1)
    try:
        work()
    finally:
        call("seqtwin_time_tasks", 0)
    rows = np.empty((call("seqtwin_task_times", 0, 0), 4), np.int64)
    call("seqtwin_task_times", rows.ctypes.data, len(rows))
    return [Task(job, PHASES[phase], number, time / 1e9) for job, phase, number, time in rows.tolist()]


def makespan(tasks: Iterable[Task], threads: int) -> float:
    """Return the seconds until all jobs are done on `threads` cores: a free thread takes the job's next task."""
    total = 0.0
    for _, job in groupby(tasks, key=lambda task: task.job):
        free = [0.0] * threads
        for task in job:
            heapq.heapreplace(free, free[0] + task.seconds)
        total += max(free)
    return total
