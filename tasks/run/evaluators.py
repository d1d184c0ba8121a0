"""What computes predictions of a finished run: a framework, or NumPy alone."""

from __future__ import annotations

import backends
from backends import implementations
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.precision import rounding_of
from core.spec.experiment import replace
from core.train.run_folder import RunFolder
from tasks.cli.framework import load_backend

NUMPY = "numpy"
"""Answers from `core/models/model.py`: no framework to import, so a sentence takes a fraction of a second."""


EVALUATORS = (NUMPY, *backends.NAMES)


def evaluator(folder: RunFolder, experiment, backend_name: str, device: str, implementation: str):
    """An engine with the best parameters of a run: a backend's, or the NumPy reference."""
    parameters = folder.read_best(experiment.model)
    if backend_name == NUMPY:
        if device.startswith("gpu"):
            others = " or ".join(backends.NAMES)
            raise UserError(f"--device {device}: {NUMPY} computes on the CPU; add --backend {others}")
        if implementation != "auto":
            raise UserError(
                f"--impl {implementation}: {NUMPY} has its own; add --backend {' or '.join(backends.NAMES)}"
            )
        return ReferenceEngine(experiment.model, parameters, rounding_of(experiment.training.dtype))
    if backend_name not in EVALUATORS:
        raise UserError(f"unknown backend {backend_name!r}: choose one of {', '.join(EVALUATORS)}")
    backend = load_backend(backend_name)
    # Answers do not depend on the weights of classes. Of a run in TF32, which not every device has, they are given in
    # float32, which every one has.
    experiment = replace(experiment, {"training.class_weights": None})
    if experiment.training.dtype == "tf32":
        experiment = replace(experiment, {"training.dtype": "float32"})
    device = backend.resolve_device(device, experiment.training.dtype)
    dtype = experiment.training.array_dtype
    parameters = {name: array.astype(dtype, copy=False) for name, array in parameters.items()}
    implementation = implementations.resolve_implementation(
        implementation, backend, device, experiment.model.encoder, experiment.training.dtype
    )
    return backend.Engine(experiment.model, experiment.training, parameters, device, implementation)
