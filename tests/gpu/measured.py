"""The checks of `check.py`: each yields rows. They ask the loaded backend package; frameworks' own are `bare_*.py`."""

from __future__ import annotations

import importlib
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
from launching import launch, started

import backends
from core import machine
from core.batches import Batch
from core.documents import shorten
from core.errors import UserError
from core.ladder import (
    away_from_kinks,
    compare_forward,
    compare_gradients,
    random_batch,
    random_parameters,
    widest,
)
from core.ladder_training import compare_routes, compare_training
from core.parameters import initial_parameters
from core.spec import Experiment, replace
from core.timing import Summary
from core.trainer import LOG_INTERVAL, finite_or_none, order_of
from tasks.ladder_cases import GRID, LADDER, SMALLER, Case
from tasks.recipes import recipe
from tasks.training import fitted, read_data

LIMITS = {"float32": 1e-5, "float64": 1e-10}
"""Of outputs and gradients on the GPU, relative as `core/ladder.py` measures."""
TF32_LIMIT = 2e-2
CURVE_LIMIT = 1e-9
"""Of float64 losses in training."""
EPOCH_SECONDS = {"default": 1.5, "textbook": 3.0}
JUDGED_ON = "H200"
"""The card that these seconds were set for; on others they are recorded."""
RATIO_LIMIT = 1.15
PROCESS_SECONDS = 1500.0
"""Longest that one check may take."""

PLAIN = [case for case in GRID if case.lookup == "index"]
LARGER = ("embedding.vocab_size", 500), ("embedding.dim", 128), ("encoder.hidden_size", 128)
LARGE = Case("lstm", 2, True, "mean", "index", tuple((f"model.{path}", size) for path, size in LARGER))
"""Kernels for real sizes are other ones than those for three units."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything is done."""

    cases: tuple[Case, ...]
    large: tuple[int, int] | None
    """Rows and tokens that `LARGE` gets."""
    steps: int
    routes: int
    rounds: int | None
    """Of `LOG_INTERVAL` steps that are timed; None: a whole epoch."""
    changes: dict[str, object]
    """To the specs that are trained on reviews."""


SHRUNK = {"text.max_length": 12, "model.embedding.dim": 4, "model.encoder.hidden_size": 4, "training.batch_size": 4}
SIZES = {
    "full": Sizes(tuple(PLAIN), (16, 64), 100, 30, None, {}),
    "quick": Sizes(tuple(PLAIN[3 * model + model % 3] for model in range(12)), (16, 64), 100, 9, 3, {}),
    "tiny": Sizes((PLAIN[0], PLAIN[16], PLAIN[35]), None, 4, 3, 1, SHRUNK),
}


class NotRun(Exception):
    """Why a check cannot be made here."""


@dataclass(frozen=True)
class Context:
    """What a check works with."""

    name: str
    package: ModuleType
    device: str
    gpu: str
    """The card's name; empty on a CPU."""
    size: str
    data: str
    cache: Path

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.size]

    @property
    def source(self) -> dict[str, object]:
        """Where the texts come from, as changes to a spec."""
        if Path(self.data).suffix == ".csv":
            return {"task": "classify", "data": {"kind": "table", "source": self.data}}
        return {"data.source": self.data}

    def reviews(self, experiment: Experiment):
        """The experiment on this data, and the data."""
        experiment = replace(experiment, {**self.sizes.changes, **self.source})
        prepared, _ = read_data(experiment, self.cache)
        return fitted(experiment, prepared), prepared

    def bare(self) -> ModuleType:
        return importlib.import_module(f"bare_{self.name}")


@dataclass(frozen=True)
class On:
    """A side of the ladder on a device of its own: the ladder itself names none."""

    package: ModuleType
    implementation: str
    device: str

    def Engine(self, model, training, parameters, device, implementation):  # noqa: N802
        return self.package.Engine(model, training, parameters, self.device, implementation)


def row(what: str, figure: str, limit: str = "", verdict: str = "recorded", value: float | None = None) -> dict:
    shown = None if value is None else finite_or_none(value)
    return {"what": what, "figure": figure, "limit": limit, "verdict": verdict, "value": shown}


def held(what: str, value: float, limit: float | None, form: str = "{:.1e}", note: str = "") -> dict:
    """A row whose figure must not be above its limit; what is not a number is."""
    verdict = "recorded" if limit is None else "ok" if value <= limit else "MISSED"
    return row(what, form.format(value) + note, "" if limit is None else form.format(limit), verdict, value)


