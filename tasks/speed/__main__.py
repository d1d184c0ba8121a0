"""Benchmark the recurrent layers in every implementation and framework, and profile whole training steps.

python -m tasks.speed --quick
python -m tasks.speed
python -m tasks.speed --shapes imdb 64x256,256/256,bi,2 --cells lstm --layers
python -m tasks.speed --steps --recipe textbook
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Iterable, Mapping
from itertools import chain, cycle, islice
from pathlib import Path

import backends
from backends import implementations
from core.benchmark.shapes import SHAPES, parse_shape
from core.data.dataset import epoch_order
from core.engine import machine
from core.errors import UserError
from core.files import write_json_atomic
from core.models.encoders.recurrent import FRAMEWORK_CELLS
from core.plots.speed import draw_speed
from core.spec.experiment import Experiment, replace
from core.train.ngrams import read_with_ngrams
from core.train.prepare_data import absolute_source, fitted
from core.train.run_folder import RunFolder
from tasks.cli.commands import program_command
from tasks.cli.console import DataProgress, Parser, bar, console, errors, fact, launch
from tasks.cli.paths import cache_folder, new_name
from tasks.cli.recipes import RECIPES, recipe
from tasks.cli.streams import keep_working
from tasks.cli.terminal import literal, warning
from tasks.run.ngram_solver import chosen_solver
from tasks.speed import page
from tasks.speed.environments import ENVIRONMENTS, IMPLEMENTATIONS, Environment, peak_environment, workers
from tasks.speed.measure import LENGTHS, PASSES, STEPS, Measurement, Plan
from tasks.speed.results import describe_disturbance, describe_run, panels, peaks, tree
from tasks.speed.table import print_results, print_run

PROGRAM = "tasks.speed"
STEP_RECIPES = ("default", "lstm", "textcnn", "textbook")
"""Recipes whose training steps are timed unless `--recipe` chooses others."""


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.write is not None:
        page.check(Path(arguments.write))
    if arguments.read is not None:
        if arguments.write is None:
            raise UserError("--read needs --write: give the page")
        page.write(Path(arguments.read), Path(arguments.write))
        return 0
    keep_working("the measurement")
    threads = arguments.threads or machine.usable_cores()
    plan, skipped = _plan(arguments)
    environments = _environments(plan, _backends(arguments.backends), skipped)
    out = Path(arguments.out) if arguments.out else new_name(Path("runs"), "speed")
    RunFolder.check_free(out)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="seqtwin-") as folder:
        steps = [_step_data(name, plan, arguments, Path(folder)) for name in plan.recipes]
        with workers([peak_environment(), *environments], threads) as ready:
            about = describe_run(plan, threads, ready, skipped)
            print_run(plan, about)
            measured = Measurement(plan, ready)
            _show(chain(measured.time_layers(), *(measured.time_steps(*each) for each in steps)), plan.count)
    about["seconds"] = round(time.perf_counter() - began, 1)
    print_results(measured)
    _conclude(measured, about, out)
    if arguments.write is not None:
        page.write(out, Path(arguments.write))
        fact("written", arguments.write)
    return 0


def _parser() -> Parser:
    def table(lines: Mapping[str, object], width: int) -> str:
        return "\n".join(f"  {name:<{width}}{about}" for name, about in lines.items())

    settings = {entry.name: entry.about for entry in ENVIRONMENTS}
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Benchmark the recurrent layers of every cell, implementation and framework, in rounds of random\n"
        "order, relative to the machine's matrix product. Then profile whole training steps.\n"
        "Needs an idle machine. Takes a quarter of an hour; with --quick, about a minute.",
        epilog="shapes (batch x length, inputs/hidden); or custom, such as 64x256,256/256,bi,2:\n"
        f"{table(SHAPES, 14)}\n\n"
        f"implementations:\n{table(IMPLEMENTATIONS, 14)}\n\n"
        f"settings, one process each:\n{table(settings, 22)}\n\n"
        "examples:\n"
        f"  {program_command(PROGRAM)} --quick\n"
        f"  {program_command(PROGRAM)} --shapes imdb deep --cells lstm gru --passes training --layers\n"
        f"  {program_command(PROGRAM)} --steps --recipe textbook --threads 1",
        raw=True,
    )

    def several(flag: str, metavar: str, names: Iterable[str], text: str) -> None:
        names = tuple(names)
        parser.add_argument(flag, nargs="+", metavar=metavar, choices=names, help=text.format(", ".join(names)))

    add = parser.add_argument
    add("--quick", action="store_true", help="about a minute: LSTM training, few rounds")
    add("--shapes", nargs="+", metavar="S", type=parse_shape, help="shapes, by name or custom (below) [all five]")
    several("--cells", "C", FRAMEWORK_CELLS, "cells: {} [all]")
    several("--impl", "I", IMPLEMENTATIONS, "implementations: {} [all]")
    several("--backends", "B", backends.NAMES, "frameworks: {} [all installed]")
    several("--passes", "P", PASSES.values(), "passes: {} [both]")
    add("--lengths", metavar="L", choices=tuple(LENGTHS), default="imdb",
        help="sequence lengths: imdb, as in reviews, or equal [imdb]")  # fmt: skip
    add("--dtype", metavar="D", choices=("float32", "float64"), default="float32", help="float32 or float64 [float32]")
    add("--threads", type=count, metavar="N", help="threads per process [usable cores]")
    add("--rounds", type=count, metavar="N", help="rounds; slow rows run fewer, as the table shows [7; with --quick 3]")
    add("--minutes", type=count, metavar="N", default=13, help="time limit: rows run fewer rounds, two at least [13]")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--layers", action="store_true", help="only layers, no training steps")
    either.add_argument("--steps", action="store_true", help="only whole training steps")
    several("--recipe", "R", RECIPES, "recipes of the steps: {} [" + " ".join(STEP_RECIPES) + "]")
    add("--data", metavar="D", default="packaged", help="data: packaged, official or a path [packaged]")
    add("--out", metavar="DIR", help="output folder [runs/speed-DATE-TIME]")
    add("--read", metavar="DIR", help="measure nothing: write the figures of this folder")
    add("--write", metavar="PAGE", help="write the tables into this page, as docs/speed.md")
    add("--cache-dir", metavar="DIR", help="downloads and tokenized reviews [~/.cache/seqtwin]")
    return parser


def count(text: str) -> int:
    """Parse an option's positive integer."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return int(text)


