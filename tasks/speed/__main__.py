"""How fast the recurrent layers are, in every implementation and framework, and where a training step's time goes.

python -m tasks.speed --quick
python -m tasks.speed
python -m tasks.speed --shapes imdb 64x256,256/256,bi,2 --cells lstm --layers
python -m tasks.speed --steps --recipe textbook
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.markup import escape

import backends
from backends import implementations
from core.benchmark.shapes import SHAPES, Shape, parse_shape
from core.engine import machine
from core.errors import UserError
from core.files import write_json_atomic
from core.models.encoders.recurrent import FRAMEWORK_CELLS
from core.plots.speed import draw_speed
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from core.train.setup import absolute_source, fitted, read_data
from tasks.cli.console import DataProgress, Parser, bar, console, errors, fact, launch
from tasks.cli.paths import cache_folder, new_name
from tasks.cli.recipes import RECIPES, recipe
from tasks.speed.environments import ENVIRONMENTS, IMPLEMENTATIONS, Environment, Worker, peak_environment, workers
from tasks.speed.measure import (
    Plan,
    Results,
    count_layers,
    count_steps,
    step_implementations,
    time_layers,
    time_steps,
    write_batches,
)
from tasks.speed.results import describe_disturbance, panels, peaks, tree
from tasks.speed.table import print_results

PROGRAM = "python -m tasks.speed"
PASSES = {"training": True, "inference": False}


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    plan = _plan(arguments)
    threads = machine.usable_cores() if arguments.threads is None else arguments.threads
    if threads < 1:
        raise UserError(f"--threads {threads}: must be at least 1")
    environments, left_out = _environments(plan, _backends(arguments), plan.shapes, bool(plan.recipes))
    if not environments:
        raise UserError("there is nothing to time: no chosen framework has any of the chosen --impl here")
    out = Path(arguments.out) if arguments.out else new_name(Path("runs"), "speed")
    RunFolder.check_free(out)
    began, results = time.perf_counter(), Results()
    with tempfile.TemporaryDirectory(prefix="seqtwin-") as folder:
        steps = {name: _step_batches(name, plan, arguments, folder) for name in plan.recipes}
        with workers([peak_environment(), *environments], threads) as (peak, *others):
            about = _about(plan, threads, peak, others, left_out)
            _describe(plan, about)
            with _Progress(count_layers(plan) + count_steps(plan)) as progress:
                time_layers(plan, others, peak, results, progress)
                own = [worker for worker in others if step_implementations(plan, worker.environment)]
                for experiment, file in steps.values():
                    time_steps(plan, experiment, file, own, results, progress)
    about["seconds"] = round(time.perf_counter() - began, 1)
    print_results(plan, results)
    _conclude(plan, results, about, out)
    return 0


def _parser() -> Parser:
    shapes = "\n".join(f"  {shape.name:<14}{shape}" for shape in SHAPES.values())
    settings = "\n".join(f"  {entry.name:<22}{entry.about}" for entry in ENVIRONMENTS)
    parser = Parser(
        prog=PROGRAM,
        description="Time the recurrent layers: every cell, implementation and framework, each round in an order of\n"
        "its own, and beside every timing the machine's matrix product. Then whole training steps, by part.\n"
        "Give it the machine for itself: it takes about twenty minutes, with --quick about one.",
        epilog=f"shapes (batch x length, inputs/hidden); other ones as numbers, e.g. 64x256,256/256,bi,2:\n{shapes}\n\n"
        "implementations:\n"
        "  fast          ours\n"
        "  builtin       the framework's, a call per direction, made exact for lengths\n"
        "  loop          the textbook's, one step at a time\n"
        "  packed        the framework's, one call, with its own handling of lengths\n"
        "  padded        the framework's, over the padding too\n\n"
        f"settings, a process each:\n{settings}\n\n"
        "examples:\n"
        f"  {PROGRAM} --quick\n"
        f"  {PROGRAM} --shapes imdb deep --cells lstm gru --passes training --layers\n"
        f"  {PROGRAM} --steps --recipe textbook --threads 1",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=110),
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a minute or so: LSTM, training, few rows and rounds")
    add("--shapes", nargs="+", metavar="S", help="shapes by name or as numbers (below) [all five]")
    add("--cells", nargs="+", metavar="C", help=f"of {', '.join(FRAMEWORK_CELLS)} [all]")
    add("--impl", nargs="+", metavar="I", help=f"of {', '.join(IMPLEMENTATIONS)} [all]")
    add("--backends", nargs="+", metavar="B", help="frameworks [all that are installed]")
    add("--passes", nargs="+", metavar="P", help="of training, inference [both]")
    add("--lengths", metavar="L", default="imdb", help="of the sequences: imdb, as reviews have them, or equal [imdb]")
    add("--dtype", metavar="D", default="float32", help="float32 or float64 [float32]")
    add("--threads", type=int, metavar="N", help="threads in every process [cores that may be used]")
    add("--rounds", type=int, metavar="N", help="timings of each row; slow rows have fewer, as the table says [7]")
    add("--layers", action="store_true", help="only the layers, no training steps")
    add("--steps", action="store_true", help="only whole training steps, by part")
    add("--recipe", nargs="+", metavar="R", help=f"whose training steps: {', '.join(RECIPES)} [default textbook]")
    add("--data", metavar="D", default="packaged", help="whose batches: packaged, official or a path [packaged]")
    add("--out", metavar="DIR", help="folder to make for figures and picture [runs/speed-DATE-TIME]")
    add("--cache-dir", metavar="DIR", help="for downloads and tokenised reviews [~/.cache/seqtwin]")
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    quick = arguments.quick
    if arguments.layers and arguments.steps:
        raise UserError("--layers and --steps each leave out the other: give one, or neither for both")
    if arguments.rounds is not None and arguments.rounds < 1:
        raise UserError(f"--rounds {arguments.rounds}: must be at least 1")
    for flag, value, allowed in (
        ("--lengths", arguments.lengths, ("imdb", "equal")),
        ("--dtype", arguments.dtype, ("float32", "float64")),
    ):
        if value not in allowed:
            raise UserError(f"{flag} {value}: choose one of {', '.join(allowed)}")
    passes = _chosen("--passes", arguments.passes, ("training",) if quick else tuple(PASSES), tuple(PASSES))
    recipes = _chosen("--recipe", arguments.recipe, ("default",) if quick else ("default", "textbook"), tuple(RECIPES))
    chosen = _chosen("--impl", arguments.impl, IMPLEMENTATIONS, IMPLEMENTATIONS)
    obstacle = implementations.why_not_fast("cpu")
    if obstacle and arguments.impl and "fast" in arguments.impl:
        raise UserError(f"--impl fast: {obstacle}")
    return Plan(
        shapes=() if arguments.steps else _shapes(arguments.shapes),
        cells=_chosen("--cells", arguments.cells, ("lstm",) if quick else FRAMEWORK_CELLS, FRAMEWORK_CELLS),
        passes=tuple(PASSES[name] for name in passes),
        implementations=tuple(name for name in chosen if name != "fast" or not obstacle),
        rounds=arguments.rounds or (3 if quick else 7),
        budget=1.0 if quick else 15.0,
        dtype=arguments.dtype,
        lengths=arguments.lengths,
        recipes=() if arguments.layers else recipes,
        step_rounds=arguments.rounds or (4 if quick else 15),
        quick=quick and not arguments.impl,
    )


def _chosen(flag: str, given: list[str] | None, default: tuple[str, ...], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Those given, or the default ones. Raises UserError for another, or one given twice."""
    if given is None:
        return default
    for name in given:
        if name not in allowed:
            raise UserError(f"{flag} {name}: choose from {', '.join(allowed)}")
    if len(set(given)) < len(given):
        raise UserError(f"{flag} {' '.join(given)}: name each once")
    return tuple(name for name in allowed if name in given)


