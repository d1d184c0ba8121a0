"""Measurements of speed on the CPU: ratios of medians of interleaved timings, on one thread."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from core.engine.machine import usable_cores
from tools.differences import difference
from tools.differences.layers import LAYERS

SECTION = "Speed"
ROOT = Path(__file__).parents[2]


def medians(repeats: int, **sides) -> dict[str, float]:
    """Return the median seconds of each function; calls are interleaved, after an untimed first one."""
    times = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, run in sides.items():
            begin = time.perf_counter()
            run()
            if repeat:
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


THREADS = """
import os, sys, time
if sys.argv[1] != "unset":
    os.environ["OMP_NUM_THREADS"] = sys.argv[1]
import paddle
x = paddle.ones([1500, 1500])
begin, used = time.perf_counter(), time.process_time()
for _ in range(20):
    (x @ x).numpy()
print(os.environ.get("OMP_NUM_THREADS"), (time.process_time() - used) / (time.perf_counter() - begin))
"""


@difference(
    SECTION,
    "Threads",
    torch="Uses all usable cores.",
    paddle="Uses one thread unless `OMP_NUM_THREADS` is set before the import. The import sets the variable to 1, also"
    " for child processes.",
    effect="`OMP_NUM_THREADS` after `import paddle`: {after}. A matrix product then uses {bare:.1f} cores; with the"
    " variable set to {cores} before the import {told:.1f}. The speedup depends on the machine and its load, and is not"
    " given here.",
    ours="The variable is set for the import and restored afterwards:"
    " [backends/paddle/framework.py](../backends/paddle/framework.py).",
    size="{bare:.1f} of {cores} cores used",
    claim=lambda f: f["after"] == "1" and f["bare"] < 1.1 and (f["cores"] == 1 or f["told"] > 1.2),
    slow=True,
)
def threads():
    """Measure CPU seconds per second of a product, with and without the variable, in separate processes.

    Returns the maximum of four tries each.
    """
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    found = {"bare": 0.0, "told": 0.0}
    for name, setting in (("bare", "unset"), ("told", str(usable_cores()))) * 4:
        command = [sys.executable, "-c", THREADS, setting]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        after, busy = done.stdout.split()[-2:]
        found[name] = max(found[name], float(busy))  # other processes may use the cores
        if name == "bare":
            found["after"] = after
    return {**found, "cores": usable_cores()}


@difference(
    SECTION,
    "The cost of sequence lengths",
    torch="On the CPU packed sequences use a different, slower implementation than padded ones.",
    paddle="With `sequence_length` the padding is still computed.",
    effect="Bidirectional LSTM with 128 units on 32 sequences of 20 to 200 steps, forward and backward, one thread."
    " PyTorch: packed takes {packed:.1f} times as long as padded. Paddle: with lengths takes {lengths:.2f} times as"
    " long as without. Paddle padded takes {frameworks:.1f} times as long as PyTorch padded.",
    ours=f"Padded unidirectional layers, and reversal within lengths: exact, and as fast as padding ({LAYERS}).",
    size="PyTorch packed: {packed:.1f} times as long as padded",
    claim=lambda f: f["packed"] > 1.3 and 0.7 < f["lengths"] < 1.4,
    slow=True,
)
def packed_sequences():
    """Time a recurrent layer with and without lengths, in each framework."""
    one = torch.nn.LSTM(128, 128, batch_first=True, bidirectional=True)
    other = paddle.nn.LSTM(128, 128, direction="bidirect")
    rng = np.random.default_rng(0)
    sizes = [200, *rng.integers(20, 200, 31).tolist()]
    x = rng.normal(size=(32, 200, 128)).astype(np.float32)
    one_x, other_x, other_sizes = torch.tensor(x), paddle.to_tensor(x), paddle.to_tensor(sizes)

    def torch_packed():
        sequence = torch.nn.utils.rnn.pack_padded_sequence(one_x, sizes, batch_first=True, enforce_sorted=False)
        torch.nn.utils.rnn.pad_packed_sequence(one(sequence)[0], batch_first=True)[0].sum().backward()

    found = medians(
        5,
        torch_packed=torch_packed,
        torch_padded=lambda: one(one_x)[0].sum().backward(),
        paddle_lengths=lambda: other(other_x, sequence_length=other_sizes)[0].sum().backward(),
        paddle_padded=lambda: other(other_x)[0].sum().backward(),
    )
    return {
        "packed": found["torch_packed"] / found["torch_padded"],
        "lengths": found["paddle_lengths"] / found["paddle_padded"],
        "frameworks": found["paddle_padded"] / found["torch_padded"],
    }


@difference(
    SECTION,
    "The backward pass of the maximum over time",
    torch="`max(dim)` and `amax` are not slow.",
    paddle="The backward pass of `max` and `amax` is slow, except over the last axis.",
    effect="Maximum over 128 steps of an array `[16, 128, 128]`, forward and backward, one thread, relative to `argmax`"
    " and indexing. Paddle: `max` takes {paddle_max:.0f} times as long, `amax` {paddle_amax:.0f} times. PyTorch:"
    " {torch_max:.1f} and {torch_amax:.1f}.",
    ours="`argmax` and indexing: `PooledHead.pool` in"
    " [backends/paddle/heads/pooled.py](../backends/paddle/heads/pooled.py).",
    size="Paddle's `max` over time takes {paddle_max:.0f} times as long",
    older="`max` takes {paddle_max:.1f} times as long, `amax` {paddle_amax:.0f} times.",
    claim=lambda f: min(f["paddle_max"], f["paddle_amax"]) > 20 > max(f["torch_max"], f["torch_amax"]),
    slow=True,
)
def max_backward():
    """Time the maximum over the middle axis with its gradient, by each function and by indexing."""
    x = np.random.default_rng(0).normal(size=(16, 128, 128)).astype(np.float32)
    one, other = torch.tensor(x, requires_grad=True), paddle.to_tensor(x, stop_gradient=False)

    def paddle_position():
        with paddle.no_grad():
            flat = other.argmax(axis=1) + (paddle.arange(16) * 128).unsqueeze(1)
            flat = flat * 128 + paddle.arange(128)
        other.reshape([-1]).gather(flat.reshape([-1])).sum().backward()

    def torch_position():
        with torch.no_grad():
            flat = (one.argmax(1) + (torch.arange(16) * 128)[:, None]) * 128 + torch.arange(128)
        one.reshape(-1).index_select(0, flat.reshape(-1)).sum().backward()

    found = medians(
        5,
        paddle_max=lambda: other.max(axis=1).sum().backward(),
        paddle_amax=lambda: other.amax(axis=1).sum().backward(),
        paddle_position=paddle_position,
        torch_max=lambda: one.max(1).values.sum().backward(),
        torch_amax=lambda: one.amax(1).sum().backward(),
        torch_position=torch_position,
    )
    return {
        f"{name}_{kind}": found[f"{name}_{kind}"] / found[f"{name}_position"]
        for name in ("paddle", "torch")
        for kind in ("max", "amax")
    }
