"""Folds of a cross-validation: stratified, disjoint, complete, the same for the same seed; copies stay together."""

from __future__ import annotations

import numpy as np
import pytest

from core.data.corpus import Corpus, build_corpus, divided, prepare
from core.data.documents import Document, Source
from core.data.folds import check_folds, fold_of, units_of
from core.data.training_split import FOLDS
from core.errors import UserError
from core.spec.data import MovieReviews, PairedFiles, Table
from core.spec.text import Text


def corpus_of(documents: list[Document]) -> Corpus:
    return build_corpus(Source("path", "made up", "f", None, lambda: iter(documents), lenient=True), Text())


def random_documents(rng, sizes: np.ndarray, copies: int = 0) -> list[Document]:
    """Texts of unequal lengths, one word included; the last `copies` repeat earlier texts of their class."""
    found = [
        Document(f"train/{number}", f"w{number} " * int(rng.integers(1, 9)), f"c{label}")
        for number, label in enumerate(rng.permutation(np.repeat(np.arange(len(sizes)), sizes)), start=1)
    ]
    again = [found[row] for row in rng.integers(len(found), size=copies)]
    return [*found, *(Document(f"train/{len(found) + n}", own.text, own.label) for n, own in enumerate(again, 1))]


def test_every_text_is_tested_once_and_classes_are_even(rng):
    for _ in range(5):
        folds = int(rng.integers(2, 7))
        sizes = rng.integers(folds, 40, size=rng.integers(2, 5))
        corpus = corpus_of(random_documents(rng, sizes))
        seed = int(rng.integers(2**62))
        tested, counts = [], []
        for fold in range(1, folds + 1):
            data = Table(source="S", folds=folds, fold=fold, split_seed=seed)
            rows, summary, _ = divided(corpus, data, Text())
            assert summary == {"dev_split": "at random", "test_split": "by fold"}
            assert sorted(np.concatenate(list(rows.values()))) == list(range(len(corpus)))
            tested.append(rows["test"])
            counts.append(np.bincount(corpus.labels[rows["test"]], minlength=len(sizes)))
            rest = len(corpus) - len(rows["test"])
            assert abs(len(rows["dev"]) - 0.1 * rest) <= len(sizes)
        assert sorted(np.concatenate(tested)) == list(range(len(corpus)))
        assert np.ptp(counts, axis=0).max() <= 1 and np.ptp(np.sum(counts, axis=1)) <= 1


def test_folds_depend_on_the_seed_alone(rng):
    labels = rng.integers(0, 3, size=200)
    units = rng.permutation(1000)[:200]
    found = fold_of(labels, units, 5, 7)
    assert np.array_equal(found, fold_of(labels.copy(), units.copy(), 5, 7))
    assert not np.array_equal(found, fold_of(labels, units, 5, 8))


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_copies_share_a_fold(rng, duplicates):
    """With `drop` there are none."""
    documents = random_documents(rng, np.array([30, 25]), copies=20)
    corpus, folds = corpus_of(documents), {}
    for fold in range(1, 5):
        data = Table(source="S", folds=4, fold=fold, duplicates=duplicates)
        rows, _, _ = divided(corpus, data, Text())
        for row in rows["test"]:
            folds.setdefault(documents[row].text, []).append(fold)
    assert len(folds) == 55 and all(len(set(own)) == 1 for own in folds.values())
    assert sum(map(len, folds.values())) == (75 if duplicates == "keep" else 55)


def test_groups_share_a_fold(rng):
    groups = rng.integers(-1, 12, size=150)
    labels = rng.integers(0, 2, size=150)
    found = fold_of(labels, units_of(groups, np.arange(150)), 3, int(rng.integers(99)))
    for group in range(12):
        assert len(set(found[groups == group])) == 1
    assert len(set(found[groups == -1])) == 3


def test_dev_file_is_in_no_fold(rng):
    documents = random_documents(rng, np.array([20, 20]))
    dev = [Document(f"dev/{n}", f"d{n}", f"c{n % 2}", "dev") for n in range(6)]
    corpus = corpus_of([*documents, *dev])
    for fold in (1, 2):
        rows, summary, _ = divided(corpus, Table(source="S", dev="D", folds=2, fold=fold), Text())
        assert summary["dev_split"] == "as provided" and rows["dev"].tolist() == list(range(40, 46))
        assert len(rows["test"]) == len(rows["train"]) == 20


def test_too_few_texts_and_a_test_split_are_refused(rng):
    corpus = corpus_of([*random_documents(rng, np.array([9, 9])), Document("train/99", "rare", "r")])
    with pytest.raises(UserError, match=r"`data.folds` 3: label 'r' has 1 text, expected at least 3: remove that cla"):
        prepare(corpus, Table(source="S", folds=3), Text())
    with pytest.raises(UserError, match=r"label 'b' has 2 texts, expected at least 5: use `data.folds` 2, or add"):
        check_folds(np.array([0] * 6 + [1] * 3), np.array([*range(6), 6, 7, 7]), 5, ["a", "b"])
    documents = [
        Document(f"{part}/{n}", f"{part} {n}", "ab"[n % 2], part) for part in ("train", "test") for n in (1, 2)
    ]
    with pytest.raises(UserError, match="`data.folds` 2: the data has a test split"):
        prepare(corpus_of(documents), MovieReviews(folds=2), Text())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"folds": 1}, "greater than or equal to 2"),
        ({"folds": 3, "fold": 4}, "got 4, expected 1 to 3"),
        ({"folds": 3, "train_limit": 9}, "`data.train_limit` is not supported with `data.folds`"),
        ({"folds": 3, "test": "T"}, "`data.test` is not supported with `data.folds`"),
    ],
)
def test_fields_that_exclude_folds(fields, says):
    with pytest.raises(ValueError, match=says):
        Table(source="S", **fields)


def test_every_data_with_folds_has_their_fields():
    """They are left out of the key of a training split without folds, which older runs recorded."""
    for kind in (MovieReviews, PairedFiles, Table):
        assert set(kind.model_fields) >= FOLDS
