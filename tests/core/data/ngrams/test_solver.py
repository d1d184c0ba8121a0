"""Logistic regression: its optimum, and problems that do not see one another."""

from __future__ import annotations

import dataclasses

import numpy as np

from core.data.ngrams.linear import scales_of
from core.data.ngrams.solver import Problem, solve
from tests.core.data.ngrams.drawing import random_rows


def random_problem(rng: np.random.Generator, cost: float = 3.0) -> tuple[Problem, np.ndarray]:
    """Return three problems on 24 texts, each without some of them, and the inputs [N, F, K]."""
    rows, dense = random_rows(rng, 24, 10)
    ratios = rng.choice([-1.0, 1.0], (10, 3)) * rng.uniform(0.2, 2.0, (10, 3))
    scales = scales_of(rows, ratios)
    signs = rng.choice([-1, 0, 1], (24, 3), p=[0.45, 0.1, 0.45]).astype(np.int8)
    return Problem(rows, ratios, scales, signs, cost), dense[:, :, None] * ratios * scales[:, None, :]


def primal_gradient(problem: Problem, x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the gradient [F + 1, K] of |w|^2 / 2 + b^2 / 2 + C sum log(1 + exp(-s (w . x + b)))."""
    margins = problem.signs * (np.einsum("nfk,fk->nk", x, weights) + bias)
    slopes = -problem.cost * problem.signs / (1.0 + np.exp(margins))
    return np.concatenate([weights + np.einsum("nfk,nk->fk", x, slopes), (bias + slopes.sum(axis=0))[None]])


def test_optimum_has_no_gradient(rng):
    """Many passes reach the optimum of the definition, few are on the way to it."""
    problem, x = random_problem(rng)
    largest = []
    for passes in (3, 600):
        products, bias = solve(problem, passes, int(rng.integers(1 << 30)))
        largest.append(np.abs(primal_gradient(problem, x, products / problem.ratios, bias)).max())
    # The first dual variables, START of C, are not in the first weights: each text moves the optimum by as much.
    assert largest[1] < 1e-6 < 1e-4 < largest[0]


def primal(problem: Problem, x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> float:
    """Return the sum of the objectives of all problems, whose signs are not 0."""
    margins = problem.signs * (np.einsum("nfk,fk->nk", x, weights) + bias)
    return float(((weights**2).sum() + (bias**2).sum()) / 2 + problem.cost * np.logaddexp(0.0, -margins).sum())


def test_separable_texts_at_a_high_cost(rng):
    """Dual variables near both ends of (0, C): the objective falls, and no value overflows."""
    problem, x = random_problem(rng, cost=1e6)
    problem = dataclasses.replace(problem, signs=np.where(x[:, 0, :] != 0.0, 1, -1).astype(np.int8))
    objectives = []
    for passes in (3, 60):
        products, bias = solve(problem, passes, 0)
        objectives.append(primal(problem, x, products / problem.ratios, bias))
    assert np.isfinite(objectives).all() and objectives[1] < objectives[0]


def test_columns_are_independent(rng):
    problem, _ = random_problem(rng)
    together = solve(problem, 7, 5)
    for column in range(3):
        own = slice(column, column + 1)
        alone = solve(
            dataclasses.replace(
                problem, ratios=problem.ratios[:, own], scales=problem.scales[:, own], signs=problem.signs[:, own]
            ),
            7,
            5,
        )
        for one, two in zip(together, alone, strict=True):
            assert np.allclose(one[..., own], two, rtol=1e-12, atol=1e-14)


def test_texts_of_sign_zero_do_not_count(rng):
    """Whatever n-grams they have."""
    problem, _ = random_problem(rng)
    features = problem.rows.features.copy()
    left_out = int(rng.choice(np.flatnonzero(np.diff(problem.rows.starts))))
    signs = problem.signs.copy()
    signs[left_out] = 0
    start, stop = problem.rows.starts[left_out : left_out + 2]
    features[start:stop] = np.sort(rng.permutation(10)[: stop - start])
    moved = dataclasses.replace(problem.rows, features=features)
    found = [solve(dataclasses.replace(problem, rows=rows, signs=signs), 4, 1) for rows in (problem.rows, moved)]
    assert all(np.array_equal(one, two) for one, two in zip(*found, strict=True))
    assert not np.array_equal(found[0][0], solve(problem, 4, 1)[0]) or not problem.signs[left_out].any()


def test_seed_sets_the_order_and_progress_counts_passes(rng):
    problem, _ = random_problem(rng)
    seen = []
    one = solve(problem, 2, 1, lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]
    assert np.array_equal(one[0], solve(problem, 2, 1)[0]) and not np.array_equal(one[0], solve(problem, 2, 2)[0])
