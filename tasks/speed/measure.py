"""The rounds of `tasks.speed`: whose turn it is, what is timed beside it, and whether others disturbed it.

Clocks of such machines wander by a factor of two within seconds, so what is to be compared is timed in turn: a round is
one timing of every row of a case, in an order of its own, and the machine's peak is measured between any two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from core.benchmark.load import OtherWork
from core.benchmark.shapes import Shape
from core.benchmark.step_profile import PARTS
from core.benchmark.timing import Row, Summary, Timing, calls_for, rounds_for, takes_part
from core.data.dataset import Dataset, epoch_order
from core.rng import generator
from core.spec.experiment import Experiment
from tasks.speed.environments import Environment, Worker

LEAST_SECONDS = 0.005
"""Calls shorter than this are timed several together."""
WARM_SECONDS = 0.1
"""Before calls shorter than this, as many are made and not counted; longer ones do not notice that caches were cold."""
DISTURBED = 0.1
"""Of a core: a round in which others used more is marked."""
QUICK_FLOPS = 1e9
"""Of a call: above, `--quick` leaves out what is slow."""

Progress = Callable[[str, int], None]
"""Called with what is being timed, and how many steps of the bar were done."""


@dataclass(frozen=True)
class Plan:
    """What is to be timed, and how often."""

    shapes: tuple[Shape, ...]
    cells: tuple[str, ...]
    passes: tuple[bool, ...]
    """Whether training, for each."""
    implementations: tuple[str, ...]
    rounds: int
    budget: float
    """Seconds that all rounds of one row should take: rows too slow for that take part in fewer."""
    dtype: str
    lengths: str
    """`imdb` or `equal`."""
    recipes: tuple[str, ...]
    """Of which whole training steps are timed."""
    step_rounds: int
    quick: bool
    """Only the rows that `--quick` times."""
    seed: int = 0
    """Of lengths, and of the order within a round."""

    def of(self, environment: Environment) -> tuple[str, ...]:
        """Implementations to time in an environment."""
        there = environment.quick if self.quick else environment.implementations
        return tuple(name for name in self.implementations if name in there)

    def lengths_of(self, shape: Shape) -> np.ndarray:
        return shape.draw_lengths(self.lengths, self.seed)


@dataclass
class Round:
    """One round of a case: how many cores others kept busy meanwhile; None where the system does not tell."""

    of: str
    round: int
    others: float | None

    @property
    def disturbed(self) -> bool:
        return self.others is not None and self.others > DISTURBED


@dataclass
class StepRow:
    """Training steps of a recipe by one framework and implementation. Each timing: `round`, `seconds`, `tokens` and
    seconds of each of `PARTS`."""

    recipe: str
    environment: str
    backend: str
    implementation: str
    ran: str = ""
    timings: list[dict] = field(default_factory=list)

    @property
    def seconds(self) -> Summary:
        return Summary.of(timing["seconds"] for timing in self.timings)

    @property
    def tokens_per_second(self) -> Summary:
        return Summary.of(timing["tokens"] / timing["seconds"] for timing in self.timings)

    def part(self, name: str) -> tuple[Summary, Summary]:
        """Seconds of a part, and its share of the step."""
        return (
            Summary.of(timing["parts"][name] for timing in self.timings),
            Summary.of(timing["parts"][name] / timing["seconds"] for timing in self.timings),
        )

    def tree(self) -> dict:
        """As JSON."""
        parts = {}
        for name in PARTS:
            seconds, share = self.part(name)
            parts[name] = {"seconds": asdict(seconds), "share": asdict(share)}
        figures = {"seconds": asdict(self.seconds), "tokens_per_second": asdict(self.tokens_per_second)}
        return {**vars(self), **figures, "parts": parts}


@dataclass
class Results:
    """Everything that was measured."""

    rows: list[Row] = field(default_factory=list)
    steps: list[StepRow] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)


def count_layers(plan: Plan) -> int:
    """Steps of the progress bar for `time_layers`."""
    return len(plan.shapes) * len(plan.cells) * (1 + plan.rounds * len(plan.passes))


def time_layers(plan: Plan, workers: list[Worker], peak: Worker, results: Results, progress: Progress) -> None:
    """All rows, case by case: a case at a time is in memory."""
    for shape in plan.shapes:
        for cell in plan.cells:
            progress(f"{shape.name}, {cell}: warming up", 0)
            rows = [pair for worker in workers for pair in _prepare(plan, worker, shape, cell)]
            results.rows += [row for row, _ in rows]
            progress(f"{shape.name}, {cell}", 1)
            for round in range(plan.rounds):
                for training in plan.passes:
                    chosen = [
                        (row, worker)
                        for row, worker in rows
                        if row.training == training and takes_part(round, row.rounds, plan.rounds)
                    ]
                    order = generator(plan.seed, shape.name, cell, training, round).permutation(len(chosen))
                    others = OtherWork(worker.pid for worker in (*workers, peak))
                    _time_round(plan, round, [chosen[place] for place in order], peak)
                    name = f"{shape.name}, {cell}, {'training' if training else 'inference'}"
                    results.rounds.append(Round(name, round, others.cores()))
                    progress(f"{name}: round {round + 1}/{plan.rounds}", 1)
            for worker in workers:
                worker.ask("forget")


def _prepare(plan: Plan, worker: Worker, shape: Shape, cell: str) -> list[tuple[Row, Worker]]:
    """A worker's rows of a shape and cell, set up and warm."""
    lengths, environment = plan.lengths_of(shape), worker.environment
    found = []
    for implementation in plan.of(environment):
        for training in plan.passes:
            flops = shape.flops(cell, int(lengths.sum()), training)
            if plan.quick and implementation in environment.slow and flops > QUICK_FLOPS:
                continue
            answer = worker.ask(
                "prepare",
                implementation=implementation,
                training=training,
                cell=cell,
                shape=shape.tree(),
                lengths=lengths.tolist(),
                dtype=plan.dtype,
            )
            row = Row(shape.name, cell, training, environment.name, environment.backend, implementation, flops)
            row.ran, row.calls = answer["ran"], calls_for(answer["seconds"], LEAST_SECONDS)
            row.rounds = rounds_for(answer["seconds"] * row.calls, plan.rounds, plan.budget)
            row.discard = row.calls if answer["seconds"] < WARM_SECONDS else 0
            found.append((row, worker))
    return found


