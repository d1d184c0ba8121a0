"""Where the time of a training step goes: names in a backend package are wrapped while a step is timed.

The product carries no timing code. As with faults (`core/parity/faults.py`), the backends mirror each other name by
name, so this is written once. A name that is no longer there is an AttributeError.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from core.benchmark.timing import Stopwatch
from core.engine.contract import Engine

PARTS = ("batch", "embedding", "recurrent", "pooling, head, loss", "backward", "clipping", "optimiser", "rest")
"""In the order of a step. `batch`: padding it and placing it as tensors. `embedding`: dropout on it included.
`backward`: through all layers. `rest`: what the step does between these."""

NAMES = (
    ("batch", "engine", "Inputs"),
    ("embedding", "embedding", "Embedding", "forward"),
    ("recurrent", "encoders", "recurrent", "RecurrentEncoder", "forward"),
    ("pooling, head, loss", "heads", "pooled", "PooledHead", "forward"),
    ("pooling, head, loss", "heads", "pooled", "PooledHead", "losses"),
    ("backward", "engine", "Engine", "_backward"),
    ("clipping", "engine", "clip"),
)
"""(part, where in a backend package)"""


@contextmanager
def timed_parts(side: ModuleType, engine: Engine, watch: Stopwatch) -> Iterator[None]:
    """As long as this lasts, `watch` is told of every part that the engine enters."""
    found = []
    for part, *path, name in NAMES:
        found.append((part, functools.reduce(getattr, path, side), name))
    found.append(("optimiser", type(engine._optimizer), "step"))
    before = [(owner, name, getattr(owner, name)) for _, owner, name in found]
    try:
        for part, owner, name in found:
            setattr(owner, name, _timed(getattr(owner, name), part, watch))
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def _timed(original: Callable, part: str, watch: Stopwatch) -> Callable:
    @functools.wraps(original)
    def run(*arguments, **named):
        with watch.part(part):
            return original(*arguments, **named)

    return run
