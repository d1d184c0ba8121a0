"""Logistic regression with an L2 penalty on n-grams, by dual coordinate descent (Yu, Huang and Lin 2011).

Several problems on the same texts are solved at once: the folds, and one against the rest for each class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.data.ngrams.rows import Rows
from core.rng import generator

NEWTON_STEPS = 2
"""Newton steps of a text's dual variable in each pass."""
START = 1e-8
"""First dual variables, as a share of C."""
LEAST = 1e-12
"""Least distance of a dual variable from 0 and from C, as a share of C."""

Progress = Callable[[int, int], None]
"""Callback `progress(done, total)`, in passes."""


@dataclass(frozen=True)
class Problem:
    """K problems, one per column: minimize |w|^2 / 2 + b^2 / 2 + C sum log(1 + exp(-s (w . x + b))) over the texts.

    Text n has x = scales[n] * ratios[f] for each of its n-grams f. `ratios` [F, K] float64; `scales` [N, K] float64,
    which make x of length 1; `signs` [N, K] int8: s, 0 if a text is not part of the problem.
    """

    rows: Rows
    ratios: np.ndarray
    scales: np.ndarray
    signs: np.ndarray
    cost: float


Solver = Callable[[Problem, int, int, Progress], tuple[np.ndarray, np.ndarray]]
"""Callback `solver(problem, passes, seed, progress)`, which returns what `solve` does."""


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


def order_of(seed: int, passed: int, texts: int) -> np.ndarray:
    """Return the order of the texts in a pass, [N] int64."""
    return generator(seed, "ngrams", passed).permutation(texts)


def solve(problem: Problem, passes: int, seed: int, progress: Progress = no_progress) -> tuple[np.ndarray, np.ndarray]:
    """Return w * ratios [F, K] and b [K], both float64.

    The result is w * ratios, as a text's w . x is its scale times the sum of that over its n-grams.
    """
    rows, cost = problem.rows, problem.cost
    squares = problem.ratios**2
    weights, bias = np.zeros_like(squares), np.zeros(squares.shape[1])
    dual = np.full(problem.signs.shape, START * cost)
    for passed in range(passes):
        for text in order_of(seed, passed, len(rows)).tolist():
            features = rows.features[rows.starts[text] : rows.starts[text + 1]]
            own, scale, sign = weights[features], problem.scales[text], problem.signs[text]
            new = _step(dual[text], sign * (scale * own.sum(axis=0) + bias), cost)
            change = np.where(sign == 0, 0.0, new - dual[text])
            dual[text] += change
            weights[features] = own + (change * sign * scale) * squares[features]
            bias += change * sign
        progress(passed + 1, passes)
    return weights, bias


def _step(dual: np.ndarray, margin: np.ndarray, cost: float) -> np.ndarray:
    """Return the new dual variables [K] of a text with these margins s (w . x + b) [K].

    They approach the minimum over a of a log a + (C - a) log(C - a) + margin * (a - dual) + (a - dual)^2, as |x|^2 + 1,
    with the bias, is 2. A Newton step that leaves (0, C) goes nine tenths of the way to its end instead.
    """
    new = dual + (cost / (1.0 + np.exp(np.clip(margin, -700.0, 700.0))) - dual) / (1.0 + cost / 2.0)
    for _ in range(NEWTON_STEPS):
        slope = np.log(new / (cost - new)) + margin + 2.0 * (new - dual)
        moved = new - slope / (cost / (new * (cost - new)) + 2.0)
        new = np.where(moved <= 0.0, new / 10.0, np.where(moved >= cost, cost - (cost - new) / 10.0, moved))
        new = np.clip(new, LEAST * cost, cost - LEAST * cost)
    return new
