"""The worked batch: right by the reference and both frameworks, and every printed equation holds."""

from __future__ import annotations

import re

import numpy as np
import pytest

import backends
import tasks.derive
from core.analysis import worked_batch
from core.batch import pad, real_mask
from core.models.heads.pooled import cross_entropy
from core.models.model import forward
from tests.conftest import run_main


def test_every_output_is_the_reference_s():
    example = worked_batch.derive()
    batch = worked_batch.batch()
    found = forward(worked_batch.MODEL, worked_batch.arrays(), batch)
    assert example.outputs.keys() == found.keys()
    for name, own in example.outputs.items():
        np.testing.assert_allclose(own, found[name], atol=1e-15)
    assert example.loss == pytest.approx(float(cross_entropy(found["logits"], batch.labels, "mean")), abs=1e-15)
    assert not example.outputs["encoder.l0"][~real_mask(batch)].any()


def test_the_mean_is_that_of_the_text_alone():
    """Which is what the mask is for: the neighbors in the batch do not matter."""
    pooled = worked_batch.derive().outputs["pooled"]
    for number, text in enumerate(worked_batch.TEXTS):
        alone = pad([np.array([worked_batch.WORDS.index(word) for word in text])], {})
        found = forward(worked_batch.MODEL, worked_batch.arrays(), alone)
        np.testing.assert_allclose(found["pooled"][0], pooled[number], rtol=0, atol=1e-15)


def test_every_equation_that_is_written_holds():
    """Pairs are summed and divided again, to what five decimals can say; a missing mask shows."""
    lines = worked_batch.derive().lines
    mean = np.full(2, np.nan)
    seen = {"sum": 0, "mean": 0, "logit": 0, "wrong": 0}
    for line in lines:
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d{5}", line)]
        name = line.split()[0] if line.split() else ""
        if name in ("sum", "mean"):
            *parts, result = np.array(numbers).reshape(-1, 2)
            count = int(line.split("/ ")[1].split()[0]) if name == "mean" else 1
            np.testing.assert_allclose(np.sum(parts, axis=0) / count, result, rtol=0, atol=3e-5)
        elif name == "logit":
            w0, m0, w1, m1, bias, result = numbers
            assert w0 * m0 + w1 * m1 + bias == pytest.approx(result, abs=3e-5)
        elif line.endswith("wrong"):
            name = "wrong"
            assert np.abs(np.array(numbers[-2:]) - mean).max() > 5e-3
        if name == "mean":
            mean = np.array(numbers[-2:])
        if name in seen:
            seen[name] += 1
    assert seen == {"sum": 3, "mean": 3, "logit": 6, "wrong": 2}


def test_the_program_shows_and_checks_it():
    done = run_main(tasks.derive.main, "--what", "batch")
    assert done.code == 0, done.out
    for name in filter(backends.installed, backends.NAMES):
        for implementation in ("builtin", "packed", "loop"):
            assert f"by hand ~ {name}, {implementation}: loss" in done.out
    assert "mask m [3, 4]" in done.out and "cross-correlated" not in done.out and "LSTM" not in done.out


def test_a_framework_that_reads_padding_fails(monkeypatch):
    name = next(filter(backends.installed, backends.NAMES))
    engine = backends.load(name).Engine
    honest = engine.activations

    def padded(self, batch, step=None):
        full = pad(list(batch.ids), dict(batch.targets))  # padding counts as tokens
        return honest(self, full, step)

    monkeypatch.setattr(engine, "activations", padded)
    assert run_main(tasks.derive.main, "--what", "batch", "--backend", name).code == 1