def _shapes(given: list[str] | None) -> tuple[Shape, ...]:
    if given is None:
        return tuple(SHAPES.values())
    if len(set(given)) < len(given):
        raise UserError(f"--shapes {' '.join(given)}: name each once")
    return tuple(map(parse_shape, given))


def _backends(arguments: argparse.Namespace) -> tuple[str, ...]:
    there = tuple(name for name in backends.NAMES if backends.installed(name))
    if arguments.backends is None:
        backends.first_installed()
        return there
    chosen = _chosen("--backends", arguments.backends, there, backends.NAMES)
    for name in chosen:
        if name not in there:
            raise UserError(f"--backends {name}: it is not installed; run: pip install '.[{name}]'")
    return chosen


def _environments(
    plan: Plan, names: tuple[str, ...], layers: bool, steps: bool
) -> tuple[list[Environment], dict[str, str]]:
    """Those in which something is to be timed, and why others are left out."""
    found, left_out = [], {}
    for entry in ENVIRONMENTS:
        if entry.backend not in names:
            continue
        if (layers and plan.of(entry)) or (steps and step_implementations(plan, entry)):
            obstacle = entry.obstacle()
            if obstacle:
                left_out[entry.name] = obstacle
            else:
                found.append(entry)
    if implementations.why_not_fast("cpu"):
        left_out["fast"] = implementations.why_not_fast("cpu")
    return found, left_out


