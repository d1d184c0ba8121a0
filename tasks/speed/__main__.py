"""How fast the recurrent layers are, in every implementation and framework, and where a training step's time goes.

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

from rich.markup import escape

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
from core.train.run_folder import RunFolder
from core.train.setup import absolute_source, fitted, read_data
from tasks.cli.console import DataProgress, Parser, bar, console, errors, fact, launch
from tasks.cli.paths import cache_folder, new_name
from tasks.cli.recipes import RECIPES, recipe
from tasks.speed.environments import ENVIRONMENTS, IMPLEMENTATIONS, Environment, peak_environment, workers
from tasks.speed.measure import LENGTHS, PASSES, STEPS, Measurement, Plan
from tasks.speed.results import describe_disturbance, describe_run, panels, peaks, tree
from tasks.speed.table import print_results, print_run

PROGRAM = "python -m tasks.speed"


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    threads = arguments.threads or machine.usable_cores()
    plan, left_out = _plan(arguments)
    environments = _environments(plan, _backends(arguments.backends), left_out)
    out = Path(arguments.out) if arguments.out else new_name(Path("runs"), "speed")
    RunFolder.check_free(out)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="seqtwin-") as folder:
        steps = [_step_data(name, plan, arguments, Path(folder)) for name in plan.recipes]
        with workers([peak_environment(), *environments], threads) as ready:
            about = describe_run(plan, threads, ready, left_out)
            print_run(plan, about)
            measured = Measurement(plan, ready)
            _show(chain(measured.time_layers(), *(measured.time_steps(*each) for each in steps)), plan.count)
    about["seconds"] = round(time.perf_counter() - began, 1)
    print_results(measured)
    _conclude(measured, about, out)
    return 0


def _parser() -> Parser:
    def table(lines: Mapping[str, object], width: int) -> str:
        return "\n".join(f"  {name:<{width}}{about}" for name, about in lines.items())

    settings = {entry.name: entry.about for entry in ENVIRONMENTS}
    parser = Parser(
        prog=PROGRAM,
        description="Time the recurrent layers: every cell, implementation and framework, each round in an order of\n"
        "its own, and beside every timing the machine's matrix product. Then whole training steps, by part.\n"
        "Give it the machine for itself: it takes about twenty minutes, with --quick about one.",
        epilog="shapes (batch x length, inputs/hidden); other ones as numbers, e.g. 64x256,256/256,bi,2:\n"
        f"{table(SHAPES, 14)}\n\n"
        f"implementations:\n{table(IMPLEMENTATIONS, 14)}\n\n"
        f"settings, a process each:\n{table(settings, 22)}\n\n"
        "examples:\n"
        f"  {PROGRAM} --quick\n"
        f"  {PROGRAM} --shapes imdb deep --cells lstm gru --passes training --layers\n"
        f"  {PROGRAM} --steps --recipe textbook --threads 1",
        raw=True,
    )

    def several(flag: str, metavar: str, names: Iterable[str], text: str) -> None:
        names = tuple(names)
        parser.add_argument(flag, nargs="+", metavar=metavar, choices=names, help=text.format(", ".join(names)))

    add = parser.add_argument
    add("--quick", action="store_true", help="a minute or so: LSTM, training, few rows and rounds")
    add("--shapes", nargs="+", metavar="S", type=parse_shape, help="shapes by name or as numbers (below) [all five]")
    several("--cells", "C", FRAMEWORK_CELLS, "of {} [all]")
    several("--impl", "I", IMPLEMENTATIONS, "of {} [all]")
    several("--backends", "B", backends.NAMES, "frameworks [all that are installed]")
    several("--passes", "P", PASSES.values(), "of {} [both]")
    add("--lengths", metavar="L", choices=tuple(LENGTHS), default="imdb",
        help="of the sequences: imdb, as reviews have them, or equal [imdb]")  # fmt: skip
    add("--dtype", metavar="D", choices=("float32", "float64"), default="float32", help="float32 or float64 [float32]")
    add("--threads", type=count, metavar="N", help="threads in every process [cores that may be used]")
    add("--rounds", type=count, metavar="N", help="timings of each row; slow rows have fewer, as the table says [7]")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--layers", action="store_true", help="only the layers, no training steps")
    either.add_argument("--steps", action="store_true", help="only whole training steps, by part")
    several("--recipe", "R", RECIPES, "whose training steps: {} [default textbook]")
    add("--data", metavar="D", default="packaged", help="whose batches: packaged, official or a path [packaged]")
    add("--out", metavar="DIR", help="folder to make for figures and picture [runs/speed-DATE-TIME]")
    add("--cache-dir", metavar="DIR", help="for downloads and tokenised reviews [~/.cache/seqtwin]")
    return parser


def count(text: str) -> int:
    """Parse an option's whole number, at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return int(text)


