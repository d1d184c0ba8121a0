"""Inference without a framework: a layer has the bits of a training pass, a model the numbers of the reference."""

from __future__ import annotations

import numpy as np
import pytest

from backends import kernels
from backends.kernels import inference
from backends.kernels.engine import KernelEngine
from backends.kernels.inference import InferenceLayer
from core import spec
from core.batch import Batch, NgramBatch
from core.engine.reference import ReferenceEngine
from core.models.encoders.recurrent import CELLS, DirectionWeights, LayerSizes
from core.models.heads import PooledHead
from core.models.model import Model, initial_parameters
from tests.kernels.cases import random_case, random_sizes, start
from tests.pairwise import pairwise

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled layers: {kernels.failure()}")

DTYPES = {"float64": np.float64, "float32": np.float32}
LIMIT = {"float64": 1e-12, "float32": 1e-6}
GROWING = 10
"""Factor of the limit for a residual SRN, whose states grow with every step."""
WORDS = 12


def layer_of(case, table=None) -> InferenceLayer:
    sizes = LayerSizes(case.cell, case.x.shape[-1], case.hidden, len(case.weights))
    return InferenceLayer(sizes, [DirectionWeights(*own) for own in case.weights], table)


def with_ids(rng, case):
    """A table, ids with padding in the midst of a text, and the vectors of these ids in `case`."""
    table = rng.normal(size=(WORDS, case.x.shape[-1])).astype(case.x.dtype)
    ids = rng.integers(0, WORDS, case.x.shape[:2])
    case.x[:] = np.where((ids == 0)[:, :, None], 0, table[ids])
    return table, ids


@pairwise(cell=CELLS, dtype=DTYPES, directions=[1, 2], target=kernels.TARGETS, kept=[True, False], threads=[1, 3])
def test_layer_has_the_bits_of_a_training_pass(rng, monkeypatch, cell, dtype, directions, target, kept, threads):
    if not kernels.choose(target):
        pytest.skip(f"this machine or library has no {target}")
    kernels.set_threads(threads)
    if not kept:
        monkeypatch.setattr(inference, "MOST_SUMS", 0)
    for number in range(6):
        # One of six is large enough for several threads, and one adds its sums in pieces.
        sizes = random_sizes(rng) if number else {"batch": 9, "width": 40, "inputs": 65, "hidden": 71}
        if number == 1:
            sizes = {"batch": 2, "width": 3, "inputs": 600, "hidden": int(rng.choice([5, 260]))}
        case = random_case(rng, cell, DTYPES[dtype], directions, False, **sizes)
        wanted = start(case, backward=False)[1]["output"].tobytes()
        assert layer_of(case).forward(case.lengths, case.x).tobytes() == wanted
        table, ids = with_ids(rng, case)
        wanted = start(case, backward=False)[1]["output"]
        layer = layer_of(case, table)
        assert (layer._sums is not None) == kept
        first = int(rng.integers(1, len(ids) + 1))  # later calls find some words that the layer knows
        for rows in (slice(first), slice(None), slice(None)):
            given = case.lengths[rows], np.ascontiguousarray(ids[rows])
            assert layer.forward(*given).tobytes() == np.ascontiguousarray(wanted[rows]).tobytes()


def test_layer_refuses_other_arrays(rng):
    case = random_case(rng, "gru", np.float32, 2, False, batch=3, width=5, inputs=4, hidden=6)
    table, ids = with_ids(rng, case)
    layer, dense = layer_of(case, table), layer_of(case)
    for given in (np.where(ids == ids[0, 0], WORDS, ids), ids - 1 - ids.min(), ids.astype(np.int32), ids[:, :4]):
        with pytest.raises((TypeError, ValueError), match="ids|lengths"):
            layer.forward(np.full(3, 5), np.ascontiguousarray(given))
    for x in (case.x[:, :, :3], case.x.astype(np.float64), case.x[:, ::2]):
        with pytest.raises((TypeError, ValueError), match="x:|lengths"):
            dense.forward(case.lengths, x)
    for lengths in (case.lengths * 0, case.lengths + 5):
        with pytest.raises(ValueError, match="lengths"):
            dense.forward(lengths, case.x)
    with pytest.raises(ValueError, match="weight_hh"):
        weights = [DirectionWeights(own[0], own[1][:-1], *own[2:]) for own in case.weights]
        InferenceLayer(layer.sizes, weights)
    kernels.choose("portable")
    if layer.target != "portable":
        with pytest.raises(RuntimeError, match="packed for"):
            layer.forward(case.lengths, ids)


# ---- models ----

POOLINGS = ("last", "mean", "max", "max_mean", "last_max_mean", "ends", "attention")


