"""Parity check, rung 3: training in lockstep.

Every side takes the same step before the next one, so that the first step, and the first tensors, that differ can be
named. In float64 differences have a limit. In float32 rounding errors grow with the steps until the runs diverge, in
bfloat16 sooner: there the first `EARLY_STEPS` steps have a limit, and later differences are recorded.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from core.data.dataset import Dataset
from core.models.model import initial_parameters, parameter_table
from core.models.types import Arrays
from core.parity.findings import Finding, distances, named, pairs, ratio, widest
from core.parity.layers import Sides, engine_of
from core.spec.experiment import Experiment
from core.train.steps import steps_from

TRAINING_LIMIT = {"float64": 1e-9, "float32": None, "bfloat16": None}
EARLY_STEPS = 3
EARLY_LIMIT = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 1e-2}
"""Limit of |a - b| / |b - start| of each tensor in the first steps, by Euclidean norms.

It is about 1 or more for a tensor that one side does not train. Over the training runs of `tasks.parity --all` it was
at most 8.1e-5 in float32 and 5.9e-4 in bfloat16. The largest entry is no measure here: Adam moves an entry whose
gradient is rounding error as far as any other.
"""

EARLY = f"parameters in the first {EARLY_STEPS} steps, relative to their change"
MOVED = "parameters that only one side trains"
"""Quantities with a limit in every dtype."""


@dataclass(frozen=True)
class Comparison:
    """One training run, on encoded texts, that all sides are to compute."""

    experiment: Experiment
    train_set: Dataset
    dev_set: Dataset
    sides: Sides
    steps: int
    """Number of steps from the beginning of the run."""

    @property
    def unlabeled(self) -> Dataset | None:
        """The dev texts, which are to join every batch without their labels; None for a spec without such texts."""
        return self.dev_set if self.experiment.training.unlabeled_batch_size else None


@dataclass
class Trained:
    """Results of rung 3 by side: losses and gradient norms [steps], final parameters."""

    losses: dict[str, np.ndarray]
    grad_norms: dict[str, np.ndarray]
    parameters: dict[str, Arrays] = field(repr=False)
    clipped: int | None
    """Number of steps with clipped gradients; None if `clip_mode` is not global."""
    unmoved: list[str] = field(default_factory=list)
    """Trainable parameters that no step changed, on any side."""

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

    Compares the loss of every step (absolute), the parameters after each of the first steps (relative to their
    change), and all parameters and optimizer state after 1, 2, 5, 10, 20, ... steps and the last one, relative to each
    tensor's largest entry. For optimizer state this is the largest entry so far, as a moment passes through zero. The
    learning-rate schedule is that of the complete run.
    """
    experiment, sides = comparison.experiment, comparison.sides
    start = initial_parameters(experiment.model, experiment.training.seed, experiment.training.array_dtype)
    engines = {name: engine_of(side, experiment, start) for name, side in sides.items()}
    early = {pair: Early(start, experiment.training.dtype) for pair in pairs(list(sides))}
    stats = {name: [] for name in sides}
    parameters: dict[str, Arrays] = {}
    watched = {(one, other): (Watched("optimizer state"), Watched("parameters")) for one, other in pairs(list(sides))}
    dtype = experiment.training.dtype
    steps = steps_from(experiment, comparison.train_set, unlabeled=comparison.unlabeled)
    plan = list(itertools.islice(steps, comparison.steps))
    compared_steps = comparison_steps(len(plan))
    for step, batch, rate in plan:
        for name, engine in engines.items():
            engine.train_step(batch, step, rate)
            stats[name] += engine.collect()
        if step < EARLY_STEPS:
            parameters = {name: engine.parameters() for name, engine in engines.items()}
            for (one, other), found in early.items():
                found.update(step + 1, parameters[one], parameters[other])
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
        findings.append(Finding(3, compared, EARLY, dtype, **early[one, other].figures))
        findings.append(moved_finding(compared, dtype, start, parameters[one], parameters[other]))
    norms = {name: np.array([entry.grad_norm for entry in rows]) for name, rows in stats.items()}
    clipped = None
    if experiment.training.clip_mode == "global":
        clipped = int((next(iter(norms.values())) > experiment.training.clip_norm).sum())
    trainable = [row.name for row in parameter_table(experiment.model) if row.trainable]
    unmoved = [name for name in trainable if not any(moved(start, own, name) for own in parameters.values())]
    return findings, Trained(losses, norms, parameters, clipped, unmoved)


class Watched:
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


class Early:
    """Comparison of the parameters in the first steps, relative to how far they moved."""

    def __init__(self, start: Arrays, dtype: str) -> None:
        self.start, self.limit = start, EARLY_LIMIT[dtype]
        self.figures: dict = {"value": -1.0}

    def update(self, step: int, one: Arrays, other: Arrays) -> None:
        values, first = {}, self.figures.get("first", "")
        for name, array in other.items():
            exact = array.astype(np.float64)
            # A learning rate near 0 moves a parameter by few units in the last place: those are no difference.
            scale = norm(exact - self.start[name]) + 1e-4 * norm(exact)
            values[name] = ratio(norm(distances(one[name], array)), scale)
        beyond = [name for name, value in values.items() if not value <= self.limit]
        if beyond and not first:
            first = f"after step {step}: {named(beyond)}"
            self.figures |= {"step": step}
        worst = max(values, key=values.__getitem__)
        if values[worst] > self.figures["value"]:
            absolute = float(distances(one[worst], other[worst]).max())
            where = f"{worst} after step {step}"
            self.figures |= {"absolute": absolute, "relative": values[worst], "value": values[worst], "where": where}
        self.figures |= {"first": first, "limit": self.limit}


def norm(array: np.ndarray) -> float:
    """Return the Euclidean norm of all entries."""
    return float(np.sqrt(np.square(array).sum()))


def moved_finding(compared: str, dtype: str, start: Arrays, one: Arrays, other: Arrays) -> Finding:
    """Compare which parameters training changed at all; `value` is the number that only one side changed."""
    apart = [name for name in start if moved(start, one, name) != moved(start, other, name)]
    return Finding(
        rung=3,
        compared=compared,
        quantity=MOVED,
        dtype=dtype,
        absolute=float(len(apart)),
        relative=len(apart) / len(start),
        where=named(apart) or "none",
        value=float(len(apart)),
        limit=0.0,
        first=f"after the last step: {named(apart)}" if apart else "",
        step=EARLY_STEPS + 1 if apart else 0,
    )


def moved(start: Arrays, found: Arrays, name: str) -> bool:
    return start[name].tobytes() != found[name].tobytes()


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
