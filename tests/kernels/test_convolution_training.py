"""Convolutions in training: maxima, positions and gradients of the reference, the same bits in both frameworks."""

from __future__ import annotations

import numpy as np
import pytest

from backends import kernels
from backends.kernels.convolution_training import ConvolutionPass, Placement
from core import spec
from core.batch import Batch
from core.models.encoders import TextCNNEncoder
from core.models.types import no_dropout
from tests.conftest import INSTALLED, loaded
from tests.kernels.test_convolution import LIMIT, random_encoder
from tests.pairwise import pairwise

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled kernels: {kernels.failure()}")

LARGE = {"kernels": (5, 2), "channels": (70, 64)}
"""Kernels that are computed by several threads."""


class Case:
    """Random weights of M models, texts of unequal length, among them 1, and a gradient of the maxima."""

    def __init__(self, rng, encoder: TextCNNEncoder, dtype: str, rows: int = 6, width: int = 13, models: int = 0):
        self.encoder, self.models, lead = encoder, models or 1, (models,) if models else ()
        inputs = int(rng.choice([1, 8, rng.integers(1, 41)]))
        self.lengths = rng.integers(1, width + 1, rows)
        self.lengths[rng.permutation(rows)[:2]] = 1, width
        # Few different numbers: sums are exact, and many windows have the same maximum.
        draw = lambda *shape: rng.integers(-2, 3, shape).astype(dtype)  # noqa: E731
        self.x = draw(rows, width, inputs)
        self.x[np.arange(width) >= self.lengths[:, None]] = np.nan  # never read
        self.weights = [draw(*lead, *row.shape) for row in encoder.parameters(inputs)]
        self.d_pooled = [draw(rows, channels) for channels in encoder.channels]
        self.placements = [Placement(encoder.context(own), encoder.window(own)) for own in encoder.kernels]

    def rows(self, model: int) -> slice:
        """Texts of a model."""
        each = len(self.x) // self.models
        return slice(model * each, (model + 1) * each)

    def found(self, wanted: int = 3) -> dict[str, np.ndarray]:
        """Run both passes; `wanted`: 1 for the gradients of the weights, plus 2 for that of x."""
        run = ConvolutionPass(self.lengths, self.x, self.weights, self.placements)
        blank = lambda shapes: [np.full(shape, np.nan, self.x.dtype) for shape in shapes]  # noqa: E731
        pooled, values = blank(run.pooled), blank(run.values)
        run.forward(self.x, self.weights, pooled, values)
        alone = blank(run.pooled)
        run.forward(self.x, self.weights, alone)
        assert all(one.tobytes() == other.tobytes() for one, other in zip(alone, pooled, strict=True))
        d_weights = blank(own.shape for own in self.weights) if wanted & 1 else [None] * len(self.weights)
        (d_x,) = blank([self.x.shape]) if wanted & 2 else [None]
        run.backward(self.x, self.weights, self.d_pooled, d_x, d_weights)
        named = {f"pooled {n}": own for n, own in enumerate(pooled)} | {f"values {n}": v for n, v in enumerate(values)}
        return named | {name: own for name, own in self.named(d_x, d_weights).items() if own is not None}

    @staticmethod
    def named(d_x, d_weights) -> dict:
        return {"d_x": d_x, **{f"d_weight {number}": own for number, own in enumerate(d_weights)}}

    def wanted(self) -> dict[str, np.ndarray]:
        """Compute the same by the definition, window by window, in float64."""
        encoder, x = self.encoder, np.nan_to_num(self.x.astype(np.float64))
        d_x, d_weights = np.zeros_like(x), [np.zeros(own.shape) for own in self.weights]
        found = {}
        for model in range(self.models):
            rows = self.rows(model)
            own = [
                w.reshape(self.models, *w.shape[w.ndim - 3 + n % 2 * 2 :])[model] for n, w in enumerate(self.weights)
            ]
            names = [row.name for row in encoder.parameters(x.shape[-1])]
            arrays = {name: array.astype(np.float64) for name, array in zip(names, own, strict=True)}
            batch = Batch(np.ones(x[rows].shape[:2], np.int64), self.lengths[rows], {})
            for number, block in enumerate(encoder.forward(arrays, x[rows], batch, no_dropout).blocks):
                width, before = encoder.kernels[number], encoder.context(encoder.kernels[number])
                masked = np.where(block.windows.mask, block.values, -np.inf)
                place = masked.argmax(axis=1)  # the first of equal maxima
                found.setdefault(f"pooled {number}", []).append(masked.max(axis=1))
                found.setdefault(f"values {number}", []).append(block.values)
                d_weight, d_bias = (
                    d.reshape(self.models, *d.shape[d.ndim - 3 + n * 2 :])[model]
                    for n, d in enumerate(d_weights[2 * number : 2 * number + 2])
                )
                for b, c in np.ndindex(*place.shape):
                    gradient = self.d_pooled[number][rows][b, c]
                    d_bias[c] += gradient
                    for u in range(width):
                        if 0 <= (t := place[b, c] - before + u) < self.lengths[rows][b]:
                            d_weight[c, :, u] += gradient * x[rows][b, t]
                            d_x[rows][b, t] += gradient * arrays[names[2 * number]][c, :, u]
        return {name: np.concatenate(own) for name, own in found.items()} | self.named(d_x, d_weights)


