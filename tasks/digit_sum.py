"""Train recurrent layers to add the first two digits of a sequence (nndl, chapter 6).

python -m tasks.digit_sum --backend paddle
python -m tasks.digit_sum --backend torch --cell srn lstm --lengths 10 20 --seeds 0 1
python -m tasks.digit_sum --resume runs/digit_sum-paddle-...
python -m tasks.digit_sum --backend both
python -m tasks.digit_sum --agreement
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

import backends
from core.checked_json import read_checked_json, write_checked_json
from core.data.sources.digit_sums import BOOK_LENGTHS, SUMS
from core.data.stack import Stack
from core.errors import UserError
from core.files import write_json_atomic
from core.models.encoders.recurrent import Cell, RecurrentEncoder
from core.plots.textbook import draw_accuracy, draw_losses
from core.report.digit_sums import Group, digits_page
from core.report.runs import read_run
from core.schema import of_kind
from core.spec.data import DigitSums
from core.spec.experiment import FORMAT_VERSION, Experiment, parse_experiment, replace
from core.train.ensemble import steps_from
from core.train.ensemble_folder import EnsembleFolder
from core.train.members import Member, check_members
from core.train.run_folder import CHECKED_SINCE, PLAN, RunFolder
from core.train.run_lock import held
from tasks.cli.commands import program_command, run_command
from tasks.cli.console import INTERRUPTED, Parser, console, fact, launch
from tasks.cli.framework import load_backend
from tasks.cli.options import DEVICE_HELP, TEXT_FLAGS, add_options, apply_options, given
from tasks.cli.paths import new_name, quoted
from tasks.cli.recipes import digit_sum
from tasks.cli.streams import keep_working
from tasks.cli.terminal import literal
from tasks.run import both_frameworks
from tasks.run.ensembles import make_members, train_group
from tasks.run.present.pictures import draw_or_note
from tasks.run.report import write_page
from tasks.run.worker import Request, Worker

PROGRAM = "tasks.digit_sum"
CELLS = get_args(Cell)
DEFAULTS = {"cells": ["srn", "gru", "lstm"], "lengths": [10, 15, 20, 25, 30, 35], "seeds": [*range(4)]}
FLAGS = {"cells": "--cell", "lengths": "--lengths", "seeds": "--seeds"}
QUICK = {"lengths": [10, 20], "seeds": [0, 1]}
QUICK_EPOCHS = 60
EXCLUDED_FLAGS = ("--encoder", "--kernels", "--channels", "--cell", "--seed", "--dropout-masks")
EXCLUDED_FLAGS += ("--patience", "--eval-start", "--watch-gradients", *TEXT_FLAGS)
"""Options of the table that this program defines itself, or that do not apply to it."""
AGREEMENT_STEPS = 200


@dataclass(frozen=True)
class Plan:
    """Hold the models to train: one spec per cell, for each length and seed."""

    experiments: dict[str, Experiment]
    """Specs by cell, without length and seed."""
    lengths: tuple[int, ...]
    seeds: tuple[int, ...]

    def members(self, cell: str) -> list[Member]:
        """Return the models of a cell, ordered by length, then seed."""
        base = self.experiments[cell]
        return make_members(
            {
                f"L{length}-seed{seed}": replace(
                    base,
                    {"data.length": length, "text.max_length": length, "training.seed": seed},
                    f"--lengths {length}",
                )
                for length in self.lengths
                for seed in self.seeds
            }
        )

    def tree(self) -> dict:
        return {
            "format": FORMAT_VERSION,
            "lengths": list(self.lengths),
            "seeds": list(self.seeds),
            "experiments": {cell: experiment.model_dump(mode="json") for cell, experiment in self.experiments.items()},
        }

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan. Raises UserError if the file is none."""
        tree = read_checked_json(path, CHECKED_SINCE)
        try:
            experiments = {cell: parse_experiment(own, str(path)) for cell, own in tree["experiments"].items()}
            for own in experiments.values():
                of_kind(own.data, DigitSums)
                of_kind(own.model.encoder, RecurrentEncoder)
            return cls(experiments, tuple(map(int, tree["lengths"])), tuple(map(int, tree["seeds"])))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{path}: not a valid digit-sum plan, the file is damaged: start a new run") from None


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    if not arguments.agreement:
        keep_working()
    request, backend = Request.read(arguments), arguments.backend
    if arguments.resume:
        _refuse_with_resume(arguments)
        if both_frameworks.is_both(arguments.resume):
            return both_frameworks.resume_with_options(BOTH_BACKENDS, arguments.resume, request)
        if backend == both_frameworks.BOTH:
            raise UserError(
                f"{arguments.resume}: run of a single backend, got --backend {both_frameworks.BOTH}: omit it"
            )
        folder = RunFolder.open(Path(arguments.resume))
        plan = Plan.read(folder.file(PLAN))
        if (folder.path / "results.json").is_file():
            raise UserError(f"{folder.path}: run is already finished; see its results.json")
        backend = backend or read_checked_json(folder.file(PLAN), CHECKED_SINCE).get("backend", "")
        with held(folder.path):
            return _train(plan, folder, backend, arguments)
    plan = _plan(arguments)
    if arguments.agreement:
        return _agreement(plan, arguments)
    for cell in plan.experiments:
        check_members(plan.members(cell))  # raises before anything is imported or written
    if backend == both_frameworks.BOTH:
        drawn = of_kind(next(iter(plan.experiments.values())).data, DigitSums).seed
        again = [*argv, "--data-seed", str(drawn)] if arguments.digits_seed == "fresh" else argv
        return both_frameworks.start_with_options(BOTH_BACKENDS, "digit_sum", again, request, arguments.out)
    backend = backend or backends.first_installed()
    who = _workers(plan, backend, arguments)
    path = Path(arguments.out) if arguments.out else new_name(Path("runs"), f"digit_sum-{backend}")
    RunFolder.check_free(path)
    folder = RunFolder.create(path)
    write_checked_json(path / PLAN, {**plan.tree(), "backend": next(iter(who.values())).backend.NAME})
    with held(path):
        return _train(plan, folder, backend, arguments)


