"""Verify numerical parity of both backends with the NumPy reference, in models and in training.

python -m tasks.parity
python -m tasks.parity --config runs/imdb-paddle-.../experiment.json
python -m tasks.parity --words
python -m tasks.parity --all
python -m tasks.parity --plant clip-epsilon
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import backends
from backends import implementations
from core.engine.memory import check_memory, host_limit
from core.errors import UserError
from core.models.model import Model, check_network
from core.parity.check import run_parity_check
from core.parity.faults import FAULTS, WORD_FAULTS, fault, planted
from core.parity.instances import random_batch, random_parameters, well_conditioned
from core.parity.layers import (
    Side,
    Sides,
    check_dtype,
    compare_extreme_logits,
    compare_forward,
    compare_gradients,
    supporting_sides,
)
from core.parity.training import Comparison
from core.rng import generator
from core.spec.experiment import Experiment, read_experiment, replace
from core.train.ngrams import read_with_ngrams
from core.train.prepare_data import absolute_source, fitted
from core.train.run_folder import RunFolder
from tasks.cli.commands import program_command
from tasks.cli.console import DataProgress, Parser, fact, launch
from tasks.cli.framework import load_backend
from tasks.cli.options import add_options, apply_options
from tasks.cli.paths import cache_folder, new_name
from tasks.cli.recipes import RECIPES, recipe
from tasks.cli.streams import keep_working
from tasks.cli.terminal import literal
from tasks.parity.cases import GRID, VARIANTS
from tasks.parity.report import Report, conclude
from tasks.parity.table import ParityProgress
from tasks.parity.training_cases import PARITY_SPEC, TRAINING, every_feature, with_unequal_weights
from tasks.parity.words import WordCheck, check_word_options, describe_words, word_check, word_sides
from tasks.run.ngram_solver import chosen_solver

PROGRAM = "tasks.parity"
DTYPES = ("float64", "float32")
ALL_FEATURES = "every feature"
"""Name of the small model that is compared beside the spec."""


def main(argv: list[str]) -> int:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Verify numerical parity of both backends with the NumPy reference.\n\n"
        "  rung 1  outputs of every layer          rung 4  training that switches backend midway\n"
        "  rung 2  loss and every gradient         rung 5  predictions of the trained model\n"
        "  rung 3  training, step by step          exit code 0 if all rungs pass, 1 if one fails\n\n"
        "Each rung runs in float64 (training within 1e-9) and in float32 (training drift recorded); --dtype\n"
        "selects one of them, or bfloat16 (drift recorded). Dropout masks are shared.\n\n"
        "--words checks word2vec instead: rung 0 compares the examples that both backends share with their\n"
        "definition, rung 1 compares scores, rung 5 nearest words.",
        epilog="faults to plant, and the rung that must detect each:\n"
        + "\n".join(f"  {name:<26}{entry.rung}  {entry.description}" for name, entry in FAULTS.items())
        + "\n\nfaults of word2vec, with --words:\n"
        + "\n".join(f"  {name:<26}{entry.rung}  {entry.description}" for name, entry in WORD_FAULTS.items()),
        raw=True,
    )
    parser.add_argument("--all", action="store_true", help="full model grid and all training runs")
    parser.add_argument("--words", action="store_true", help="word2vec instead; part of --all")
    parser.add_argument("--recipe", metavar="R", help=f"hyperparameter preset: {', '.join(RECIPES)} [a small spec]")
    parser.add_argument("--config", metavar="FILE", help="spec file, e.g. a run's experiment.json")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="training steps of rung 3 [200]")
    parser.add_argument("--plant", metavar="FAULT", help="plant a fault (see below) to detect")
    parser.add_argument("--plant-in", metavar="B", help=f"backend of the planted fault [{backends.NAMES[-1]}]")
    parser.add_argument("--backends", nargs="+", metavar="B", help="backends to compare; one: rungs 1, 2 [all]")
    parser.add_argument(
        "--impl",
        nargs="+",
        metavar="I",
        help=f"implementations: {', '.join(implementations.IMPLEMENTATIONS)} [auto; words: all]",
    )
    parser.add_argument("--draw", type=int, metavar="N", help="random seed of rungs 1 and 2 [random]")
    parser.add_argument("--json", metavar="FILE", help="also write the report to this file")
    parser.add_argument("--out", metavar="DIR", help="folder to create for the report [runs/parity-DATE-TIME]")
    parser.add_argument("--cache-dir", metavar="DIR", help="cache of downloads and tokenized texts [~/.cache/seqtwin]")
    add_options(parser, {"ladder": PARITY_SPEC})
    arguments = parser.parse_args(argv)
    keep_working("the comparison")
    _check(arguments)
    base = _base(arguments)
    if arguments.words:
        check_word_options(arguments, base, PARITY_SPEC)
    of_words = word_sides(arguments) if arguments.words or arguments.all else {}
    sides = of_words if arguments.words else _sides(arguments, base.model)
    out = Path(arguments.out) if arguments.out else new_name(Path("runs"), "parity")
    RunFolder.check_free(out)
    seed = arguments.draw if arguments.draw is not None else int.from_bytes(os.urandom(4), "little")
    runs = {} if arguments.words else {"": base}
    if arguments.all:
        runs = {name: replace(base, changes, f"--all, {name}") for name, changes in TRAINING.items()}
    if not arguments.plant and not arguments.words:
        runs[ALL_FEATURES] = every_feature(base)
    dtypes = (arguments.dtype,) if arguments.dtype else DTYPES
    where = arguments.plant_in or [*sides][-1]
    if where not in sides:
        raise UserError(f"--plant-in {where}: choose one of {', '.join(sides)}")
    cache = cache_folder(arguments.cache_dir)
    with DataProgress() as bar:
        data = {
            name: read_with_ngrams(experiment, cache, bar, chosen_solver().solve) for name, experiment in runs.items()
        }
        words = word_check(arguments, base, of_words, cache, bar)
    if arguments.words:
        describe_words(sides, words)
    else:
        _describe(base, sides, arguments, words)
    if arguments.plant:
        _describe_fault(arguments, where)
    fact("seed", f"{seed} on rungs 1 and 2 (repeat with --draw {seed})")
    began = time.perf_counter()
    cases = {
        case: _supporting_sides(arguments, case.experiment("float64")) for case in (*GRID, *VARIANTS) if arguments.all
    }
    trainings = {name: _supporting_sides(arguments, experiment) for name, experiment in runs.items()}
    _describe_left_out(cases, trainings)
    cases = {case: own for case, own in cases.items() if own}
    trainings = {name: own for name, own in trainings.items() if own}
    report = Report(seed)
    fault_planted = planted(sides[where].package, arguments.plant) if arguments.plant else nullcontext()
    with fault_planted, ParityProgress((len(cases) + len(trainings)) * len(dtypes) + len(words)) as progress:
        for case, own in cases.items():
            for dtype in dtypes:
                _check_model(str(case), case.experiment(dtype), own, report, progress)
        for name, own in trainings.items():
            for dtype in dtypes:
                spec = fitted(replace(runs[name], {"training.dtype": dtype}), data[name])
                spec = with_unequal_weights(spec) if name == ALL_FEATURES else spec
                comparison = Comparison(spec, data[name].train, data[name].dev, own, arguments.steps)
                _check_training(name, comparison, report, progress)
        words.run(report, progress)
    seconds = time.perf_counter() - began
    return conclude(report, arguments, where, seconds, out)


def _sides(arguments: argparse.Namespace, model: Model) -> dict[str, Side]:
    """Return a side per backend, or per backend and implementation if several are given."""
    requested = arguments.impl or ["auto"]
    chosen = _resolved(requested, model)
    if len(set(chosen)) < len(chosen):
        raise UserError(f"--impl {' '.join(requested)}: duplicate implementation; give each once")
    return _of_each(arguments, chosen)


def _supporting_sides(arguments: argparse.Namespace, experiment: Experiment) -> Sides:
    """Return the sides that can compute one of several specs; `auto` is resolved for its model."""
    model = experiment.model
    requested = [name for name in arguments.impl or ["auto"] if name in ("auto", *model.implementations)]
    return supporting_sides(_of_each(arguments, list(dict.fromkeys(_resolved(requested, model)))), experiment)


def _resolved(requested: list[str], model: Model) -> list[str]:
    return [implementations.resolve_implementation(name, "cpu", model) for name in requested]


def _of_each(arguments: argparse.Namespace, chosen: list[str]) -> dict[str, Side]:
    return {
        name if len(chosen) == 1 else f"{name}/{implementation}": Side(load_backend(name), implementation)
        for name in arguments.backends or backends.NAMES
        for implementation in chosen
    }


def _describe_left_out(*found: Mapping[Any, Sides]) -> None:
    missing = [str(name) for sides in found for name, own in sides.items() if not own]
    if missing:
        fact("skipped", f"{len(missing)} models whose encoders lack what --impl names; first: {missing[0]}")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.steps < 3:
        raise UserError(f"--steps {arguments.steps}: expected at least 3, since rung 4 switches backend twice")
    if arguments.plant:
        fault(arguments.plant)
    if arguments.plant and arguments.all:
        raise UserError("--plant and --all exclude each other: a fault is planted in one spec")
    if arguments.plant in WORD_FAULTS and not arguments.words:
        raise UserError(f"--plant {arguments.plant}: a fault of word2vec: add --words")
    if arguments.words and arguments.all:
        raise UserError("--words is part of --all: give one of them")
    if arguments.config and arguments.recipe:
        raise UserError("--config and --recipe exclude each other: give one")
    chosen = arguments.backends or backends.NAMES
    if len(set(chosen)) < len(chosen):
        raise UserError(f"--backends {' '.join(chosen)}: duplicate backend; give each once")
    for name in chosen:
        if name in backends.NAMES and not backends.installed(name):
            raise UserError(
                f"backend {name} is not installed: run pip install '.[{name}]', or compare the other one with the"
                f" reference: --backends"
                f" {' '.join(other for other in backends.NAMES if other != name)}"
            )
    if arguments.plant_in is not None and not arguments.plant:
        raise UserError(f"--plant-in {arguments.plant_in}: expected together with --plant: add --plant FAULT")


def _base(arguments: argparse.Namespace) -> Experiment:
    base = PARITY_SPEC
    if arguments.config:
        base = read_experiment(arguments.config)
    elif arguments.recipe:
        base = recipe(arguments.recipe)
    base = absolute_source(apply_options(base, arguments))
    check_dtype(base.training.dtype)
    check_network(base.model)
    if base.training.dropout_masks == "native":
        base = replace(base, {"training.dropout_masks": "shared"})
        fact("masks", "native dropout masks of the spec replaced by shared ones, which can be compared")
    if base.model.embedding.vectors is not None:
        drawn = {"vectors": None, "vectors_missing": "init", "vectors_scale": 1.0}
        base = replace(base, {"words": None} | {f"model.embedding.{name}": value for name, value in drawn.items()})
        fact("vectors", "pretrained vectors replaced by random ones, which does not affect parity")
    if base.start is not None:
        base = replace(base, {"start": None})
        fact("start", "values of another run replaced by random ones, which does not affect parity")
    if arguments.plant and not arguments.words:
        base = replace(base, fault(arguments.plant).needs, f"--plant {arguments.plant}")
    check_memory(base, host_limit())
    return base


def _describe_fault(arguments: argparse.Namespace, where: str) -> None:
    fact("planted", f"{arguments.plant} in {where}: {fault(arguments.plant).description}")
    for path, value in fault(arguments.plant).needs.items():
        fact("", f"requires {path} = {json.dumps(value)}")


def _describe(base: Experiment, sides: Sides, arguments: argparse.Namespace, words: WordCheck) -> None:
    versions = (f"{name} {side.versions()[side.NAME]}" for name, side in sides.items())
    implementations = ", ".join(dict.fromkeys(side.implementation for side in sides.values()))
    fact("compared", f"{', '.join(versions)}, and the NumPy reference; CPU; implementation {implementations}")
    model, training = base.model, base.training
    fact(
        "spec",
        f"{base.recipe}: {model.describe()},"
        f" {training.optimizer.kind}, clipping {training.clip_mode}, batch size {training.batch_size}",
    )
    if arguments.all:
        fact(
            "all",
            f"{len(GRID) + len(VARIANTS) + len(words.cases)} small models,"
            f" {len(TRAINING) + len(words.runs)} training runs on real reviews and digits",
        )


def _check_model(name: str, experiment: Experiment, sides: Sides, report: Report, progress: ParityProgress) -> None:
    """Run rungs 1 and 2 for a small model on random input."""
    rng = generator(report.seed, name)
    progress.rung(name, 0, 1)
    parameters, batch = well_conditioned(
        experiment, lambda: (random_parameters(experiment, rng), random_batch(experiment, rng))
    )
    report.experiments[name] = experiment
    report.findings.setdefault(name, [])
    report.findings[name] += compare_forward(experiment, parameters, batch, sides)
    report.findings[name] += compare_gradients(experiment, parameters, batch, sides)
    report.findings[name] += compare_extreme_logits(experiment, parameters, batch, sides)
    progress.finished()


def _check_training(name: str, comparison: Comparison, report: Report, progress: ParityProgress) -> None:
    """Run all rungs for a training run on real reviews."""
    experiment = comparison.experiment
    began, dtype = time.perf_counter(), experiment.training.dtype
    title = f"{name}, {dtype}" if name else dtype
    with tempfile.TemporaryDirectory(prefix="seqtwin-") as workspace:
        findings, trained = run_parity_check(
            comparison,
            report.seed,
            Path(workspace),
            lambda what, done, total: progress.rung(f"{title}, {what}", done, total),
        )
    report.experiments[name] = experiment
    report.findings.setdefault(name, [])
    report.findings[name] += findings
    seconds = time.perf_counter() - began
    report.seconds[title] = seconds
    curve = ""
    if trained is not None:
        labeled = (f"{name}: {own}" if name else own for own in trained.unmoved)
        report.unmoved += [label for label in labeled if label not in report.unmoved]  # once for all dtypes
        report.losses.setdefault(name, {})[dtype] = trained.losses
        own = next(iter(trained.losses.values()))
        curve = f"{trained.steps} steps, loss {own[:20].mean():.3g} to {own[-20:].mean():.3g}, difference at most"
        curve += f" {report.differences()[name][dtype].max():.1e}, "
        if trained.clipped is not None:
            curve += f"clipped in {trained.clipped}, "
    verdict = "[green]pass[/]" if all(finding.passed for finding in findings) else "[red]FAIL[/]"
    progress.finished(f"{verdict}  {literal(title)}: {curve}{seconds:.0f} s")


if __name__ == "__main__":
    launch(main)