def _plan(arguments: argparse.Namespace) -> tuple[Plan, dict[str, str]]:
    """Return the plan and the reasons for what it skips. Repeated values count once."""
    quick, skipped = arguments.quick, {}
    reason = implementations.why_not_fast("cpu")
    if reason:
        if "fast" in (arguments.impl or ()):
            raise UserError(f"--impl fast: {reason}")
        skipped["fast"] = reason
    chosen = frozenset(arguments.impl or IMPLEMENTATIONS) - {*skipped}
    recipes = [] if arguments.layers else arguments.recipe or (["lstm"] if quick else [*STEP_RECIPES])
    for name in recipes:
        model = recipe(name).model
        if not chosen & {*model.implementations} & {*STEPS}:
            skipped[f"steps of {name}"] = (
                f"{model.encoder.describe()} has no chosen implementation among {', '.join(STEPS)}"
            )
    passes = arguments.passes or (("training",) if quick else PASSES.values())
    plan = Plan(
        shapes=() if arguments.steps else _unique(arguments.shapes or SHAPES.values()),
        cells=_unique(arguments.cells or (("lstm",) if quick else FRAMEWORK_CELLS)),
        passes=tuple(training for training, name in PASSES.items() if name in passes),
        implementations=chosen,
        rounds=arguments.rounds or (3 if quick else 7),
        budget=1.0 if quick else 15.0,
        dtype=arguments.dtype,
        lengths=arguments.lengths,
        recipes=_unique(name for name in recipes if f"steps of {name}" not in skipped),
        step_rounds=arguments.rounds or (4 if quick else 15),
        quick=quick and not arguments.impl,
        seconds=60.0 * arguments.minutes,
    )
    return plan, skipped


