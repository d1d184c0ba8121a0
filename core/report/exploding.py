"""Exploding and vanishing gradients in two frameworks as one page: figures side by side, and the pictures of both."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.report.page import POLICY, document, dot, duration, fields, header, notes, versions_and_machine
from core.spec.experiment import Experiment, parse_experiment
from core.train.run_folder import read_json

EARLY, LATER = 40, 60
"""Steps between which an unclipped gradient has exploded and died."""
WAYS = ("not clipped", "clipped")
PICTURES = {"norms": "Not clipped", "norms-clipped": "Clipped", "vanishing": "On the way back through time"}
"""By the name of the file."""
NONE = "\u2013"


@dataclass(frozen=True)
class Figures:
    """What a `results.json` comes down to."""

    early: int
    """Steps over which the peaks are."""
    peaks: np.ndarray
    """Of the norm of W's gradient, not clipped, by seed."""
    later: float | None
    """The median of that norm at step LATER; None where there are fewer."""
    held: tuple[float, float]
    """The lowest and the highest of that norm's medians over steps, where it is clipped; measured before clipping."""
    loss: tuple[float, float]
    """Of the first step and the last, not clipped: means over seeds."""
    dev: dict[str, float]
    """Best accuracy, mean over seeds, by way."""
    test: dict[str, list[float]]
    """By way, of every seed."""
    reach: dict[str, dict[str, float]]
    """By when and state, how much of the cell's last |dL/dh_t| the first gets: the median."""

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
        """Raises UserError where the results are not there, or damaged."""
        where = path / "results.json"
        results = read_json(where)
        experiment = parse_experiment(results.get("experiment"), str(where))
        try:
            if not {"seeds", "vanishing_epochs", "versions", "device", "implementation"} <= results.keys():
                raise KeyError
            return cls(label, path, experiment, results, Figures.of(results))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise UserError(f"{where}: not the results of tasks.exploding: the file is damaged") from None


def exploding_page(sides: Sequence[Side]) -> str:
    """The HTML."""
    labels = [side.label for side in sides]
    title = f"exploding: {' and '.join(labels)}"
    found = [f"{side.label}: {name}.png is missing." for side in sides for name in PICTURES if not _file(side, name)]
    sections = (
        header(title, _lead(sides)),
        notes(found),
        f"<section>\n<h2>Figures</h2>\n{fields(labels, _rows(sides), once=False)}\n"
        '<p class="soft small">Norms are of the gradient of W, the layer\u2019s input weights, before any clipping.'
        " Accuracies are of the best look at dev. What the first state gets is |dL/dh_1| (of an LSTM\u2019s cell state,"
        " |dL/dc_1|) over the last |dL/dh_t|; medians of seeds.</p>\n</section>",
        _pictures(sides),
        _spec(sides),
        f"<section>\n<h2>Versions, machine</h2>\n{fields(labels, _records(sides))}\n</section>",
    )
    return document(title, sections, f"{POLICY}; img-src data:")


def _lead(sides: Sequence[Side]) -> str:
    first = sides[0]
    encoder, training = first.experiment.model.encoder, first.experiment.training
    peaks = " and ".join(f"{_norm(np.median(side.figures.peaks))} in {side.label}" for side in sides)
    held = " and ".join(f"{_norm(side.figures.held[1])} in {side.label}" for side in sides)
    seeds = len(first.results["seeds"])
    return (
        f"{encoder.cell.upper()} {encoder.hidden_size} on digit sums of length {first.experiment.data.length},"
        f" {seeds} seed{'s' * (seeds != 1)}. Without clipping the norm of W's gradient peaks at {peaks}, within"
        f" {first.figures.early} steps; with each tensor clipped to {training.clip_norm:g}, the norm before clipping"
        f" reaches {held} (medians of seeds)."
    )


def _norm(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def _rows(sides: Sequence[Side]) -> dict[str, list[str]]:
    own = [side.figures for side in sides]
    reduction = f"{sides[0].experiment.training.loss_reduction} of a batch"
    rows = {
        f"not clipped: peak in {own[0].early} steps": [
            f"{_norm(np.median(f.peaks))} (seeds: {_norm(f.peaks.min())} to {_norm(f.peaks.max())})" for f in own
        ],
        f"not clipped: at step {LATER}": [NONE if f.later is None else _norm(f.later) for f in own],
        "clipped: medians over steps": [f"{_norm(f.held[0])} to {_norm(f.held[1])}" for f in own],
        f"not clipped: loss, {reduction}, first and last step": [f"{f.loss[0]:.2f}, {f.loss[1]:.2f}" for f in own],
    }
    for way in WAYS:
        rows[f"{way}: dev accuracy"] = [f"{f.dev[way]:.4f}" for f in own]
        rows[f"{way}: test accuracy"] = [f"{np.mean(f.test[way]):.4f}" for f in own]
        rows[f"{way}: test, by seed"] = [" ".join(f"{value:.2f}" for value in f.test[way]) for f in own]
    for when, states in own[0].reach.items():
        for name in states:
            rows[f"{when} {name}: what the first state gets"] = [
                f"{f.reach[when][name]:.2g}" if name in f.reach.get(when, {}) else NONE for f in own
            ]
    return rows


def _file(side: Side, name: str) -> bytes:
    try:
        return (side.path / f"{name}.png").read_bytes()
    except OSError:
        return b""


def _pictures(sides: Sequence[Side]) -> str:
    parts = []
    for name, title in PICTURES.items():
        figures = ""
        for place, side in enumerate(sides):
            if data := _file(side, name):
                source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
                image = f'<img alt="{escape(f"{title}, {side.label}")}" src="{source}">'
                figures += f"<figure><figcaption>{dot(place)}{escape(side.label)}</figcaption>"
                figures += f'<div class="picture">{image}</div></figure>'
        if figures:
            parts.append(f'<h3 class="above">{title}</h3>\n<div class="curves">{figures}</div>')
    return "<section>\n<h2>Pictures</h2>\n" + "\n".join(parts) + "\n</section>" if parts else ""


def _spec(sides: Sequence[Side]) -> str:
    trees = [json.dumps(side.experiment.model_dump(mode="json"), indent=2, ensure_ascii=False) for side in sides]
    same = len(set(trees)) == 1
    said = "The spec is the same in both, field for field." if same else "The specs differ."
    whole = "".join(
        f"<div>{'' if same else f'<h3>{dot(place)}{escape(side.label)}</h3>'}<pre>{escape(tree)}</pre></div>"
        for place, (side, tree) in enumerate(zip(sides, trees, strict=True))
        if not (same and place)
    )
    return (
        f"<section>\n<h2>Spec</h2>\n<p>{said}</p>\n<details><summary>The whole spec{'' if same else 's'}</summary>"
        f'<div class="specs">{whole}</div></details>\n</section>'
    )


def _records(sides: Sequence[Side]) -> dict[str, list[str]]:
    results = [side.results for side in sides]
    rows = versions_and_machine(results)
    rows["seeds"] = [" ".join(map(str, own["seeds"])) for own in results]
    rows["epochs before dL/dh_t, trained"] = [str(own["vanishing_epochs"]) for own in results]
    seconds, memory = ([own.get(name) for own in results] for name in ("seconds", "peak_memory_mb"))
    rows["all trainings"] = [NONE if own is None else duration(own) for own in seconds]
    rows["peak memory"] = [NONE if own is None else f"{own:,} MB" for own in memory]
    rows["folder"] = [str(side.path) for side in sides]
    return rows