def _parser() -> Parser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Train recurrent layers to add the first two digits of a sequence, for several cells, lengths and"
        " seeds at once; compare and plot their accuracy by length. nndl, chapter 6, figures 6.6, 6.7, 6.11, 6.12.",
        epilog="Defaults are in [brackets].",
    )
    add = parser.add_argument
    add("--backend", metavar="B", help=both_frameworks.BACKEND_HELP)
    add("--device", metavar="D", default="auto", help=DEVICE_HELP)
    add("--impl", metavar="I", default="auto", help="implementation: auto, loop, fast [auto: fastest available]")
    usual = {name: " ".join(map(str, values)) for name, values in DEFAULTS.items()}
    add("--cell", nargs="+", dest="cells", metavar="C", help=f"cells: {', '.join(CELLS)} [{usual['cells']}]")
    add("--lengths", nargs="+", type=int, metavar="N", help=f"sequence lengths [{usual['lengths']}]")
    add("--seeds", nargs="+", type=int, metavar="N", help=f"training seeds [{usual['seeds']}]")
    add("--k", type=int, metavar="K", help="training sequences per digit pair [3]")
    add("--data-seed", dest="digits_seed", metavar="N", help="data seed, or fresh (random); 0: the book's [0]")
    add("--quick", action="store_true", help=f"short run: 2 lengths, 2 seeds, {QUICK_EPOCHS} epochs")
    add("--out", metavar="DIR", help="run folder, or --agreement's JSON file [runs/digit_sum-BACKEND-DATE-TIME]")
    add("--resume", metavar="RUN", help="resume a stopped run, with any --backend")
    add(
        "--agreement",
        action="store_true",
        help=f"compare both backends' losses over {AGREEMENT_STEPS} float64 steps",
    )
    add_options(parser, {"digit_sum": digit_sum()}, EXCLUDED_FLAGS)
    return parser


