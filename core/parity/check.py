"""Parity check of one spec: all five rungs, the last of which compares predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.batch import Batch, pad, real_mask
from core.data.dataset import Dataset
from core.models.heads.head import Head
from core.models.types import Arrays
from core.parity.findings import Finding, named
from core.parity.instances import partly_labeled, random_parameters, well_conditioned
from core.parity.layers import Sides, compare_extreme_logits, compare_forward, compare_gradients, engine_of
from core.parity.routes import compare_routes
from core.parity.training import Comparison, Trained, compare_training
from core.rng import generator
from core.spec.experiment import Experiment, replace
from core.train.metrics import evaluate

TIE = {"float64": 0.0, "float32": 1e-5, "bfloat16": 2e-3}
"""Difference of two class probabilities below which a prediction is a tie."""


PROBE_ROWS = 6
"""Number of texts of rungs 1 and 2, the first truncated to one token."""
LONGEST_ADVERSARIAL = 8
"""Tokens of a text of rungs 1 and 2 with adversarial training.

The reference takes a forward pass per component of a word vector and token.
"""
EVALUATED = 500
"""Maximum number of texts whose predictions rung 5 compares."""


def compare_predictions(
    experiment: Experiment, trained: dict[str, Arrays], dataset: Dataset, sides: Sides
) -> list[Finding]:
    """Compare the predictions of each side's trained model in all other sides (rung 5).

    All predictions for `dataset` must be equal, except for ties. `absolute` is the largest difference of a probability,
    `relative` the share of different predictions.
    """
    dtype, findings, head = experiment.training.dtype, [], experiment.model.head
    texts = np.repeat(np.arange(len(dataset)), head.answers(dataset.targets, dataset.lengths))
    for source, parameters in trained.items():
        evaluations = {
            name: evaluate(engine_of(side, experiment, parameters), head, dataset) for name, side in sides.items()
        }
        own = evaluations.pop(source)
        tie = own.margins < TIE[dtype]
        for name, evaluation in evaluations.items():
            # All labels of a text are one prediction.
            differs = (evaluation.predicted != own.predicted).reshape(len(tie), -1).any(axis=1) & ~tie
            distance = np.abs(evaluation.probabilities - own.probabilities).max(axis=1)
            findings.append(
                Finding(
                    rung=5,
                    compared=f"trained in {source}, evaluated in {name}",
                    quantity=f"predictions of {len(dataset):,} texts",
                    dtype=dtype,
                    absolute=float(distance.max()),
                    relative=float(differs.mean()),
                    where=f"{int(differs.sum())} differ" + (f", {int(tie.sum())} ties" if tie.any() else ""),
                    value=float(differs.mean()),
                    limit=0.0,
                    first=named([dataset.names[row] for row in np.unique(texts[differs])]),
                )
            )
    return findings


def run_parity_check(
    comparison: Comparison, seed: int, workspace: Path, report: Callable[[str, int, int], None]
) -> tuple[list[Finding], Trained | None]:
    """Run all five rungs of the parity check for one spec in its dtype.

    `seed` keys the random parameters and texts of rungs 1 and 2. A single side is compared with the reference, which
    does not train, in rungs 1 and 2 only. Rung 3 takes all steps, rung 4 at most 30 of them per route.
    `report(what, done, total)` reports progress.
    """
    if comparison.experiment.training.dropout_masks != "shared":
        shared = replace(comparison.experiment, {"training.dropout_masks": "shared"})
        comparison = dataclasses.replace(comparison, experiment=shared)
    experiment, sides = comparison.experiment, comparison.sides
    training = experiment.training
    rng = generator(seed, "probe")
    longest = LONGEST_ADVERSARIAL if training.adversarial or training.virtual_adversarial else None
    parameters, batch = well_conditioned(
        experiment,
        lambda: (
            random_parameters(experiment, rng),
            _probe(comparison, rng, longest),
        ),
    )
    report("rung 1", 0, 1)
    findings = compare_forward(experiment, parameters, batch, sides)
    report("rung 2", 0, 1)
    findings += compare_gradients(experiment, parameters, batch, sides)
    findings += compare_extreme_logits(experiment, parameters, batch, sides)
    if len(sides) < 2:
        return findings, None
    found, trained = compare_training(comparison, lambda done, total: report("rung 3", done, total))
    findings += found
    routes = dataclasses.replace(comparison, steps=min(30, trained.steps))
    findings += compare_routes(routes, workspace, lambda done, total: report("rung 4", done, total))
    report("rung 5", 0, 1)
    findings += compare_predictions(experiment, trained.parameters, comparison.dev_set.first(EVALUATED), sides)
    return findings, trained


def _probe(comparison: Comparison, rng: np.random.Generator, longest: int | None) -> Batch:
    """Return a batch of a few training texts, some without a label if the spec has such texts."""
    batch = probe_batch(comparison.train_set, rng, comparison.experiment.model.head, longest)
    return dataclasses.replace(batch, targets=partly_labeled(comparison.experiment, batch.targets))


def probe_batch(dataset: Dataset, rng: np.random.Generator, head: Head, longest: int | None = None) -> Batch:
    """Return a batch of a few texts, the first truncated to one token, the others to `longest` tokens if given."""
    rows = rng.choice(len(dataset), min(PROBE_ROWS, len(dataset)), replace=False)
    batch = dataset.batch(rows)
    sequences = [ids[:length] for ids, length in zip(batch.ids, batch.lengths, strict=True)]
    kept = [sequences[0][:1], *(own[:longest] for own in sequences[1:])]
    shorter, targets = pad(kept, batch.targets), dict(batch.targets)
    real = real_mask(shorter)
    for name in head.aligned:
        targets[name] = np.where(real, targets[name][:, : shorter.ids.shape[1]], 0)
    ngrams = batch.ngrams
    if ngrams is not None:
        values = ngrams.values[:, : shorter.ids.shape[1]] * real[:, :, None]
        ngrams = dataclasses.replace(ngrams, values=values)
    return dataclasses.replace(shorter, targets=targets, ngrams=ngrams)
