"""The ladder, rungs 1 and 2: one model in several frameworks, layer by layer and gradient by gradient.

A side is a backend package under its name; the NumPy reference stands beside them and is the judge. Every comparison
of two sides becomes a `Finding`: how far apart, where, and what was allowed. Rungs 3 to 5, which train, are in
`core/ladder_training.py`; faults planted to see the ladder fail in `core/faults.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from core import derivatives, reference
from core.batches import Batch, pad
from core.contract import Engine
from core.errors import UserError
from core.parameters import parameter_table
from core.precision import nearest_jump, round_bfloat16, rounding_of
from core.reference import Arrays
from core.spec import FRAMEWORK_CELLS, Experiment
from core.streams import generator

Sides = dict[str, "ModuleType | Side"]
"""What is compared, by name: backend packages, or `Side`s of theirs. A package alone computes its recurrent layers with
the framework's own, or where it has none with the loop."""


@dataclass(frozen=True)
class Side:
    """A backend package and one implementation of its recurrent layers."""

    package: ModuleType
    implementation: str

    def __getattr__(self, name: str) -> object:
        return getattr(self.package, name)


REFERENCE = "reference"
OUTPUT_LIMIT = {"float64": 1e-12, "float32": 2e-6, "bfloat16": 2e-6}
GRADIENT_LIMIT = {"float64": 1e-10, "float32": 2e-5, "bfloat16": 2e-5}
"""Relative to the largest entry of a tensor. With bfloat16 equal numbers are rounded to equal ones, and no more than
float32's limits is allowed, unless some number is nearer than `KINK` to a jump of the rounding."""
OUTPUT_JUMP, GRADIENT_JUMP = 2e-3, 1e-2
"""There one side may read the next bfloat16, 2^-8 of an entry away. In 90 models of the size of `tasks.parity`'s, where
some number nearly always is so near, outputs were up to 6e-4 apart and gradients 2e-3. That is not far below what the
rounding does at all (2e-3 to 8e-3 of outputs): what is wrong with it is seen in small models."""

ENTRYWISE = 2000
"""Most parameters for which the reference's derivative is taken by every single one; above, along random directions."""

KINK = 1e-6
"""Nearer than this to a kink, float32 may fall on either side of it."""

NAMED = 3
"""Tensors that a finding names of those beyond the limit."""


@dataclass(frozen=True)
class Finding:
    """The largest difference between two sides in one respect."""

    rung: int
    compared: str
    """As in `paddle ~ reference`."""
    quantity: str
    """What was compared, as in `every layer's output`."""
    dtype: str
    absolute: float
    """max|a - b|"""
    relative: float
    """max|a - b| / max|b| of one tensor"""
    where: str
    """The tensor and entry, or the step, of the largest difference."""
    value: float
    """What is held against the limit."""
    limit: float | None
    """None: recorded, not judged."""
    first: str = ""
    """If beyond the limit: the first tensors, in the order in which they are computed, or steps, that are."""
    step: int = 0
    """If beyond the limit, and steps were compared: the first step that is."""

    @property
    def passed(self) -> bool:
        return self.limit is None or self.value <= self.limit


def first_failure(findings: list[Finding]) -> Finding | None:
    """Where two sides first part: on the lowest rung, at the earliest step, in what is computed first."""
    failed = [finding for finding in findings if not finding.passed]
    return min(failed, key=lambda finding: (finding.rung, finding.step), default=None)


def engine_of(side: ModuleType, experiment: Experiment, parameters: Arrays, device: str = "cpu") -> Engine:
    """An engine of the spec that starts with these values. Raises UserError for a dtype that has no limits here."""
    check_dtype(experiment.training.dtype)
    implementation = getattr(side, "implementation", "builtin" if has_builtin(experiment) else "loop")
    return side.Engine(experiment.model, experiment.training, parameters, device, implementation)


def check_dtype(dtype: str) -> None:
    """Raises UserError for one that is not compared: TF32 is a GPU's, which rounds as it likes, and has no limit."""
    if dtype not in OUTPUT_LIMIT:
        *most, last = OUTPUT_LIMIT
        compared = f"{', '.join(most)} and {last}"
        raise UserError(f"dtype {dtype}: the ladder compares {compared}, on the CPU: use --dtype float32")


def has_builtin(experiment: Experiment) -> bool:
    """Whether frameworks have a layer of their own for the cell."""
    return experiment.model.encoder.cell in FRAMEWORK_CELLS


def able(sides: Sides, experiment: Experiment) -> Sides:
    """Those of the sides that can compute the spec: an own layer of the framework's has not every cell."""
    return {
        name: side
        for name, side in sides.items()
        if has_builtin(experiment) or getattr(side, "implementation", None) not in ("builtin", "packed")
    }


