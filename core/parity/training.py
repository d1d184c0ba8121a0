"""Parity check, rungs 3 to 5: training in lockstep, change of backend, predictions.

In lockstep every side takes the same step before the next one, so that the first step, and the first tensors, that
differ can be named. In float64 differences have a limit. In float32 rounding errors grow with the steps until the runs
diverge, in bfloat16 sooner; there differences are recorded only.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.batch import Batch, pad
from core.data.dataset import Dataset
from core.engine.contract import Engine
from core.models.model import initial_parameters
from core.models.types import Arrays
from core.parity.findings import Finding, distances, named, pairs, ratio, widest
from core.parity.instances import random_parameters, well_conditioned
from core.parity.layers import Sides, compare_forward, compare_gradients, engine_of
from core.rng import generator
from core.spec.experiment import Experiment, replace
from core.train.metrics import evaluate
from core.train.run_folder import RunFolder, TrainingState
from core.train.steps import steps_from
from core.train.trainer import Session, train

TRAINING_LIMIT = {"float64": 1e-9, "float32": None, "bfloat16": None}
TIE = {"float64": 0.0, "float32": 1e-5, "bfloat16": 2e-3}
"""Difference of two class probabilities below which a prediction is a tie."""


PROBE_ROWS = 6
"""Number of texts of rungs 1 and 2, the first truncated to one token."""
EVALUATED = 500
"""Maximum number of texts whose predictions rung 5 compares."""


@dataclass(frozen=True)
class Comparison:
    """One training run, on encoded texts, that all sides are to compute."""

    experiment: Experiment
    train_set: Dataset
    dev_set: Dataset
    sides: Sides
    steps: int
    """Number of steps from the beginning of the run."""


@dataclass
class Trained:
    """Results of rung 3 by side: losses and gradient norms [steps], final parameters."""

    losses: dict[str, np.ndarray]
    grad_norms: dict[str, np.ndarray]
    parameters: dict[str, Arrays] = field(repr=False)
    clipped: int | None
    """Number of steps with clipped gradients; None if `clip_mode` is not global."""

    @property
    def steps(self) -> int:
        return len(next(iter(self.losses.values())))


def no_report(done: int, total: int) -> None:
    """Show nothing."""


def comparison_steps(steps: int) -> set[int]:
    """Return the steps after which all arrays are compared: 1, 2, 5, 10, 20, 50, ...

    and the last.
    """
    return {look * 10**power for power in range(6) for look in (1, 2, 5) if look * 10**power < steps} | {steps}


def compare_training(comparison: Comparison, report=no_report) -> tuple[list[Finding], Trained]:
    """Train the first steps of the spec's run in lockstep from the same values (rung 3).

    Compares the loss of every step (absolute), and all parameters and optimizer state after 1, 2, 5, 10, 20, ... steps
    and the last one, relative to each tensor's largest entry. For optimizer state this is the largest entry so far, as
    a moment passes through zero. The learning-rate schedule is that of the complete run.
    """
    experiment, sides = comparison.experiment, comparison.sides
    engines = _starting_engines(experiment, sides)
    stats = {name: [] for name in sides}
    parameters: dict[str, Arrays] = {}
    watched = {(one, other): (_Watched("optimizer state"), _Watched("parameters")) for one, other in pairs(list(sides))}
    dtype = experiment.training.dtype
    plan = list(itertools.islice(steps_from(experiment, comparison.train_set), comparison.steps))
    compared_steps = comparison_steps(len(plan))
    for step, batch, rate in plan:
        for name, engine in engines.items():
            engine.train_step(batch, step, rate)
            stats[name] += engine.collect()
        if step + 1 in compared_steps:
            moments = {name: engine.moments() for name, engine in engines.items()}
            parameters = {name: engine.parameters() for name, engine in engines.items()}
            for (one, other), (state, values) in watched.items():
                state.update(step + 1, moments[one], moments[other], dtype)
                values.update(step + 1, parameters[one], parameters[other], dtype)
        report(step + 1, len(plan))
    losses = {name: np.array([entry.loss for entry in rows]) for name, rows in stats.items()}
    findings = []
    for (one, other), kinds in watched.items():
        compared = f"{one} ~ {other}"
        findings.append(curve_finding(3, compared, dtype, losses[one], losses[other]))
        for kind in kinds:
            if kind.figures:
                findings.append(Finding(3, compared, f"{kind.what} during {len(plan)} steps", dtype, **kind.figures))
    norms = {name: np.array([entry.grad_norm for entry in rows]) for name, rows in stats.items()}
    clipped = None
    if experiment.training.clip_mode == "global":
        clipped = int((next(iter(norms.values())) > experiment.training.clip_norm).sum())
    return findings, Trained(losses, norms, parameters, clipped)


class _Watched:
    """Repeated comparison of named arrays: largest difference, first one beyond the limit."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.figures: dict = {}
        self._sizes: dict[str, float] = {}

    def update(self, step: int, one: Arrays, other: Arrays, dtype: str) -> None:
        if not one:
            return
        for name, array in other.items():
            size = float(np.abs(array).max())
            self._sizes[name] = size if self.what == "parameters" else max(size, self._sizes.get(name, 0.0))
        found = {**widest(one, other, TRAINING_LIMIT[dtype], self._sizes), "step": 0}
        found["where"] += f" after step {step}"
        if found["first"]:
            found.update(first=f"after step {step}: {found['first']}", step=step)
        if not self.figures:
            self.figures = found
            return
        began = self.figures if self.figures["first"] else found
        self.figures = max(self.figures, found, key=lambda figures: figures["value"])
        self.figures.update(first=began["first"], step=began["step"])


