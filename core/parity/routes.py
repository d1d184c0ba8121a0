"""Parity check, rung 4: runs that change backend on resume, by their run folders."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from core.models.model import initial_parameters
from core.models.types import Arrays
from core.parity.findings import Finding, widest
from core.parity.layers import engine_of
from core.parity.training import TRAINING_LIMIT, Comparison, curve_finding, no_report
from core.train.run_folder import RunFolder
from core.train.state import TrainingState
from core.train.trainer import Session, train


class _Silent:
    """An observer that shows nothing."""

    def on_interval(self, interval) -> None:
        pass

    def on_evaluating(self, done, total) -> None:
        pass

    def on_evaluation(self, epoch, step, evaluation, is_best) -> None:
        pass


def compare_routes(comparison: Comparison, workspace: Path, report=no_report) -> list[Finding]:
    """Compare runs that change backend on resume with an uninterrupted run (rung 4).

    A run changes its side after a third of the steps and changes back after two thirds, with its run folder as the only
    state. The uninterrupted run uses the first side. Run folders are created in `workspace`.
    """
    sides, steps = comparison.sides, comparison.steps
    names = sorted(sides)
    routes = [(first, second, first) for first, second in itertools.permutations(names, 2)]
    cuts = [-(-steps * leg // 3) for leg in (1, 2, 3)]
    done = itertools.count(1)
    total = steps * (1 + len(routes))

    def tick() -> None:
        report(next(done), total)

    base = RunFolder.create(workspace / f"{names[0]}-throughout")
    parameters = _leg(comparison, names[0], base, steps, tick)
    curve, dtype, findings = _losses(base), comparison.experiment.training.dtype, []
    for route in routes:
        folder, arrived = RunFolder.create(workspace / "-".join(route)), parameters
        for name, cut in zip(route, cuts, strict=True):
            arrived = _leg(comparison, name, folder, cut, tick)
        compared = f"{' > '.join(route)} ~ {names[0]}"
        findings.append(curve_finding(4, compared, dtype, _losses(folder), curve))
        found = widest(arrived, parameters, TRAINING_LIMIT[dtype])
        findings.append(Finding(4, compared, f"parameters after {len(curve)} steps", dtype, **found, step=len(curve)))
    return findings


def _leg(comparison: Comparison, side: str, folder: RunFolder, until: int, tick) -> Arrays:
    """Resume from the folder with a new engine of `side` up to step `until`; return the parameters."""
    experiment, training = comparison.experiment, comparison.experiment.training
    state, moments = TrainingState(), {}
    parameters = initial_parameters(experiment.model, training.seed, training.array_dtype)
    if (folder.path / "last.safetensors").exists():
        parameters, moments, state = folder.read_last(experiment.model)
    if state.step >= until:
        return parameters
    engine = engine_of(comparison.sides[side], experiment, parameters)
    engine.load(parameters, moments, state.step)
    folder.recover(state.step, state.metrics)

    def stop() -> bool:
        tick()
        return state.step >= until

    session = Session(experiment, comparison.train_set, comparison.dev_set, folder, state, comparison.unlabeled)
    train(engine, session, _Silent(), stop)
    mean = {f"average of {name}": array for name, array in folder.read_average(experiment.model).items()}
    return {**engine.parameters(), **mean}


def _losses(folder: RunFolder) -> np.ndarray:
    return np.array([line["loss"] for line in folder.read_metrics() if line["split"] == "train"])
