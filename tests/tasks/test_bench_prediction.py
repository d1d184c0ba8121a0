"""`tasks.bench predict`: every evaluator computes the same, and the record has all timings."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import tasks.bench.__main__ as bench
from backends import kernels
from core.batch import pad
from core.engine.reference import ReferenceEngine
from core.models.model import Model, initial_parameters
from tasks.bench.onnx_engine import OnnxEngine
from tasks.bench.prediction import Measured, ratios
from tests.conftest import ROOT, check_refused, run_main
from tests.pairwise import pairwise

RUN = ROOT / "tests/core/train/format1/finished-torch"
TEXTS = "good film\nbad\na good plot and a bad end\nfilm film film\n"
needs_kernels = pytest.mark.skipif(kernels.failure() is not None, reason="no compiled layers")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text(TEXTS, encoding="utf-8")


@needs_kernels
def test_record_has_every_round():
    options = ("--evaluators", "fast", "numpy", "--batch-sizes", 1, 3, "--length", 4, "--rounds", 2, "--out", "o.json")
    done = run_main(bench.main, "predict", RUN, "--file", "texts.txt", *options)
    assert done.code == 0, done.err
    found = json.loads(Path("o.json").read_text())
    assert [(row["case"], row["batch_size"], row["evaluator"]) for row in found["rows"]] == [
        (case, size, name)
        for size in (1, 3)
        for case in ("4 tokens", "lengths of the texts")
        for name in ("fast", "numpy")
    ]
    for row in found["rows"]:
        for quantity in ("texts_per_second", "cpu_seconds_per_1000_texts"):
            assert len(row[quantity]["rounds"]) == 2 and row[quantity]["low"] <= row[quantity]["median"]
    assert found["largest_difference_of_logits"]["fast"] == 0
    assert 0 < found["largest_difference_of_logits"]["numpy"] < 1e-5
    assert "fast is" in done.out and "largest difference of logits to fast" in done.out


def test_ratios_are_those_of_a_round():
    found = {"fast": Measured([2.0, 30.0, 4.0]), "numpy": Measured([1.0, 10.0, 8.0])}
    assert ratios(found, "numpy").median == 2 and ratios(found, "fast").median == 1


def test_refused(tmp_path):
    def refused(*argv: object, says: str) -> None:
        check_refused(bench.main, "predict", RUN, *argv, says=says, folder=tmp_path)

    given = ("--file", "texts.txt")
    refused(*given, "--evaluators", "mxnet", says="mxnet")
    refused(*given, "--rounds", 0, says="--rounds 0")
    refused(*given, "--evaluators", "numpy", "--batch-sizes", 0, says="--batch-sizes 0")
    refused("--file", "none.txt", says="none.txt")
    Path("empty.txt").write_text("\n...\n", encoding="utf-8")
    refused("--file", "empty.txt", says="empty.txt: no text has a token")


def random_model(cell: str, layers: int, bidirectional: bool, pooling: str) -> Model:
    return Model.model_validate(
        {
            "embedding": {"vocab_size": 9, "dim": 5},
            "encoder": {"cell": cell, "hidden_size": 6, "num_layers": layers, "bidirectional": bidirectional},
            "head": {"pooling": pooling, "classes": 3},
        }
    )


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnxruntime", "onnx")), reason="needs ONNX Runtime"
)
@pairwise(cell=["lstm", "gru", "srn"], layers=[1, 2], bidirectional=[False, True], pooling=["max", "mean", "max_mean"])
def test_onnx_graph_equals_the_reference(rng, cell, layers, bidirectional, pooling):
    model = random_model(cell, layers, bidirectional, pooling)
    parameters = initial_parameters(model, int(rng.integers(1000)), "float32")
    parameters = {name: array + 0.1 * rng.normal(size=array.shape) for name, array in parameters.items()}
    batch = pad([rng.integers(1, 9, length) for length in (1, 7, 4)], {})
    found = OnnxEngine(model, parameters, 1).logits(batch)
    assert np.abs(found - ReferenceEngine(model, parameters).logits(batch)).max() < 2e-6