# ---- the checks: each yields its rows


def check_devices(context: Context) -> Iterator[dict]:
    """What is asked for, and what one gets: a device, or one line."""
    package, wants_gpu = context.package, context.device != "cpu"
    yield row("the build, and what it sees", f"{package.build()}; {', '.join(map(str, package.gpus())) or 'no GPU'}")
    for request in ("auto", "gpu", "gpu:0", "gpu:99"):
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            try:
                found, refused = package.resolve_device(request), False
            except UserError as error:
                found, refused = str(error), True
        if request == "gpu:99":
            right = refused and "\n" not in found
        else:
            right = found.startswith("gpu:") if wants_gpu else not refused or "\n" not in found
        told = "".join(f" ({note.message})" for note in notes)
        expected = "refused, one line" if request == "gpu:99" else "gpu:N" if wants_gpu else "a device, or one line"
        yield row(f"--device {request}", found + told, expected, "ok" if right else "MISSED")


def instance(experiment: Experiment, seed: int, *size: int):
    rng = np.random.default_rng(seed)
    return away_from_kinks(
        experiment, lambda: (random_parameters(experiment, rng), random_batch(experiment, rng, *size))
    )


def check_parity(context: Context) -> Iterator[dict]:
    """Rungs 1 and 2 against the reference, and against the same engine on the CPU: random models, unequal lengths."""
    sizes, here = context.sizes, context.device
    plan = [(case, ()) for case in sizes.cases] + ([(LARGE, sizes.large)] if sizes.large else [])
    sides = {name: On(context.package, name, here) for name in ("builtin", "loop")}
    quantities = {1: "every layer's output", 2: "loss and every gradient"}
    for dtype, limit in LIMITS.items():
        worst: dict[tuple[int, str], tuple[float, str]] = {}
        for seed, (case, size) in enumerate(plan):
            experiment = case.experiment(dtype)
            parameters, batch = instance(experiment, seed, *size)
            found = compare_forward(experiment, parameters, batch, sides)
            found += compare_gradients(experiment, parameters, batch, sides)
            seen = [(finding.rung, finding.compared, finding.value, finding.where) for finding in found]
            for name in sides:
                for rung, figures in against_cpu(context, name, experiment, parameters, batch):
                    seen.append((rung, f"{name} ~ {name} on the CPU", figures["value"], figures["where"]))
            for rung, compared, value, where in seen:
                # `not <=`, so that what is not a number is the worst.
                if (rung, compared) not in worst or not value <= worst[rung, compared][0]:
                    worst[rung, compared] = value, f" ({case}: {where})"
        for (rung, compared), (value, where) in sorted(worst.items()):
            yield held(f"{dtype}, {compared}, {quantities[rung]}, {len(plan)} models", value, limit, note=where)


def against_cpu(context: Context, implementation: str, experiment: Experiment, parameters, batch: Batch):
    """(rung, figures of `widest`) of the device against the CPU."""
    engines = [
        context.package.Engine(experiment.model, experiment.training, parameters, device, implementation)
        for device in (context.device, "cpu")
    ]
    for step in (None, 0):
        yield 1, widest(*(engine.activations(batch, step) for engine in engines), None, least_scale=1.0)
    answers = [engine.gradients(batch, 0) for engine in engines]
    yield 2, widest(*({"loss": np.array(loss), **arrays} for loss, arrays in answers), None)


def check_tf32(context: Context) -> Iterator[dict]:
    """The switch does something, and not too much. In a process that has not used the GPU without TF32."""
    try:
        context.package.resolve_device(context.device, "tf32")
    except UserError as error:
        raise NotRun(str(error)) from None
    yield from tf32_rows(context, LARGE.experiment("tf32"), *context.sizes.large)


def tf32_rows(context: Context, tf32: Experiment, *size: int) -> Iterator[dict]:
    """What is further from the CPU's float32 than float32 on the GPU may be was rounded."""
    exact = replace(tf32, {"training.dtype": "float32"})
    parameters, batch = instance(exact, 0, *size)
    for name in ("builtin", "loop"):
        rounded = context.package.Engine(tf32.model, tf32.training, parameters, context.device, name)
        full = context.package.Engine(exact.model, exact.training, parameters, "cpu", name)
        outputs = widest(rounded.activations(batch), full.activations(batch), None, least_scale=1.0)
        gradients = widest(rounded.gradients(batch, 0)[1], full.gradients(batch, 0)[1], None)
        for what, figures in (("every layer's output", outputs), ("every gradient", gradients)):
            value, least = figures["value"], LIMITS["float32"]
            verdict = "ok" if least < value <= TF32_LIMIT else "MISSED"
            text = f"tf32 ~ float32 on the CPU, {name}, {what}"
            yield row(text, f"{value:.1e} ({figures['where']})", f"{least:g} to {TF32_LIMIT:g}", verdict, value)


