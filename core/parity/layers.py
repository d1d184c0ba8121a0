"""Parity check, rungs 1 and 2: layer outputs and gradients of one model in several backends.

A side is a backend package by name; all sides are compared with the NumPy reference and each other. Every comparison
yields a `Finding`: the largest difference, its location and the limit. Rungs 3 to 5, which train, are in
`core/parity/training.py`; faults that the check must detect are in `core/parity/faults`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from core.batch import Batch
from core.engine.contract import Engine
from core.engine.executor import Executor
from core.errors import UserError
from core.models.model import forward, parameter_table
from core.models.ngrams import SCALE
from core.models.precision import rounding_of
from core.models.types import Arrays
from core.parity import derivatives
from core.parity.findings import REFERENCE, Finding, pairs, widest
from core.parity.instances import jumps_are_near
from core.rng import generator
from core.spec.experiment import Experiment

Sides = Mapping[str, "ModuleType | Side"]
"""Compared sides by name: backend packages or `Side`s.

A package without a `Side` uses the implementation `builtin`, or `loop` if the encoder has no built-in layer.
"""


@dataclass(frozen=True)
class Side:
    """A backend package and one implementation of its recurrent layers."""

    package: ModuleType
    implementation: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.package, name)


OUTPUT_LIMIT = {"float64": 1e-12, "float32": 2e-6, "bfloat16": 2e-6}


GRADIENT_LIMIT = {"float64": 1e-10, "float32": 2e-5, "bfloat16": 2e-5}
"""Limits relative to the largest entry of a tensor.

bfloat16 has the limits of float32, as equal numbers are rounded equally, unless a number is nearer than `KINK` to a
rounding jump.
"""


LEAST_GRADIENT = 1e-2
"""Minimum scale of a tensor's gradient, as a share of the largest gradient of the model.

A gradient of less is a nearly zero sum of terms as large as those of the others, and has their rounding errors: that of
an attention's query, 5e-4 of the largest, differed by 2.0e-5 of itself and 1.1e-8 of the largest.
"""


OUTPUT_JUMP, GRADIENT_JUMP = 2e-3, 1e-2
"""Limits near a rounding jump, where sides may use adjacent bfloat16 numbers, 2^-8 apart.

In 90 models of the size of those of `tasks.parity`, where some number nearly always is near a jump, outputs differed by
up to 6e-4 and gradients by 2e-3. The total effect of rounding on outputs is not much larger (2e-3 to 8e-3): errors in
rounding are only detected in small models.
"""


ENTRYWISE = 2000
"""Maximum number of parameters with entry-wise reference gradients.

