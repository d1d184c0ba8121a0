"""Both models of a request, compared, living or recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.errors import UserError
from core.twin.compare import compare_sides
from core.twin.contract import Progress, Side
from core.twin.file import ModelRecord
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.recording import Arrays
from core.twin.verdict import Verdict
from tasks.cli.console import fact
from tasks.twin.arguments import NONE, Request
from tasks.twin.models import Loaded, check_call
from tasks.twin.record import batches_of


def settle(models: Sequence[Loaded], request: Request) -> tuple[Request, list[Arrays], str | None]:
    """Return the request with what its recordings fix, the batches, and the framework that gets the other's values.

    Raises UserError for models of one framework, and for options that contradict a recording.
    """
    first, second = models
    if first.framework == second.framework:
        name = FRAMEWORK_NAMES[first.framework]
        raise UserError(f"{first.name} and {second.name}: got two models in {name}, expected one of each framework")
    records = [own for own in models if own.record is not None]
    for own in records:
        assert own.record is not None
        request = _of_recording(request, own.name, own.record)
    recorded = records[0].record if records else None
    batches = batches_of(request) if recorded is None else [*recorded.batches] or [recorded.recordings[0].inputs]
    return request, batches, _receiver(models, request)


def _of_recording(request: Request, name: str, record: ModelRecord) -> Request:
    """Return the request with the modes, seed and training of a recording. Raises UserError if they contradict."""
    if request.inputs:
        raise UserError(f"--input: the inputs are those of {name}: leave out --input")
    seeds = {own.seed for own in record.recordings}
    if "seed" in request.given and request.seed not in seeds:
        raise UserError(f"--seed {request.seed}: {name} was recorded with seed {record.recordings[0].seed}")
    held = tuple(dict.fromkeys(own.mode for own in record.recordings))
    modes = tuple(mode for mode in request.modes if mode in held)
    if not modes or ("mode" in request.given and modes != request.modes):
        raise UserError(f"--mode: {name} was recorded in {' and '.join(held)} mode: leave out --mode")
    if request.dtype not in {own.dtype for own in record.recordings}:
        raise UserError(f"--dtype {request.dtype}: {name} was not recorded in it: record it with it")
    wanted = request.optimization
    if wanted is not None and record.optimization is None:
        raise UserError(f"--optimizer: {name} holds no training steps: record it with --optimizer")
    if wanted is not None and wanted != record.optimization:
        raise UserError(f"--optimizer: {name} was recorded with other training steps: leave out --optimizer")
    for flag, recorded, given in (
        ("--loss", record.own_loss, any(request.losses)),
        ("--optimizer", record.own_optimizer and record.optimization is not None, any(request.optimizers)),
    ):
        if recorded and not given:
            raise UserError(f"{name} was recorded with {flag} FILE:FUNCTION: give that of the other model")
    return replace(request, modes=modes, seed=record.recordings[0].seed, optimization=record.optimization)


def _receiver(models: Sequence[Loaded], request: Request) -> str | None:
    """Return the framework of the model that gets the other's values, None if both keep their own."""
    living = [own.framework for own in models if own.model is not None]
    if request.to == NONE or request.convert:
        return None
    if request.to is None:
        return living[-1] if living else None
    if request.to not in living:
        raise UserError(f"--to {request.to}: a recording keeps its values: leave out --to")
    return request.to


def compare(models: Sequence[Loaded], sides: Sequence[Side], request: Request, progress: Progress) -> Verdict:
    """Compare both models as asked; errors of the user's code pass through. Raises UserError."""
    request, batches, to = settle(models, request)
    for own in models:
        check_call(own, batches[0])
    fact("inputs", f"{describe(batches[0]) or 'none'}; seed {request.seed}")
    fact("values", "each model keeps its own" if to is None else f"copied into the model in {FRAMEWORK_NAMES[to]}")
    torch, paddle = sorted(sides, key=lambda own: list(FRAMEWORK_NAMES).index(own.framework))
    mapping = request.mapping
    if torch is not sides[0]:
        mapping = {second: first for first, second in mapping.items()}
    try:
        return compare_sides(
            torch,
            paddle,
            batches[0],
            to=to,
            mapping=mapping,
            modes=request.modes,
            dtype=request.dtype,
            seed=request.seed,
            optimization=request.optimization,
            batches=batches,
            progress=progress,
        )
    except UserError as error:  # core names its argument, not the option
        raise UserError(str(error).replace("mapping:", "--map:", 1)) from None


def describe(inputs: Arrays) -> str:
    """Return types and shapes of inputs in one line."""
    return ", ".join(f"{name}: {own.dtype.name} {list(own.shape)}" for name, own in inputs.items())


def finite(tree: Any) -> Any:
    """Return a JSON tree with texts in place of NaN and infinity, which JSON does not have."""
    if isinstance(tree, Mapping):
        return {str(key): finite(own) for key, own in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(own) for own in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return str(tree)
    return tree
