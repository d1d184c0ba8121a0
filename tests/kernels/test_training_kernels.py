"""Word vectors with dropout, their gradients by rows, Adam on them, pooling and perturbations: against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from backends import kernels
from backends.kernels import training
from backends.kernels.dropout import dropout_mask
from core import rng as core_rng
from core.adversarial import perturbation_of
from core.batch import Batch
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
def test_word_vectors_with_dropout(rng, dtype):
    """Two tables side by side have the bits of a look-up, a product with the mask, and sums in the order of tokens."""
    ids, (first, second), rate = batch_of_ids(rng, 13, 57, 300), (131, 20), 0.3
    tables = [rng.normal(size=(300, dim)).astype(dtype) for dim in (first, second)]
    keep = rng.random((*ids.shape, first + second)) >= rate
    gradient = rng.normal(size=keep.shape).astype(dtype)
    rows = training.Rows(ids, 300)
    columns = training.Columns(0, first, keep, rate), training.Columns(first, second, keep, rate)

    def compute():
        vectors = np.full(keep.shape, np.nan, dtype)
        sums = [np.full((len(rows.ids), own.dim), np.nan, dtype) for own in columns]
        for table, values, own in zip(tables, sums, columns, strict=True):
            rows.look_up(table, vectors, own)
            rows.sums(gradient, values, own)
        return [vectors, *sums]

    vectors, *sums = with_threads(compute)
    scale = np.dtype(dtype).type(1.0 / (1.0 - rate))
    plain = np.concatenate([table[ids] for table in tables], axis=-1) * (ids != 0)[..., None]
    np.testing.assert_array_equal(vectors, plain * keep * scale)
    wanted = np.zeros((300, first + second), dtype)
    np.add.at(wanted, ids.ravel(), (gradient * keep * scale).reshape(-1, first + second))
    np.testing.assert_array_equal(np.concatenate(sums, axis=-1), wanted[rows.ids])


@pytest.mark.parametrize("shape", [(1,), (5, 7), (1024,), (16385, 3), (32, 180, 128)])
@pytest.mark.parametrize("rate", [1e-6, 0.3, 0.999999])
def test_dropout_masks_are_those_of_core(shape, rate):
    (found,) = with_threads(lambda: [dropout_mask(3, 70000, "embedding", shape, rate)])
    np.testing.assert_array_equal(found, core_rng.dropout_mask(3, 70000, "embedding", shape, rate))


@each_dtype
def test_perturbations(rng, dtype):
    """As in core; what lies past the lengths is not read, and a text without a gradient does not move."""
    batch, width, features, size = 7, 19, 37, 0.04
    lengths = np.array([1, width, *rng.integers(2, width, batch - 2)], np.int64)
    plain, gradient = rng.normal(size=(2, batch, width, features)).astype(dtype)
    gradient[3] = 0.0
    padding = np.arange(width) >= lengths[:, None]
    gradient[padding] = np.nan

    def compute():
        moved = np.full(plain.shape, np.nan, dtype)
        training.perturb(lengths, plain, gradient, moved, size)
        return [moved]

    (moved,) = with_threads(compute)
    known = np.where(padding[..., None], 0.0, gradient).astype(np.float64)
    wanted = plain + perturbation_of(known, Batch(np.zeros((batch, width), np.int64), lengths, {}), size)
    np.testing.assert_allclose(moved, wanted, rtol=0, atol={"float32": 1e-6, "float64": 1e-14}[dtype])
    assert (moved[3] == plain[3]).all()


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
@pytest.mark.parametrize("pooling", ["mean", "max", "max_mean"])
def test_pooling_and_its_gradient(rng, dtype, pooling):
    """What lies past the lengths is never read; of equal maxima the first gets the gradient."""
    batch, width, features = 9, 31, 150
    x = rng.normal(size=(batch, width, features)).astype(dtype).round(1)  # rounded: there are ties
    lengths = rng.permutation([1, width, *rng.integers(2, width, batch - 2)]).astype(np.int64)
    for row, length in enumerate(lengths):
        x[row, length:] = np.nan
    poolings = training.fused(("max", "mean")) if pooling == "max_mean" else (pooling,)
    assert poolings == (pooling,) and training.fused(("last", "max", "mean")) == ("last", "max_mean")
    kinds, shape = pooling.split("_"), training.pooled_shape(x, pooling)
    d_pooled = rng.normal(size=shape).astype(dtype)
    positions = training.position_shape(x, pooling)
    assert shape == (batch, features * len(kinds)) and positions == ((batch, features) if "max" in kinds else None)

    def compute():
        pooled, d_x = np.full(shape, np.nan, dtype), np.full(x.shape, np.nan, dtype)
        position = None if positions is None else np.empty(positions, np.int32)
        training.pool(pooling, lengths, x, pooled, position)
        training.unpool(pooling, lengths, d_pooled, d_x, position)
        return pooled, d_x

    pooled, d_x = with_threads(compute)
    for row, length in enumerate(lengths):
        real = x[row, :length].astype(np.float64)
        wanted = np.zeros((width, features))
        halves = zip(kinds, np.split(pooled[row], len(kinds)), np.split(d_pooled[row], len(kinds)), strict=True)
        for kind, own, gradient in halves:
            if kind == "max":
                np.testing.assert_array_equal(own, real.max(axis=0))
                wanted[real.argmax(axis=0), np.arange(features)] += gradient
            else:
                np.testing.assert_allclose(own, real.mean(axis=0), rtol=0, atol=1e-6)
                wanted[:length] += gradient / length
        np.testing.assert_allclose(d_x[row], wanted, rtol=1e-5, atol=1e-7)


@each_dtype
def test_a_maximum_does_not_hide_what_is_no_number(rng, dtype):
    x = rng.normal(size=(3, 7, 40)).astype(dtype)
    x[0, 2, 5] = x[1, 0, 6] = np.nan
    x[2, 3, 7] = np.inf
    pooled, position = np.empty((3, 40), dtype), np.empty((3, 40), np.int32)
    lengths = np.array([7, 7, 7], np.int64)
    training.pool("max", lengths, x, pooled, position)
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