def _refuse_with_resume(arguments: argparse.Namespace) -> None:
    fixed = [flag for name, flag in FLAGS.items() if getattr(arguments, name) is not None]
    others = {"--k": arguments.k, "--data-seed": arguments.digits_seed, "--out": arguments.out}
    fixed += [flag for flag, value in others.items() if value is not None]
    fixed += [flag for flag in ("--quick", "--agreement") if getattr(arguments, flag[2:])]
    fixed += given(arguments)
    if fixed:
        raise UserError(f"--resume takes these settings from the run: omit {', '.join(fixed)}")


def _plan(arguments: argparse.Namespace) -> Plan:
    chosen = {**DEFAULTS, **(QUICK if arguments.quick else {})}
    chosen.update({name: getattr(arguments, name) for name in DEFAULTS if getattr(arguments, name) is not None})
    for name, values in chosen.items():
        if len(set(values)) < len(values):
            raise UserError(f"{FLAGS[name]} {' '.join(map(str, values))}: duplicate value; give each once")
    for cell in chosen["cells"]:
        if cell not in CELLS:
            raise UserError(f"--cell {cell}: choose one or more of {', '.join(CELLS)}")
    for length in chosen["lengths"]:
        if length < 3:
            raise UserError(f"--lengths {length}: expected at least 3, two digits to add and one more")
    for seed in chosen["seeds"]:
        if seed < 0:
            raise UserError(f"--seeds {seed}: expected an integer >= 0")
    changes: dict[str, object] = {}
    if arguments.k is not None:
        if arguments.k < 1:
            raise UserError(f"--k {arguments.k}: expected at least 1 training sequence per digit pair")
        changes["data.copies"] = arguments.k
    if arguments.digits_seed is not None:
        changes["data.seed"] = _data_seed(arguments.digits_seed)
    if arguments.quick and arguments.epochs is None:
        changes["training.epochs"] = QUICK_EPOCHS
    experiments = {}
    for cell in chosen["cells"]:
        base = replace(digit_sum(), {**changes, "model.encoder.cell": cell}, "options")
        experiments[cell] = apply_options(base, arguments)
        if experiments[cell].task != "digit_sum" or experiments[cell].model.encoder.cell != cell:
            raise UserError("--set: task and model.encoder.cell cannot be set here; choose cells with --cell")
    return Plan(experiments, tuple(chosen["lengths"]), tuple(chosen["seeds"]))


def _data_seed(text: str) -> int:
    if text == "fresh":
        return int.from_bytes(os.urandom(4), "little")
    if re.fullmatch("[0-9]{1,10}", text) and int(text) < 2**32:
        return int(text)
    raise UserError(f"--data-seed {text}: expected an integer from 0 to {2**32 - 1}, or fresh")


def _workers(plan: Plan, backend: str, arguments: argparse.Namespace) -> dict[str, Worker]:
    """Return the worker of each cell. Raises UserError if one is unavailable."""
    request = Request.read(arguments).or_backend(backend)
    return {cell: Worker.of_ensemble(request, own) for cell, own in plan.experiments.items()}


