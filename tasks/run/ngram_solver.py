"""The solver that fits linear models of n-grams: compiled where the kernels are built, else NumPy's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backends import kernels
from backends.kernels.ngrams import Descent
from core.data.ngrams.solver import LEAST, NEWTON_STEPS, START, Problem, Progress, Solver, no_progress, order_of, solve
from core.train.setup import Setup


@dataclass(frozen=True)
class ChosenSolver:
    """A solver, and what the record of a run states about it (`execution.ngrams.solver`)."""

    solve: Solver
    description: str

    def recorded(self, setup: Setup) -> Setup:
        """Return a setup whose record names the solver, if n-grams were fitted."""
        entry = setup.execution.get("ngrams", {})
        if setup.ngrams is None and not entry:
            return setup
        return replace(setup, execution={**setup.execution, "ngrams": {**entry, "solver": self.description}})


def chosen_solver() -> ChosenSolver:
    """Return the compiled solver, or NumPy's with the reason."""
    reason = kernels.failure()
    if reason is not None:
        return ChosenSolver(solve, f"numpy ({reason})")
    return ChosenSolver(compiled, f"compiled ({kernels.target()})")


def compiled(
    problem: Problem, passes: int, seed: int, progress: Progress = no_progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same as `core.data.ngrams.solver.solve`, within rounding."""
    rows, cost = problem.rows, problem.cost
    descent = Descent((rows.features, rows.starts), problem.ratios, problem.scales, problem.signs)
    descent.start(START * cost)
    for passed in range(passes):
        descent.run(order_of(seed, passed, len(rows)), cost, LEAST * cost, NEWTON_STEPS)
        progress(passed + 1, passes)
    return descent.result()
