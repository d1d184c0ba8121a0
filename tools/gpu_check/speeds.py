"""GPU checks of memory and speed: an epoch compared with a bare loop over the framework's LSTM, and waiting times."""

from __future__ import annotations

import time
from collections.abc import Iterator

from backends import implementations
from core.benchmark.timing import Summary
from core.data.dataset import epoch_order
from core.data.prefetch import prefetch, with_masks
from core.engine import machine
from core.engine.executor import Executor
from core.models.model import initial_parameters
from core.spec.experiment import Experiment, replace
from core.train.loop import LOG_INTERVAL
from tasks.cli.recipes import recipe
from tools.gpu_check.context import Context, bounded, row

EPOCH_SECONDS = {"lstm": 1.5, "textbook": 3.0}
JUDGED_ON = "H200"
"""The GPU for which EPOCH_SECONDS are limits; on others the figures are only recorded."""
RATIO_LIMIT = 1.15


def check_memory(context: Context) -> Iterator[dict]:
    """Measure peak memory on the longest batches, smaller recipe first: peaks may not reset."""
    for name, experiment, prepared in trained_recipes(context):
        engine = new_engine(context, experiment)
        rows = epoch_order(prepared.train.lengths, experiment.training, 0)
        rows = sorted(rows, key=lambda r: -prepared.train.lengths[r].sum())
        for step, chosen in enumerate(rows[:5]):
            engine.train_step(prepared.train.batch(chosen), step, 1e-4)
        engine.collect()
        peak = context.bare().peak_bytes(context.device)
        what = "peak device memory (tensors)" if peak is not None else "peak process memory (no GPU)"
        megabytes = machine.peak_memory_mb() or 0 if peak is None else peak / (1 << 20)
        yield bounded(f"{name}: {what}", megabytes, None, "{:,.0f} MB")


def trained_recipes(context: Context):
    for name in EPOCH_SECONDS:
        yield name, *context.reviews(recipe(name))


def new_engine(context: Context, experiment: Experiment, implementation: str = "auto"):
    model, training = experiment.model, experiment.training
    order = implementations.preferred(context.package, context.device, model.encoder, training.dtype)
    chosen = implementations.resolve_implementation(implementation, context.device, model, order)
    start = initial_parameters(model, training.seed, training.array_dtype)
    return context.package.Engine(model, training, start, Executor(context.device, chosen))


def check_speed(context: Context) -> Iterator[dict]:
    """Time an epoch, interleaved with a bare loop over the framework's LSTM every `LOG_INTERVAL` steps."""
    for name, experiment, prepared in trained_recipes(context):
        yield from speed_rows(context, name, experiment, prepared.train)
        if experiment.model.head.dropout:
            native = replace(experiment, {"training.dropout_masks": "native"})
            yield from speed_rows(context, f"{name}, --dropout-masks native", native, prepared.train)


class Rivals:
    """Engines and the bare loop, which take the same steps on the same batches, interleaved."""

    def __init__(self, context: Context, experiment: Experiment, train) -> None:
        self.bare, self.device, self.experiment, self.train = context.bare(), context.device, experiment, train
        self.engine = new_engine(context, experiment)
        other = "packed" if self.engine.implementation == "builtin" else "builtin"
        self.engines = {"ours": self.engine, other: new_engine(context, experiment, other)}
        self.loop = self.bare.Bare(experiment.model, experiment.training, self.device)
        self.names = (*self.engines, "bare")

    def steps(self, chunk):
        """Return the batches as `core/train/trainer.py` passes them to an engine."""
        batches = ((step, self.train.batch(rows)) for step, rows in chunk)
        if self.device == "cpu":
            return batches
        return prefetch((step, with_masks(batch, self.experiment, step)) for step, batch in batches)

    def run(self, name: str, chunk) -> None:
        if name == "bare":
            for _, rows in chunk:
                self.loop.step(self.train.batch(rows))
            return
        engine = self.engines[name]
        for step, batch in self.steps(chunk):
            engine.train_step(batch, step, self.experiment.training.optimizer.learning_rate)
        engine.collect()

    def seconds(self, name: str, chunk) -> float:
        self.bare.wait(self.device)
        began = time.perf_counter()
        self.run(name, chunk)
        self.bare.wait(self.device)
        return time.perf_counter() - began


def speed_rows(context: Context, name: str, experiment: Experiment, train) -> Iterator[dict]:
    rivals = Rivals(context, experiment, train)
    order = list(enumerate(epoch_order(train.lengths, experiment.training, 0)))
    chunks = [order[start : start + LOG_INTERVAL] for start in range(0, len(order), LOG_INTERVAL)]
    for rival in rivals.names:
        rivals.seconds(rival, chunks[0])
    rivals.engine.device_seconds()
    taken: dict[str, list[float]] = {rival: [] for rival in rivals.names}
    timed = chunks[: context.sizes.rounds]
    for number, chunk in enumerate(timed):
        for rival in rivals.names[number % 3 :] + rivals.names[: number % 3]:
            taken[rival].append(rivals.seconds(rival, chunk))
    steps = sum(map(len, timed))
    epoch, bare_epoch = (sum(taken[rival]) / steps * len(order) for rival in ("ours", "bare"))
    note = "" if steps == len(order) else f" (extrapolated from {steps} of {len(order)} steps)"
    limit = EPOCH_SECONDS[name.partition(",")[0]] if JUDGED_ON in context.gpu else None
    yield bounded(
        f"{name}: one epoch, {len(train):,} texts, {rivals.engine.implementation}", epoch, limit, "{:.2f} s", note
    )
    for rival in rivals.names[1:]:
        ratio = Summary.of(one / other for one, other in zip(taken["ours"], taken[rival], strict=True))
        note = f" (quartiles {ratio.low:.2f} to {ratio.high:.2f}"
        note += f"; bare epoch {bare_epoch:.2f} s)" if rival == "bare" else ")"
        judged = RATIO_LIMIT if context.gpu and rival == "bare" else None
        what = "a bare loop" if rival == "bare" else f"--impl {rival}"
        yield bounded(f"{name}: time relative to {what}, median", ratio.median, judged, "{:.2f}", note)
    yield from waiting_rows(context, name, rivals, chunks[0], sum(taken["ours"]))


def waiting_rows(context: Context, name: str, rivals: Rivals, chunk, seconds: float) -> Iterator[dict]:
    """Measure how long the device is idle between steps, and how long the host waits for the device."""
    worked = rivals.engine.device_seconds()
    what = f"{name}: share of time the device has a step to compute"
    if worked is None:
        yield row(what, "", verdict="not run: not available in this framework")
    else:
        yield bounded(what, worked / seconds, None, "{:.0%}")
    what = f"{name}: operations in {len(chunk)} steps that block the host"
    steps, rate = list(rivals.steps(chunk)), rivals.experiment.training.optimizer.learning_rate
    found = rivals.bare.waits(
        lambda: [rivals.engine.train_step(batch, step, rate) for step, batch in steps], context.device
    )
    rivals.engine.collect()
    if found is None:
        yield row(what, "", verdict="not run: not available in this framework")
    else:
        yield bounded(what, len(found), 0, "{:d}", f" ({found[0]})" if found else "")
    shares = rivals.bare.shares(lambda: rivals.seconds("ours", chunk), context.device)
    what = f"{name}: share of time the host waits"
    if shares is None:
        yield row(what, "", verdict="not run: not implemented for this framework's profiler")
    else:
        yield bounded(what, shares[0], None, "{:.0%}", f" (the device computes {shares[1]:.0%})")
