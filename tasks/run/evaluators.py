"""Choose the engine that predicts with a finished run: the compiled kernels, NumPy, or a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import backends
from backends.kernels.engine import KernelEngine
from backends.numpy_threads import use_one_thread
from core.engine.executor import Executor
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.precision import rounding_of
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from tasks.cli.framework import load_backend
from tasks.cli.terminal import note
from tasks.run.worker import Request, implementation_on

FAST = KernelEngine.implementation
"""Predicts with `backends/kernels/engine.py`: the default, for the models that it supports."""
NUMPY = "numpy"
"""Predicts with `core/models/model.py`."""
WITHOUT_FRAMEWORK = (FAST, NUMPY)
EVALUATORS = (*WITHOUT_FRAMEWORK, *backends.NAMES)


@dataclass(frozen=True)
class Evaluator:
    """An engine with a run's best parameters."""

    engine: Any
    computed_by: str
    """Name of the evaluator and its device."""


def choose(experiment: Experiment, request: Request) -> tuple[str, str | None]:
    """Return the requested evaluator; by default `fast`, or `numpy` with the reason. Raises UserError."""
    name, reason = request.backend, None
    if name is None:
        if experiment.model.is_linear:
            return NUMPY, None
        reason = KernelEngine.why_not(experiment.model, experiment.training)
        return (FAST, None) if reason is None else (NUMPY, reason)
    if name not in EVALUATORS:
        raise UserError(f"unknown backend {name!r}: choose one of {', '.join(EVALUATORS)}")
    if name != NUMPY and experiment.model.is_linear:
        raise UserError(f"--backend {name}: a linear model of n-grams needs no framework: omit it")
    if name == FAST and (reason := KernelEngine.why_not(experiment.model, experiment.training)) is not None:
        raise UserError(f"--backend {FAST}: {reason}: use --backend {NUMPY}")
    return name, None


def evaluator(folder: RunFolder, experiment: Experiment, request: Request) -> Evaluator:
    """Return an engine with a run's best parameters, as `choose` says; print why it is not `fast` by default.

    Raises UserError.
    """
    name, reason = choose(experiment, request)
    parameters = folder.read_best(experiment.model)
    if name in WITHOUT_FRAMEWORK:
        engine = _without_framework(name, experiment, parameters, request)
    else:
        engine = _with_framework(name, experiment, parameters, request)
    if reason is not None:
        note(f"{name} computes the predictions: {reason}")
    return Evaluator(engine, f"{name} on {engine.device}")


def evaluator_of_evaluation(experiment: Experiment, execution: dict, request: Request) -> Request:
    """Return the request with the evaluator of a whole data set, unless it names one.

    It is `fast` for a run of a CPU that the kernels support, otherwise the run's backend, which may use a GPU.
    """
    automatic = request.device in ("auto", "cpu") and request.implementation == "auto"
    on_cpu = execution["device"] == "cpu" and not experiment.model.is_linear
    if automatic and on_cpu and KernelEngine.why_not(experiment.model, experiment.training) is None:
        return request.or_backend(FAST)
    return request.or_backend(execution["backend"])


def _without_framework(name: str, experiment: Experiment, parameters: dict, request: Request):
    others, device, implementation = " or ".join(backends.NAMES), request.device, request.implementation
    if device.startswith("gpu"):
        raise UserError(f"--device {device}: backend {name} runs on the CPU only; add --backend {others}")
    if implementation != "auto":
        raise UserError(f"--impl {implementation}: backend {name} has one implementation; add --backend {others}")
    use_one_thread()
    if name == FAST:
        return KernelEngine(experiment.model, experiment.training, parameters)
    return ReferenceEngine(experiment.model, parameters, rounding_of(experiment.training.dtype))


def _with_framework(name: str, experiment: Experiment, parameters: dict, request: Request):
    backend = load_backend(name)
    # Predictions do not depend on class weights. A TF32 run is evaluated in float32, which every device supports.
    experiment = replace(experiment, {"training.class_weights": None})
    if experiment.training.dtype == "tf32":
        experiment = replace(experiment, {"training.dtype": "float32"})
    device = backend.resolve_device(request.device, experiment.training.dtype)
    dtype = experiment.training.array_dtype
    parameters = {name: array.astype(dtype, copy=False) for name, array in parameters.items()}
    executor = Executor(device, implementation_on(device, request, backend, experiment))
    return backend.Engine(experiment.model, experiment.training, parameters, executor)
