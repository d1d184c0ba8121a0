"""Convolutions for inference: the maxima of the reference, the same bits for any threads, batches and paddings."""

from __future__ import annotations

import numpy as np
import pytest

from backends import kernels
from backends.kernels.convolution import InferenceConvolutions
from core import spec
from core.batch import Batch
from core.models.encoders import TextCNNEncoder
from core.models.types import no_dropout
from tests.pairwise import pairwise

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled kernels: {kernels.failure()}")

LIMIT = {"float64": 1e-12, "float32": 2e-6}
WORDS = 11


def random_encoder(rng, padding: str = "valid") -> TextCNNEncoder:
    """One kernel to three, up to 70 channels, some wider than some texts."""
    kernels_ = sorted(rng.choice(np.arange(1, 9), int(rng.integers(1, 4)), replace=False).tolist(), reverse=True)
    channels = [int(rng.choice([1, 16, 64, rng.integers(1, 71)])) for _ in kernels_]
    return spec.TextCNNEncoder(kernels=kernels_, channels=channels, padding=padding)


class Case:
    """Random weights, texts of unequal length with PAD within, and what they must give."""

    def __init__(self, rng, encoder: TextCNNEncoder, dtype: str, rows: int = 7, width: int = 15):
        self.encoder = encoder
        inputs = int(rng.choice([1, 8, rng.integers(1, 41)]))
        self.arrays = {row.name: rng.normal(size=row.shape).astype(dtype) for row in encoder.parameters(inputs)}
        self.lengths = rng.integers(1, width + 1, rows)
        self.lengths[rng.permutation(rows)[:2]] = 1, width
        self.table = rng.normal(size=(WORDS, inputs)).astype(dtype)
        self.ids = rng.integers(0, WORDS, (rows, width))
        past = np.arange(width) >= self.lengths[:, None]
        self.x = np.where(((self.ids == 0) | past)[:, :, None], 0, self.table[self.ids]).astype(dtype)
        self.table[0] = np.nan  # never read

    def wanted(self) -> np.ndarray:
        arrays = {name: array.astype(np.float64) for name, array in self.arrays.items()}
        batch = Batch(self.ids, self.lengths, {})
        blocks = self.encoder.forward(arrays, self.x.astype(np.float64), batch, no_dropout).blocks
        maxima = [np.where(block.windows.mask, block.values, -np.inf).max(axis=1) for block in blocks]
        return np.concatenate(maxima, axis=1)


@pairwise(dtype=LIMIT, padding=["valid", "same"], target=kernels.TARGETS, table=[True, False], threads=[1, 3])
def test_maxima_equal_the_reference(rng, dtype, padding, target, table, threads):
    if not kernels.choose(target):
        pytest.skip(f"this machine or library has no {target}")
    for number in range(6):
        case = Case(rng, random_encoder(rng, padding), dtype)
        if number == 0:  # large enough for several threads
            case = Case(rng, spec.TextCNNEncoder(kernels=(5, 2), channels=(70, 64), padding=padding), dtype, 20, 90)
        layer = InferenceConvolutions(case.encoder, case.arrays, case.table if table else None)
        given = case.ids if table else case.x
        if not table:
            given = given.copy()
            given[np.arange(given.shape[1]) >= case.lengths[:, None]] = np.nan  # never read
        kernels.set_threads(threads)
        found, wanted = layer.forward(case.lengths, given), case.wanted()
        assert found.dtype == dtype and found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= LIMIT[dtype] * max(1, np.abs(wanted).max())
        kernels.set_threads(1)
        for row in range(len(given)):
            alone = np.ascontiguousarray(given[row : row + 1, : case.lengths[row]])
            assert layer.forward(case.lengths[row : row + 1], alone).tobytes() == found[row].tobytes()


@pytest.mark.parametrize("kernel, inputs", [(16, 300), (64, 70)])
def test_long_sums_keep_their_precision(rng, kernel, inputs):
    """Sums of 4,500 products: if they were added one after the other, rounding errors would be six times as large."""
    encoder = spec.TextCNNEncoder(kernels=(kernel,), channels=(64,))
    weight = (rng.uniform(-1, 1, (64, inputs, kernel)) / np.sqrt(inputs * kernel)).astype(np.float32)
    arrays = {"encoder.conv0.weight": weight, "encoder.conv0.bias": np.zeros(64, np.float32)}
    x, lengths = rng.normal(size=(4, 100, inputs)).astype(np.float32), np.full(4, 100)
    found = InferenceConvolutions(encoder, arrays).forward(lengths, x)
    double = {name: array.astype(np.float64) for name, array in arrays.items()}
    wanted = InferenceConvolutions(encoder, double).forward(lengths, x.astype(np.float64))
    assert np.sqrt(np.square(found - wanted).mean()) <= 5e-7


def test_kernel_wider_than_the_text_reads_zeros(rng):
    encoder = spec.TextCNNEncoder(kernels=(4,), channels=(3,))
    case = Case(rng, encoder, "float64", rows=2, width=2)
    weight, bias = case.arrays["encoder.conv0.weight"], case.arrays["encoder.conv0.bias"]
    found = InferenceConvolutions(encoder, case.arrays).forward(case.lengths, case.x)
    for row, length in enumerate(case.lengths):
        wanted = bias + sum(weight[:, :, u] @ case.x[row, u] for u in range(length))
        assert np.allclose(found[row], wanted, rtol=0, atol=1e-12)


def test_nan_and_infinity_reach_the_maximum(rng):
    """A maximum must not hide NaN; one of a window of infinite values is infinite, also below all others."""
    encoder = spec.TextCNNEncoder(kernels=(1,), channels=(18,))
    for value in (np.nan, np.inf, -np.inf):
        case = Case(rng, encoder, "float32", rows=3, width=6)
        case.arrays["encoder.conv0.weight"][:] = 1.0
        case.lengths[:] = 6, 6, 1
        case.x[0, int(rng.integers(6)), 0] = value
        case.x[2, 0, 0] = value
        found = InferenceConvolutions(encoder, case.arrays).forward(case.lengths, case.x)
        assert np.isfinite(found[1]).all()
        assert np.array_equal(found[2], np.full(18, value, np.float32), equal_nan=True)
        if not np.isneginf(value):
            assert np.array_equal(found[0], np.full(18, value, np.float32), equal_nan=True)


def test_other_arrays_are_refused(rng):
    case = Case(rng, random_encoder(rng), "float32")
    layer, of_ids = (InferenceConvolutions(case.encoder, case.arrays, table) for table in (None, case.table))
    for x in (case.x[:, :, 1:], case.x.astype(np.float64), case.x[:, ::2]):
        with pytest.raises((TypeError, ValueError), match="x:|lengths"):
            layer.forward(case.lengths, x)
    for ids in (np.full_like(case.ids, WORDS), case.ids - WORDS, case.ids.astype(np.int32)):
        with pytest.raises((TypeError, ValueError), match="ids"):
            of_ids.forward(case.lengths, ids)
    for lengths in (case.lengths * 0, case.lengths + 15, case.lengths[1:]):
        with pytest.raises(ValueError, match="lengths"):
            layer.forward(lengths, case.x)
    wrong = {name: array[..., :0] if "weight" in name else array for name, array in case.arrays.items()}
    with pytest.raises(ValueError, match="weight"):
        InferenceConvolutions(case.encoder, wrong)
    kernels.choose("portable")
    if layer.target != "portable":
        with pytest.raises(RuntimeError, match="packed for"):
            layer.forward(case.lengths, case.x)
