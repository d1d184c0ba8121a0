"""One model alone: what it computes, as a recording for a comparison elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.twin.contract import Progress, Run, Side
from core.twin.file import ModelRecord, write_record
from core.twin.inputs import parse_inputs
from core.twin.recording import Arrays
from tasks.twin.arguments import DTYPES, Request


def batches_of(request: Request) -> list[Arrays]:
    """Return the inputs of the first run and, with training steps, those of every step. Raises UserError."""
    steps = request.optimization.steps if request.optimization is not None else 1
    return [parse_inputs(request.inputs, request.seed, batch) for batch in range(steps)]


def record(side: Side, request: Request, batches: Sequence[Arrays], path: Path, progress: Progress) -> ModelRecord:
    """Run a model in all modes and number types of the request, and write the recording. Errors of its code pass."""
    dtypes = DTYPES[: DTYPES.index(request.dtype) + 1]
    runs = [Run(batches[0], mode, dtype, request.seed) for dtype in dtypes for mode in request.modes]
    total = len(runs) + (request.optimization is not None)
    recordings = []
    for number, how in enumerate(runs):
        progress(f"{side.name}, {how.mode} mode, {how.dtype}", number, total)
        recordings.append(side.run(how))
    steps = ()
    if request.optimization is not None:
        progress(f"{side.name}, training steps", len(runs), total)
        how = Run(batches[0], "training", DTYPES[0], request.seed)
        steps = tuple(side.train(how, list(batches), request.optimization))
    found = ModelRecord(
        name=side.name,
        recordings=tuple(recordings),
        batches=tuple(batches) if request.optimization is not None else (),
        optimization=request.optimization,
        steps=steps,
        own_optimizer=bool(request.optimizers[0]),
        own_loss=bool(request.losses[0]),
        drawn=dict(text.split("=", 1) for text in request.inputs),
    )
    write_record(path, found)
    return found