def check_training(context: Context) -> Iterator[dict]:
    """The same steps on the GPU and the CPU, in lockstep; and runs that change device on the way."""
    sides = {"cpu": On(context.package, "builtin", "cpu"), "device": On(context.package, "builtin", context.device)}
    experiment, prepared = context.reviews(replace(LADDER, SMALLER))
    for dtype in ("float64", "float32"):
        spec = replace(experiment, {"training.dtype": dtype})
        limit = CURVE_LIMIT if dtype == "float64" else None
        for finding in compare_training(spec, prepared.train, sides, context.sizes.steps)[0]:
            yield held(f"{dtype}, GPU ~ CPU, {finding.quantity}", finding.value, limit, note=f" ({finding.where})")
    spec = replace(experiment, {"training.dtype": "float64"})
    with tempfile.TemporaryDirectory() as folder:
        steps = context.sizes.routes
        for finding in compare_routes(spec, prepared.train, prepared.dev, sides, steps, Path(folder)):
            where = finding.compared.replace("device", "GPU").replace("cpu", "CPU")
            yield held(f"float64, resumed {where}, {finding.quantity}", finding.value, CURVE_LIMIT)


def check_memory(context: Context) -> Iterator[dict]:
    """Peak after the longest batches of an epoch. The smaller recipe comes first, for a peak is not always reset."""
    for name, experiment, prepared in trained_recipes(context):
        engine = new_engine(context, experiment)
        rows = sorted(order_of(experiment.training, prepared.train, 0), key=lambda r: -prepared.train.lengths[r].sum())
        for step, chosen in enumerate(rows[:5]):
            engine.train_step(prepared.train.batch(chosen), step, 1e-4)
        engine.collect()
        peak = context.bare().peak_bytes(context.device)
        what = "device's peak (tensors)" if peak is not None else "process's peak (no GPU)"
        megabytes = machine.peak_memory_mb() or 0 if peak is None else peak / (1 << 20)
        yield held(f"{name}: {what}", megabytes, None, "{:,.0f} MB")


def trained_recipes(context: Context):
    for name in EPOCH_SECONDS:
        yield name, *context.reviews(recipe(name))


def new_engine(context: Context, experiment: Experiment):
    model, training = experiment.model, experiment.training
    implementation = backends.resolve_implementation("auto", context.device, model.encoder.cell)
    start = initial_parameters(model, training.seed, training.array_dtype)
    return context.package.Engine(model, training, start, context.device, implementation)


def check_speed(context: Context) -> Iterator[dict]:
    """Seconds of an epoch, and beside it the framework's own LSTM in a bare loop, `LOG_INTERVAL` steps in turn."""
    for name, experiment, prepared in trained_recipes(context):
        yield from speed_rows(context, name, experiment, prepared.train)
        if experiment.model.head.dropout:
            native = replace(experiment, {"training.dropout_masks": "native"})
            yield from speed_rows(context, f"{name}, --dropout-masks native", native, prepared.train)


