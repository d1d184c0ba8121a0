"""Rounds of `tasks.speed`: the order of timings, the machine's peak between them, and disturbances by other processes.

Clock rates can change by a factor of two within seconds, so rows to compare are interleaved. A round times every row of
a case once, in random order, and measures the machine's peak between any two timings of PEAK_SECONDS or more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import TypeVar

import numpy as np

from core.benchmark.load import OtherWork
from core.benchmark.shapes import Shape
from core.benchmark.timing import LayerRow, Row, StepRow, calls_for, fit_rounds, rounds_for, takes_part
from core.models.encoders.recurrent import Cell
from core.models.model import Model
from core.rng import generator
from core.spec.experiment import Experiment
from tasks.speed.environments import Environment, Worker
from tasks.speed.series import contenders

LEAST_SECONDS = 0.005
"""Shorter calls are timed several at once."""
WARM_SECONDS = 0.1
"""Shorter calls are preceded by as many untimed ones; for longer calls, cold caches do not matter."""
DISTURBED = 0.1
"""Cores: a round in which other processes used more is marked."""
QUICK_FLOPS = 1e9
"""FLOP per call above which `--quick` skips slow implementations."""
LEAST_STEPS = 2
"""Least rounds of training steps."""
LONG_STEP = 1.0
"""Seconds of a first step that tell its time well enough, though it sets up memory."""
STEPS = ("fast", "builtin")
"""Implementations whose training steps are timed: `fast`, and its replacement where it is unavailable."""
PEAK_SECONDS = 0.25
"""A measurement of the peak counts for so long: many timings of short calls share it."""
LENGTHS = {"imdb": "as in IMDB reviews", "equal": "all equal"}
PASSES = {True: "training", False: "inference"}
"""Names of the passes, by whether they train."""

AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True)
class Plan:
    """What to time, and how often."""

    shapes: tuple[Shape, ...]
    cells: tuple[Cell, ...]
    passes: tuple[bool, ...]
    """Whether each pass trains."""
    implementations: frozenset[str]
    rounds: int
    budget: float
    """Seconds for all rounds of one row: slower rows run fewer rounds."""
    dtype: str
    lengths: str
    """`imdb` or `equal`."""
    recipes: tuple[str, ...]
    """Recipes whose whole training steps are timed."""
    step_rounds: int
    quick: bool
    """Whether to time only the rows of `--quick`."""
    seconds: float
    """Seconds in which the measurement should end: rows run fewer rounds, two at least."""
    seed: int = 0
    """Seed of the lengths, and of the order within a round."""

    def layers_in(self, environment: Environment) -> list[str]:
        """Return the implementations whose layers are timed in an environment."""
        there = environment.quick if self.quick else environment.implementations
        return [name for name in there if self.shapes and name in self.implementations]

    def steps_in(self, environment: Environment, model: Model) -> list[str]:
        """Return the implementations of the model whose training steps are timed in an environment."""
        there = self.implementations & {*model.implementations} if "fast" in environment.implementations else ()
        return [name for name in STEPS if name in there]

    def lengths_of(self, shape: Shape) -> np.ndarray:
        return shape.draw_lengths(self.lengths, self.seed)

    @property
    def count(self) -> int:
        """Number of stages that `time_layers` and `time_steps` yield."""
        layers = len(self.shapes) * len(self.cells) * (1 + self.rounds * len(self.passes))
        return layers + len(self.recipes) * (1 + self.step_rounds)


@dataclass
class Measurement:
    """A plan, its workers by environment (`peak` included), and the results so far."""

    plan: Plan
    workers: dict[str, Worker]
    rows: list[LayerRow] = field(default_factory=list)
    steps: list[StepRow] = field(default_factory=list)
    rounds: list[dict] = field(default_factory=list)
    """Per round: its case `of`, its number `round`, the cores that `others` used (None if unknown), `disturbed`."""
    untimed: list[LayerRow] = field(default_factory=list)
    """Rows that warmed up and were not timed: they are the fastest of no series (`contenders`)."""
    peak: float = 0.0
    """FLOP/s of the last measurement of the peak, which ended at `peak_ended`."""
    peak_ended: float = -math.inf
    peak_seconds: float = 0.0
    """Seconds of that measurement; only the number of rounds depends on it."""
    began: float = field(default_factory=time.perf_counter)

    def _share(self, cases: int) -> float:
        """Return the seconds of the next of `cases` that are left. Cheap ones come first, and leave theirs over."""
        return max(self.began + self.plan.seconds - time.perf_counter(), 0.0) / cases

    def time_layers(self) -> Iterator[str]:
        """Time all rows, with one case in memory at a time. Yield the name of each stage before it runs."""
        plan, cases = self.plan, list(product(self.plan.shapes, self.plan.cells))
        if cases:
            self._warm_peak()
        for number, (shape, cell) in enumerate(cases):
            share = self._share(len(cases) - number + len(plan.recipes))
            ends = time.perf_counter() + share
            yield f"{shape.name}, {cell}: warming up"
            prepared = [row for worker in self.workers.values() for row in self._prepare(worker, shape, cell)]
            rows = [
                row for each in plan.passes for row in contenders([own for own in prepared if own.training == each])
            ]
            self.untimed += [row for row in prepared if row not in rows]
            fit_rounds(rows, ends - time.perf_counter())
            self.rows += rows
            for round, training in product(range(plan.rounds), plan.passes):
                case = f"{shape.name}, {cell}, {PASSES[training]}"
                yield f"{case}: round {round + 1}/{plan.rounds}"
                before = self._peak()
                own = [row for row in rows if row.training == training]
                own = [row for row in own if takes_part(round, row.rounds, plan.rounds)]
                for row in self._turns(own, case, round):
                    answer = self._ask(row, "time", training=training, calls=row.calls, discard=row.discard)
                    after = self._peak()
                    row.timings.append({"round": round, **answer, "peak_before": before, "peak_after": after})
                    before = after
            self._forget(prepared)

    def time_steps(self, experiment: Experiment, file: str) -> Iterator[str]:
        """Time training steps of one recipe on the batches in `file`, one more than rounds.

        Yield the name of each stage before it runs.
        """
        plan, case = self.plan, f"steps, {experiment.recipe}"
        done = len({row.recipe for row in self.steps})
        ends = time.perf_counter() + self._share(max(len(plan.recipes) - done, 1))
        yield f"steps, recipe {experiment.recipe}: warming up"
        self._warm_peak()
        rows = [
            StepRow(environment=name, backend=backend, implementation=one, recipe=experiment.recipe)
            for name, worker in self.workers.items()
            if (backend := worker.environment.backend)
            for one in plan.steps_in(worker.environment, experiment.model)
        ]
        self.steps += rows
        cost = 0.0
        for row in rows:
            row.ran = self._ask(row, "begin_steps", experiment=experiment.model_dump(mode="json"), file=file)["ran"]
            seconds = self._ask(row, "step", number=0, discard=0)["seconds"]
            if seconds < LONG_STEP:
                seconds = self._ask(row, "step", number=0, discard=0)["seconds"]
            row.discard = int(seconds < WARM_SECONDS)
            cost += seconds * (1 + row.discard) + self.peak_seconds
        rounds = max(
            min(plan.step_rounds, int((ends - time.perf_counter()) / cost)), min(LEAST_STEPS, plan.step_rounds)
        )
        for round in range(rounds):
            yield f"steps, recipe {experiment.recipe}: round {round + 1}/{rounds}"
            before = self._peak()
            for row in self._turns(rows, case, round):
                timing = self._ask(row, "step", number=round + 1, discard=row.discard)
                after = self._peak()
                row.timings.append({"round": round, **timing, "peak_before": before, "peak_after": after})
                before = after
        self._forget(rows)

    def _prepare(self, worker: Worker, shape: Shape, cell: Cell) -> Iterator[LayerRow]:
        """Yield a worker's rows of a shape and cell, warmed up."""
        plan, environment, lengths = self.plan, worker.environment, self.plan.lengths_of(shape)
        assert environment.backend, "NumPy alone has no layers"
        for implementation, training in product(plan.layers_in(environment), plan.passes):
            flops = shape.flops(cell, int(lengths.sum()), training)
            if plan.quick and implementation in environment.slow and flops > QUICK_FLOPS:
                continue
            own = {"implementation": implementation, "training": training}
            layers = {"cell": cell, "shape": asdict(shape), "lengths": lengths.tolist(), "dtype": plan.dtype}
            answer = worker.ask("prepare", **own, layers=layers)
            calls = calls_for(answer["seconds"], LEAST_SECONDS)
            discard = calls if answer["seconds"] < WARM_SECONDS else 0
            seconds = answer["seconds"] * (calls + discard)
            yield LayerRow(
                environment=environment.name,
                backend=environment.backend,
                **own,
                cell=cell,
                ran=answer["ran"],
                shape=shape.name,
                flops=flops,
                calls=calls,
                discard=discard,
                cost=seconds + self.peak_seconds * min(seconds / PEAK_SECONDS, 1.0),
                rounds=rounds_for(answer["seconds"] * calls, plan.rounds, plan.budget),
            )

    def _turns(self, rows: Sequence[AnyRow], case: str, round: int) -> Iterator[AnyRow]:
        """Yield the rows in the order of this round, then record the load by other processes."""
        others = OtherWork(worker.pid for worker in self.workers.values())
        for place in generator(self.plan.seed, case, round).permutation(len(rows)):
            yield rows[place]
        cores = others.cores()
        disturbed = cores is not None and cores > DISTURBED
        self.rounds.append({"of": case, "round": round, "others": cores, "disturbed": disturbed})

    def _ask(self, row: Row, do: str, **arguments) -> dict:
        return self.workers[row.environment].ask(do, implementation=row.implementation, **arguments)

    def _peak(self) -> float:
        """Return the FLOP/s of the matrix product, measured at most PEAK_SECONDS ago."""
        if time.perf_counter() > self.peak_ended + PEAK_SECONDS:
            self._measure_peak()
        return self.peak

    def _measure_peak(self) -> None:
        started = time.perf_counter()
        self.peak = self.workers["peak"].ask("peak", dtype=self.plan.dtype)["flops_per_second"]
        self.peak_ended = time.perf_counter()
        self.peak_seconds = self.peak_ended - started

    def _warm_peak(self) -> None:
        """Measure the peak twice: the first time takes longer."""
        for _ in range(2):
            self._measure_peak()

    def _forget(self, rows: Sequence[Row]) -> None:
        for name in {row.environment for row in rows}:
            self.workers[name].ask("forget")