def _train(plan: Plan, folder: RunFolder, backend: str, arguments: argparse.Namespace) -> int:
    who = _workers(plan, backend, arguments)
    _describe(plan, folder, who)
    results = {}
    for cell in plan.experiments:
        found = train_group(cell, plan.members(cell), who[cell], EnsembleFolder(folder.path / cell), SUMS)
        if found is None:
            console.print("stopped, checkpoint saved. Resume with:")
            console.print(literal(f"  {run_command(PROGRAM, 'resume')} {quoted(folder.path)}"))
            return INTERRUPTED
        results[cell] = found
    rows = [_row(plan, cell, length, results[cell]) for cell in plan.experiments for length in plan.lengths]
    pictures = _draw(plan, folder, rows, backend)
    _report(plan, rows, results)
    for picture in pictures:
        fact("plot", str(picture))
    first = next(iter(plan.experiments))
    gated = next((cell for cell in plan.experiments if cell in ("lstm", "gru")), None)
    if gated:
        run = folder.path / gated / f"L{plan.lengths[0]}-seed{plan.seeds[0]}"
        digits = " ".join(["6", "7", "0", "0", "1", *"0" * 30][: max(plan.lengths[0], 3)])
        fact("next", f"{program_command('tasks.gates')} {quoted(run)} --sequence {digits}", command=True)
    # Written last, since this file marks the run as finished.
    write_checked_json(
        folder.path / "results.json",
        {
            "format": FORMAT_VERSION,
            "backend": backend,
            "versions": who[first].backend.versions(),
            "device": who[first].executor.device,
            "implementation": {cell: own.executor.implementation for cell, own in who.items()},
            "rows": rows,
            "training_seconds": {cell: _training(own)["seconds"] for cell, own in results.items()},
        },
    )
    return 0


def _describe(plan: Plan, folder: RunFolder, who: dict[str, Worker]) -> None:
    first = next(iter(plan.experiments))
    experiment, own = plan.experiments[first], who[first]
    model, training = experiment.model, experiment.training
    data, encoder = of_kind(experiment.data, DigitSums), of_kind(model.encoder, RecurrentEncoder)
    versions = ", ".join(f"{name} {version}" for name, version in own.backend.versions().items())
    layers = ", ".join(dict.fromkeys(own.executor.implementation for own in who.values()))
    fact("task", "digit sum: add the first two digits of a sequence (nndl, chapter 6)")
    fact("backend", f"{versions}; device {own.executor.device}; implementation {layers}")
    is_book = (data.seed, data.copies) == (0, 3) and set(plan.lengths) <= {*BOOK_LENGTHS}
    book = "the book's" if is_book else "newly drawn"
    fact("data", f"{100 * data.copies} train, 100 dev, 100 test per length, {book} (seed {data.seed})")
    fact(
        "models",
        f"{len(plan.experiments)} x {len(plan.lengths)} x {len(plan.seeds)}: cells {' '.join(plan.experiments)};"
        f" lengths {' '.join(map(str, plan.lengths))}; seeds {' '.join(map(str, plan.seeds))};"
        f" all models of a cell train side by side",
    )
    direction = "bidirectional " if encoder.bidirectional else ""
    fact(
        "spec",
        f"embedding {model.embedding.dim} ({model.embedding.lookup}), {encoder.num_layers} x {direction}"
        f"{encoder.hidden_size}, {training.optimizer.kind} {training.optimizer.learning_rate:g}, batch"
        f" {training.batch_size}, {training.epochs} epochs, {training.dtype}",
    )
    fact("run", str(folder.path))


def _row(plan: Plan, cell: str, length: int, results: dict) -> dict:
    """Return one row of the table: best dev and test accuracies by seed."""
    own = [results[f"L{length}-seed{seed}"] for seed in plan.seeds]
    return {
        "cell": cell,
        "length": length,
        "dev": [result["dev"]["accuracy"] for result in own],
        "test": [result["test"]["accuracy"] for result in own],
    }


def _draw(plan: Plan, folder: RunFolder, rows: list[dict], backend: str) -> list[Path]:
    pictures = []
    for cell in plan.experiments:
        lines = EnsembleFolder(folder.path / cell).read_metrics()
        pictures.append(folder.path / f"loss-{cell}.png")
        title = f"Digit sum, {cell}, {backend}: loss over steps"
        draw_or_note(pictures[-1].name, lambda: draw_losses(lines, plan.lengths, title, pictures[-1]))  # noqa: B023
    path = folder.path / "accuracy.png"
    draw_accuracy(rows, f"Digit sum, {backend}: accuracy and length of the sequence", path)
    return [*pictures, path]