def _unique(values: Iterable) -> tuple:
    return tuple(dict.fromkeys(values))


def _backends(chosen: list[str] | None) -> list[str]:
    """Return the chosen or all installed backends. Raises UserError if one, or every one, is not installed."""
    for name in chosen or ():
        if not backends.installed(name):
            raise UserError(f"--backends {name}: not installed; run: pip install '.[{name}]'")
    backends.first_installed()
    return chosen or [name for name in backends.NAMES if backends.installed(name)]


def _environments(plan: Plan, names: list[str], skipped: dict[str, str]) -> list[Environment]:
    """Return the environments that time something; record in `skipped` why others are skipped."""
    models, found = [recipe(name).model for name in plan.recipes], []
    for entry in ENVIRONMENTS:
        steps = any(plan.steps_in(entry, model) for model in models)
        if entry.backend in names and (steps or plan.layers_in(entry)):
            if entry.unavailable:
                skipped[entry.name] = entry.unavailable
            else:
                found.append(entry)
    if not found:
        raise UserError("nothing to time: no chosen framework has any of the chosen --impl here; choose others")
    return found


def _step_data(name: str, plan: Plan, arguments: argparse.Namespace, folder: Path) -> tuple[Experiment, str]:
    """Return a recipe's experiment and a file with its data and the rows of its batches."""
    changes = {"training.dtype": plan.dtype, "data.source": arguments.data}
    experiment = absolute_source(replace(recipe(name), changes))
    with DataProgress() as progress:
        data = read_with_ngrams(experiment, cache_folder(arguments.cache_dir), progress, chosen_solver().solve)
    training, file = experiment.training, folder / name
    order = epoch_order(data.train.lengths, training, 0)
    file.write_bytes(pickle.dumps((data.train, list(islice(cycle(order), plan.step_rounds + 1)))))
    return fitted(experiment, data), str(file)


def _show(stages: Iterable[str], total: int) -> None:
    """Run the stages with a progress bar on a terminal, else with one line per case."""
    progress = bar()
    # Redrawing it ten times a second would disturb the timings.
    progress.live.auto_refresh = False
    with progress:
        task = progress.add_task("starting", total=total)
        for done, stage in enumerate(stages):
            progress.update(task, description=literal(stage), completed=done, refresh=errors.is_terminal)
            name, _, what = stage.partition(": ")
            if what == "warming up" and not errors.is_terminal:
                fact("timing", name)


def _conclude(measured: Measurement, about: dict, out: Path) -> None:
    """Write the record and the plot, and print their paths."""
    RunFolder.create(out)
    write_json_atomic(out / page.RECORD, tree(measured, about), indent=1)
    peak = peaks([*measured.rows, *measured.steps])
    if peak is not None:
        median, low, high = (f"{value / 1e9:.0f}" for value in (peak.median, peak.low, peak.high))
        fact("peak", f"{median} GFLOP/s (quartiles {low} to {high}): {about['peak_by']}")
    if measured.rows:
        grouped, unit = panels(measured.rows)
        title = f"Recurrent layers on {about['machine']['processor']}, threads: {about['threads']}, {about['dtype']}"
        draw_speed(grouped, title, unit, out / page.PLOT)
        fact("plot", str(out / page.PLOT))
    fact("figures", str(out / page.RECORD))
    console.print(f"finished in {about['seconds']:.0f} s")
    disturbed = describe_disturbance(measured.rounds)
    if disturbed:
        warning(disturbed)


if __name__ == "__main__":
    launch(main)