def _starting_engines(experiment: Experiment, sides: Sides) -> dict[str, Engine]:
    training = experiment.training
    start = initial_parameters(experiment.model, training.seed, training.array_dtype)
    return {name: engine_of(side, experiment, start) for name, side in sides.items()}


def curve_finding(rung: int, compared: str, dtype: str, one: np.ndarray, other: np.ndarray) -> Finding:
    """Compare two loss curves [steps] step by step, absolutely."""
    limit = TRAINING_LIMIT[dtype]
    differences = distances(one, other)
    place = int(differences.argmax())
    beyond = [] if limit is None else (np.flatnonzero(differences > limit) + 1).tolist()
    absolute = float(differences[place])
    return Finding(
        rung=rung,
        compared=compared,
        quantity=f"loss of {len(one)} steps",
        dtype=dtype,
        absolute=absolute,
        relative=ratio(absolute, float(np.abs(other).max())),
        where=f"step {place + 1}",
        value=absolute,
        limit=limit,
        first=named([f"step {step}" for step in beyond]),
        step=beyond[0] if beyond else 0,
    )


class _Silent:
    """An observer that shows nothing."""

    def on_interval(self, interval) -> None:
        pass

    def on_evaluating(self, done, total) -> None:
        pass

    def on_evaluation(self, epoch, step, evaluation, is_best) -> None:
        pass