def widest(
    found: Arrays, wanted: Arrays, limit: float | None, scales: dict[str, float] | None = None, least_scale: float = 0.0
) -> dict:
    """The figures of a `Finding` over named arrays, in order; both hold the same names and shapes.

    What is held against `limit` is max|a - b| / max(`least_scale`, scale) of each array, its scale being max|b| unless
    `scales` gives another; 0 / 0 is 0, and what is not a number is infinitely far from everything.
    """
    if found.keys() != wanted.keys():
        raise ValueError(f"nothing to compare with: {', '.join(sorted(found.keys() ^ wanted.keys()))}")
    worst, beyond = (-1.0, 0.0, 0.0, ""), []
    for name, array in found.items():
        if array.shape != wanted[name].shape:
            raise ValueError(f"{name}: shape {array.shape} on one side, {wanted[name].shape} on the other")
        differences = distances(array, wanted[name])
        place = np.unravel_index(differences.argmax(), differences.shape)
        absolute = float(differences[place])
        scale = float(np.abs(wanted[name]).max()) if scales is None else scales[name]
        value, relative = ratio(absolute, max(least_scale, scale)), ratio(absolute, scale)
        if value > worst[0]:
            entry = "[" + ", ".join(map(str, place)) + "]" if array.ndim else ""
            worst = (value, absolute, relative, f"{name}{entry}")
        if limit is not None and value > limit:
            beyond.append(name)
    value, absolute, relative, where = worst
    return {
        "absolute": absolute,
        "relative": relative,
        "where": where,
        "value": value,
        "limit": limit,
        "first": named(beyond),
    }