@pairwise(dtype=LIMIT, padding=["valid", "same"], target=kernels.TARGETS, models=[0, 1, 3], threads=[1, 2, 3])
def test_maxima_and_gradients_equal_the_reference(rng, dtype, padding, target, models, threads):
    """Ties included: the first window of the largest value has the gradient."""
    if not kernels.choose(target):
        pytest.skip(f"this machine or library has no {target}")
    kernels.set_threads(threads)
    for number in range(5):
        case = Case(rng, random_encoder(rng, padding), dtype, models=models)
        if number == 0:  # large enough for several threads
            case = Case(rng, spec.TextCNNEncoder(**LARGE, padding=padding), dtype, 12, 90, models)
        found, wanted = case.found(), case.wanted()
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            assert found[name].dtype == dtype
            assert np.abs(found[name] - array).max() <= LIMIT[dtype] * max(1, np.abs(array).max()), name


def test_values_of_one_window_are_those_of_the_maximum(rng):
    """Texts shorter than the kernel: one window, the text followed by zeros."""
    encoder = spec.TextCNNEncoder(kernels=(7,), channels=(5,))
    case = Case(rng, encoder, "float64", rows=4, width=3)
    found = case.found()
    assert np.array_equal(found["values 0"][:, 0], found["pooled 0"]) and not found["values 0"][:, 1:].any()
    assert np.array_equal(found["d_weight 1"], case.d_pooled[0].sum(axis=0))
    assert not found["d_x"][np.arange(3) >= case.lengths[:, None]].any()


def test_bits_depend_on_neither_threads_nor_what_is_wanted(rng):
    for padding in ("valid", "same"):
        case = Case(rng, spec.TextCNNEncoder(**LARGE, padding=padding), "float32", 12, 90)
        for array in (case.x, *case.weights, *case.d_pooled):
            array += rng.normal(size=array.shape).astype(array.dtype)
        kernels.set_threads(1)
        first = case.found()
        for threads in (2, 3):
            kernels.set_threads(threads)
            for wanted in (1, 2, 3):
                for name, array in case.found(wanted).items():
                    assert array.tobytes() == first[name].tobytes(), (name, threads)


