"""Page of `tasks.exploding --backend both`: figures and plots of both frameworks."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.checked_json import read_checked_json
from core.errors import UserError
from core.models.encoders.recurrent import RecurrentEncoder
from core.report.figures import NONE, count, duration, made_with, memory, rows_of
from core.report.two_frameworks import two_frameworks_page
from core.schema import of_kind
from core.spec.data import DigitSums
from core.spec.experiment import Experiment, parse_experiment
from core.train.run_folder import CHECKED_SINCE

EARLY, LATER = 40, 60
"""Steps: unclipped gradients explode before EARLY and have vanished by LATER."""
WAYS = ("not clipped", "clipped")
PICTURES = {
    "norms": "Not clipped",
    "norms-clipped": "Clipped",
    "vanishing": "Backward through time",
    "powers": "Powers of U",
}
"""Headings by file name."""


@dataclass(frozen=True)
class PowerFigures:
    """The powers of the SRN's U, medians over seeds."""

    radius: float
    lowest: float
    highest: float
    """Range of the spectral radius."""
    steps: int
    """The largest exponent."""
    first: float
    last: float
    """Spectral norms of U and of its highest power."""
    bound: float
    """Spectral radius to that power."""

    @classmethod
    def of(cls, tree: dict) -> PowerFigures:
        norms, radius = np.array(tree["norms"], dtype=np.float64), np.array(tree["radius"], dtype=np.float64)
        steps = norms.shape[1]
        return cls(
            float(np.median(radius)),
            float(radius.min()),
            float(radius.max()),
            steps,
            float(np.median(norms[:, 0])),
            float(np.median(norms[:, -1])),
            float(np.median(radius**steps)),
        )


@dataclass(frozen=True)
class Figures:
    """The figures computed from a `results.json`."""

    early: int
    """Number of steps that `peaks` covers."""
    peaks: np.ndarray
    """Peak norm of W's gradient without clipping, by seed."""
    later: float | None
    """Median of that norm at step LATER; None if there are fewer steps."""
    held: tuple[float, float]
    """Lowest and highest median of the norm before clipping, over the steps of training with clipping."""
    loss: tuple[float, float]
    """Loss at the first and last step without clipping, means over seeds."""
    dev: dict[str, float]
    """Best dev accuracy, mean over seeds, by element of WAYS."""
    test: dict[str, list[float]]
    """Test accuracies of all seeds, by element of WAYS."""
    reach: dict[str, dict[str, float]]
    """By time (before or after training) and state: the median of |dL/dh_1| over the last |dL/dh_t|."""
    powers: dict[str, PowerFigures]
    """By time; empty for results of an older version."""

    @classmethod
    def of(cls, results: dict) -> Figures:
        training = results["training"]
        plain, clipped = (np.array(training[way]["norms"]["W"], dtype=np.float64) for way in WAYS)
        loss = np.array(training[WAYS[0]]["loss"], dtype=np.float64).mean(axis=1)
        early = np.nan_to_num(plain[:EARLY], nan=np.inf)
        medians = np.median(clipped, axis=1)
        reach: dict[str, dict[str, float]] = {}
        for when, states in results["state_gradients"].items():
            last = {name.partition(" ")[0]: np.array(own[-1]) for name, own in states.items() if name.endswith(" h")}
            reach[when] = {
                name: float(np.median(np.array(own[0]) / last[name.partition(" ")[0]])) for name, own in states.items()
            }
        return cls(
            len(early),
            early.max(axis=0),
            float(np.median(plain[LATER - 1])) if len(plain) >= LATER else None,
            (float(medians.min()), float(medians.max())),
            (float(loss[0]), float(loss[-1])),
            {way: float(np.mean(training[way]["best_dev_accuracy"])) for way in WAYS},
            {way: training[way]["test_accuracy"] for way in WAYS},
            reach,
            {when: PowerFigures.of(tree) for when, tree in results.get("powers", {}).items()},
        )


