"""TorchScript and Paddle Inference models, loaded without seqtwin, compute what the NumPy reference does."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from core.batch import Batch, NgramBatch
from core.models.exported import BIAS, SUMS, VALUES, input_names
from core.models.model import Model, forward
from tests.conftest import INSTALLED
from tests.core.export.models import VOCABULARY, arrays_of, batch_of, model_of, widened

EACH = ("gru residual, ends", "lstm, max_mean", "lstm, attention", "textcnn, max_mean", "lstm, crf")


def run_torch(folder, feeds: list[np.ndarray]) -> np.ndarray:
    import torch

    return torch.jit.load(str(folder / "model.pt"))(*map(torch.from_numpy, feeds))[0].numpy()


def run_paddle(folder, feeds: list[np.ndarray]) -> np.ndarray:
    from paddle import inference

    files = sorted(str(path) for path in folder.glob("model.*"))
    config = inference.Config(*sorted(files, key=lambda name: name.endswith(".pdiparams")))
    config.disable_mkldnn()
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    for name, array in zip(predictor.get_input_names(), feeds, strict=True):
        predictor.get_input_handle(name).copy_from_cpu(array)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


RUN = {"torch": run_torch, "paddle": run_paddle}


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("case", EACH)
def test_an_exported_model_equals_the_reference(case, name, tmp_path, rng):
    model, batch = model_of(case), batch_of(rng)
    arrays = arrays_of(model, rng)
    for table in ("embedding.weight", "embedding.bigrams.weight"):
        if table in arrays:
            arrays[table][0] = 0.0  # as in every run
    backend = importlib.import_module(f"backends.{name}")
    assert backend.write_model(tmp_path, model, arrays, {})
    expected = forward(model, arrays, batch)["logits"]
    ids = widened(batch, rng) * (np.arange(batch.ids.shape[1] + 3) < batch.lengths[:, None])
    found = RUN[name](tmp_path, [ids, batch.lengths])
    assert np.abs((found[:, : expected.shape[1]] if expected.ndim == 3 else found) - expected).max() <= 1e-6
    one = Batch(batch.ids[:1, :1], batch.lengths[:1], {})
    found = RUN[name](tmp_path, [one.ids, one.lengths])
    assert np.abs(found - forward(model, arrays, one)["logits"]).max() <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
def test_an_exported_model_reads_n_grams(name, tmp_path, rng):
    """Against the sums written out here; a text without n-grams has the bias alone."""
    classes = columns = 3
    tree = {"embedding": {"vocab_size": VOCABULARY, "dim": 3}, "encoder": {"hidden_size": 3}, "ngrams": {"orders": 2}}
    model = Model.model_validate({**tree, "head": {"pooling": "max", "classes": classes}})
    arrays, batch = arrays_of(model, rng), batch_of(rng)
    arrays["embedding.weight"][0] = 0.0
    sums = np.vstack([np.zeros(2 * columns), np.abs(rng.normal(size=(20, 2 * columns)))])
    tables = {SUMS: sums, BIAS: rng.normal(size=columns), VALUES: np.vstack([np.zeros(columns), sums[1:, :columns]])}
    backend = importlib.import_module(f"backends.{name}")
    backend.write_model(tmp_path, model, arrays, tables)
    ngrams = np.zeros((len(batch.ids), 6), np.int64)
    for row in ngrams[1:]:
        size = int(rng.integers(1, 7))
        row[:size] = rng.choice(np.arange(1, 21), size, replace=False)
    ends = rng.integers(0, 21, (*batch.ids.shape, 2))
    totals = sums[ngrams].sum(axis=1)
    roots = np.sqrt(np.where(totals[:, :columns] > 0, totals[:, :columns], 1.0))
    logits = totals[:, columns:] / roots + tables[BIAS]
    values = tables[VALUES][ends].reshape(*ends.shape[:2], -1) * (batch.ids != 0)[:, :, None]
    whole = Batch(batch.ids, batch.lengths, {}, ngrams=NgramBatch(logits, values))
    expected = forward(model, arrays, whole)["logits"]
    assert input_names(model) == ("ids", "lengths", "ngrams", "ngram_ends")
    found = RUN[name](tmp_path, [batch.ids, batch.lengths, ngrams, ends])
    assert np.abs(found - expected).max() <= 2e-6