def _report(plan: Plan, rows: list[dict], results: dict) -> None:
    console.print()
    console.print("[bold]accuracy at the best dev checkpoint, on dev and test: mean over seeds, and by seed[/]")
    console.print("cell          length    dev   test   test by seed " + " ".join(f"{seed:>5}" for seed in plan.seeds))
    for row in rows:
        each = " ".join(f"{value:5.2f}" for value in row["test"])
        console.print(
            f"{row['cell']:<14}{row['length']:>5}  {np.mean(row['dev']):5.3f}  {np.mean(row['test']):5.3f}"
            f"                {each}"
        )
    for cell, own in results.items():
        training = _training(own)
        steps, seconds = training["steps"], training["seconds"]
        console.print(f"{cell}: {len(own)} models side by side, {steps:,} steps, {seconds:.0f} s")


def _compare(paths: list[Path], names: list[str], out: Path) -> None:
    """Write the page that compares the backends, and print a line per cell."""
    plan = Plan.read(paths[0] / "plan.json")
    groups = []
    for cell, length in itertools.product(plan.experiments, plan.lengths):
        runs = []
        for own in (Path(cell) / f"L{length}-seed{seed}" for seed in plan.seeds):
            first, second = (read_run(path / own, f"{name}/{own}") for path, name in zip(paths, names, strict=True))
            runs.append((first, second))
        groups.append(Group.of(cell, length, runs))
    write_page(out, digits_page(groups, names, paths))
    for cell in plan.experiments:
        pairs = [pair for group in groups if group.cell == cell for pair in group.compared]
        agree, documents = sum(pair.agree for pair in pairs), sum(pair.documents for pair in pairs)
        console.print(f"{cell}: {agree:,} of {documents:,} predictions of {len(pairs)} models agree")
    fact("report", str(out))


BOTH_BACKENDS = both_frameworks.Work(
    PROGRAM, both_frameworks.read_options, _compare, result="results.json", record=PLAN
)


def _training(results: dict) -> dict:
    """Return steps and seconds, which are the same for all models that train side by side."""
    return next(iter(results.values()))["training"]


def _agreement(plan: Plan, arguments: argparse.Namespace) -> int:
    """Train both backends from equal parameters on equal batches; print the largest loss difference by seed."""
    if arguments.backend is not None:
        raise UserError("--agreement compares all backends: omit --backend")
    if arguments.out and Path(arguments.out).exists():
        raise UserError(f"--out {arguments.out}: exists; --agreement writes a new JSON file: give another name")
    sides = {name: _workers(plan, name, arguments) for name in backends.NAMES}
    names = " and ".join(f"{name} {load_backend(name).versions()[name]}" for name in sides)
    fact("compared", f"{names}: {AGREEMENT_STEPS} steps, float64, every length; largest loss difference")
    found: dict[str, dict[str, float]] = {}
    exact = {cell: replace(own, {"training.dtype": "float64"}) for cell, own in plan.experiments.items()}
    for cell in exact:
        members = Plan(exact, plan.lengths, plan.seeds).members(cell)
        ensembles = [own[cell].ensemble(members) for own in sides.values()]
        steps = steps_from(members, Stack([member.data.train for member in members]))
        for step, batch, rate in itertools.islice(steps, AGREEMENT_STEPS):
            for ensemble in ensembles:
                ensemble.train_step(batch, step, rate)
        losses = [np.stack([stats.loss for stats in ensemble.collect()]) for ensemble in ensembles]
        apart = np.abs(losses[0] - losses[1]).max(axis=0).reshape(len(plan.lengths), len(plan.seeds)).max(axis=0)
        found[cell] = {str(seed): float(value) for seed, value in zip(plan.seeds, apart, strict=True)}
        each = "  ".join(f"seed {seed}: {value:.1e}" for seed, value in found[cell].items())
        console.print(f"{cell:<14}{each}   (loss {losses[0][0].mean():.3f} to {losses[0][-1].mean():.3f})")
    if arguments.out:
        write_json_atomic(arguments.out, {"steps": AGREEMENT_STEPS, "largest_difference_of_the_loss": found})
    return 0


if __name__ == "__main__":
    launch(main)
