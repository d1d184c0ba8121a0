"""Measure exploding, clipped and vanishing gradients of recurrent layers (nndl, chapter 6).

python -m tasks.exploding --backend paddle
python -m tasks.exploding --backend torch --cell lstm --log
python -m tasks.exploding --backend both
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from core.analysis.gradient_flow import one_layer_to_the_last_state
from core.checked_json import write_checked_json
from core.engine import machine
from core.engine.memory import check_memory, host_limit
from core.errors import UserError
from core.models.encoders.recurrent import RecurrentEncoder
from core.plots.textbook import Norms, draw_norms, draw_powers, draw_vanishing
from core.report.exploding import LATER, Figures, Side, exploding_page
from core.schema import of_kind
from core.spec.data import DigitSums
from core.spec.experiment import FORMAT_VERSION, Experiment, replace
from core.train.run_folder import RunFolder
from tasks.cli.commands import program_command
from tasks.cli.console import Parser, console, fact, launch
from tasks.cli.options import DEVICE_HELP, TEXT_FLAGS, add_options, apply_options
from tasks.cli.paths import new_name
from tasks.cli.recipes import exploding
from tasks.cli.streams import keep_working
from tasks.cli.terminal import literal
from tasks.run import both_frameworks
from tasks.run.gradient_norms import VANISHING_CELLS, Measured, relative_to_last, train, vanishing, variants
from tasks.run.report import write_page
from tasks.run.worker import Request, Worker

PROGRAM = "tasks.exploding"
SEEDS = tuple(range(8))
VANISHING_EPOCHS = 150
EXCLUDED_FLAGS = (
    "--encoder",
    "--kernels",
    "--channels",
    "--seed",
    "--patience",
    "--eval-start",
    "--watch-gradients",
    "--dropout-masks",
    "--clip",
    "--layers",
    "--residual",
    "--pooling",
    "--bidirectional",
)
EXCLUDED_FLAGS += ("--dropout", *TEXT_FLAGS)


def main(argv: list[str]) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    keep_working()
    request = Request.read(arguments)
    if arguments.resume:
        return _resume(parser, arguments)
    base = _base(arguments)
    check_memory(base, host_limit(), models=len(arguments.seeds))
    if arguments.backend == both_frameworks.BOTH:
        return both_frameworks.start_with_options(BOTH_BACKENDS, "exploding", argv, request, arguments.out)
    own_cell = _encoder(base).cell
    who = {
        cell: Worker.of_ensemble(request, replace(base, {"model.encoder.cell": cell}))
        for cell in dict.fromkeys([own_cell, *VANISHING_CELLS])
    }
    folder = Path(arguments.out) if arguments.out else new_name(Path("runs"), f"exploding-{request.backend_name}")
    RunFolder.check_free(folder)
    _describe(base, who[own_cell], arguments, folder)
    begun = time.perf_counter()
    found = {name: train(name, spec, arguments.seeds, who[own_cell]) for name, spec in variants(base).items()}
    reach = vanishing(base, arguments.seeds, arguments.vanishing_epochs, who)
    measured = Measured(found, reach, time.perf_counter() - begun)
    RunFolder.create(folder)
    _report(base, _write(folder, base, measured, who[own_cell], arguments))
    for picture in sorted(folder.glob("*.png")):
        fact("plot", str(picture))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Measure the gradient norms of a recurrent layer's W, U and b at every step, without and with"
        " per-tensor clipping, for several seeds at once; and the norm of dL/dh_t for every t in untrained and"
        " trained SRN, GRU and LSTM, and of the powers of the SRN's U. Digit sums of length 20; nndl, chapter 6,"
        " figures 6.8 and 6.9.",
        epilog="Defaults are in [brackets].",
    )
    add = parser.add_argument
    add("--backend", metavar="B", help=both_frameworks.BACKEND_HELP)
    add("--device", metavar="D", default="auto", help=DEVICE_HELP)
    add("--impl", metavar="I", default="auto", help="implementation: auto, loop, fast [auto: fastest available]")
    add("--length", type=int, metavar="N", help="sequence length [20]")
    add(
        "--seeds",
        nargs="+",
        type=int,
        metavar="N",
        default=list(SEEDS),
        help=f"seeds [{' '.join(map(str, SEEDS))}]",
    )
    add("--log", action="store_true", help="plot norms on a logarithmic scale")
    add(
        "--vanishing-epochs",
        type=int,
        metavar="N",
        default=VANISHING_EPOCHS,
        help=f"Adam epochs before dL/dh_t is measured [{VANISHING_EPOCHS}]",
    )
    add("--out", metavar="DIR", help="run folder to create [runs/exploding-BACKEND-DATE-TIME]")
    add(
        "--resume",
        metavar="RUN",
        help=f"resume a stopped run of --backend {both_frameworks.BOTH}",
    )
    add_options(parser, {"exploding": exploding()}, EXCLUDED_FLAGS)
    return parser


def _resume(parser: Parser, arguments: argparse.Namespace) -> int:
    how = ("resume", "backend", "device", "impl")
    values = {name: value for name, value in vars(arguments).items() if name not in how}
    fixed = [f"--{name.replace('_', '-')}" for name, value in values.items() if value != parser.get_default(name)]
    if fixed:
        raise UserError(f"--resume takes these settings from the run: omit {', '.join(fixed)}")
    if not both_frameworks.is_both(arguments.resume):
        RunFolder.open(Path(arguments.resume))
        raise UserError(f"{arguments.resume}: run of a single backend, which cannot be resumed: start a new run")
    return both_frameworks.resume_with_options(BOTH_BACKENDS, arguments.resume, Request.read(arguments))


def _compare(paths: list[Path], names: list[str], out: Path) -> None:
    """Write the page that compares the backends."""
    sides = [Side.read(path, name) for path, name in zip(paths, names, strict=True)]
    write_page(out, exploding_page(sides))
    fact("report", str(out))


BOTH_BACKENDS = both_frameworks.Work(
    PROGRAM, both_frameworks.read_options, _compare, result="results.json", record=None
)


def _base(arguments: argparse.Namespace) -> Experiment:
    for seed in arguments.seeds:
        if seed < 0 or arguments.seeds.count(seed) > 1:
            raise UserError(f"--seeds {seed}: expected integers >= 0, each once")
    if arguments.vanishing_epochs < 1:
        raise UserError(f"--vanishing-epochs {arguments.vanishing_epochs}: expected at least 1")
    base = apply_options(exploding(), arguments)
    if arguments.length is not None:
        if arguments.length < 3:
            raise UserError(f"--length {arguments.length}: expected at least 3, two digits to add and one more")
        base = replace(base, {"data.length": arguments.length, "text.max_length": arguments.length}, "--length")
    if not one_layer_to_the_last_state(base.model):
        raise UserError("--set: expected one unidirectional layer with last pooling and no hidden head layer")
    return base


def _encoder(experiment: Experiment) -> RecurrentEncoder:
    return of_kind(experiment.model.encoder, RecurrentEncoder)


def _describe(base: Experiment, who: Worker, arguments: argparse.Namespace, folder: Path) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in who.backend.versions().items())
    training, optimizer, encoder = base.training, base.training.optimizer, _encoder(base)
    fact("task", "exploding and vanishing gradients (nndl, chapter 6)")
    fact("backend", f"{versions}; device {who.executor.device}; implementation {who.executor.implementation}")
    fact(
        "spec",
        f"digit sum of length {of_kind(base.data, DigitSums).length}, {encoder.cell} {encoder.hidden_size},"
        f" {optimizer.kind} {optimizer.learning_rate:g}, batch {training.batch_size}, {training.epochs} epochs,"
        f" {training.loss_reduction} of losses; seeds {' '.join(map(str, arguments.seeds))}, side by side",
    )
    fact("run", str(folder))


def _write(folder: Path, base: Experiment, measured: Measured, who: Worker, arguments: argparse.Namespace) -> dict:
    """Write the plots and results.json. Return the results."""
    name = who.backend.NAME
    cell, limit = _encoder(base).cell, base.training.clip_norm
    norms = {way: Norms(own.norms, arguments.seeds) for way, own in measured.trainings.items()}
    draw_norms(norms["not clipped"], f"{cell}, {name}: not clipped", folder / "norms.png", arguments.log)
    title = f"{cell}, {name}: each tensor clipped to {limit:g}"
    draw_norms(norms["clipped"], title, folder / "norms-clipped.png", arguments.log, limit)
    relative = {when: relative_to_last(states) for when, states in measured.vanishing.norms.items()}
    draw_vanishing(relative, f"Gradient of the loss at the state after step t ({name})", folder / "vanishing.png")
    draw_powers(measured.vanishing.powers, f"Powers of the SRN's U ({name})", folder / "powers.png")
    tree = {
        "format": FORMAT_VERSION,
        "experiment": base.model_dump(mode="json"),
        "backend": name,
        "versions": who.backend.versions(),
        "device": who.executor.device,
        "implementation": who.executor.implementation,
        "seeds": arguments.seeds,
        "training": {way: own.tree() for way, own in measured.trainings.items()},
        "state_gradients": {
            when: {name: values.tolist() for name, values in states.items()}
            for when, states in measured.vanishing.norms.items()
        },
        "powers": {when: own.tree() for when, own in measured.vanishing.powers.items()},
        "vanishing_epochs": arguments.vanishing_epochs,
        "machine": machine.description(),
        "seconds": round(measured.seconds, 3),
        "peak_memory_mb": machine.peak_memory_mb(),
    }
    write_checked_json(folder / "results.json", tree, indent=None)
    return tree


def _report(base: Experiment, results: dict) -> None:
    own, length = Figures.of(results), of_kind(base.data, DigitSums).length
    console.print()
    console.print(
        f"[bold]not clipped[/]  W gradient norm: peak {np.median(own.peaks):.3g} within {own.early} steps"
        f" (median over seeds; {own.peaks.min():.3g} to {own.peaks.max():.3g})"
        + ("" if own.later is None else f", {own.later:.2g} at step {LATER}")
    )
    console.print(
        f"[bold]clipped[/]      to {base.training.clip_norm:g}: {own.held[0]:.3g} to {own.held[1]:.3g} before clipping"
        f" (medians over seeds)"
    )
    for way, test in own.test.items():
        console.print(
            literal(
                f"{way:<12} best dev accuracy {own.dev[way]:.3f}, test {np.mean(test):.3f}"
                f" (means; test by seed {' '.join(f'{value:.2f}' for value in test)})"
            )
        )
    for when, states in own.reach.items():
        each = ", ".join(f"{name} {value:.1e}" for name, value in states.items())
        console.print(f"{when:<12} gradient at the state after step 1, over |dL/dh_{length}|: {each} (medians)")
    for when, power in own.powers.items():
        console.print(
            f"{when:<12} SRN: U has spectral radius {power.radius:.3f} ({power.lowest:.3f} to {power.highest:.3f}) and"
            f" norm {power.first:.3g}; |U^{power.steps}| {power.last:.2g}, at least {power.bound:.2g} (medians)"
        )


if __name__ == "__main__":
    launch(main)
