"""Options of `python -m tasks.twin`, and their checks."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path

import backends
from core.errors import UserError
from core.twin.contract import Optimization
from core.twin.file import SUFFIX, is_recording
from core.twin.kinds import MODES
from tasks.cli.commands import program_command
from tasks.cli.console import Parser
from tasks.cli.streams import keep_working

PROGRAM = "tasks.twin"
BOTH = "both"
NONE = "none"
DTYPES = ("float64", "float32")
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")
SCHEDULES = ("constant", "linear", "cosine")
STEPS = 10
RATE = 1e-3
FUNCTION = re.compile(r".+:\s*[^\W\d][\w.]*\s*(,\s*[^\W\d][\w.]*\s*)*")
"""`FILE:FUNCTION` or `FILE:FIRST,SECOND`."""
SETTINGS = ("momentum", "beta1", "beta2", "epsilon", "weight_decay")
"""Settings of `--optimizer` after the rate: `adamw:1e-3,weight_decay=0.01`."""


@dataclass(frozen=True)
class Request:
    """The checked arguments."""

    models: tuple[str, ...]
    """`FILE:NAME`, `MODULE:NAME` or a recording."""
    inputs: list[str]
    """`NAME=DESCRIPTION`; a description without a name has its position."""
    weights: str | None
    to: str | None
    """Framework whose model gets the other's values, `none` for neither, None for the default."""
    convert: str | None
    mapping: dict[str, str]
    """Names in the second model by names in the first."""
    losses: tuple[str, ...]
    """`FILE:NAME` of the loss of each model, "" for the default loss."""
    optimizers: tuple[str, ...]
    """`FILE:NAME` of the user's own optimizer of each model, "" for ours."""
    optimization: Optimization | None
    dtype: str
    modes: tuple[str, ...]
    seed: int
    record: Path | None
    json: Path | None
    html: Path | None
    given: frozenset[str] = field(default_factory=frozenset)
    """Options that were given."""


def parse(argv: list[str]) -> Request:
    """Return the checked arguments. Raises UserError."""
    parser = _parser()
    own = parser.parse_intermixed_args(argv)
    if own.record or own.json or own.html:
        keep_working("the comparison")
    _check_choices(own)
    if own.record is None and len(own.models) != 2:
        raise UserError(f"got {len(own.models)} model, expected two, or one with --record FILE")
    if own.record is not None and len(own.models) != 1:
        raise UserError(f"--record: got {len(own.models)} models, expected one: record each in a run")
    if own.record is not None and is_recording(own.models[0]):
        raise UserError(f"--record: {own.models[0]} is a recording already: give FILE:NAME of a model")
    if own.record is not None and not is_recording(own.record):
        raise UserError(f"--record {own.record}: expected a name that ends in {SUFFIX}")
    if own.convert and own.to not in (None, NONE):
        raise UserError(f"--convert with --to {own.to}: the function gives the values, so leave out --to")
    if own.weights and is_recording(own.models[0]):
        raise UserError(f"--weights: the weights of {own.models[0]} are recorded: leave out --weights")
    for flag, path in (("--record", own.record), ("--json", own.json), ("--html", own.html)):
        if path is not None and not Path(path).resolve().parent.is_dir():
            raise UserError(f"{flag} {path}: no such folder: create it first")
    optimizers, optimization = _optimization(own)
    return Request(
        models=tuple(own.models),
        inputs=[text if "=" in text else f"{number}={text}" for number, text in enumerate(own.input)],
        weights=own.weights,
        to=own.to,
        convert=own.convert,
        mapping=_mapping(own.map),
        losses=_functions(own.loss, "--loss", len(own.models)),
        optimizers=optimizers,
        optimization=optimization,
        dtype=own.dtype,
        modes=MODES if own.mode == BOTH else (own.mode,),
        seed=own.seed,
        record=_path(own.record),
        json=_path(own.json),
        html=_path(own.html),
        given=frozenset(name for name, value in vars(own).items() if value != parser.get_default(name)),
    )


