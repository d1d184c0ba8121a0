"""The TextCNN's worked example: right by the definition, by the reference and by both frameworks."""

from __future__ import annotations

import numpy as np
import pytest

import backends
import tasks.derive
from core.analysis import worked_textcnn
from core.models.model import forward
from tests.conftest import run_main


def test_every_output_is_the_reference_s():
    example = worked_textcnn.derive()
    found = forward(worked_textcnn.MODEL, worked_textcnn.arrays(), worked_textcnn.batch())
    assert example.outputs.keys() == found.keys()
    for name, own in example.outputs.items():
        np.testing.assert_allclose(own, found[name], atol=1e-14)
    assert [found[f"encoder.conv{number}"].shape for number in (0, 1)] == [(1, 11, 4), (1, 11, 5)]
    assert not found["encoder.conv0"][0, 10].any() and not found["encoder.conv1"][0, 8:].any()
    pooled = example.outputs["pooled"][0]
    assert len(pooled) == 9 and (pooled > 0).any() and len(set(pooled)) > 5


@pytest.mark.parametrize("title", worked_textcnn.SMALL)
def test_d2l_s_small_examples(title):
    read, kernel, answer = worked_textcnn.SMALL[title]
    assert worked_textcnn.correlate(read, kernel) == answer


def test_the_program_shows_and_checks_it():
    done = run_main(tasks.derive.main, "--what", "textcnn")
    assert done.code == 0, done.out
    for name in filter(backends.installed, backends.NAMES):
        for implementation in ("builtin", "loop"):
            assert f"by hand ~ {name}, {implementation}" in done.out
    assert "with 11 - 4 + 1 = 8 valid positions" in done.out and "logit 1 =" in done.out and "tanh" not in done.out


def test_a_wrong_framework_fails(monkeypatch):
    name = next(filter(backends.installed, backends.NAMES))
    engine = backends.load(name).Engine
    honest = engine.activations
    monkeypatch.setattr(engine, "activations", lambda *a: {k: v + 1e-9 for k, v in honest(*a).items()})
    assert run_main(tasks.derive.main, "--what", "textcnn", "--backend", name).code == 1


@pytest.mark.parametrize("argv", [("--what", "cnn"), ("--what", "textcnn", "--cell", "srn")])
def test_mistakes_are_one_line(argv):
    done = run_main(tasks.derive.main, *argv)
    assert done.code == 2 and done.err.startswith("error: --") and done.err.count("\n") == 1
