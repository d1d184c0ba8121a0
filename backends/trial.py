"""Trying out a GPU with a small layer, in a process of its own."""

from __future__ import annotations

import functools
import itertools
from types import ModuleType

import numpy as np

import backends
from core.engine.child_process import call
from core.models.embedding import Embedding
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.model import Model, parameter_table

TRIAL_LIMIT = 120.0
"""Seconds for importing a framework and one small layer: the first use of a GPU can take most of a minute."""

TRIAL_TOLERANCE = 0.02
"""Of a trial's answers, which are of size 1: more than rounding, with TF32 too, and less than garbage."""


@functools.cache
def run_trial(framework: str, number: int) -> str | None:
    """What went wrong when a small layer was tried on a GPU in a process of its own (after `a trial ...`), or None."""
    answer, trouble = call(tried, framework, f"gpu:{number}", limit=TRIAL_LIMIT)
    if trouble:
        return trouble
    if not isinstance(answer, float):
        return "gave an answer that cannot be read"
    return None if answer <= TRIAL_TOLERANCE else f"gave wrong numbers: {answer:.2g} from the CPU's"


def tried(framework: str, device: str) -> float:
    """`try_out`, of a framework by its name: in the child."""
    return try_out(backends.load(framework), device)


def try_out(side: ModuleType, device: str) -> float:
    """The largest difference between the CPU's and a device's answers for a small recurrent layer, forward and back, in
    both ways that a run may have the framework's layer there.

    It is infinite where an answer is not a number.
    """
    encoder, rng = RecurrentEncoder(hidden_size=8), np.random.default_rng(0)
    table = parameter_table(Model(embedding=Embedding(vocab_size=4, dim=8), encoder=encoder))
    shapes = {row.name: row.shape for row in table if row.name.startswith("encoder.")}
    shapes |= {"x": (4, 5, 8), "d_output": (4, 5, encoder.output_size(8))}
    arrays = {name: rng.uniform(-0.3, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    found = {}
    for where, implementation in itertools.product(("cpu", device), ("builtin", "packed")):
        probe = side.LayerProbe(encoder, arrays, np.array([5, 4, 2, 1]), where, implementation)
        answers = {**probe.forward(), **probe.gradients()}
        found.setdefault(where, []).extend(answer.ravel() for answer in answers.values())
    differences = np.abs(np.concatenate(found[device]) - np.concatenate(found["cpu"]))
    return float(differences.max()) if np.isfinite(differences).all() else float("inf")