@dataclass(frozen=True)
class Side:
    """The run of one framework."""

    label: str
    path: Path
    experiment: Experiment
    results: dict
    figures: Figures

    @classmethod
    def read(cls, path: Path, label: str) -> Side:
        """Read the results of a run. Raises UserError if they are missing or damaged."""
        where = path / "results.json"
        results = read_checked_json(where, CHECKED_SINCE)
        experiment = parse_experiment(results.get("experiment"), str(where))
        try:
            if not {"seeds", "vanishing_epochs", "versions", "device", "implementation"} <= results.keys():
                raise KeyError
            return cls(label, path, experiment, results, Figures.of(results))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise UserError(f"{where}: not the results of tasks.exploding: the file is damaged") from None


def exploding_page(sides: Sequence[Side]) -> str:
    """Return the HTML."""
    pictures, notes = {}, []
    for place, side in enumerate(sides):
        for file, name in PICTURES.items():
            if data := _read(side.path / f"{file}.png"):
                pictures.setdefault(name, []).append((place, side.label, base64.b64encode(data).decode()))
            else:
                notes.append(f"{side.label}: {file}.png is missing.")
    return two_frameworks_page(
        "exploding",
        [side.label for side in sides],
        [(sides[0].experiment, sides[1].experiment)],
        first="",
        varied={},
        lead=_lead(sides),
        notes=notes,
        figures=rows_of(*([_figures(side)] for side in sides), once=False),
        pictures={name: pictures[name] for name in PICTURES.values() if name in pictures},
        records=rows_of(*map(_record, sides)),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _lead(sides: Sequence[Side]) -> str:
    first = sides[0]
    encoder = of_kind(first.experiment.model.encoder, RecurrentEncoder)
    data, training = of_kind(first.experiment.data, DigitSums), first.experiment.training
    peaks = " and ".join(f"{_norm(np.median(side.figures.peaks))} in {side.label}" for side in sides)
    held = " and ".join(f"{_norm(side.figures.held[1])} in {side.label}" for side in sides)
    return (
        f"{encoder.cell.upper()} {encoder.hidden_size} on digit sums of length {data.length},"
        f" {count(len(first.results['seeds']), 'seed')}. Without clipping the norm of W's gradient peaks at {peaks},"
        f" within {first.figures.early} steps; with each tensor clipped to {training.clip_norm:g}, the norm before"
        f" clipping reaches {held} (medians of seeds)."
    )


def _norm(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def _figures(side: Side) -> dict[str, object]:
    own = side.figures
    peaks = [_norm(value) for value in (np.median(own.peaks), own.peaks.min(), own.peaks.max())]
    reduction = f"{side.experiment.training.loss_reduction} of a batch"
    found: dict[str, object] = {
        f"not clipped: peak in {own.early} steps": f"{peaks[0]} (seeds: {peaks[1]} to {peaks[2]})",
        f"not clipped: at step {LATER}": None if own.later is None else _norm(own.later),
        "clipped: medians over steps": f"{_norm(own.held[0])} to {_norm(own.held[1])}",
        f"not clipped: loss, {reduction}, first and last step": f"{own.loss[0]:.2f}, {own.loss[1]:.2f}",
    }
    for way in WAYS:
        found[f"{way}: dev accuracy"] = f"{own.dev[way]:.4f}"
        found[f"{way}: test accuracy"] = f"{np.mean(own.test[way]):.4f}"
        found[f"{way}: test, by seed"] = " ".join(f"{value:.2f}" for value in own.test[way])
    for when, states in own.reach.items():
        for name, share in states.items():
            found[f"{when} {name}: gradient at the first state"] = f"{share:.2g}"
    for when, power in own.powers.items():
        found[f"{when} srn: spectral radius of U"] = f"{power.radius:.3f} ({power.lowest:.3f} to {power.highest:.3f})"
        found[f"{when} srn: norm of U, and of U^{power.steps}"] = f"{power.first:.3g}, {power.last:.2g}"
    return found


def _record(side: Side) -> list[dict[str, object]]:
    results = side.results
    own = {
        "seeds": " ".join(map(str, results["seeds"])),
        "epochs before dL/dh_t, trained": results["vanishing_epochs"],
        "total training time": NONE if results.get("seconds") is None else duration(results["seconds"]),
        "peak memory": memory(results),
        "folder": side.path,
    }
    return [*made_with(results, results["implementation"]), own]
