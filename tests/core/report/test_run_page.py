"""The page of one run, for every kind of head."""

from __future__ import annotations

from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest

from core.report.run_page import MATRIX, Extras, WordTable, run_page
from core.report.runs import Run
from core.spec.experiment import replace
from core.train.misclassified import Misclassified
from tasks.cli.recipes import TASK_RECIPES, digit_sum, recipe
from tests.core.report.pages import Page, stands_alone

TAGS = ["B", "M", "E", "S"]
SCORES = {"precision": 0.5, "recall": 0.25, "f1": 0.3333, "count": 7}
BY_TAG = {"B": SCORES}
KINDS = {
    "pooled": ("imdb", "lstm", ["bad", "good"], {"accuracy": 0.75, "loss": 0.5, "confusion": [[4, 1], [1, 2]]}),
    "tokens": (
        *("tag", "segment", TAGS),
        {
            "accuracy": 0.5,
            "loss": 1.5,
            "f1": 0.625,
            "confusion": np.eye(4, dtype=int).tolist(),
            "per_tag": {"B": SCORES},
        },
    ),
    "decoder": (
        *("translate", "addition", []),
        {"accuracy": 0.5, "loss": 1.5, "exact_match": 0.125, "by_length": {"2": [1, 8]}},
    ),
    "language": ("pretrain", None, [], {"accuracy": 0.25, "loss": 3.0, "perplexity": 20.09}),
}


def finished(kind: str) -> Run:
    """Return a finished run as older versions left it: no calibration, no baseline, no interval."""
    task, name, classes, figures = KINDS[kind]
    experiment = recipe(name or next(iter(TASK_RECIPES[task])), task)
    if kind == "tokens":
        experiment = replace(experiment, {"model.head.classes": len(classes)})
    execution = {
        "backend": "torch",
        "device": "cpu",
        "implementation": "fast",
        "versions": {"torch": "2"},
        "segments": [{"backend": "torch", "versions": {"torch": "2"}, "implementation": "fast", "from_step": 0}],
        "classes": classes,
        "data": {"description": "some texts", "fingerprint": "f", "train": {"documents": 5}, "dev": {}, "test": {}},
    }
    result = {
        "test": {"documents": 8, **figures},
        "dev": {"accuracy": 0.5, "loss": 1.0, "step": 3},
        "training": {"steps": 3, "seconds": 1.0, "tokens_per_second": 9.0},
    }
    metrics = [{"split": split, "epoch": 1, "loss": 0.5, "accuracy": 0.5} for split in ("train", "dev")]
    return Run("a run", Path("runs/a"), experiment, execution, result, metrics, None, [])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_head_has_a_page(kind):
    found = Page(run_page(finished(kind), Extras()))
    stands_alone(found)
    main = {"pooled": "accuracy 0.7500", "tokens": "F1 0.6250", "decoder": "exact match 0.1250", "language": "20.09"}
    assert main[kind] in found.text and "some texts" in found.text and "Full spec" in found.text
    assert sum(tag == "svg" for tag, _ in found.tags) == 2
    assert ("Calibration: result.json has no entry" in found.text) == (kind == "pooled")
    assert ("true \\ predicted" in found.text) == (kind in ("pooled", "tokens"))
    assert ("Exact match by length" in found.text) == (kind == "decoder")
    if kind == "tokens":
        tables = [rows for name, rows in found.tables if "classes" in name]
        assert [["tag", "precision", "recall", "F1", "count"], ["B", "0.5000", "0.2500", "0.3333", "7"]] in tables


def test_rates_curves_need_rates():
    run = finished("pooled")
    for line in run.metrics:
        line["learning_rate"] = 0.1
    assert sum(tag == "svg" for tag, _ in Page(run_page(run, Extras())).tags) == 3
    none = changed(run, metrics=[], problems=["metrics.jsonl is missing"])
    found = Page(run_page(none, Extras()))
    assert "Training curves" not in found.text and "metrics.jsonl is missing." in found.text


def test_many_classes_stay_small(rng):
    size = 3 * MATRIX
    own = finished("pooled")
    names = [f"class {number}" for number in range(size)]
    matrix = rng.integers(0, 9, (size, size))
    matrix[5, 7] = 99
    execution = {**own.execution, "classes": names}
    test = {**own.result["test"], "confusion": matrix.tolist(), "per_class": [SCORES] * size}
    run = changed(own, execution=execution, result={**own.result, "test": test})
    mistakes = [Misclassified(f"text {number}", "a", "b", 0.9, "word " * 1000) for number in range(100)]
    words = [WordTable("how", [(name, [("word", "+1")] * 15) for name in names[:12]])]
    content = run_page(run, Extras(mistakes, words))
    assert len(content) < 400_000
    found = Page(content)
    assert "true \\ predicted" not in found.text
    first = next(row for row in found.table("classes") if row)
    assert first["true"] == "class 5" and first["predicted"] == "class 7" and first["count"] == "99"
    assert first["share of the class"] == f"{99 / matrix[5].sum():.1%}"


def test_limits_name_what_the_figures_show():
    own = finished("pooled")
    data = {**own.execution["data"], "train": {"documents": 62, "per_class": [60, 2]}}
    data["test"] = {"documents": 8, "per_class": [8, 0], "truncated": 3, "unknown_share": 0.0625}
    result = {**own.result, "baseline": {"test": {"accuracy": 0.875}, "dev": {"accuracy": 0.5}, "name": "n-grams"}}
    result["baseline"] |= {
        "mcnemar": {"only_model": 1, "only_baseline": 2, "p": 1.0},
        "largest_class": result["baseline"],
    }
    result["calibration"] = {"temperature": 2.0, "test": {side: _bins(0.25) for side in ("before", "after")}}
    run = changed(own, execution={**own.execution, "data": data}, result=result)
    text = Page(run_page(run, Extras())).text
    for sentence in (
        "Classes with fewer than 30 training texts: good (2).",
        "Classes without a test text: good.",
        "37.5 % have more than",
        "6.2 % are out of vocabulary.",
        "25.0 % away",
        "higher test accuracy, 0.8750; this one 0.7500.",
        "Duplicate texts were kept",
    ):
        assert sentence in text, sentence
    assert "Duplicate texts" not in Page(run_page(finished("decoder"), Extras())).text


def test_digit_sums_have_a_page():
    experiment = digit_sum()
    own = changed(finished("pooled"), experiment=experiment)
    text = Page(run_page(own, Extras())).text
    assert "tokenizer" not in text.partition("Full spec")[0] and experiment.model.describe() in text


def _bins(error: float) -> dict:
    return {"error": error, "counts": [1, 3], "confidence": [0.5, 0.75], "accuracy": [1.0, 0.5]}
