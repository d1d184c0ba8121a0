"""The GPU checks, each a generator of rows. They use the backend package; framework code is in `bare_*.py`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

import backends
from backends import launchers
from core.batch import Batch
from core.engine.executor import Executor
from core.errors import UserError
from core.parity.findings import widest
from core.parity.instances import random_batch, random_parameters, well_conditioned
from core.parity.layers import compare_forward, compare_gradients, supporting_sides
from core.parity.routes import compare_routes
from core.parity.training import Comparison, compare_training
from core.spec.experiment import Experiment, replace
from core.strings import shorten
from tasks.cli.flags import name_flags
from tasks.parity.training_cases import PARITY_SPEC, SMALLER
from tools.gpu_check.context import LARGE, Context, NotRun, bounded, row
from tools.gpu_check.launching import launch, started
from tools.gpu_check.speeds import check_memory, check_speed

LIMITS = {"float32": 1e-5, "float64": 1e-10}
"""Limits for outputs and gradients on the GPU, relative as in `core/parity/layers.py`."""
ONE_KERNEL_LIMIT = 5e-5
"""Limit in float32 for `builtin` with small hidden sizes, which cuDNN computes as one kernel over padded input.

On an H100 its outputs differed from float64 by up to 2.3e-5, its gradients by 3.4e-5; the other algorithms and the loop
by 2e-6.
"""
TF32_LIMIT = 2e-2
CURVE_LIMIT = 1e-9
"""Limit for float64 losses in training."""
ON_GPU = ("builtin", "packed", "loop")
"""Implementations that run on a GPU."""
PROCESS_SECONDS = 1500.0
"""Time limit of one check."""


@dataclass(frozen=True)
class On:
    """An implementation on a given device: the parity check itself always uses the CPU."""

    package: ModuleType
    implementation: str
    device: str

    def Engine(self, model, training, parameters, executor):
        return self.package.Engine(model, training, parameters, Executor(self.device, executor.implementation))


# ---- the checks


def check_devices(context: Context) -> Iterator[dict]:
    """Check device selection: every request returns a device or a one-line error."""
    package, wants_gpu = context.package, context.device != "cpu"
    yield row("build and visible GPUs", f"{package.build()}; {', '.join(map(str, package.gpus())) or 'no GPU'}")
    for request in ("auto", "gpu", "gpu:0", "gpu:99"):
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            try:
                found, refused = package.resolve_device(request), False
            except UserError as error:
                found, refused = name_flags(str(error)), True
        if request == "gpu:99":
            right = refused and "\n" not in found
        else:
            right = found.startswith("gpu:") if wants_gpu else not refused or "\n" not in found
        told = "".join(f" ({name_flags(str(note.message))})" for note in notes)
        expected = "one-line error"
        if request != "gpu:99":
            expected = "gpu:N" if wants_gpu else "device or one-line error"
        yield row(f"--device {request}", found + told, expected, "ok" if right else "MISSED")


def instance(experiment: Experiment, seed: int, *size: int):
    rng = np.random.default_rng(seed)
    return well_conditioned(
        experiment, lambda: (random_parameters(experiment, rng), random_batch(experiment, rng, *size))
    )


def check_parity(context: Context) -> Iterator[dict]:
    """Compare outputs and gradients with the reference and with the CPU, on rungs 1 and 2.

    Models are random, with unequal lengths.
    """
    sizes, here = context.sizes, context.device
    plan = [(case, ()) for case in sizes.cases] + ([(LARGE, sizes.large)] if sizes.large else [])
    every = {name: On(context.package, name, here) for name in ON_GPU}
    quantities = {1: "every layer's output", 2: "loss and every gradient"}
    for dtype, limit in LIMITS.items():
        worst: dict[tuple[int, str], tuple[float, str]] = {}
        for seed, (case, size) in enumerate(plan):
            experiment = case.experiment(dtype)
            sides = supporting_sides(every, experiment)
            parameters, batch = instance(experiment, seed, *size)
            found = compare_forward(experiment, parameters, batch, sides)
            found += compare_gradients(experiment, parameters, batch, sides)
            seen = [(finding.rung, finding.compared, finding.value, finding.where) for finding in found]
            for name in sides:
                for rung, figures in against_cpu(context, name, experiment, parameters, batch):
                    seen.append((rung, f"{name} ~ {name} on the CPU", figures["value"], figures["where"]))
            for rung, compared, value, where in seen:
                # `not <=`, so that NaN counts as the worst.
                if (rung, compared) not in worst or not value <= worst[rung, compared][0]:
                    worst[rung, compared] = value, f" ({case}: {where})"
        for (rung, compared), (value, where) in sorted(worst.items()):
            own = ONE_KERNEL_LIMIT if dtype == "float32" and "builtin" in compared else limit
            yield bounded(f"{dtype}, {compared}, {quantities[rung]}, {len(plan)} models", value, own, note=where)


def against_cpu(context: Context, implementation: str, experiment: Experiment, parameters, batch: Batch):
    """Yield (rung, figures of `widest`): the device compared with the CPU."""
    engines = [
        context.package.Engine(experiment.model, experiment.training, parameters, Executor(device, implementation))
        for device in (context.device, "cpu")
    ]
    for step in (None, 0):
        yield 1, widest(*(engine.activations(batch, step) for engine in engines), None, least_scale=1.0)
    answers = [engine.gradients(batch, 0) for engine in engines]
    yield 2, widest(*({"loss": np.array(loss), **arrays} for loss, arrays in answers), None)


def check_tf32(context: Context) -> Iterator[dict]:
    """Check that TF32 has an effect, but not too large, in a process that uses only TF32."""
    try:
        context.package.resolve_device(context.device, "tf32")
    except UserError as error:
        raise NotRun(name_flags(str(error))) from None
    yield from tf32_rows(context, LARGE.experiment("tf32"), *context.sizes.large)
    yield from bfloat16_rows(context, LARGE.experiment("bfloat16"), *context.sizes.large)


def tf32_rows(context: Context, tf32: Experiment, *size: int) -> Iterator[dict]:
    """Compare TF32 with float32 on the CPU: the difference must exceed that of float32."""
    exact = replace(tf32, {"training.dtype": "float32"})
    parameters, batch = instance(exact, 0, *size)
    for name in ON_GPU:
        rounded = context.package.Engine(tf32.model, tf32.training, parameters, Executor(context.device, name))
        full = context.package.Engine(exact.model, exact.training, parameters, Executor("cpu", name))
        outputs = widest(rounded.activations(batch), full.activations(batch), None, least_scale=1.0)
        gradients = widest(rounded.gradients(batch, 0)[1], full.gradients(batch, 0)[1], None)
        for what, figures in (("every layer's output", outputs), ("every gradient", gradients)):
            value, least = figures["value"], LIMITS["float32"]
            verdict = "ok" if least < value <= TF32_LIMIT else "MISSED"
            text = f"tf32 ~ float32 on the CPU, {name}, {what}"
            yield row(text, f"{value:.1e} ({figures['where']})", f"{least:g} to {TF32_LIMIT:g}", verdict, value)


def bfloat16_rows(context: Context, experiment: Experiment, *size: int) -> Iterator[dict]:
    """Compare bfloat16 with bfloat16 on the CPU; other operands are rounded to TF32."""
    parameters, batch = instance(experiment, 0, *size)
    for name in ON_GPU:
        for rung, figures in against_cpu(context, name, experiment, parameters, batch):
            what = {1: "every layer's output", 2: "loss and every gradient"}[rung]
            note = f" ({figures['where']})"
            yield bounded(f"bfloat16 ~ bfloat16 on the CPU, {name}, {what}", figures["value"], TF32_LIMIT, note=note)


def check_training(context: Context) -> Iterator[dict]:
    """Compare training on GPU and CPU step by step, and runs that are resumed on the other device."""
    sides = {"cpu": On(context.package, "builtin", "cpu"), "device": On(context.package, "packed", context.device)}
    experiment, prepared = context.reviews(replace(PARITY_SPEC, SMALLER))
    data, sizes = (prepared.train, prepared.dev), context.sizes
    for dtype, limit in (("float64", CURVE_LIMIT), ("float32", None)):
        spec = replace(experiment, {"training.dtype": dtype})
        for finding in compare_training(Comparison(spec, *data, sides, sizes.steps))[0]:
            yield bounded(f"{dtype}, GPU ~ CPU, {finding.quantity}", finding.value, limit, note=f" ({finding.where})")
    spec = replace(experiment, {"training.dtype": "float64"})
    with tempfile.TemporaryDirectory() as folder:
        for finding in compare_routes(Comparison(spec, *data, sides, sizes.routes), Path(folder)):
            where = finding.compared.replace("device", "GPU").replace("cpu", "CPU")
            yield bounded(f"float64, resumed {where}, {finding.quantity}", finding.value, CURVE_LIMIT)


def check_processes(context: Context) -> Iterator[dict]:
    """Compare the losses of two processes, started by the framework's launcher, with those of one."""
    seen = len(context.package.gpus())
    if context.device != "cpu" and seen < 2:
        raise NotRun("one GPU")
    changes = {**SMALLER, **context.sizes.changes, "training.dtype": "float64", "training.epochs": 1}
    experiment = replace(replace(PARITY_SPEC, {**changes, **context.source}), {"data.train_limit": 1600})
    words = launchers.LAUNCHERS[context.name].command.split()
    commands = {"one": [sys.executable, "-m"], "two": [started(word) for word in words]}
    device, curves = "cpu" if context.device == "cpu" else "gpu", {}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "spec.json")
        config.write_text(experiment.model_dump_json())
        for name, command in commands.items():
            more = ["--backend", context.name, "--device", device, "--impl", "packed", "--cache-dir", context.cache]
            program = [*command, f"tasks.{experiment.task}"]
            launch([*program, "--config", config, *more, "--out", Path(folder, name)], folder)
            lines = map(json.loads, Path(folder, name, "metrics.jsonl").read_text().splitlines())
            curves[name] = np.array([line["loss"] for line in lines if line["split"] == "train"])
        used = json.loads(Path(folder, "two", "experiment.json").read_text())["execution"]
    if used.get("processes") != 2 or len(curves["one"]) != len(curves["two"]):
        raise UserError(f"{used.get('processes', 1)} processes took {len(curves['two'])} steps")
    difference = float(np.abs(curves["one"] - curves["two"]).max())
    yield bounded(f"float64, two processes ~ one, loss of {len(curves['one'])} steps", difference, CURVE_LIMIT)