def speed_rows(context: Context, name: str, experiment: Experiment, train) -> Iterator[dict]:
    bare, training, device = context.bare(), experiment.training, context.device
    engine, loop = new_engine(context, experiment), bare.Bare(experiment.model, training, device)
    order = list(enumerate(order_of(training, train, 0)))
    chunks = [order[start : start + LOG_INTERVAL] for start in range(0, len(order), LOG_INTERVAL)]
    rate = training.optimizer.learning_rate

    def ours(chunk) -> None:
        for step, rows in chunk:
            engine.train_step(train.batch(rows), step, rate)
        engine.collect()

    def theirs(chunk) -> None:
        for _, rows in chunk:
            loop.step(train.batch(rows))

    def seconds(run, chunk) -> float:
        bare.wait(device)
        began = time.perf_counter()
        run(chunk)
        bare.wait(device)
        return time.perf_counter() - began

    seconds(ours, chunks[0]), seconds(theirs, chunks[0])
    taken: dict[object, list[float]] = {ours: [], theirs: []}
    timed = chunks[: context.sizes.rounds]
    for number, chunk in enumerate(timed):
        for run in (ours, theirs) if number % 2 else (theirs, ours):
            taken[run].append(seconds(run, chunk))
    steps = sum(map(len, timed))
    epoch, bare_epoch = (sum(taken[run]) / steps * len(order) for run in (ours, theirs))
    note = "" if steps == len(order) else f" (extrapolated from {steps} of {len(order)} steps)"
    limit = EPOCH_SECONDS[name.partition(",")[0]] if JUDGED_ON in context.gpu else None
    yield held(f"{name}: one epoch, {len(train):,} texts, {engine.implementation}", epoch, limit, "{:.2f} s", note)
    ratio = Summary.of(one / other for one, other in zip(taken[ours], taken[theirs], strict=True))
    note = f" (quartiles {ratio.low:.2f} to {ratio.high:.2f}; bare epoch {bare_epoch:.2f} s)"
    judged = RATIO_LIMIT if context.gpu else None
    yield held(f"{name}: times as long as a bare loop, median", ratio.median, judged, "{:.2f}", note)
    found = bare.shares(lambda: seconds(ours, chunks[0]), device)
    what = f"{name}: share in which the host waits"
    if found is None:
        yield row(what, "", verdict="not run: this framework's profiler is not asked")
    else:
        yield held(what, found[0], None, "{:.0%}", f" (the device computes {found[1]:.0%})")


def check_processes(context: Context) -> Iterator[dict]:
    """Two processes, by the framework's own launcher, have the losses of one."""
    seen = len(context.package.gpus())
    if context.device != "cpu" and seen < 2:
        raise NotRun("one GPU")
    changes = {**SMALLER, **context.sizes.changes, "training.dtype": "float64", "training.epochs": 1}
    experiment = replace(replace(LADDER, {**changes, **context.source}), {"data.train_limit": 1600})
    words = backends.LAUNCHERS[context.name].command.split()
    commands = {"one": [sys.executable, "-m"], "two": [started(word) for word in words]}
    device, curves = "cpu" if context.device == "cpu" else "gpu", {}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "spec.json")
        config.write_text(experiment.model_dump_json())
        for name, command in commands.items():
            more = ["--backend", context.name, "--device", device, "--impl", "builtin", "--cache-dir", context.cache]
            program = [*command, f"tasks.{experiment.task}"]
            launch([*program, "--config", config, *more, "--out", Path(folder, name)], folder)
            lines = map(json.loads, Path(folder, name, "metrics.jsonl").read_text().splitlines())
            curves[name] = np.array([line["loss"] for line in lines if line["split"] == "train"])
        used = json.loads(Path(folder, "two", "experiment.json").read_text())["execution"]
    if used.get("processes") != 2 or len(curves["one"]) != len(curves["two"]):
        raise UserError(f"{used.get('processes', 1)} processes took {len(curves['two'])} steps")
    difference = float(np.abs(curves["one"] - curves["two"]).max())
    yield held(f"float64, two processes ~ one, loss of {len(curves['one'])} steps", difference, CURVE_LIMIT)


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}


# ---- in the child


def look(name: str) -> dict:
    """The first usable GPU of a framework, or why there is none."""
    package = backends.load(name)
    try:
        device = package.resolve_device("gpu")
    except UserError as error:
        return {"refused": str(error)}
    return {"device": device, "gpu": next(str(gpu) for gpu in package.gpus() if f"gpu:{gpu.number}" == device)}


def work(name: str, checks: list[str], settings: dict) -> dict:
    """Rows of these checks, and the framework's versions."""
    package = backends.load(name)
    context = Context(name, package, **{**settings, "cache": Path(settings["cache"])})
    return {"versions": package.versions(), "rows": [found for check in checks for found in rows_of(check, context)]}


def rows_of(check: str, context: Context) -> list[dict]:
    """A check's rows; where it fails, those that it had, and why."""
    rows, began = [], time.perf_counter()
    steps = CHECKS[check](context)
    while True:
        try:
            found = next(steps, None)
        except NotRun as reason:
            found = row("", "", verdict=f"not run: {reason}")
        except Exception as error:  # a row, and not the end
            found = row("", f"{type(error).__name__}: {shorten(str(error), 160)}", verdict="MISSED")
        if found is None:
            return rows
        now = time.perf_counter()
        rows.append({"check": check, "framework": context.name, **found, "seconds": round(now - began, 2)})
        began = now
