"""Worker process of `tasks.speed`: reads one request per line on standard input, answers each with a line of JSON.

`python -m tasks.speed` starts it; it is not meant to be started by hand.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np

import backends
from backends import implementations, kernels
from core.benchmark.shapes import Shape
from core.benchmark.step_flops import step_flops
from core.benchmark.step_profile import parts, timed_parts
from core.benchmark.timing import Stopwatch
from core.engine.executor import Executor
from core.models.encoders.recurrent import Cell, RecurrentEncoder
from core.models.model import Model, initial_parameters, parameter_table
from core.spec.experiment import Experiment
from core.spec.training import learning_rate
from core.train.optimizer_state import moment_kinds

PEAK_SIZE = 1536
"""Size of the square matrices: smaller products miss the peak, larger ones take longer than many rows."""
PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""
ENOUGH_SECONDS, LONG_SECONDS = 0.05, 1.0
"""Warm-up repeats calls for ENOUGH_SECONDS to estimate their time, unless the first takes LONG_SECONDS.

The first call of a process took more than 0.3 s, for a layer of a tenth of a millisecond.
"""


@dataclass(frozen=True)
class Layers:
    """The layers that a process times."""

    cell: Cell
    shape: Shape
    lengths: list[int]
    """Length of every sequence."""
    dtype: str

    @classmethod
    def read(cls, tree: dict) -> Layers:
        """Return the layers in a request."""
        return cls(**{**tree, "shape": Shape(**tree["shape"])})


class Worker:
    """One framework, or NumPy alone, with its prepared layers. Each public method serves one request.

    Timings use `timeit`, which disables Python's garbage collector.
    """

    def __init__(self) -> None:
        self.side: Any = None
        """The backend; None for NumPy alone."""
        self.matrices: dict[str, list] = {}
        self.forget()

    def start(self, backend: str | None, plain: bool, threads: int) -> dict:
        """Import the framework; return its versions and its thread count, None if not set."""
        if backend is None:
            return {"versions": {"numpy": np.__version__}, "threads": threads}
        if plain:
            importlib.import_module(backend)
        self.side = backends.load(backend)
        kernels.set_threads(threads)
        told = os.environ.get("OMP_NUM_THREADS", "")
        return {"versions": self.side.versions(), "threads": int(told) if told.isdigit() else None}

    def peak(self, dtype: str) -> dict:
        """Measure the FLOP/s of a product of square matrices."""
        if dtype not in self.matrices:
            rng = np.random.default_rng(0)
            matrices = [rng.random((PEAK_SIZE, PEAK_SIZE), dtype=np.dtype(dtype)) for _ in range(2)]
            if self.side is not None:
                runtime = self.side.runtime
                matrices = [runtime.to_tensor(matrix, runtime.native_device("cpu")) for matrix in matrices]
            self.matrices[dtype] = matrices
            _ = matrices[0] @ matrices[1]
        one, other = self.matrices[dtype]
        _ = one[:256] @ other  # wakes the threads
        return {"flops_per_second": 2.0 * PEAK_SIZE**3 / timeit(lambda: one @ other, number=1)}

    def prepare(self, implementation: str, training: bool, layers: dict) -> dict:
        """Set up layers, call them until they are warm, and return how long a call takes and which code it runs."""
        own, ran = Layers.read(layers), implementation
        if implementation not in self.side.NATIVE:
            ran = implementations.resolve_implementation(
                implementation, "cpu", Model(encoder=RecurrentEncoder(cell=own.cell))
            )
        if implementation not in self.probes:
            real = np.array(own.lengths, dtype=np.int64)
            if not self.arrays:  # one set for all implementations
                self.arrays = own.shape.arrays(own.cell, real, own.dtype, 0)
            self.probes[implementation] = self.side.LayerProbe(
                own.shape.encoder(own.cell), self.arrays, real, Executor("cpu", ran)
            )
        call = self._call(implementation, training)
        seconds = [timeit(call, number=1)]
        # The first call includes set-up, which is negligible if the call is that long.
        while sum(seconds) < LONG_SECONDS and sum(seconds[1:]) < ENOUGH_SECONDS:
            seconds.append(timeit(call, number=1))
        return {"seconds": float(np.median(seconds[1:] or seconds)), "ran": ran}

    def time(self, implementation: str, training: bool, calls: int, discard: int) -> dict:
        """Return the mean seconds of `calls` calls, after `discard` untimed ones that warm caches and threads."""
        call = self._call(implementation, training)
        for _ in range(discard):
            call()
        return {"seconds": timeit(call, number=calls) / calls}

    def _call(self, implementation: str, training: bool) -> Callable[[], None]:
        probe = self.probes[implementation]
        return probe.train if training else probe.infer

    def begin_steps(self, experiment: dict, file: str, implementation: str) -> dict:
        """Create an engine in the middle of training; `file` holds a data set and the rows of some batches."""
        self.experiment = Experiment.model_validate(experiment)
        model, training = self.experiment.model, self.experiment.training
        ran = implementations.resolve_implementation(implementation, "cpu", model)
        parameters = initial_parameters(model, training.seed, training.array_dtype)
        engine = self.engines[implementation] = self.side.Engine(model, training, parameters, Executor("cpu", ran))
        # After an epoch every word has moments. Before, a step that knows which have none is cheaper.
        moments = {
            f"{kind}/{row.name}": np.full(row.shape, 1e-4, dtype=training.array_dtype)
            for kind in moment_kinds(training.optimizer)
            for row in parameter_table(model)
            if row.trainable
        }
        engine.load(parameters, moments, 1000)
        self.batches = pickle.loads(Path(file).read_bytes())
        return {"ran": ran}

    def step(self, implementation: str, number: int, discard: int) -> dict:
        """Time one training step on batch `number`, after `discard` untimed ones.

        Return the seconds in total and by part, the number of real tokens, and the operations (`step_flops`).
        """
        for _ in range(discard):
            self.step(implementation, number, 0)
        engine, watch, (dataset, batches) = self.engines[implementation], Stopwatch(), self.batches
        training, encoder, rows = self.experiment.training, self.experiment.model.encoder, batches[number]
        rate = learning_rate(training.schedule, training.optimizer.learning_rate, number, len(batches))

        def step() -> None:
            with watch.part("rest"):
                with watch.part("batch"):
                    batch = dataset.batch(rows)
                engine.train_step(batch, number, rate)

        with timed_parts(self.side, engine, encoder, watch):
            seconds = timeit(step, number=1)
        engine.collect()
        by_part = {part: watch.seconds[part] for part in parts(encoder)}
        lengths = dataset.lengths[rows]
        flops = step_flops(self.experiment.model, training, lengths)
        return {"seconds": seconds, "parts": by_part, "tokens": int(lengths.sum()), "flops": flops}

    def forget(self) -> dict:
        """Free layers, engines and their arrays."""
        self.probes, self.arrays, self.engines = {}, {}, {}
        self.experiment: Any = None
        self.batches: Any = None
        gc.collect()
        return {}


def main() -> int:
    # Ctrl-C in the terminal is handled by the parent, which kills its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # A stopped process cannot notice that its parent was killed: the kernel kills it then.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    worker = Worker()
    # Frameworks may print anything: answers go to the original standard output, all else to standard error.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            try:
                request = json.loads(line)
                answer = getattr(worker, request.pop("do"))(**request)
            except Exception as error:  # the parent prints it in one line and exits
                text = " ".join(str(error).split())
                answer = {"error": f"{type(error).__name__}: {text}"[:400]}
            print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