@pytest.mark.parametrize("dtype", LIMIT)
def test_bits_of_both_frameworks_are_those_of_the_kernels(rng, dtype):
    """Forward and backward through autograd, with a frozen input too, whose gradient is not computed."""
    case = Case(rng, random_encoder(rng), dtype)
    for array in (case.x, *case.weights, *case.d_pooled):
        array += rng.normal(size=array.shape).astype(array.dtype)
    found = case.found()
    for name in INSTALLED:
        side = loaded(name)
        place = lambda array, side=side: side.runtime.to_tensor(array, side.runtime.native_device("cpu"))  # noqa: E731
        for frozen in (False, True):
            lengths, x, *weights = map(place, (case.lengths, case.x, *case.weights))
            for own in (x, *weights):
                _set_trainable(own, not (frozen and own is x))
            apply = side.fast.ConvolutionFunction.apply
            pooled = apply(tuple(case.placements), lengths, False, x, *weights)
            loss = sum((own * place(d)).sum() for own, d in zip(pooled, case.d_pooled, strict=True))
            loss.backward()
            assert frozen == (x.grad is None)
            grads = [own.grad for own in (x, *weights)]
            arrays = {f"pooled {n}": own for n, own in enumerate(pooled)} | case.named(grads[0], grads[1:])
            for key, tensor in arrays.items():
                if tensor is not None:
                    assert side.runtime.to_numpy(tensor).tobytes() == found[key].tobytes(), (name, key)


def _set_trainable(tensor, wanted: bool) -> None:
    if hasattr(tensor, "stop_gradient"):
        tensor.stop_gradient = not wanted
    else:
        tensor.requires_grad_(wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_text(rng, value):
    """The first NaN of a channel is its maximum, and has the gradient."""
    encoder = spec.TextCNNEncoder(kernels=(1,), channels=(18,))
    case = Case(rng, encoder, "float32", rows=3, width=9)
    case.lengths[:] = 9, 9, 1
    case.x[:] = rng.normal(size=case.x.shape)
    case.weights[0][:] = 1.0
    case.x[0, 4:6, 0] = value
    found = case.found()
    assert np.isfinite(found["pooled 0"][1:]).all() and np.isfinite(found["d_x"]).all()
    if not np.isneginf(value):
        assert np.array_equal(found["pooled 0"][0], np.full(18, value, np.float32), equal_nan=True)
        total = case.d_pooled[0][0].sum()
        assert np.array_equal(found["d_x"][0], np.where(np.arange(9) == 4, total, 0)[:, None] + 0 * found["d_x"][0])


def test_other_arrays_are_refused(rng):
    case = Case(rng, spec.TextCNNEncoder(kernels=(2, 3), channels=(3, 4)), "float32")
    given = case.lengths, case.x, case.weights, case.placements
    run = ConvolutionPass(*given)
    pooled = [np.empty(shape, np.float32) for shape in run.pooled]
    for lengths in (case.lengths * 0, case.lengths + 13, case.lengths[1:]):
        with pytest.raises(ValueError, match="lengths"):
            ConvolutionPass(lengths, *given[1:])
    for weights in (case.weights[:2], case.weights[::-1], [case.weights[0][None], *case.weights[1:]]):
        with pytest.raises(ValueError, match="weight"):
            ConvolutionPass(*given[:2], weights, case.placements)
    with pytest.raises(ValueError, match="at least one"):
        ConvolutionPass(case.lengths, case.x[:, :, :0], case.weights, case.placements)
    with pytest.raises(ValueError, match="6 texts for 4 models"):
        ConvolutionPass(*given[:2], [np.stack([own] * 4) for own in case.weights], case.placements)
    for x in (case.x[:, ::2], case.x.astype(np.float64), case.x[::-1]):
        with pytest.raises((TypeError, ValueError), match="x:"):
            run.forward(x, case.weights, pooled)
    with pytest.raises((TypeError, ValueError), match="pooled"):
        run.forward(case.x, case.weights, pooled[::-1])
    with pytest.raises((TypeError, ValueError), match="d_weight"):
        run.backward(case.x, case.weights, pooled, None, [case.weights[2], None, None, None])