def _plan(arguments: argparse.Namespace) -> tuple[Plan, dict[str, str]]:
    """The plan, and what is left out of it and why. A value that was given twice is in it once."""
    quick, left_out = arguments.quick, {}
    obstacle = implementations.why_not_fast("cpu")
    if obstacle:
        if "fast" in (arguments.impl or ()):
            raise UserError(f"--impl fast: {obstacle}")
        left_out["fast"] = obstacle
    chosen = frozenset(arguments.impl or IMPLEMENTATIONS) - {*left_out}
    recipes = [] if arguments.layers else arguments.recipe or (["default"] if quick else ["default", "textbook"])
    for name in recipes:
        encoder = recipe(name).model.encoder
        if not chosen & {*encoder.implementations} & {*STEPS}:
            left_out[f"steps of {name}"] = f"{encoder.describe()} has no chosen implementation among {', '.join(STEPS)}"
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
        recipes=_unique(name for name in recipes if f"steps of {name}" not in left_out),
        step_rounds=arguments.rounds or (4 if quick else 15),
        quick=quick and not arguments.impl,
    )
    return plan, left_out


def _unique(values: Iterable) -> tuple:
    return tuple(dict.fromkeys(values))


def _backends(chosen: list[str] | None) -> list[str]:
    """Those chosen, or all that are installed. Raises UserError for one that is not, and where none is."""
    for name in chosen or ():
        if not backends.installed(name):
            raise UserError(f"--backends {name}: it is not installed; run: pip install '.[{name}]'")
    backends.first_installed()
    return chosen or [name for name in backends.NAMES if backends.installed(name)]


def _environments(plan: Plan, names: list[str], left_out: dict[str, str]) -> list[Environment]:
    """Those in which something is to be timed; `left_out` is told why others are not there."""
    encoders, found = [recipe(name).model.encoder for name in plan.recipes], []
    for entry in ENVIRONMENTS:
        steps = any(plan.steps_in(entry, encoder) for encoder in encoders)
        if entry.backend in names and (steps or plan.layers_in(entry)):
            if entry.obstacle:
                left_out[entry.name] = entry.obstacle
            else:
                found.append(entry)
    if not found:
        raise UserError("there is nothing to time: no chosen framework has any of the chosen --impl here")
    return found


def _step_data(name: str, plan: Plan, arguments: argparse.Namespace, folder: Path) -> tuple[Experiment, str]:
    """The experiment of a recipe, and a file with its data and the rows of batches, one more than there are rounds."""
    changes = {"training.dtype": plan.dtype, "data.source": arguments.data}
    experiment = absolute_source(replace(recipe(name), changes))
    with DataProgress() as progress:
        data, _ = read_data(experiment, cache_folder(arguments.cache_dir), progress=progress)
    training, file = experiment.training, folder / name
    order = epoch_order(data.train.lengths, training.batch_size, training.bucket_batches, training.seed, 0)
    file.write_bytes(pickle.dumps((data.train, list(islice(cycle(order), plan.step_rounds + 1)))))
    return fitted(experiment, data), str(file)


def _show(stages: Iterable[str], total: int) -> None:
    """Go through the stages, with a bar on a terminal; elsewhere with a line when something new begins."""
    progress = bar()
    # Redrawing it ten times a second would be work beside what is timed.
    progress.live.auto_refresh = False
    with progress:
        task = progress.add_task("starting", total=total)
        for done, stage in enumerate(stages):
            progress.update(task, description=escape(stage), completed=done, refresh=errors.is_terminal)
            name, _, what = stage.partition(": ")
            if what == "warming up" and not errors.is_terminal:
                fact("timing", name)


def _conclude(measured: Measurement, about: dict, out: Path) -> None:
    """Write the record and the picture, and name them."""
    RunFolder.create(out)
    write_json_atomic(out / "speed.json", tree(measured, about), indent=1)
    peak = peaks(measured.rows)
    if peak is not None:
        median, low, high = (f"{value / 1e9:.0f}" for value in (peak.median, peak.low, peak.high))
        fact("peak", f"{median} GFLOP/s, half of the time {low} to {high}: {about['peak_by']}")
    if measured.rows:
        grouped, unit = panels(measured.rows)
        title = f"Recurrent layers on {about['machine']['processor']}, threads: {about['threads']}, {about['dtype']}"
        draw_speed(grouped, title, unit, out / "speed.png")
        fact("picture", str(out / "speed.png"))
    fact("figures", str(out / "speed.json"))
    console.print(f"timed in {about['seconds']:.0f} s")
    warning = describe_disturbance(measured.rounds)
    if warning:
        errors.print(f"[yellow]warning:[/] {escape(warning)}")


if __name__ == "__main__":
    launch(main)
