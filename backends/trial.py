"""Test of a GPU with a small layer, in a separate process."""

from __future__ import annotations

import functools
import itertools
from types import ModuleType

import numpy as np

import backends
from core.child_process import call
from core.engine.executor import Executor
from core.models.embedding import Embedding
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.model import Model, parameter_table

TRIAL_LIMIT = 120.0
"""Time limit in seconds.

Importing a framework and first using a GPU can take most of a minute.
"""

TRIAL_TOLERANCE = 0.02
"""Tolerance for results of size 1: above rounding errors, including those of TF32."""


@functools.cache
def run_trial(framework: str, number: int) -> str | None:
    """Test a GPU in a separate process.

    Return None, or the failure as a predicate (`a test ...`).
    """
    answer, trouble = call(compare_by_name, framework, f"gpu:{number}", limit=TRIAL_LIMIT)
    if trouble:
        return trouble
    if not isinstance(answer, float):
        return "returned an unreadable result"
    return None if answer <= TRIAL_TOLERANCE else f"returned wrong numbers, {answer:.2g} from those of the CPU"


def compare_by_name(framework: str, device: str) -> float:
    """Call `compare_with_cpu` for a framework by name, in the child process."""
    return compare_with_cpu(backends.load(framework), device)


def compare_with_cpu(side: ModuleType, device: str) -> float:
    """Return the largest difference between CPU and device for a small recurrent layer.

    Outputs and gradients of the implementations `builtin` and `packed` are compared. The difference is infinite if a
    number is not finite.
    """
    encoder, rng = RecurrentEncoder(hidden_size=8), np.random.default_rng(0)
    table = parameter_table(Model(embedding=Embedding(vocab_size=4, dim=8), encoder=encoder))
    shapes = {row.name: row.shape for row in table if row.name.startswith("encoder.")}
    shapes |= {"x": (4, 5, 8), "d_output": (4, 5, encoder.output_size(8))}
    arrays = {name: rng.uniform(-0.3, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    found = {}
    for where, implementation in itertools.product(("cpu", device), ("builtin", "packed")):
        probe = side.LayerProbe(encoder, arrays, np.array([5, 4, 2, 1]), Executor(where, implementation))
        results = {**probe.forward(), **probe.gradients()}
        found.setdefault(where, []).extend(array.ravel() for array in results.values())
    differences = np.abs(np.concatenate(found[device]) - np.concatenate(found["cpu"]))
    return float(differences.max()) if np.isfinite(differences).all() else float("inf")
