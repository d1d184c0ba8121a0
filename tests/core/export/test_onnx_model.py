"""ONNX graphs compute what the NumPy reference does, whatever is at padding."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.export import packages
from core.export.graph import Graph
from core.export.int8 import quantize
from core.export.onnx_model import check_exportable, onnx_model
from core.models.heads.scores import probabilities_of
from core.models.model import Model, forward
from core.models.precision import rounding_of
from tests.conftest import one_line
from tests.core.export.models import CASES, arrays_of, batch_of, model_of, widened


def session_of(data: bytes):
    return pytest.importorskip("onnxruntime").InferenceSession(data, providers=["CPUExecutionProvider"])


def outputs_of(data: bytes, ids: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    session = session_of(data)
    found = session.run(None, {"ids": ids, "lengths": lengths})
    return dict(zip([own.name for own in session.get_outputs()], found, strict=True))


def bound(expected: np.ndarray) -> float:
    """Return the largest difference of float32: 1e-6, or that of logits above 1."""
    return 1e-6 * max(1.0, float(np.abs(expected).max()))


def written(model: Model, arrays: dict[str, np.ndarray], **settings: bool) -> bytes:
    pytest.importorskip("onnx")
    return onnx_model(Graph(**settings), model, arrays, {}, {"card": "drawn"})


@pytest.mark.parametrize("case", CASES)
def test_onnx_equals_the_reference(case, rng):
    model, batch = model_of(case), batch_of(rng)
    arrays = arrays_of(model, rng)
    expected = forward(model, arrays, batch)["logits"]
    data = written(model, arrays)
    found = outputs_of(data, batch.ids, batch.lengths)
    assert np.abs(found["logits"] - expected).max() <= bound(expected)
    assert np.abs(expected).max() > 1e-2
    assert ("probabilities" in found) == (case != "lstm, crf")
    if "probabilities" in found:
        flat = probabilities_of(expected.reshape(-1, expected.shape[-1]))
        assert np.abs(found["probabilities"].reshape(flat.shape) - flat).max() <= 1e-6
    wider = outputs_of(data, widened(batch, rng), batch.lengths)["logits"]
    assert np.array_equal(wider[:, : batch.ids.shape[1]] if expected.ndim == 3 else wider, found["logits"])


@pytest.mark.parametrize("case", ["gru residual, ends", "textcnn, max_mean", "lstm, attention"])
def test_bfloat16_is_rounded_as_in_the_reference(case, rng):
    """A value on the border between two bfloat16 numbers may round either way, so that the bound is theirs."""
    model, batch = model_of(case), batch_of(rng)
    arrays = arrays_of(model, rng)
    expected = forward(model, arrays, batch, rounded=rounding_of("bfloat16"))["logits"]
    found = outputs_of(written(model, arrays, rounds=True), batch.ids, batch.lengths)["logits"]
    assert np.abs(found - expected).max() <= 1e-2
    exact = forward(model, arrays, batch)["logits"]
    assert np.abs(found - expected).mean() < 0.5 * np.abs(found - exact).mean()


def test_int8_graphs_compute_the_quantized_weights(rng):
    """Their results are those of the reference with rounded tables and matrices."""
    for case in ("residual srn, max", "lstm, max", "textcnn, max", "bag, mean"):
        model, batch = model_of(case), batch_of(rng)
        arrays = arrays_of(model, rng)
        exact = {name: array for name, array in arrays.items() if array.ndim == 1}
        for name in arrays.keys() - exact.keys():
            table = name.startswith("embedding")
            numbers, scales = quantize(np.vstack([np.zeros(6), arrays[name][1:]]) if table else arrays[name])
            exact[name] = numbers * scales.astype(np.float64).reshape(-1, *[1] * (numbers.ndim - 1))
        found = outputs_of(written(model, arrays, int8=True), batch.ids, batch.lengths)["logits"]
        expected = forward(model, exact, batch)["logits"]
        assert np.abs(found - expected).max() <= bound(expected), case
        assert np.abs(found - forward(model, arrays, batch)["logits"]).max() > 1e-5, case


def test_quantize_rounds_within_half_a_scale(rng):
    values = rng.normal(size=(5, 7)) * 10.0 ** rng.integers(-3, 3, (5, 1))
    values[2] = 0.0
    numbers, scales = quantize(values)
    assert numbers.dtype == np.int8 and np.abs(numbers.astype(int)).max() <= 127 and not numbers[2].any()
    assert (np.abs(numbers * scales[:, None] - values) <= scales[:, None] * 0.5001).all()
    assert (np.abs(numbers[[0, 1, 3, 4]]).max(axis=1) == 127).all()


def test_without_onnx_the_error_has_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        packages.load("onnx")
    assert "onnx is not installed; run: pip install -e '.[onnx]'" in one_line(error)


@pytest.mark.parametrize(
    "tree, says",
    [
        ({"head": {"kind": "decoder"}}, "model.head.kind decoder cannot be exported"),
        (
            {"head": {"kind": "language", "num_words": 40, "dim": 6, "bidirectional": False}},
            "model.head.kind language cannot be exported",
        ),
        (
            {"embedding": {"lookup": "scalar", "dim": 1}, "head": {"pooling": "last"}},
            "lookup scalar cannot be exported",
        ),
    ],
)
def test_other_models_are_refused(tree, says):
    embedding = {"vocab_size": 40, "dim": 6, **tree.get("embedding", {})}
    model = Model.model_validate({"encoder": {"bidirectional": False}, **tree, "embedding": embedding})
    with pytest.raises(UserError) as error:
        check_exportable(model)
    assert says in one_line(error)
