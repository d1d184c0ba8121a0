"""Many complex steps in one forward pass give what one pass for each gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.batch import Noise
from core.parity import derivatives
from core.parity.copies import COPIES, Copies, number_of_copies, repeated, steps_by_entry
from core.parity.instances import random_batch, random_parameters
from core.spec.experiment import replace as changed
from tasks.parity.cases import TAGGERS, TWO_CLASSES, VARIANTS, Case

COPIED, TEXTS, LENGTH, SIZE = 3, 2, 4, 5


@pytest.fixture
def copies(rng):
    """Copies of a matrix, and the number of the copy of every row."""
    values = rng.normal(size=(COPIED, SIZE, SIZE)) + 1j * rng.normal(size=(COPIED, SIZE, SIZE))
    return Copies(values, COPIED * TEXTS), np.repeat(np.arange(COPIED), TEXTS)


OPERATIONS = {
    "product": lambda w, x, ids: x @ w.T,
    "sum": lambda w, x, ids: x[:, :, None] + w,
    "difference from numbers": lambda w, x, ids: (w - np.arange(SIZE)) * x[:, :1],
    "quotient": lambda w, x, ids: np.exp(w)[0] / x,
    "slices": lambda w, x, ids: x[:, :, :2] @ w[:, :2].T,
    "rows": lambda w, x, ids: w[ids],
    "entries": lambda w, x, ids: w[ids[:, :-1], ids[:, 1:]],
    "shared rows": lambda w, x, ids: x @ w[np.array([2, 0, 1, 1, 3, 4, 2])].T,
    "rounded": lambda w, x, ids: x @ (w.rounded(np.round) if isinstance(w, Copies) else np.round(w)),
    "einsum": lambda w, x, ids: np.einsum("blh,h->bl", x, w[1]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_those_of_each_copy(name, copies, rng):
    weight, owner = copies
    x = rng.normal(size=(len(owner), LENGTH, SIZE)) + 1j
    ids = rng.integers(0, SIZE, (len(owner), LENGTH))
    found = OPERATIONS[name](weight, x, ids)
    for row, copy in enumerate(owner):
        alone = OPERATIONS[name](weight.values[copy], x[row : row + 1], ids[row : row + 1])
        np.testing.assert_allclose(found[row], alone[0], rtol=1e-13)


def test_other_operations_are_refused(copies):
    weight, owner = copies
    x = np.ones((len(owner), SIZE))
    for operation in (
        lambda: np.concatenate([weight, weight]),
        lambda: np.where(x > 0, weight, 0.0),
        lambda: weight @ x.T,
        lambda: np.add.reduce(weight),
        lambda: np.einsum("bh,hi->bi", x, weight, optimize=True),
    ):
        with pytest.raises(TypeError):
            operation()


def test_rows_are_not_as_many_as_noise_words(rng):
    """Or an index of noise words would be taken for one of the rows."""
    batch = random_batch(Case("srn", 1, False, "last", "index").experiment("float64"), rng, rows=2)
    assert number_of_copies(7, batch) == 7
    noisy = replace(batch, noise=Noise(np.ones(2 * 7, np.int64), np.zeros(7)))
    assert [number_of_copies(size, noisy) for size in (6, 7, 8)] == [6, 6, 8]


def test_every_entry_has_a_step(rng):
    """In as many passes as it takes, none of them larger than the limit."""
    batch = random_batch(Case("srn", 1, False, "last", "index").experiment("float64"), rng)
    array, found = rng.normal(size=(COPIES, 3)), []
    for entries, moved in steps_by_entry(array, 1.0, batch):
        assert len(moved.values) <= COPIES and moved.rows == len(entries) * len(batch.lengths)
        for entry, own in zip(entries, moved.values, strict=True):
            np.testing.assert_array_equal(np.flatnonzero(own != array), [entry])
        found += list(entries)
    assert found == list(range(array.size))


EVERY_KIND = [
    next(case for case in VARIANTS if str(case).startswith(kind))
    for kind in (
        "lstm-2-bi-attention",
        "gru-1-bi-last-index-virtual",
        "textcnn-2+4",
        "bag-max_mean",
        "language",
        "decoder",
    )
] + [next(case for case in TAGGERS if "crf" in str(case))]


@pytest.mark.parametrize("case", EVERY_KIND, ids=str)
def test_gradients_equal_those_of_one_pass_per_entry(case, rng):
    experiment = case.experiment("float64")
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    shift = derivatives.perturbations(experiment, parameters, batch, 0)
    for name, found in derivatives.gradients(experiment, parameters, batch, 0, shift).items():
        for entry in rng.choice(found.size, min(3, found.size), replace=False):
            unit = np.zeros(found.size)
            unit[entry] = 1.0
            direction = {name: unit.reshape(found.shape)}
            alone = derivatives.slope(experiment, parameters, batch, direction, shift)
            assert found.flat[entry] == pytest.approx(alone, rel=1e-13, abs=1e-18), name


def test_bfloat16_rounds_every_copy(rng):
    case = Case("lstm", 1, True, "mean", "index", (TWO_CLASSES,))
    experiment = changed(case.experiment("float64"), {"training.dtype": "bfloat16"})
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    found = derivatives.gradients(experiment, exact, batch, 0)["head.weight"]
    for row, column in np.ndindex(found.shape):
        unit = np.zeros(found.shape)
        unit[row, column] = 1.0
        alone = derivatives.slope(experiment, exact, batch, {"head.weight": unit})
        assert found[row, column] == pytest.approx(alone, rel=1e-13, abs=1e-18)


def test_perturbations_equal_those_of_one_pass_per_component(rng):
    case = Case("gru", 1, True, "last", "index", (("training.adversarial", 0.3),))
    experiment = case.experiment("float64")
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    exact = {name: array.astype(np.complex128) for name, array in parameters.items()}
    start = np.zeros((*batch.ids.shape, experiment.model.embedding.output_size))

    def losses_of(shift):
        return derivatives.training_losses(experiment, exact, batch, 0, shift)

    found = derivatives.vector_gradient(losses_of, start)
    for token, component in np.ndindex(start.shape[1:]):
        shift = start.astype(np.complex128)
        shift[:, token, component] += 1j * derivatives.TINY
        np.testing.assert_allclose(
            found[:, token, component], np.imag(losses_of(shift)) / derivatives.TINY, rtol=1e-13, atol=1e-18
        )
    assert repeated(start, 1) is start