Above, random directions.
"""


def engine_of(side: ModuleType | Side, experiment: Experiment, parameters: Arrays, device: str = "cpu") -> Engine:
    """Return an engine of the spec with these parameters.

    Raises UserError for a dtype without limits.
    """
    check_dtype(experiment.training.dtype)
    own = experiment.model.implementations
    implementation = getattr(side, "implementation", "builtin" if "builtin" in own else "loop")
    return side.Engine(experiment.model, experiment.training, parameters, Executor(device, implementation))


def check_dtype(dtype: str) -> None:
    """Raise UserError for tf32: its rounding depends on the GPU, so it has no limit."""
    if dtype not in OUTPUT_LIMIT:
        *most, last = OUTPUT_LIMIT
        compared = f"{', '.join(most)} and {last}"
        raise UserError(
            f"dtype {dtype}: the parity check supports {compared}, on the CPU: use `training.dtype` float32"
        )


def supporting_sides(sides: Sides, experiment: Experiment) -> Sides:
    """Return the sides whose implementation supports the model of the spec."""
    own = experiment.model.implementations
    return {name: side for name, side in sides.items() if getattr(side, "implementation", own[0]) in own}


# Rungs.


def compare_forward(experiment: Experiment, parameters: Arrays, batch: Batch, sides: Sides) -> list[Finding]:
    """Compare all layer outputs, without dropout and with that of step 0 (rung 1).

    Differences are absolute, or relative to the largest output of a layer if that is above 1.
    """
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    dropping, rounded = derivatives.shared_dropout(experiment, 0), rounding_of(experiment.training.dtype)
    outputs = {
        REFERENCE: (
            forward(experiment.model, exact, batch, rounded=rounded),
            forward(experiment.model, exact, derivatives.training_batch(experiment, batch, 0), dropping, rounded),
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
            quantity="layer outputs",
            dtype=dtype,
            **widest(layers[one], layers[other], limit, least_scale=1.0),
        )
        for one, other in pairs(list(layers))
    ]


def compare_gradients(experiment: Experiment, parameters: Arrays, batch: Batch, sides: Sides) -> list[Finding]:
    """Compare the loss of step 0 with dropout, and the gradients of all parameters (rung 2).

    Sides are compared entry by entry. The reference provides exact derivatives: of every entry of a small model; of a
    larger one along a random direction per tensor, relative to the gradient norm. The order is that of the backward
    pass.
    """
    found = {}
    for name, side in sides.items():
        loss, arrays = engine_of(side, experiment, parameters).gradients(batch, 0)
        found[name] = {"loss": np.array(loss), **dict(reversed(arrays.items()))}
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    shift = derivatives.perturbations(experiment, exact, batch, 0)
    loss = np.array(float(derivatives.training_loss(experiment, exact, batch, 0, shift)))
    table = [row for row in reversed(parameter_table(experiment.model)) if row.trainable]
    dtype, findings = experiment.training.dtype, []
    limit = GRADIENT_JUMP if jumps_are_near(experiment, parameters, batch) else GRADIENT_LIMIT[dtype]
    if sum(array.size for array in parameters.values()) <= ENTRYWISE:
        arrays = derivatives.gradients(experiment, exact, batch, 0, shift)
        found[REFERENCE] = {"loss": loss, **dict(reversed(arrays.items()))}
        quantity = "loss and gradients"
    else:
        quantity = "loss and gradients, along random directions"
        directions = {row.name: generator(0, "direction", row.name).normal(size=row.shape) for row in table}
        slopes = {"loss": loss}
        for row in table:
            direction = {row.name: directions[row.name]}
            slopes[row.name] = np.array(derivatives.slope(experiment, exact, batch, direction, shift))
        for name, own in list(found.items()):
            along = {key: np.array((own[key].astype(np.float64) * d).sum()) for key, d in directions.items()}
            norms = {key: float(np.sqrt(np.square(own[key].astype(np.float64)).sum())) for key in directions}
            scales = {"loss": float(np.abs(loss)), **norms}
            least = LEAST_GRADIENT * max(norms.values())
            figures = widest({"loss": own["loss"], **along}, slopes, limit, scales, least)
            findings.append(Finding(2, f"{name} ~ {REFERENCE}", quantity, dtype, **figures))
    for one, other in pairs(list(found)):
        largest = max(float(np.abs(array).max()) for name, array in found[other].items() if name != "loss")
        figures = widest(found[one], found[other], limit, least_scale=LEAST_GRADIENT * largest)
        findings.append(Finding(2, f"{one} ~ {other}", "loss and gradients", dtype, **figures))
    return findings


def compare_extreme_logits(experiment: Experiment, parameters: Arrays, batch: Batch, sides: Sides) -> list[Finding]:
    """Compare loss and bias gradient of a head whose logits are exactly 0, and of one that is wrong and saturated.

    The head's weight is zero, and the factor of n-grams, so that the logits are its bias: zeros; or from 100 down to
    -100. The label is the least likely class. Framework functions have kinks and limits there (rung 2).
    """
    dtype, outputs = experiment.training.dtype, len(parameters["head.bias"])
    found: dict[str, Arrays] = {REFERENCE: {}, **{name: {} for name in sides}}
    for size in (0.0, 100.0):
        logits = np.array([size]) if outputs == 1 else np.linspace(size, -size, outputs)
        least = 0 if outputs == 1 else outputs - 1
        # Equal labels: at 0 unequal ones can cancel.
        labeled = dataclasses.replace(batch, targets=experiment.model.head.constant_targets(batch, least))
        zeros = {name: np.zeros_like(parameters[name]) for name in ("head.weight", SCALE) if name in parameters}
        arrays = {**parameters, **zeros}
        arrays["head.bias"] = logits.astype(parameters["head.bias"].dtype)
        at = f"logits of {size:.0f}"
        for name, side in sides.items():
            loss, own = engine_of(side, experiment, arrays).gradients(labeled, 0)
            found[name] |= {f"loss at {at}": np.array(loss), f"head.bias at {at}": own["head.bias"]}
        exact = {name: array.astype(np.float64) for name, array in arrays.items()}
        slopes = [derivatives.slope(experiment, exact, labeled, {"head.bias": unit}) for unit in np.eye(outputs)]
        found[REFERENCE][f"loss at {at}"] = np.array(float(derivatives.training_loss(experiment, exact, labeled, 0)))
        found[REFERENCE][f"head.bias at {at}"] = np.array(slopes)
    limit = GRADIENT_LIMIT[dtype]
    return [
        Finding(
            2, f"{one} ~ {other}", "loss and head at extreme logits", dtype, **widest(found[one], found[other], limit)
        )
        for one, other in pairs(list(found))
    ]
