"""Gradients of word vectors by rows, Adam on them, and pooling, in the compiled library: against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from backends import kernels
from backends.kernels import training
from core.spec.training import Adam

pytestmark = [
    pytest.mark.skipif(kernels.failure() is not None, reason="the library was not compiled"),
    pytest.mark.usefixtures("target"),
]

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def with_threads(compute):
    """The result, which must be the same bits with 1, 2 and 5 threads."""
    found = []
    for count in (1, 2, 5):
        kernels.set_threads(count)
        found.append(compute())
    assert len({tuple(array.tobytes() for array in arrays) for arrays in found}) == 1
    return found[0]


def batch_of_ids(rng, rows: int, width: int, vocab: int) -> np.ndarray:
    """Frequent and rare ids, some of them PAD."""
    ids = (vocab * rng.random((rows, width)) ** 4).astype(np.int64)
    ids[rng.random(ids.shape) < 0.2] = 0
    return ids


@each_dtype
def test_gradients_of_word_vectors(rng, dtype):
    ids = batch_of_ids(rng, 13, 57, 300)
    gradient = rng.normal(size=(*ids.shape, 131)).astype(dtype)
    rows = training.Rows(ids, 300)
    assert sorted(rows.ids) == sorted(set(ids.ravel()) - {0})

    def compute():
        values = np.full((len(rows.ids), 131), np.nan, dtype)
        rows.sums(gradient, values)
        return [values]

    (values,) = with_threads(compute)
    wanted = np.zeros((300, 131))
    np.add.at(wanted, ids.ravel(), gradient.reshape(-1, 131))
    tolerance = {"float32": 1e-4, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(values, wanted[rows.ids], rtol=0, atol=tolerance)


@each_dtype
def test_adam_by_rows_is_the_dense_step(rng, dtype):
    """Rows outside a batch go on by their moments; those that never had a gradient stay, to the bit."""
    vocab, dim, rate = 700, 97, 0.01
    optimizer = Adam(beta1=0.8, beta2=0.95, epsilon=1e-7)
    start = rng.normal(size=(vocab, dim))
    batches = [batch_of_ids(rng, 5, 20, vocab) for _ in range(12)]
    gradients = [rng.normal(size=(*ids.shape, dim)).astype(dtype) for ids in batches]

    def compute():
        weight, moment1, moment2 = start.astype(dtype), np.zeros((vocab, dim), dtype), np.zeros((vocab, dim), dtype)
        adam = training.EmbeddingAdam(optimizer, (vocab, dim), dtype == "float64")
        for step, (ids, gradient) in enumerate(zip(batches, gradients, strict=True)):
            if step == 6:  # as after a resume
                adam = training.EmbeddingAdam(optimizer, (vocab, dim), dtype == "float64")
                adam.load(moment1, moment2, step)
            rows = training.Rows(ids, vocab)
            values = np.empty((len(rows.ids), dim), dtype)
            rows.sums(gradient, values)
            adam.step(training.AdamArrays(weight, moment1, moment2), rows, values, rate)
        return weight, moment1, moment2

    weight, moment1, moment2 = with_threads(compute)
    exact, mean, square = start.astype(dtype).astype(np.float64), np.zeros((vocab, dim)), np.zeros((vocab, dim))
    for step, (ids, gradient) in enumerate(zip(batches, gradients, strict=True), start=1):
        dense = np.zeros((vocab, dim))
        np.add.at(dense, ids.ravel(), gradient.reshape(-1, dim))
        dense[0] = 0.0
        mean, square = 0.8 * mean + 0.2 * dense, 0.95 * square + 0.05 * dense**2
        exact -= rate * (mean / (1 - 0.8**step)) / (np.sqrt(square / (1 - 0.95**step)) + 1e-7)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    for found, wanted in ((weight, exact), (moment1, mean), (moment2, square)):
        assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()
    never = np.ones(vocab, bool)
    never[np.unique(np.concatenate([ids.ravel() for ids in batches]))] = False
    never[0] = True
    assert never.sum() > 10 and (weight[never] == start.astype(dtype)[never]).all() and not moment1[never].any()


@each_dtype
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_and_its_gradient(rng, dtype, pooling):
    """What lies past the lengths is never read; of equal maxima the first gets the gradient."""
    batch, width, features = 9, 31, 150
    x = rng.normal(size=(batch, width, features)).astype(dtype).round(1)  # rounded: there are ties
    lengths = rng.permutation([1, width, *rng.integers(2, width, batch - 2)]).astype(np.int64)
    for row, length in enumerate(lengths):
        x[row, length:] = np.nan
    d_pooled = rng.normal(size=(batch, features)).astype(dtype)

    def compute():
        pooled, d_x = np.full((batch, features), np.nan, dtype), np.full(x.shape, np.nan, dtype)
        position = np.empty((batch, features), np.int32) if pooling == "max" else None
        training.pool(lengths, x, pooled, position)
        training.unpool(lengths, d_pooled, d_x, position)
        return pooled, d_x

    pooled, d_x = with_threads(compute)
    for row, length in enumerate(lengths):
        real = x[row, :length].astype(np.float64)
        wanted = np.zeros((width, features))
        if pooling == "max":
            np.testing.assert_array_equal(pooled[row], real.max(axis=0))
            wanted[real.argmax(axis=0), np.arange(features)] = d_pooled[row]
        else:
            np.testing.assert_allclose(pooled[row], real.mean(axis=0), rtol=0, atol=1e-6)
            wanted[:length] = d_pooled[row] / length
        np.testing.assert_allclose(d_x[row], wanted, rtol=1e-6, atol=0)


@each_dtype
def test_a_maximum_does_not_hide_what_is_no_number(rng, dtype):
    x = rng.normal(size=(3, 7, 40)).astype(dtype)
    x[0, 2, 5] = x[1, 0, 6] = np.nan
    x[2, 3, 7] = np.inf
    pooled, position = np.empty((3, 40), dtype), np.empty((3, 40), np.int32)
    lengths = np.array([7, 7, 7], np.int64)
    training.pool(lengths, x, pooled, position)
    assert np.argwhere(np.isnan(pooled)).tolist() == [[0, 5], [1, 6]] and pooled[2, 7] == np.inf


def test_numbers_that_have_decayed_away_do_not_slow_a_step(rng):
    """A moment that is not touched for a thousand steps falls below 1e-38, where a processor takes its time."""
    vocab, dim = 50, 64
    weight, moment1, moment2 = rng.normal(size=(3, vocab, dim)).astype(np.float32) ** 2
    moment1 *= np.float32(1e-38)
    adam = training.EmbeddingAdam(Adam(), (vocab, dim), False)
    adam.load(moment1, moment2, 1000)
    ids = np.array([[0, 3]])
    rows = training.Rows(ids, vocab)
    values = np.ones((1, dim), np.float32)
    adam.step(training.AdamArrays(weight, moment1, moment2), rows, values, 0.01)
    tiny = np.finfo(np.float32).tiny
    assert ((moment1 == 0) | (np.abs(moment1) >= tiny)).all()
