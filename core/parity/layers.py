"""The ladder, rungs 1 and 2: one model in several frameworks, layer by layer and gradient by gradient.

A side is a backend package under its name; the NumPy reference stands beside them and is the judge. Every comparison
of two sides becomes a `Finding`: how far apart, where, and what was allowed. Rungs 3 to 5, which train, are in
`core/parity/training.py`; faults planted to see the ladder fail in `core/parity/faults.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from core.batch import Batch
from core.engine.contract import Engine
from core.errors import UserError
from core.models.model import forward, parameter_table
from core.models.precision import rounding_of
from core.models.types import Arrays
from core.parity import derivatives
from core.parity.findings import REFERENCE, Finding, pairs, widest
from core.parity.instances import jumps_are_near
from core.rng import generator
from core.spec.experiment import Experiment

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


def engine_of(side: ModuleType, experiment: Experiment, parameters: Arrays, device: str = "cpu") -> Engine:
    """An engine of the spec that starts with these values. Raises UserError for a dtype that has no limits here."""
    check_dtype(experiment.training.dtype)
    own = experiment.model.encoder.implementations
    implementation = getattr(side, "implementation", "builtin" if "builtin" in own else "loop")
    return side.Engine(experiment.model, experiment.training, parameters, device, implementation)


def check_dtype(dtype: str) -> None:
    """Raises UserError for one that is not compared: TF32 is a GPU's, which rounds as it likes, and has no limit."""
    if dtype not in OUTPUT_LIMIT:
        *most, last = OUTPUT_LIMIT
        compared = f"{', '.join(most)} and {last}"
        raise UserError(f"dtype {dtype}: the ladder compares {compared}, on the CPU: use `training.dtype` float32")


def able(sides: Sides, experiment: Experiment) -> Sides:
    """Those of the sides that can compute the spec: not every implementation has every encoder."""
    own = experiment.model.encoder.implementations
    return {name: side for name, side in sides.items() if getattr(side, "implementation", own[0]) in own}


# Rungs.


def compare_forward(experiment: Experiment, parameters: Arrays, batch: Batch, sides: Sides) -> list[Finding]:
    """Rung 1: every layer's output, without dropout and with that of step 0, between every two sides.

    Differences are absolute, and relative to the largest output of a layer where that is above 1.
    """
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    dropping, rounded = derivatives.shared_dropout(experiment, 0), rounding_of(experiment.training.dtype)
    outputs = {
        REFERENCE: (
            forward(experiment.model, exact, batch, rounded=rounded),
            forward(experiment.model, exact, batch, dropping, rounded),
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