def _time_round(plan: Plan, round: int, rows: list[tuple[Row, Worker]], peak: Worker) -> None:
    before = peak.ask("peak", dtype=plan.dtype)["flops_per_second"]
    for row, worker in rows:
        request = {"implementation": row.implementation, "training": row.training}
        seconds = worker.ask("time", calls=row.calls, discard=row.discard, **request)["seconds"]
        after = peak.ask("peak", dtype=plan.dtype)["flops_per_second"]
        row.timings.append(Timing(round, seconds, before, after))
        before = after


def count_steps(plan: Plan) -> int:
    """Steps of the progress bar for `time_steps`."""
    return len(plan.recipes) * (1 + plan.step_rounds)


def step_implementations(plan: Plan, environment: Environment) -> list[str]:
    """Those whose whole steps are timed there: ours, and what stands in its place without it."""
    there = environment.implementations if "fast" in environment.implementations else ()
    return [name for name in ("fast", "builtin") if name in plan.implementations and name in there]


def write_batches(experiment: Experiment, train: Dataset, count: int, path: str) -> None:
    """The first `count` batches of an epoch, as a worker reads them: texts end to end, and where each batch ends."""
    training = experiment.training
    order = epoch_order(train.lengths, training.batch_size, training.bucket_batches, training.seed, 0)
    rows = [order[number % len(order)] for number in range(count)]
    joined = np.concatenate(rows)
    texts = [train.tokens[train.offsets[row] : train.offsets[row + 1]] for row in joined]
    np.savez(
        path,
        tokens=np.concatenate(texts),
        offsets=np.concatenate(([0], np.cumsum([len(text) for text in texts]))),
        labels=train.labels[joined],
        ends=np.cumsum([len(batch) for batch in rows])[:-1],
    )


def time_steps(
    plan: Plan, experiment: Experiment, file: str, workers: list[Worker], results: Results, progress: Progress
) -> None:
    """Whole training steps of one recipe, on the batches in `file`, which are one more than there are rounds."""
    progress(f"steps, recipe {experiment.recipe}: warming up", 0)
    rows: list[tuple[StepRow, Worker]] = []
    discard = {}
    for worker in workers:
        for implementation in step_implementations(plan, worker.environment):
            name = worker.environment
            row = StepRow(experiment.recipe, name.name, name.backend, implementation)
            request = {"experiment": experiment.model_dump(mode="json"), "file": file}
            row.ran = worker.ask("begin_steps", implementation=implementation, **request)["ran"]
            first = worker.ask("step", implementation=implementation, number=0, discard=1)
            discard[id(row)] = int(first["seconds"] < WARM_SECONDS)
            rows.append((row, worker))
    results.steps += [row for row, _ in rows]
    progress(f"steps, recipe {experiment.recipe}", 1)
    for round in range(plan.step_rounds):
        others = OtherWork(worker.pid for worker in workers)
        for place in generator(plan.seed, "steps", experiment.recipe, round).permutation(len(rows)):
            row, worker = rows[place]
            request = {"number": round + 1, "discard": discard[id(row)]}
            row.timings.append({"round": round, **worker.ask("step", implementation=row.implementation, **request)})
        results.rounds.append(Round(f"steps, {experiment.recipe}", round, others.cores()))
        progress(f"steps, recipe {experiment.recipe}: round {round + 1}/{plan.step_rounds}", 1)
    for worker in workers:
        worker.ask("end_steps")
