"""The average of the parameters over the last steps of a run."""

from __future__ import annotations

import numpy as np
import pytest

from core.spec.experiment import replace
from core.spec.training import Training
from core.train.average import averaged_steps, check_average
from tests.core.train.test_loop import (
    SMALL,
    STEPS,
    data,
    go_on,
    largest_difference,
    lines_of,
    run,
    stop_after,
    timeless,
)

__all__ = ["data"]

AVERAGED = replace(SMALL, {"training.average_share": 0.6, "training.average_interval": 4, "training.eval_interval": 3})
"""Steps 10, 14 and 18 of 18."""


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25, 0.6, 1.0])
def test_averaged_steps_are_counted_from_the_last_one(share, rng):
    total, interval = int(rng.integers(1, 60)), int(rng.integers(1, 9))
    training = Training(average_share=share, average_interval=interval)
    lowest = int(total * (1 - share))
    wanted = list(range(total, lowest, -interval)) if share else []
    counts = [averaged_steps(training, step, total) for step in range(total + 1)]
    assert counts == [sum(own <= step for own in wanted) for step in range(total + 1)], (total, interval)


def test_the_mean_is_evaluated_and_training_goes_on_from_the_parameters(backend, data, tmp_path, monkeypatch):
    """Dev lines before step 10 are those of the run without averaging, and so are all steps."""
    plain, plain_folder, _, _ = run(
        backend, replace(AVERAGED, {"training.average_share": 0.0}), data, tmp_path / "plain"
    )
    seen, evaluated = {}, {}
    step_of, logits_of = backend.Engine.train_step, backend.Engine.logits

    def train_step(self, batch, step, rate):
        step_of(self, batch, step, rate)
        seen[step + 1] = self.parameters()

    def logits(self, batch):
        evaluated[max(seen)] = self.parameters()
        return logits_of(self, batch)

    monkeypatch.setattr(backend.Engine, "train_step", train_step)
    monkeypatch.setattr(backend.Engine, "logits", logits)
    engine, folder, _, _ = run(backend, AVERAGED, data, tmp_path / "run")
    assert largest_difference(engine.parameters(), plain.parameters()) == 0
    assert largest_difference(engine.moments(), plain.moments()) == 0
    assert lines_of(folder, "train")[-1]["loss"] == lines_of(plain_folder, "train")[-1]["loss"]
    for step, found in evaluated.items():
        averaged = [own for own in (10, 14, 18) if own <= step] or [step]
        for name, array in found.items():
            wanted = np.mean([seen[own][name] for own in averaged], axis=0)
            np.testing.assert_allclose(array, wanted, rtol=1e-12, atol=1e-14, err_msg=f"{name} at step {step}")
    assert set(evaluated) == {3, 6, 9, 12, 15, 18}
    dev, other = lines_of(folder, "dev"), lines_of(plain_folder, "dev")
    assert [own["loss"] == another["loss"] for own, another in zip(dev, other, strict=True)] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("stop", [9, 10, 13])
def test_a_resume_changes_no_bit(backend, data, tmp_path, stop):
    whole, whole_folder, _, _ = run(backend, AVERAGED, data, tmp_path / "whole")
    _, folder, state, _ = run(backend, AVERAGED, data, tmp_path / "parts", stop_after(stop))
    assert state.step == stop
    mean = folder.read_average(AVERAGED.model)
    assert bool(mean) == (stop >= 10) and check_average(mean, AVERAGED.training, stop, STEPS)
    assert not check_average({} if mean else {"head.bias": np.zeros(2)}, AVERAGED.training, stop, STEPS)
    engine, _, _, _ = go_on(backend, AVERAGED, data, folder)
    assert timeless(folder) == timeless(whole_folder)
    assert largest_difference(engine.parameters(), whole.parameters()) == 0
    for own, other in ((folder.read_best, whole_folder.read_best), (folder.read_average, whole_folder.read_average)):
        assert largest_difference(own(AVERAGED.model), other(AVERAGED.model)) == 0
