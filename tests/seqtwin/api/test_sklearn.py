"""`seqtwin.TextClassifier` in the tools of scikit-learn."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import seqtwin
from tests.conftest import fresh_rng
from tests.seqtwin.api.texts_in_memory import labeled_texts

# Not imported here: every test process collects this file.
pytestmark = pytest.mark.skipif(
    find_spec("sklearn") is None, reason="scikit-learn is not installed (pip install '.[test]')"
)

CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)
"""Checks of scikit-learn that give an estimator no numbers in place of texts."""


@pytest.fixture
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runs = str(tmp_path / "runs")
    return seqtwin.TextClassifier(encoder="ngrams", runs=runs, pictures=False, baseline=False)


@pytest.fixture(scope="module")
def texts():
    return labeled_texts(fresh_rng(), 20, ("bad", "good"))


def test_the_applicable_checks_pass(quick):
    from sklearn.utils import estimator_checks

    # It runs those that an estimator of strings can pass.
    with pytest.warns(UserWarning, match="Can't test estimator"):
        estimator_checks.check_estimator(quick)
    for name in CHECKS:
        getattr(estimator_checks, name)("TextClassifier", quick)


def test_a_clone_has_the_parameters_and_no_run(quick, texts):
    from sklearn.base import clone, is_classifier
    from sklearn.utils.validation import check_is_fitted

    quick.fit(*texts)
    check_is_fitted(quick)
    other = clone(quick)
    assert is_classifier(other) and other.get_params() == quick.get_params() and not hasattr(other, "run_")


def test_scores_of_cross_validation_are_those_of_the_folds(quick, texts, tmp_path):
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    own, names = map(np.array, texts)
    folds = list(StratifiedKFold(2).split(own, names))
    scores = cross_val_score(quick, *texts, cv=folds)
    assert len(list((tmp_path / "runs").iterdir())) == 2
    expected = []
    for train, test in folds:
        predicted = quick.fit(own[train], names[train]).predict(own[test])
        expected.append((predicted == names[test]).mean())
    assert scores.tolist() == expected


@pytest.mark.slow
def test_a_search_finds_the_better_parameters(quick, texts):
    """Two words in the same order tell the label, which single words do not."""
    from sklearn.model_selection import GridSearchCV

    own = [f"{first} {text} {last}" for text in ("x y", "y x") for first in "abcde" for last in "fghi"]
    labels = ["x y" in text for text in own]
    search = GridSearchCV(quick, {"ngram_orders": [1, 2]}, cv=2).fit(own, labels)
    assert search.best_params_ == {"ngram_orders": 2} and search.best_score_ == 1.0
    assert search.predict(own).tolist() == labels


@pytest.mark.slow
def test_calibration_of_probabilities(quick, texts):
    from sklearn.calibration import CalibratedClassifierCV

    own, names = texts
    found = CalibratedClassifierCV(quick, cv=2).fit(own, names)
    assert found.classes_.tolist() == ["bad", "good"]
    shares = found.predict_proba(own)
    assert shares.sum(axis=1) == pytest.approx(1.0) and (found.predict(own) == found.classes_[shares.argmax(1)]).all()
    assert (found.predict(own) == names).mean() > 0.5
