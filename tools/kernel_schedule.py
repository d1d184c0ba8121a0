"""Account for the time of a recurrent layer's training step in the C++ library, by phase and by number of threads.

    python -m tools.kernel_schedule [--shapes 32x256,128/128,bi ...] [--cell lstm] [--threads 1 2 4 8 16 64]

Every task is timed alone, divided as for that many threads, and the threads are then simulated: `idle` is the share of
their time without a task, the mean over batches of random lengths with its standard error. No thread waits for another
one's memory here, and none takes time to wake up, so a real machine can only be slower.
Lengths are those of a batch of a run, which sorts the texts of 50 batches by length.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from backends import kernels
from backends.kernels.layer import Pass
from backends.kernels.schedule import PHASES, Task, makespan, timed_tasks
from core.benchmark.shapes import Shape, parse_shape
from core.models.encoders.recurrent import CELLS, WEIGHT_KINDS, Cell, LayerSizes
from core.rng import generator

BUCKET = 50
"""Batches of a bucket."""


def batch_lengths(shape: Shape, seed: int) -> np.ndarray:
    """Return the lengths of a random batch `[B]` of a bucket of `BUCKET` batches, sorted by length."""
    drawn = Shape("", shape.batch * BUCKET, shape.length, 1, 1).draw_lengths("imdb", seed)
    first = int(generator(seed, "batch").integers(BUCKET)) * shape.batch
    return np.sort(drawn)[first : first + shape.batch]


def step_of(shape: Shape, cell: Cell, lengths: np.ndarray) -> Callable[[], None]:
    """Return a function that runs forward and backward of the first layer, float32."""
    sizes = LayerSizes(cell, shape.inputs, shape.hidden, 2 if shape.bidirectional else 1)
    arrays = shape.arrays(cell, lengths, "float32", 0)
    x, d_output = arrays["x"], arrays["d_output"][:, :, : sizes.directions * sizes.hidden].copy()
    suffixes = ("_l0", "_l0_reverse")[: sizes.directions]
    weights = [arrays[f"encoder.{kind}{suffix}"] for suffix in suffixes for kind in WEIGHT_KINDS]
    gradients = [np.empty_like(array) for array in weights]
    output, d_x = np.empty_like(d_output), np.empty_like(x)

    def step() -> None:
        layer = Pass((sizes,), x.shape, float64=False)
        layer.forward(True, lengths, [x, None, None, *weights], [output, None, None])
        layer.backward([d_output, None, None], [d_x, None, None, *gradients])

    return step


def measured(shape: Shape, cell: Cell, threads: int, seeds: Sequence[int], rounds: int) -> list[list[Task]]:
    """Return the tasks of a step for every seed's batch: each task's median of `rounds`."""
    kernels.set_threads(threads)
    found = []
    for seed in seeds:
        step = step_of(shape, cell, batch_lengths(shape, seed))
        step()
        every = [timed_tasks(step) for _ in range(rounds)]
        medians = [statistics.median(task.seconds for task in same) for same in zip(*every, strict=True)]
        tasks = [Task(one.job, one.phase, one.number, time) for one, time in zip(every[0], medians, strict=True)]
        found.append(tasks)
    kernels.set_threads(None)
    return found


def print_jobs(batches: list[list[Task]], threads: int) -> None:
    """Print each job's share of the time, and its idle share."""
    total = sum(makespan(tasks, threads) for tasks in batches)
    for job in range(batches[0][-1].job + 1):
        own = [[task for task in tasks if task.job == job] for tasks in batches]
        time = sum(makespan(tasks, threads) for tasks in own)
        work = sum(task.seconds for tasks in own for task in tasks)
        names = ", ".join(dict.fromkeys(task.phase for task in own[0]))
        idle = 1 - work / threads / time
        print(f"      job {job}: {len(own[0])} tasks, {time / total:.1%} of the time, idle {idle:.1%}: {names}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Account for the time of a layer's training step.")
    parser.add_argument("--shapes", nargs="+", default=["32x400,128/64,bi", "32x256,128/128,bi"])
    parser.add_argument("--cell", choices=CELLS, default="lstm")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 4, 8, 16, 64])
    parser.add_argument("--jobs", action="store_true", help="each job alone, too")
    parser.add_argument("--batches", type=int, default=20, help="batches of random lengths [20]")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for text in arguments.shapes:
        shape = parse_shape(text)
        print(f"{shape}, {arguments.cell}, {kernels.target()}")
        for threads in arguments.threads:
            batches = measured(shape, arguments.cell, threads, range(arguments.batches), arguments.rounds)
            total = [sum(task.seconds for task in tasks) for tasks in batches]
            time = [makespan(tasks, threads) for tasks in batches]
            tokens = [batch_lengths(shape, seed).sum() for seed in range(arguments.batches)]
            flops = [shape.flops(arguments.cell, int(count), True) for count in tokens]
            shares = {
                phase: sum(task.seconds for tasks in batches for task in tasks if task.phase == phase) / sum(total)
                for phase in PHASES
            }
            idle = [1 - own / threads / taken for own, taken in zip(total, time, strict=True)]
            error = statistics.stdev(idle) / len(idle) ** 0.5 if len(idle) > 1 else 0.0
            speed = sum(flops) / sum(time) / 1e9
            parts = ", ".join(f"{phase} {share:.1%}" for phase, share in shares.items() if share > 0)
            if arguments.jobs:
                print_jobs(batches, threads)
            rate = f"{speed:.0f} GFLOP/s ({speed / threads:.0f} a thread)"
            share = f"idle {statistics.mean(idle):.1%} ± {error:.1%}"
            print(f"  {threads:3d} threads: {share}, {rate}: {parts}", flush=True)


if __name__ == "__main__":
    main()