def distances(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """|a - b|, infinite where that is not a number."""
    with np.errstate(invalid="ignore"):
        differences = np.abs(np.subtract(found, wanted, dtype=np.float64))
    return np.where(np.isnan(differences), np.inf, differences)


def ratio(difference: float, scale: float) -> float:
    """difference / scale, where 0 / 0 is 0 and anything else over 0, or over what is not finite, is infinite."""
    if difference == 0.0:
        return 0.0
    return difference / scale if 0.0 < scale < np.inf else float("inf")


def named(names: list[str]) -> str:
    """The first of a list, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Every two sides; those with the reference, which tell who is wrong, come first, the reference second in them."""
    own = sorted(name for name in names if name != REFERENCE)
    judged = [(name, REFERENCE) for name in own] if REFERENCE in names else []
    return judged + list(itertools.combinations(own, 2))


# Random instances.


def random_parameters(experiment: Experiment, rng: np.random.Generator) -> Arrays:
    """Every array unequal everywhere, biases too; row 0 of the embedding is zero, as core keeps it.

    Small enough that few units saturate: where h is 0.9999, float32 leaves 1 - h^2 three digits, in any framework, and
    max pooling picks just these.
    """
    arrays = {}
    for row in parameter_table(experiment.model):
        adds_up = not row.is_bias and row.name != "embedding.weight"
        spread = min(0.35, row.shape[1] ** -0.5) if adds_up else 0.35
        arrays[row.name] = rng.normal(0.0, spread, row.shape).astype(experiment.training.array_dtype)
    arrays["embedding.weight"][0] = 0.0
    return arrays


def random_batch(experiment: Experiment, rng: np.random.Generator, rows: int = 5, longest: int = 7) -> Batch:
    """Random ids of unequal lengths, 1 and `longest` among them, in random order; `rows` >= 2."""
    lengths = rng.permutation([1, longest, *rng.integers(2, longest, rows - 2)])
    ids = [rng.integers(1, experiment.model.embedding.vocab_size, length) for length in lengths]
    return pad(ids, rng.integers(0, experiment.model.head.classes, rows))


def away_from_kinks(experiment: Experiment, draw: Callable[[], tuple[Arrays, Batch]]) -> tuple[Arrays, Batch]:
    """A random instance, `draw()`, drawn again while a kink is nearer than rounding; at most 50 times."""
    drawn = [draw()]
    while margin(experiment, *drawn[-1]) < KINK and len(drawn) < 50:
        drawn.append(draw())
    return max(drawn, key=lambda instance: margin(experiment, *instance)) if len(drawn) == 50 else drawn[-1]


def jumps_are_near(experiment: Experiment, parameters: Arrays, batch: Batch) -> bool:
    """Whether rounding to bfloat16 may fall on either side, with or without the dropout of step 0."""
    return nearest_of_all_jumps(experiment, parameters, batch) < KINK


def nearest_of_all_jumps(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """How far the nearest of all numbers that matrix products read is from a jump of the rounding to bfloat16."""
    if experiment.training.dtype != "bfloat16":
        return np.inf
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    found: list[float] = []

    def noting(x: np.ndarray) -> np.ndarray:
        found.append(nearest_jump(x, KINK))
        return round_bfloat16(x)

    for dropout in (reference.no_dropout, derivatives.shared_dropout(experiment, 0)):
        reference.forward(experiment.model, exact, batch, dropout, noting)
    return min(found)


def margin(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """How far the model is from a kink on this batch: the smallest lead of a maximum that pooling takes, or distance of
    a rectified unit from zero, or of a number from a jump of bfloat16. Nearer than rounding, two frameworks may rightly
    stand on different sides of it."""
    model, smallest = experiment.model, nearest_of_all_jumps(experiment, parameters, batch)
    rectified = model.head.hidden_size is not None and model.head.activation == "relu"
    if model.head.pooling != "max" and not rectified:
        return smallest
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    dropping, rounded = derivatives.shared_dropout(experiment, 0), rounding_of(experiment.training.dtype)
    outputs = reference.forward(model, exact, batch, dropping, rounded)
    if model.head.pooling == "max":
        last = outputs[f"encoder.l{model.encoder.num_layers - 1}"]
        for row, length in enumerate(batch.lengths):
            if length > 1:
                top = np.sort(last[row, :length], axis=0)
                smallest = min(smallest, float((top[-1] - top[-2]).min()))
    if rectified:
        features = rounded(dropping(outputs["pooled"], "head.pooled", model.head.dropout))
        units = features @ rounded(exact["head.hidden.weight"]).T + exact["head.hidden.bias"]
        smallest = min(smallest, float(np.abs(units).min()))
    return smallest


# Rungs.


def compare_forward(experiment: Experiment, parameters: Arrays, batch: Batch, sides: Sides) -> list[Finding]:
    """Rung 1: every layer's output, without dropout and with that of step 0, between every two sides.

    Differences are absolute, and relative to the largest output of a layer where that is above 1.
    """
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    dropping, rounded = derivatives.shared_dropout(experiment, 0), rounding_of(experiment.training.dtype)
    outputs = {
        REFERENCE: (
            reference.forward(experiment.model, exact, batch, rounded=rounded),
            reference.forward(experiment.model, exact, batch, dropping, rounded),
        )
    }
    for name, side in sides.items():
        engine = engine_of(side, experiment, parameters)
        outputs[name] = (engine.activations(batch), engine.activations(batch, 0))
    layers = {
        name: {**plain, **{f"{layer} (with dropout)": array for layer, array in dropped.items()}}
        for name, (plain, dropped) in outputs.items()
    }
    dtype = experiment.training.dtype
    limit = OUTPUT_JUMP if jumps_are_near(experiment, parameters, batch) else OUTPUT_LIMIT[dtype]
    return [
        Finding(
            rung=1,
            compared=f"{one} ~ {other}",
            quantity="every layer's output",
            dtype=dtype,
            **widest(layers[one], layers[other], limit, least_scale=1.0),
        )
        for one, other in pairs(list(layers))
    ]


def compare_gradients(experiment: Experiment, parameters: Arrays, batch: Batch, sides: Sides) -> list[Finding]:
    """Rung 2: the loss of step 0, with its dropout, and its gradient by every trainable parameter.

    Sides are compared entry by entry. The reference gives exact derivatives: of every entry of a small model; of a
    larger one along a random direction per tensor, in which every entry has its part, relative to the gradient's norm.
    Order: from the loss backwards, as gradients are computed.
    """
    found = {}
    for name, side in sides.items():
        loss, arrays = engine_of(side, experiment, parameters).gradients(batch, 0)
        found[name] = {"loss": np.array(loss), **dict(reversed(arrays.items()))}
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    loss = np.array(float(derivatives.training_loss(experiment, exact, batch, 0)))
    table = [row for row in reversed(parameter_table(experiment.model)) if row.trainable]
    dtype, findings = experiment.training.dtype, []
    limit = GRADIENT_JUMP if jumps_are_near(experiment, parameters, batch) else GRADIENT_LIMIT[dtype]
    if sum(array.size for array in parameters.values()) <= ENTRYWISE:
        arrays = derivatives.gradients(experiment, exact, batch, 0)
        found[REFERENCE] = {"loss": loss, **dict(reversed(arrays.items()))}
        quantity = "loss and every gradient"
    else:
        quantity = "loss and every gradient, along random directions"
        directions = {row.name: generator(0, "direction", row.name).normal(size=row.shape) for row in table}
        slopes = {"loss": loss}
        for row in table:
            slopes[row.name] = np.array(derivatives.slope(experiment, exact, batch, 0, row.name, directions[row.name]))
        for name, own in list(found.items()):
            along = {key: np.array((own[key].astype(np.float64) * d).sum()) for key, d in directions.items()}
            norms = {key: float(np.sqrt(np.square(own[key].astype(np.float64)).sum())) for key in directions}
            figures = widest({"loss": own["loss"], **along}, slopes, limit, {"loss": float(np.abs(loss)), **norms})
            findings.append(Finding(2, f"{name} ~ {REFERENCE}", quantity, dtype, **figures))
    for one, other in pairs(list(found)):
        figures = widest(found[one], found[other], limit)
        findings.append(Finding(2, f"{one} ~ {other}", "loss and every gradient", dtype, **figures))
    return findings
