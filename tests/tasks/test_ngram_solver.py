"""Which solver fits the n-grams of a run, and what the record states."""

from __future__ import annotations

import pytest

from backends import kernels
from core.data.ngrams.solver import solve
from core.train.run_folder import RunFolder
from tasks.run import ngram_solver, train
from tasks.run.ngram_solver import chosen_solver


def test_solver_without_kernels_is_numpys_with_the_reason(monkeypatch):
    monkeypatch.setattr(kernels, "failure", lambda: "it was not compiled (no g++)")
    assert chosen_solver() == ngram_solver.ChosenSolver(solve, "numpy (it was not compiled (no g++))")


@pytest.mark.skipif(kernels.failure() is not None, reason="no compiled kernels")
def test_solver_with_kernels_is_compiled():
    assert chosen_solver().solve is ngram_solver.compiled
    assert chosen_solver().description == f"compiled ({kernels.target()})"


@pytest.mark.slow
def test_record_names_the_solver_of_the_run(finished_runs, tmp_path, monkeypatch):
    """The run fits with the solver that its record names; a run without n-grams names none."""
    used = []

    def counted(*arguments):
        used.append(arguments)
        return solve(*arguments)

    monkeypatch.setattr(train, "chosen_solver", lambda: ngram_solver.ChosenSolver(counted, "numpy (no g++)"))
    out = tmp_path / "run"
    done = finished_runs.train(
        "--backend", finished_runs.backend, "--out", out, "--set", "model.ngrams={}", "--epochs", 1
    )
    assert done.code == 0, done.err
    assert RunFolder.open(out).read_record()[1]["ngrams"]["solver"] == "numpy (no g++)" and used
    assert "solver" not in RunFolder.open(finished_runs.any_run).read_record()[1].get("ngrams", {})