def _step_batches(name: str, plan: Plan, arguments: argparse.Namespace, folder: str) -> tuple[Experiment, str]:
    """The experiment of a recipe, and a file with batches for the rounds and one before them."""
    changes = {"training.dtype": plan.dtype, "data.source": arguments.data}
    experiment = absolute_source(replace(recipe(name), changes))
    with DataProgress() as progress:
        data, _ = read_data(experiment, cache_folder(arguments.cache_dir), progress=progress)
    file = str(Path(folder) / f"{name}.npz")
    write_batches(experiment, data.train, plan.step_rounds + 1, file)
    return fitted(experiment, data), file


def _about(plan: Plan, threads: int, peak: Worker, others: list[Worker], left_out: dict[str, str]) -> dict:
    versions = {}
    for worker in (peak, *others):
        versions.update(worker.hello["versions"])
    return {
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {**machine.description(), "processor": machine.processor()},
        "threads": threads,
        "versions": {"numpy": np.__version__, **versions},
        "dtype": plan.dtype,
        "rounds_at_most": plan.rounds,
        "peak_by": peak.environment.about,
        "environments": [
            {
                "name": worker.environment.name,
                "backend": worker.environment.backend,
                "about": worker.environment.about,
                "variables": worker.environment.variables,
                "threads": worker.hello["threads"],
            }
            for worker in others
        ],
        "left_out": left_out,
        "shapes": [
            {**shape.tree(), "lengths": plan.lengths_of(shape).tolist(), "drawn": plan.lengths} for shape in plan.shapes
        ],
    }


def _describe(plan: Plan, about: dict) -> None:
    own = about["machine"]
    fact("machine", f"{own['processor']}, {own['cores']} cores may be used; threads: {about['threads']}")
    layers = (
        "none" if implementations.why_not_fast("cpu") else implementations.implementation_version("fast")["kernels"]
    )
    versions = (f"{name} {version}" for name, version in about["versions"].items() if name != "cuda")
    fact("versions", f"{', '.join(versions)}; our layers: {layers}")
    if plan.shapes:
        passes = " and ".join(name for name, training in PASSES.items() if training in plan.passes)
        fact(
            "layers",
            f"{', '.join(shape.name for shape in plan.shapes)}; {', '.join(plan.cells)}; {passes}; {plan.dtype};"
            f" lengths {'as in IMDB reviews' if plan.lengths == 'imdb' else 'all equal'}; at most {plan.rounds} rounds",
        )
    if plan.recipes:
        fact("steps", f"of the recipes {', '.join(plan.recipes)}; {plan.step_rounds} rounds")
    for entry in about["environments"]:
        fact("process", f"{entry['name']}: {entry['about']}; threads: {entry['threads']}")
    for name, why in about["left_out"].items():
        fact("left out", f"{name}: {why}")


def _conclude(plan: Plan, results: Results, about: dict, out: Path) -> None:
    RunFolder.create(out)
    write_json_atomic(out / "speed.json", tree(results, about), indent=1)
    over_all = peaks(results)
    if over_all is not None:
        low, high = over_all.low / 1e9, over_all.high / 1e9
        fact(
            "peak", f"{over_all.median / 1e9:.0f} GFLOP/s, half of the time {low:.0f} to {high:.0f}: {about['peak_by']}"
        )
    if results.rows:
        grouped, unit = panels(results.rows)
        title = f"Recurrent layers on {about['machine']['processor']}, threads: {about['threads']}, {plan.dtype}"
        draw_speed(grouped, title, unit, out / "speed.png")
        fact("picture", str(out / "speed.png"))
    fact("figures", str(out / "speed.json"))
    console.print(f"timed in {about['seconds']:.0f} s")
    warning = describe_disturbance(results)
    if warning:
        errors.print(f"[yellow]warning:[/] {escape(warning)}")


class _Progress:
    """A bar on a terminal; elsewhere a line when something new begins."""

    def __init__(self, total: int) -> None:
        self._bar = bar()
        # Redrawing it ten times a second would be work beside what is timed.
        self._bar.live.auto_refresh = False
        self._task = self._bar.add_task("starting", total=total)
        self._last = ""

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def __call__(self, what: str, done: int) -> None:
        self._bar.update(self._task, description=escape(what), advance=done, refresh=errors.is_terminal)
        begun = what.partition(":")[0]
        if not errors.is_terminal and what.endswith("warming up") and begun != self._last:
            self._last = begun
            fact("timing", begun)


if __name__ == "__main__":
    launch(main)
