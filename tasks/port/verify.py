"""Verification of a conversion: the file read back, and rungs 1 and 2 of the parity check."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

import backends
from core.batch import Batch
from core.models.model import forward
from core.models.types import Arrays
from core.parity.findings import Finding
from core.parity.instances import random_batch, well_conditioned
from core.parity.layers import Sides, compare_forward, compare_gradients
from core.spec.experiment import Experiment, replace
from core.weights.convert import Port
from tasks.cli.console import fact
from tasks.cli.framework import load_backend
from tasks.parity.table import print_findings
from tasks.port.describe import failed

DTYPES = ("float64", "float32")


def load_sides() -> Sides:
    """Import every installed backend."""
    return {name: load_backend(name) for name in backends.NAMES if backends.installed(name)}


def run_rungs(port: Port, sides: Sides, seed: int) -> list[Finding] | None:
    """Compare backends and reference on random input of unequal lengths. Return None if they differ."""
    findings: list[Finding] = []
    for dtype in DTYPES:
        experiment = replace(Experiment(), {"model": port.model.model_dump(mode="json"), "training.dtype": dtype})
        arrays = {name: array.astype(dtype) for name, array in port.arrays.items()}
        rng = np.random.default_rng(seed)
        parameters, batch = well_conditioned(experiment, partial(_instance, experiment, arrays, rng))
        findings += compare_forward(experiment, parameters, batch, sides)
        findings += compare_gradients(experiment, parameters, batch, sides)
    fact("", f"random input of unequal lengths, seed {seed} (repeat with --draw {seed})")
    print_findings(findings)
    if all(finding.passed for finding in findings):
        return findings
    if all(finding.passed for finding in findings if finding.dtype == "float64"):
        failed("in float32 only: float64 agrees, but float32 rounding exceeds the limit")
    else:
        failed("the frameworks compute different results with the converted weights: see the findings above")
    return None


def _instance(experiment: Experiment, arrays: Arrays, rng: np.random.Generator) -> tuple[Arrays, Batch]:
    """Return the model with a random batch whose labels are the least likely classes.

    If a trained model predicts a label confidently, its loss and gradients are mostly rounding errors.
    """
    batch = random_batch(experiment, rng)
    logits = forward(experiment.model, arrays, batch)["logits"]
    least = (logits[:, 0] < 0).astype(np.int64) if logits.shape[1] == 1 else logits.argmin(axis=1)
    return arrays, dataclasses.replace(batch, targets={"label": least})
