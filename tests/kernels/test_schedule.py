"""Times of the kernels' tasks: each task once, the same bits as without them, and the threads that are simulated."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from backends import kernels
from backends.kernels.schedule import Task, makespan, timed_tasks
from tests.kernels.cases import random_case, run, same_bits

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled layers: {kernels.failure()}")


@pytest.mark.parametrize(("threads", "directions"), [(1, 2), (2, 2), (3, 1), (16, 2), (64, 1)])
def test_every_task_is_timed_once(rng, threads, directions):
    case = random_case(rng, "lstm", np.float32, directions, True, batch=13, width=40, inputs=69, hidden=101)
    kernels.set_threads(threads)
    plain, timed = run(case), []
    tasks = timed_tasks(lambda: timed.append(run(case)))
    assert same_bits(plain, timed[0])
    jobs = [[task for task in tasks if task.job == job] for job in range(tasks[-1].job + 1)]
    assert [task.number for task in tasks] == [number for job in jobs for number in range(len(job))]
    assert all(task.seconds >= 0 for task in tasks)
    assert sum(task.seconds for task in tasks) > 0
    count = Counter(task.phase for task in tasks)
    assert "other" not in count
    assert count["serial"] == 2, "of forward, and of backward"
    parts = min(13, max(1, threads // directions if threads % directions == 0 else threads))
    assert count["forward"] == count["backward"] == directions * parts
    assert count["input gradient"] == -(-int(case.lengths.sum()) // 48)
    # 69 inputs and 101 units of every direction's columns are packed in pieces, forward and backward.
    assert count["pack weights"] >= 16 * directions
    # A share of a direction's weight gradients for every thread, as far as there are panels and groups of features.
    assert count["weight gradient"] >= min(threads, 16)
    assert not timed_tasks(lambda: None)


def test_makespan():
    tasks = [Task(0, "forward", number, seconds) for number, seconds in enumerate([3.0, 1.0, 1.0, 2.0])]
    tasks += [Task(1, "serial", 0, 0.5)]
    assert [makespan(tasks, threads) for threads in (1, 2, 4)] == [7.5, 4.5, 3.5]
