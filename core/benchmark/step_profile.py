"""Profile of a training step: wraps methods of an engine while a step is timed.

The engines contain no timing code. Both backends use the same names, so one profiler serves both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from core.benchmark.timing import Stopwatch
from core.models.encoders.encoder import Encoder

HEAD = "pooling, head, loss"


def parts(encoder: Encoder) -> tuple[str, ...]:
    """Return the names of the parts, in the order of a step.

    `batch`: padding and conversion to tensors. `embedding`: with its dropout. Then the encoder, by its own name.
    `backward`: all layers. `rest`: everything else in the step.
    """
    return "batch", "embedding", encoder.part, HEAD, "backward", "clipping", "optimizer", "rest"


@contextmanager
def timed_parts(side: ModuleType, engine: Any, encoder: Encoder, watch: Stopwatch) -> Iterator[None]:
    """Record in `watch` the parts of a training step run inside this context.

    Uses private names of the backend's `Engine`, outside the contract. Raises AttributeError if a wrapped name is
    missing, RuntimeError if a part was never entered.
    """
    model = engine._model
    places = (
        ("batch", engine, "_place"),
        ("embedding", model.embedding, "forward"),
        (encoder.part, model.encoder, "forward"),
        (HEAD, model.head, "forward"),
        (HEAD, model.head, "losses"),
        ("backward", engine, "_backward"),
        ("clipping", side.engine, "clip"),
        ("optimizer", engine._optimizer, "step"),
    )
    with ExitStack() as stack:
        for part, owner, name in places:
            # Context managers of contextlib are decorators, too.
            stack.enter_context(mock.patch.object(owner, name, watch.part(part)(getattr(owner, name))))
        yield
    missing = {part for part, _, _ in places} - watch.seconds.keys()
    if missing:
        raise RuntimeError(f"the step never entered: {', '.join(sorted(missing))}")