CHECKS = {
    "devices": check_devices,
    "parity": check_parity,
    "tf32": check_tf32,
    "training": check_training,
    "memory": check_memory,
    "speed": check_speed,
    "processes": check_processes,
}


# ---- in the child process


def usable_gpu(name: str) -> dict:
    """Return the first usable GPU of a framework, or the reason why there is none."""
    package = backends.load(name)
    try:
        device = package.resolve_device("gpu")
    except UserError as error:
        return {"refused": name_flags(str(error))}
    return {"device": device, "gpu": next(str(gpu) for gpu in package.gpus() if f"gpu:{gpu.number}" == device)}


def run_checks(name: str, checks: list[str], settings: dict) -> dict:
    """Run checks; return their rows and the framework's versions."""
    package = backends.load(name)
    context = Context(name, package, **{**settings, "cache": Path(settings["cache"])})
    return {"versions": package.versions(), "rows": [found for check in checks for found in rows_of(check, context)]}


def rows_of(check: str, context: Context) -> list[dict]:
    """Run a check; return its rows. A failure ends it with a row that gives the reason."""
    rows, began = [], time.perf_counter()
    steps = CHECKS[check](context)
    while True:
        try:
            found = next(steps, None)
        except NotRun as reason:
            found = row("", "", verdict=f"not run: {reason}")
        except Exception as error:  # a failed check must not stop the others
            found = row("", f"{type(error).__name__}: {shorten(str(error), 160)}", verdict="MISSED")
        if found is None:
            return rows
        now = time.perf_counter()
        rows.append({"check": check, "framework": context.name, **found, "seconds": round(now - began, 2)})
        began = now