def random_model(rng, pooling: str, cell: str, layers: int, more: str) -> Model:
    """A small model; with `more` of one kind."""
    embedding = {"vocab_size": WORDS, "dim": 7, "init": {"scheme": "normal", "scale": 1.0}}
    embedding |= {"copy": {"static_copy": True}, "bigrams": {"bigrams": 5, "bigram_dim": 3}}.get(more, {})
    head = {"kind": "pooled", "pooling": pooling, "classes": int(rng.integers(2, 5))}
    head |= {"hidden": {"hidden_size": 9, "activation": "tanh"}, "one": {"classes": 2, "one_logit": True}}.get(more, {})
    if more.startswith("tags"):
        head = {"kind": "tokens", "classes": 4, "crf": more == "tags and CRF"}
    encoder = {"cell": cell, "hidden_size": 17, "num_layers": layers, "bidirectional": bool(rng.integers(2))}
    encoder["residual"] = more == "residual"
    ngrams = {"ngrams": {"inputs": False}, "ngram inputs": {"orders": 2}}.get(more)
    return Model.model_validate({"embedding": embedding, "encoder": encoder, "head": head, "ngrams": ngrams})


def random_batch(rng, model: Model, rows: int = 6, width: int = 11) -> Batch:
    lengths = rng.integers(1, width + 1, rows)
    lengths[:2] = 1, width
    ids = rng.integers(1, WORDS, (rows, width)) * (np.arange(width) < lengths[:, None])
    ngrams = None
    if model.ngrams is not None:
        count = model.head.classes if model.head.classes > 2 else 1
        size = model.ngrams.input_size(model.head.classes)
        values = rng.normal(size=(rows, width, size)) * (ids != 0)[:, :, None]
        ngrams = NgramBatch(rng.normal(size=(rows, count)).astype(np.float32), values.astype(np.float32))
    targets = model.head.random_targets(rng, lengths)
    return Batch(ids, lengths, targets, ngrams=ngrams)


@pairwise(
    pooling=POOLINGS,
    cell=CELLS,
    layers=[1, 2],
    dtype=DTYPES,
    more=[*("", "hidden", "one", "copy", "bigrams", "residual", "ngrams", "ngram inputs", "tags", "tags and CRF")],
)
def test_engine_equals_the_reference(rng, pooling, cell, layers, dtype, more):
    model = random_model(rng, pooling, cell, layers, more)
    check_engine(rng, model, dtype, LIMIT[dtype] * (GROWING if cell == "residual_srn" else 1))


@pairwise(
    padding=["valid", "same"],
    activation=["relu", "tanh"],
    dtype=DTYPES,
    more=["", "hidden", "one", "copy", "bigrams", "ngrams", "ngram inputs"],
)
def test_engine_of_a_textcnn_equals_the_reference(rng, padding, activation, dtype, more):
    tree = random_model(rng, "max", "gru", 1, more).model_dump()
    encoder = {"kind": "textcnn", "kernels": (4, 2), "channels": (19, 5), "padding": padding, "activation": activation}
    check_engine(rng, Model.model_validate(tree | {"encoder": encoder}), dtype, LIMIT[dtype])


def check_engine(rng, model: Model, dtype: str, limit: float) -> None:
    """Logits equal those of the reference within `limit`, and do not depend on padding."""
    training = spec.Training(dtype=dtype)
    assert KernelEngine.why_not(model, training) is None
    parameters = initial_parameters(model, int(rng.integers(1000)), dtype)
    for name, array in parameters.items():
        parameters[name] = (array + 0.1 * rng.normal(size=array.shape)).astype(dtype)
    engine, reference = KernelEngine(model, training, parameters), ReferenceEngine(model, parameters)
    for _ in range(2):
        batch = random_batch(rng, model)
        found, wanted = engine.logits(batch), reference.logits(batch)
        assert found.dtype == DTYPES[dtype] and found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= limit * max(1, np.abs(wanted).max())
        wider = Batch(np.pad(batch.ids, ((0, 0), (0, 3))), batch.lengths, {}, ngrams=_wider(batch.ngrams))
        padded = engine.logits(wider)
        if isinstance(model.head, PooledHead):
            assert padded.tobytes() == found.tobytes()
        else:  # the product of its linear layer is NumPy's, over padding too
            assert np.abs(padded[:, : found.shape[1]] - found).max() <= limit


def _wider(ngrams: NgramBatch | None) -> NgramBatch | None:
    return ngrams and NgramBatch(ngrams.logits, np.pad(ngrams.values, ((0, 0), (0, 3), (0, 0))))


def test_reasons_of_models_without_a_kernel():
    fits = Model(head={"kind": "pooled"})
    assert KernelEngine.why_not(fits, spec.Training()) is None
    assert "bfloat16" in KernelEngine.why_not(fits, spec.Training(dtype="bfloat16"))
    for field, tree in {
        "head.pooling` mean of `model.encoder.kind` textcnn": {"encoder": {"kind": "textcnn"}},
        "head.kind` tokens of `model.encoder.kind` textcnn": {
            "encoder": {"kind": "textcnn", "padding": "same"},
            "head": {"kind": "tokens"},
        },
        "encoder.kind` ngrams": {"encoder": {"kind": "ngrams"}},
        "head.kind` decoder": {"head": {"kind": "decoder"}},
    }.items():
        assert field in KernelEngine.why_not(Model.model_validate(tree), spec.Training())
