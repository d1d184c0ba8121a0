"""Choose the engine that predicts with a finished run: a backend, or the NumPy reference."""

from __future__ import annotations

import backends
from core.engine.executor import Executor
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.precision import rounding_of
from core.spec.experiment import replace
from core.train.run_folder import RunFolder
from tasks.cli.framework import load_backend
from tasks.run.worker import Request, implementation_on

NUMPY = "numpy"
"""Predicts with `core/models/model.py`; without a framework import, a text takes a fraction of a second."""


EVALUATORS = (NUMPY, *backends.NAMES)


def evaluator(folder: RunFolder, experiment, request: Request):
    """Return an engine with a run's best parameters: a backend's, or by default the NumPy reference."""
    parameters = folder.read_best(experiment.model)
    backend_name = request.backend or NUMPY
    if experiment.model.is_linear and backend_name in backends.NAMES:
        raise UserError(f"--backend {backend_name}: a linear model of n-grams needs no framework: omit it")
    if backend_name == NUMPY:
        others, device, implementation = " or ".join(backends.NAMES), request.device, request.implementation
        if device.startswith("gpu"):
            raise UserError(f"--device {device}: backend {NUMPY} runs on the CPU only; add --backend {others}")
        if implementation != "auto":
            raise UserError(f"--impl {implementation}: backend {NUMPY} has one implementation; add --backend {others}")
        return ReferenceEngine(experiment.model, parameters, rounding_of(experiment.training.dtype))
    if backend_name not in EVALUATORS:
        raise UserError(f"unknown backend {backend_name!r}: choose one of {', '.join(EVALUATORS)}")
    backend = load_backend(backend_name)
    # Predictions do not depend on class weights. A TF32 run is evaluated in float32, which every device supports.
    experiment = replace(experiment, {"training.class_weights": None})
    if experiment.training.dtype == "tf32":
        experiment = replace(experiment, {"training.dtype": "float32"})
    device = backend.resolve_device(request.device, experiment.training.dtype)
    dtype = experiment.training.array_dtype
    parameters = {name: array.astype(dtype, copy=False) for name, array in parameters.items()}
    executor = Executor(device, implementation_on(device, request, backend, experiment))
    return backend.Engine(experiment.model, experiment.training, parameters, executor)
