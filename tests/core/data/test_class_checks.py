"""Rare classes are in train only, and labels that look the same are pointed out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from core.data.class_checks import note_similar_labels, untested
from core.data.corpus import build_corpus, prepare
from core.data.documents import Document, Source
from core.data.splits import split_rows
from core.errors import Note
from core.models.heads.scores import summarize
from core.spec.data import Table
from core.spec.text import Text


def test_rare_classes_are_in_train_only(rng):
    """Of one or two texts, whatever the shares; the others are in every split."""
    for _ in range(30):
        sizes = np.array([1, 2, *rng.integers(1, 9, size=3), int(rng.integers(3, 40))])
        labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
        shares = dict(zip(("dev_share", "test_share"), rng.uniform(0.01, 0.49, 2).tolist(), strict=True))
        data = Table(source="x", split_seed=int(rng.integers(2**62)), **shares)
        found, _ = split_rows(np.zeros(len(labels), np.int8), labels, np.full(len(labels), -1), data)
        counts = {part: np.bincount(labels[rows], minlength=len(sizes)) for part, rows in found.items()}
        assert np.array_equal(sum(counts.values()), sizes) and (counts["train"] > 0).all()
        for part in ("dev", "test"):
            assert ((counts[part] > 0) == (sizes >= 3)).all(), (part, counts[part], sizes)


def test_two_classes_one_of_them_rare():
    texts = [*(Document(f"train/{n}", f"w{n}", "a") for n in range(20)), Document("train/20", "x", "b")]
    corpus = build_corpus(Source("path", "made up", "f", None, lambda: iter(texts), lenient=True), Text())
    found = prepare(corpus, Table(source="S"), Text())
    assert [found.summary[part]["per_class"] for part in ("train", "dev", "test")] == [[16, 1], [2, 0], [2, 0]]
    per_class = {part: found.summary[part]["per_class"] for part in ("train", "dev", "test")}
    assert untested(found.classes, per_class) == [("dev", ["b"]), ("test", ["b"])]


def test_metrics_without_texts_of_a_class(rng):
    """It counts in macro F1 only if it was predicted."""
    labels = np.array([0, 0, 1, 1])
    logits = np.full((4, 3), -9.0)
    logits[np.arange(4), [0, 0, 1, 0]] = rng.uniform(0, 5, 4)
    assert summarize(logits, labels).macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    logits[3, 2] = 9.0
    assert summarize(logits, labels).macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        (["pos", "neg", "Pos"], ["'pos' (3), 'Pos' (5)"]),
        (["very good", "verygood", "bad", "BAD"], ["'very good' (3), 'verygood' (4)", "'bad' (5), 'BAD' (6)"]),
        (["0", "0.0", "false", "1"], ["'0' (3), '0.0' (4), 'false' (5)"]),
        (["True", "1", "01", "2"], ["'True' (3), '1' (4), '01' (5)"]),
        (["\uff21", "a", "b"], ["'\uff21' (3), 'a' (4)"]),
        (["nan", "NaN", "inf"], ["'nan' (3), 'NaN' (4)"]),
        (["a", "b", "1", "2", "true", "-1"], ["'1' (5), 'true' (7)"]),
        (["a", "b", "10", "1", "a b c"], []),
    ],
)
def test_labels_that_look_the_same(labels, alike):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        note_similar_labels(labels, range(3, 3 + len(labels)))
    assert [own.category for own in seen] == [Note] * bool(alike)
    if alike:
        assert f"are different classes: {'; '.join(alike)}: write them alike" in str(seen[0].message)