def compare_routes(comparison: Comparison, workspace: Path, report=no_report) -> list[Finding]:
    """Compare runs that change backend on resume with an uninterrupted run (rung 4).

    A run changes its side after a third of the steps and changes back after two thirds, with its run folder as the only
    state. The uninterrupted run uses the first side. Run folders are created in `workspace`.
    """
    sides, steps = comparison.sides, comparison.steps
    names = sorted(sides)
    routes = [(first, second, first) for first, second in itertools.permutations(names, 2)]
    cuts = [-(-steps * leg // 3) for leg in (1, 2, 3)]
    done = itertools.count(1)
    total = steps * (1 + len(routes))

    def tick() -> None:
        report(next(done), total)

    base = RunFolder.create(workspace / f"{names[0]}-throughout")
    parameters = _leg(comparison, names[0], base, steps, tick)
    curve, dtype, findings = _losses(base), comparison.experiment.training.dtype, []
    for route in routes:
        folder, arrived = RunFolder.create(workspace / "-".join(route)), parameters
        for name, cut in zip(route, cuts, strict=True):
            arrived = _leg(comparison, name, folder, cut, tick)
        compared = f"{' > '.join(route)} ~ {names[0]}"
        findings.append(curve_finding(4, compared, dtype, _losses(folder), curve))
        found = widest(arrived, parameters, TRAINING_LIMIT[dtype])
        findings.append(Finding(4, compared, f"parameters after {len(curve)} steps", dtype, **found, step=len(curve)))
    return findings


def _leg(comparison: Comparison, side: str, folder: RunFolder, until: int, tick) -> Arrays:
    """Resume from the folder with a new engine of `side` up to step `until`; return the parameters."""
    experiment, training = comparison.experiment, comparison.experiment.training
    state, moments = TrainingState(), {}
    parameters = initial_parameters(experiment.model, training.seed, training.array_dtype)
    if (folder.path / "last.safetensors").exists():
        parameters, moments, state = folder.read_last(experiment.model)
    if state.step >= until:
        return parameters
    engine = engine_of(comparison.sides[side], experiment, parameters)
    engine.load(parameters, moments, state.step)
    folder.forget_metrics_after(state.step)

    def stop() -> bool:
        tick()
        return state.step >= until

    train(engine, Session(experiment, comparison.train_set, comparison.dev_set, folder, state), _Silent(), stop)
    return engine.parameters()


def _losses(folder: RunFolder) -> np.ndarray:
    return np.array([line["loss"] for line in folder.read_metrics() if line["split"] == "train"])


def compare_predictions(
    experiment: Experiment, trained: dict[str, Arrays], dataset: Dataset, sides: Sides
) -> list[Finding]:
    """Compare the predictions of each side's trained model in all other sides (rung 5).

    All predictions for `dataset` must be equal, except for ties. `absolute` is the largest difference of a probability,
    `relative` the share of different predictions.
    """
    dtype, findings = experiment.training.dtype, []
    for source, parameters in trained.items():
        evaluations = {
            name: evaluate(engine_of(side, experiment, parameters).logits, experiment.model.head, dataset)
            for name, side in sides.items()
        }
        own = evaluations.pop(source)
        top = np.sort(own.probabilities, axis=1)
        tie = top[:, -1] - top[:, -2] < TIE[dtype]
        for name, evaluation in evaluations.items():
            differs = (evaluation.predicted != own.predicted) & ~tie
            distance = np.abs(evaluation.probabilities - own.probabilities).max(axis=1)
            findings.append(
                Finding(
                    rung=5,
                    compared=f"trained in {source}, evaluated in {name}",
                    quantity=f"predictions of {len(dataset):,} texts",
                    dtype=dtype,
                    absolute=float(distance.max()),
                    relative=float(differs.mean()),
                    where=f"{int(differs.sum())} differ" + (f", {int(tie.sum())} ties" if tie.any() else ""),
                    value=float(differs.mean()),
                    limit=0.0,
                    first=named([dataset.names[row] for row in np.flatnonzero(differs)]),
                )
            )
    return findings


def run_parity_check(
    comparison: Comparison, seed: int, workspace: Path, report: Callable[[str, int, int], None]
) -> tuple[list[Finding], Trained | None]:
    """Run all five rungs of the parity check for one spec in its dtype.

    `seed` keys the random parameters and texts of rungs 1 and 2. A single side is compared with the reference, which
    does not train, in rungs 1 and 2 only. Rung 3 takes all steps, rung 4 at most 30 of them per route.
    `report(what, done, total)` reports progress.
    """
    if comparison.experiment.training.dropout_masks != "shared":
        shared = replace(comparison.experiment, {"training.dropout_masks": "shared"})
        comparison = dataclasses.replace(comparison, experiment=shared)
    experiment, sides = comparison.experiment, comparison.sides
    rng = generator(seed, "probe")
    parameters, batch = well_conditioned(
        experiment, lambda: (random_parameters(experiment, rng), probe_batch(comparison.train_set, rng))
    )
    report("rung 1", 0, 1)
    findings = compare_forward(experiment, parameters, batch, sides)
    report("rung 2", 0, 1)
    findings += compare_gradients(experiment, parameters, batch, sides)
    if len(sides) < 2:
        return findings, None
    found, trained = compare_training(comparison, lambda done, total: report("rung 3", done, total))
    findings += found
    routes = dataclasses.replace(comparison, steps=min(30, trained.steps))
    findings += compare_routes(routes, workspace, lambda done, total: report("rung 4", done, total))
    report("rung 5", 0, 1)
    findings += compare_predictions(experiment, trained.parameters, first_texts(comparison.dev_set, EVALUATED), sides)
    return findings, trained


def probe_batch(dataset: Dataset, rng: np.random.Generator) -> Batch:
    """Return a batch of a few texts, the first truncated to one token."""
    rows = rng.choice(len(dataset), min(PROBE_ROWS, len(dataset)), replace=False)
    batch = dataset.batch(rows)
    sequences = [ids[:length] for ids, length in zip(batch.ids, batch.lengths, strict=True)]
    return pad([sequences[0][:1], *sequences[1:]], batch.targets)


def first_texts(dataset: Dataset, most: int) -> Dataset:
    """Return the first `most` texts of a data set."""
    size = min(most, len(dataset))
    end = dataset.offsets[size]
    targets = {name: array[:size] for name, array in dataset.targets.items()}
    return Dataset(dataset.tokens[:end], dataset.offsets[: size + 1], targets, dataset.names[:size])
