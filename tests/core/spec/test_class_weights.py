"""Class weights: the loss that they define, how they are chosen and set, and how they are refused.

That their gradients are the reference's, and models side by side those alone, is in the cases of `test_parity.py` and
`test_ensemble.py`.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
import pytest

import backends
import tasks.digit_sum
import tasks.parity.__main__
from core.batch import Batch
from core.data.sources import imdb
from core.engine.executor import Executor
from core.errors import UserError
from core.models.heads.pooled import PooledHead, cross_entropy
from core.models.model import initial_parameters
from core.parity import derivatives
from core.parity.check import run_parity_check
from core.parity.instances import random_batch, random_parameters
from core.parity.training import Comparison
from core.spec.class_weights import balanced_weights, weights_of
from core.spec.experiment import Experiment, parse_experiment, replace, with_class_weights
from core.train.run_folder import RunFolder
from core.train.steps import steps_from
from tasks.cli.options import add_options, apply_options
from tasks.parity.cases import Case
from tests.conftest import INSTALLED, make_dataset, make_reviews, needs_both, one_line, run_main
from tests.pairwise import pairwise

LN2 = math.log(2.0)
LOGITS, ONE_LOGIT = np.array([[0.0, 0.0], [0.0, math.log(3.0)]]), np.array([[0.0], [math.log(3.0)]])
LABELS = np.array([0, 1])
WEIGHTS = np.array([3.0, 0.5])
EACH = np.array([3.0 * LN2, 0.5 * (2.0 * LN2 - math.log(3.0))])
"""By hand: the first text's class has probability 1/2, the second's 3/4."""
REDUCED = {"none": EACH, "sum": EACH.sum(), "mean": EACH.sum() / 2}


def experiment_of(weights: object, **changes: object) -> Experiment:
    return Case("gru", 1, True, "mean", "index").experiment("float64", **{"training.class_weights": weights, **changes})


# The loss


def native_dtype(backend, dtype: str):
    return getattr(backend.framework.torch, dtype) if hasattr(backend.framework, "torch") else dtype


@pytest.mark.parametrize("logits", [LOGITS, ONE_LOGIT], ids=["two logits", "one logit"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weighted_losses_of_the_reference_by_hand(logits, reduction):
    assert cross_entropy(logits, LABELS, reduction, WEIGHTS) == pytest.approx(REDUCED[reduction], rel=1e-15)
    ones = cross_entropy(logits, LABELS, reduction, np.ones(2))
    assert ones == pytest.approx(cross_entropy(logits, LABELS, reduction), rel=1e-15)


@pairwise(
    backend=backends.NAMES,
    logits=[LOGITS, ONE_LOGIT],
    reduction=REDUCED,
    dtype=["float64", "float32"],
    indirect=["backend"],
)
def test_weighted_losses_of_backends_by_hand(backend, logits, reduction, dtype):
    training = experiment_of((3.0, 0.5), **{"model.head.classes": 2, "training.dtype": dtype}).training
    device = backend.runtime.native_device("cpu")
    weights = backend.heads.pooled.class_weights(training, device)
    outputs = {"logits": backend.runtime.to_tensor(logits.astype(dtype), device)}
    batch = Batch(np.ones((len(LABELS), 1), np.int64), np.ones(len(LABELS), np.int64), {"label": LABELS})
    head = backend.heads.pooled.PooledHead(PooledHead(), 1, native_dtype(backend, dtype), "loop")
    losses = backend.runtime.to_numpy(head.losses(outputs, backend.runtime.Inputs(batch, dtype, device), weights))
    loss = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / PooledHead().counted(batch)}[reduction]
    assert loss.dtype == np.dtype(dtype) and loss.shape == np.shape(REDUCED[reduction])
    np.testing.assert_allclose(loss, REDUCED[reduction], rtol={"float64": 1e-15, "float32": 1e-6}[dtype])


def test_unit_weights_change_nothing(backend, rng):
    plain, ones = experiment_of(None), experiment_of((1.0, 1.0, 1.0))
    parameters, batch = random_parameters(plain, rng), random_batch(plain, rng)
    losses, gradients = [], []
    for experiment in (plain, ones):
        engine = backend.Engine(experiment.model, experiment.training, parameters, Executor("cpu", "loop"))
        loss, found = engine.gradients(batch, 0)
        losses.append(loss)
        gradients.append(found)
    assert losses[0] == pytest.approx(losses[1], rel=1e-14)
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], gradient, rtol=1e-12, atol=1e-15)


def test_integer_weight_equals_copies(backend, rng):
    """A text of weight 3 counts as if it stood there three times, in a sum."""
    changes = {"training.loss_reduction": "sum"}
    changes |= {f"model.{part}.dropout": 0.0 for part in ("embedding", "encoder", "head")}
    weighted, plain = experiment_of((1.0, 3.0, 2.0), **changes), experiment_of(None, **changes)
    parameters, batch = random_parameters(plain, rng), random_batch(plain, rng)
    rows = np.repeat(np.arange(len(batch.labels)), np.array([1, 3, 2])[batch.labels])
    copies = type(batch)(batch.ids[rows], batch.lengths[rows], {"label": batch.labels[rows]})
    found = []
    for experiment, own in ((weighted, batch), (plain, copies)):
        found.append(
            backend.Engine(experiment.model, experiment.training, parameters, Executor("cpu", "loop")).gradients(own, 0)
        )
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-13)
    for name, gradient in found[0][1].items():
        np.testing.assert_allclose(gradient, found[1][1][name], rtol=1e-10, atol=1e-13)


# Balanced


def test_balanced_weights():
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
    weights = balanced_weights(labels, 3)
    assert weights == (9 / 18, 9 / 6, 9 / 3) and all(type(weight) is float for weight in weights)
    assert np.array(weights)[labels].mean() == pytest.approx(1.0)
    with pytest.raises(UserError) as error:
        balanced_weights(np.array([0, 2, 2]), 3)
    assert "no training text of class 1" in one_line(error)


def test_numbers_are_put_in_its_place():
    labels = np.array([0, 0, 1, 2, 2, 2])
    found = with_class_weights(experiment_of("balanced"), labels)
    assert found == experiment_of((1.0, 2.0, 2 / 3)) and parse_experiment(found.model_dump(mode="json"), "x") == found
    for weights in (None, (1.0, 5.0, 2.0)):
        experiment = experiment_of(weights)
        assert with_class_weights(experiment, labels) is experiment


def test_balanced_is_no_number(backend, rng):
    """What computes has seen no data to count."""
    experiment = experiment_of("balanced")
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    with pytest.raises(ValueError, match="with_class_weights"):
        backend.Engine(experiment.model, experiment.training, parameters, Executor("cpu", "loop"))
    with pytest.raises(ValueError, match="with_class_weights"):
        stacked = {name: array[None] for name, array in parameters.items()}
        backend.Ensemble(experiment.model, experiment.training, [0], stacked, Executor("cpu", "loop"))
    with pytest.raises(ValueError, match="with_class_weights"):
        derivatives.training_loss(experiment, parameters, batch, 0)


# The spec


def test_a_spec_comes_back_from_json():
    for weights in (None, "balanced", (0.5, 3.0, 1.25)):
        experiment = experiment_of(weights)
        tree = json.loads(json.dumps(experiment.model_dump(mode="json")))
        assert parse_experiment(tree, "x") == experiment and experiment.training.class_weights == weights
        hash(experiment)
    assert tree["training"]["class_weights"] == [0.5, 3.0, 1.25]
    del tree["training"]["class_weights"]
    assert parse_experiment(tree, "a spec of before").training.class_weights is None
    assert weights_of(None) is None and weights_of((1, 2)).dtype == np.float64


EXPECTED = "training.class_weights: Input should be 'balanced', a number for each class, or null"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("rare", f'x: {EXPECTED} (got "rare")'),
        (2, f"x: {EXPECTED} (got 2)"),
        ([1, -3, 1], "x: training.class_weights.1: Input should be greater than 0 (got -3)"),
        ([1, 0, 1], "x: training.class_weights.1: Input should be greater than 0 (got 0)"),
        ([1, 1, math.inf], "x: training.class_weights.2: Input should be a finite number (got Infinity)"),
        ([1, 2], "x: training.class_weights has 2 numbers, but model.head.classes is 3: give one per class"),
        ([], "x: training.class_weights has 0 numbers, but model.head.classes is 3: give one per class"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(value, says):
    with pytest.raises(UserError) as error:
        replace(experiment_of(None), {"training.class_weights": value}, "x")
    assert one_line(error) == says


def test_classes_and_weights_are_set_together():
    changes = {"model.head.classes": 4, "training.class_weights": [1, 2, 3, 4]}
    assert replace(experiment_of((1.0, 2.0, 3.0)), changes).training.class_weights == (1.0, 2.0, 3.0, 4.0)


# Options


def options(base: Experiment, *argv: str) -> Experiment:
    parser = argparse.ArgumentParser()
    add_options(parser, {"base": base})
    return apply_options(base, parser.parse_args(argv))


def test_the_option():
    base = replace(Experiment(), {"training.class_weights": [1, 3]})
    assert options(base).training.class_weights == (1.0, 3.0)
    assert options(base, "--class-weights", "none").training.class_weights is None
    assert options(base, "--class-weights", "balanced").training.class_weights == "balanced"
    assert options(base, "--set", "training.class_weights=[2,0.5]").training.class_weights == (2.0, 0.5)
    assert options(base, "--set", "training.class_weights=balanced").training.class_weights == "balanced"
    assert options(base, "--set", "training.class_weights=null").training.class_weights is None
    with pytest.raises(UserError) as error:
        options(base, "--class-weights", "rare")
    assert one_line(error) == "--class-weights rare: choose one of none, balanced"
    with pytest.raises(UserError) as error:
        options(base, "--set", "training.class_weights=[1,2,3]")
    assert "training.class_weights has 3 numbers, but model.head.classes is 2" in one_line(error)


def test_its_help():
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert "--class-weights {none,balanced} class weights in the loss [none]" in " ".join(parser.format_help().split())


# Training


def test_a_step_takes_them(backend, rng):
    """The figures of a step are of the weighted loss, and its right answers those that they are."""
    data = make_dataset(rng, 24, 7)
    plain = experiment_of(None, **{"model.head.classes": 2})
    experiment = replace(plain, {"training.class_weights": [0.5, 4.0]})
    parameters = initial_parameters(plain.model, 0, "float64")
    step, batch, rate = next(steps_from(experiment, data))
    stats = []
    for own in (plain, experiment):
        engine = backend.Engine(own.model, own.training, parameters, Executor("cpu", "loop"))
        engine.train_step(batch, step, rate)
        stats += engine.collect()
    wanted = float(derivatives.training_loss(experiment, parameters, batch, step))
    assert stats[1].loss == pytest.approx(wanted, rel=1e-13) and stats[1].loss != pytest.approx(stats[0].loss, rel=1e-3)
    assert stats[1].right == stats[0].right


@needs_both
@pytest.mark.parametrize("one_logit", [False, True], ids=["two logits", "one logit"])
def test_training_passes_all_rungs(rng, tmp_path, one_logit):
    changes = {"model.head.classes": 2, "model.head.one_logit": one_logit, "training.batch_size": 8}
    changes |= {"model.embedding.vocab_size": 20, "training.bucket_batches": 2}
    sides = {name: backends.load(name) for name in INSTALLED}
    data = make_dataset(rng, 60, 20), make_dataset(rng, 40, 20)
    comparison = Comparison(experiment_of((0.4, 2.5), **changes), *data, sides, 15)
    findings, trained = run_parity_check(comparison, int(rng.integers(1 << 30)), tmp_path, lambda *_: None)
    assert {finding.rung for finding in findings} == {1, 2, 3, 4, 5} and all(finding.passed for finding in findings)
    assert len(trained.losses["torch"]) == 15


@pytest.mark.slow
@needs_both
def test_the_ladder_s_program_counts_the_training_texts(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(imdb, "PER_CLASS", 24)
    monkeypatch.chdir(tmp_path)
    data = ("--data", make_reviews(tmp_path / "data", rng, 24), "--cache-dir", "cache", "--out", "out")
    small = ("--hidden", 8, "--embedding-dim", 8, "--max-length", 20, "--batch-size", 8, "--steps", 4)
    done = run_main(tasks.parity.__main__.main, *data, *small, "--dtype", "float64", "--class-weights", "balanced")
    assert done.code == 0 and done.err == "", done.out + done.err
    compared, _ = json.loads((tmp_path / "out" / "parity.json").read_text())["compared"]
    # Both classes are as frequent in the reviews that are left for training.
    assert compared["experiment"]["training"]["class_weights"] == pytest.approx([1.0, 1.0], rel=0.1)


def test_digit_sums_are_balanced_too(backend, tmp_path):
    """There are 19 classes, a sum of 9 ten times as frequent as one of 0 or 18. The run's record holds the numbers."""
    small = ("--cell", "srn", "--lengths", 5, 8, "--seeds", 0, "--epochs", 1, "--backend", backend.NAME)
    done = run_main(tasks.digit_sum.main, *small, "--class-weights", "balanced", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    for length in (5, 8):
        experiment, _ = RunFolder.open(tmp_path / "run" / "srn" / f"L{length}-seed0").read_record()
        counts = np.array([10 - abs(9 - total) for total in range(19)])
        assert experiment.training.class_weights == pytest.approx(100 / (19 * counts))
