"""The compiled solver of n-grams: equal to NumPy's, in the same bits for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from backends import kernels
from backends.kernels import ngrams
from core.data.ngrams.linear import scales_of
from core.data.ngrams.rows import Rows
from core.data.ngrams.solver import Problem, solve
from tasks.run.ngram_solver import compiled

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled kernels: {kernels.failure()}")

TEXTS, SIZE = 90, 60


def random_problem(rng: np.random.Generator, columns: int, cost: float) -> Problem:
    """Return problems on texts with 0 to 25 n-grams, the first and the last one without any."""
    sizes = rng.integers(0, 26, TEXTS)
    sizes[[0, 5, -1]] = 0, 1, 0
    features = [np.sort(rng.choice(SIZE, size, replace=False)) for size in sizes]
    rows = Rows(np.concatenate(features).astype(np.int32), np.append(0, np.cumsum(sizes)))
    ratios = rng.normal(0.0, 2.0, (SIZE, columns)) * (rng.random((SIZE, columns)) < 0.9)
    signs = rng.integers(-1, 2, (TEXTS, columns)).astype(np.int8)
    return Problem(rows, ratios, scales_of(rows, ratios), signs, cost)


@pytest.mark.parametrize("columns", [1, 4, 12, 13])
@pytest.mark.parametrize("cost", [0.01, 10.0, 1e6])
def test_equals_numpy_with_any_number_of_threads(rng, target, columns, cost):
    problem, seed, passes = random_problem(rng, columns, cost), int(rng.integers(1 << 30)), 6
    done, bits = [], set()
    for threads in (1, 2, 5):
        kernels.set_threads(threads)
        weights, bias = compiled(problem, passes, seed, lambda *passed: done.append(passed))
        bits.add((weights.tobytes(), bias.tobytes()))
    assert len(bits) == 1 and done == 3 * [(passed, passes) for passed in range(1, passes + 1)]
    for found, wanted in zip((weights, bias), solve(problem, passes, seed), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


def test_wrong_arrays_are_refused(rng):
    """The library trusts its addresses: no n-gram or text may be outside of its arrays."""
    problem = random_problem(rng, 3, 1.0)
    starts, other = problem.rows.starts, problem.rows.features.copy()
    other[7] = SIZE
    rest = problem.ratios, problem.scales, problem.signs
    with pytest.raises(ValueError, match="n-grams outside of 0 to 59"):
        ngrams.Descent((other, starts), *rest)
    with pytest.raises(ValueError, match="starts"):
        ngrams.Descent((problem.rows.features[:-1], starts), *rest)
    with pytest.raises(ValueError, match="signs: got shape"):
        ngrams.Descent((problem.rows.features, starts), *rest[:2], problem.signs[:, :2])
    descent = ngrams.Descent((problem.rows.features, starts), *rest)
    with pytest.raises(ValueError, match="texts outside of 0 to 89"):
        descent.run(np.arange(1, TEXTS + 1), 1.0, 1e-12, 2)
    with pytest.raises(TypeError, match="order: got int32"):
        descent.run(np.arange(TEXTS, dtype=np.int32), 1.0, 1e-12, 2)
