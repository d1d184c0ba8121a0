"""Maps of words (`core/words/word_map.py`)."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.words.word_map import map_rows, project
from tests.core.words.test_vector_table import a_table


def test_principal_components_by_the_covariance(rng):
    values = rng.normal(size=(30, 6)) * [5, 3, 1, 1, 0.5, 0.1] @ rng.normal(size=(6, 6))
    coordinates, explained = project(values)
    variances, axes = np.linalg.eigh(np.cov(values.T))
    for number in (0, 1):
        expected = (values - values.mean(axis=0)) @ axes[:, -1 - number]
        sign = np.sign(axes[np.abs(axes[:, -1 - number]).argmax(), -1 - number])
        np.testing.assert_allclose(coordinates[:, number], sign * expected, atol=1e-9)
        assert explained[number] == pytest.approx(variances[-1 - number] / variances.sum())


def test_few_words_and_dimensions(rng):
    coordinates, explained = project(rng.normal(size=(2, 5)))
    assert explained == pytest.approx((1.0, 0.0)) and abs(coordinates[:, 1]).max() < 1e-12
    coordinates, explained = project(np.array([[1.0], [4.0], [-2.0]]))
    assert coordinates.tolist() == [[0, 0], [3, 0], [-3, 0]] and explained == (1.0, 0.0)
    coordinates, explained = project(np.ones((3, 4)))
    assert not coordinates.any() and explained == (0.0, 0.0)


def test_rows_become_places(rng):
    table = a_table(rng)
    plan = map_rows(table, {9: 0, 2: 1, 30: 1, 4: 2}, [2, 4], [(9, 4)])
    assert plan.words == ["w9", "w2", "w30", "w4"] and plan.groups == [0, 1, 1, 2]
    assert plan.queries == {1, 3} and plan.arrows == [(0, 3)]
    assert np.array_equal(plan.coordinates, project(table.units([9, 2, 30, 4]))[0])
    with pytest.raises(UserError, match="at least two words"):
        map_rows(table, {9: 0}, [9])