def _check_choices(own: argparse.Namespace) -> None:
    for flag, value, allowed in (
        ("--to", own.to, (*backends.NAMES, NONE)),
        ("--dtype", own.dtype, DTYPES),
        ("--mode", own.mode, (BOTH, *MODES)),
        ("--schedule", own.schedule, SCHEDULES),
    ):
        if value is not None and value not in allowed:
            raise UserError(f"{flag} {value}: choose one of {', '.join(allowed)}")
    if own.seed < 0:
        raise UserError(f"--seed {own.seed}: expected 0 or more")
    if own.steps is not None and own.steps < 0:
        raise UserError(f"--steps {own.steps}: expected 0 or more")
    if own.clip_norm is not None and not own.clip_norm > 0:
        raise UserError(f"--clip-norm {own.clip_norm:g}: expected a number above 0")


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _mapping(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        first, equals, second = text.partition("=")
        if not equals or not first or not second:
            raise UserError(f"--map {text}: expected A=B, names of a parameter in the first and the second model")
        if first in found or second in found.values():
            raise UserError(f"--map {text}: one of these names is mapped twice: map every parameter once")
        found[first] = second
    return found


def _functions(text: str | None, flag: str, models: int) -> tuple[str, ...]:
    """Return `FILE:NAME` for each model from `FILE:NAME` or `FILE:FIRST,SECOND`."""
    if text is None:
        return ("",) * models
    file, colon, names = text.rpartition(":")
    found = [name.strip() for name in names.split(",")]
    if not colon or not file or not all(found) or len(found) not in (1, models):
        raise UserError(f"{flag} {text}: expected FILE:FUNCTION, or FILE:FIRST,SECOND in the order of the models")
    return tuple(f"{file}:{name}" for name in (found if len(found) == models else found * models))


def _optimization(own: argparse.Namespace) -> tuple[tuple[str, ...], Optimization | None]:
    """Return the user's own optimizers, and how many steps to make with which settings; None for no step."""
    none = ("",) * len(own.models)
    wanted = own.optimizer is not None or own.steps is not None
    for flag, value in (("--clip-norm", own.clip_norm), ("--schedule", own.schedule)):
        if value is not None and not wanted:
            raise UserError(f"{flag}: no training steps were asked for: add --optimizer adam:1e-3")
    steps = STEPS if own.steps is None else own.steps
    if not wanted or not steps:
        return none, None
    shared = {"clip_norm": own.clip_norm, "schedule": own.schedule or SCHEDULES[0], "steps": steps}
    text = own.optimizer or OPTIMIZERS[2]
    name, _, rest = text.partition(":")
    if name not in OPTIMIZERS:
        if FUNCTION.fullmatch(text) is None:
            raise UserError(f"--optimizer {text}: choose one of {', '.join(OPTIMIZERS)}, or give FILE:FUNCTION")
        return _functions(text, "--optimizer", len(own.models)), Optimization(**shared)
    first, *others = [part.strip() for part in rest.split(",")] if rest else [str(RATE)]
    values = {"rate": _number(first, text)}
    for part in others:
        key, _, value = part.partition("=")
        if key not in SETTINGS:
            raise UserError(f"--optimizer {text}: {key} is no setting: choose from {', '.join(SETTINGS)}")
        values[key] = _number(value, text)
    betas = values.pop("beta1", Optimization.betas[0]), values.pop("beta2", Optimization.betas[1])
    return none, Optimization(optimizer=name, betas=betas, **values, **shared)


def _number(text: str, option: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise UserError(f"--optimizer {option}: got {text!r}, expected a number of at least 0, as in adam:1e-3")
    return found


def _parser() -> Parser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Compare a PaddlePaddle model with a PyTorch model that you wrote: parameters, forward pass,"
        " gradients and training steps. Name the first difference and its likely cause.",
        epilog="Your files are run. Exit code 0: the same; 1: different; 2: an error.",
    )
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="FILE:CLASS, FILE:FUNCTION, MODULE:NAME, or a recording"
    )
    inputs = parser.add_argument_group("inputs, the same for both models")
    inputs.add_argument(
        "--input",
        metavar="NAME=D",
        action="append",
        default=[],
        help="argument of forward: int[4,9]:50, float[4,9], mask[4,9], lengths[4]:9, x.npy",
    )
    inputs.add_argument("--seed", metavar="N", type=int, default=0, help="seed of inputs, dropout, new models [0]")
    weights = parser.add_argument_group("weights")
    weights.add_argument("--weights", metavar="FILE", help="state dict that the first model loads")
    weights.add_argument("--to", metavar="F", help="model that gets the other's weights: paddle, torch, none [second]")
    weights.add_argument("--convert", metavar="F:FUNC", help="your conversion of the first state dict, to be judged")
    weights.add_argument(
        "--map", metavar="A=B", action="append", default=[], help="pair of parameters, first and second model"
    )
    judged = parser.add_argument_group("what is compared")
    judged.add_argument("--mode", metavar="M", default=BOTH, help="evaluation, training or both [both]")
    judged.add_argument("--dtype", metavar="D", default=DTYPES[0], help="float64 or float32 [float64]")
    judged.add_argument("--loss", metavar="F:FUNC", help="function(outputs, inputs) [weighted sum of outputs]")
    judged.add_argument("--optimizer", metavar="O", help="sgd, momentum, adam or adamw:RATE, or FILE:FUNCTION")
    judged.add_argument("--clip-norm", metavar="X", type=float, help="largest norm of all gradients [no limit]")
    judged.add_argument("--schedule", metavar="S", help="learning rate: constant, linear or cosine [constant]")
    judged.add_argument("--steps", metavar="N", type=int, help="training steps [10 with --optimizer]")
    files = parser.add_argument_group("files")
    files.add_argument("--record", metavar="FILE", help=f"run one model and record it ({SUFFIX})")
    files.add_argument("--json", metavar="FILE", help="write the result for programs")
    files.add_argument("--html", metavar="FILE", help="write a page with both module trees")
    return parser
