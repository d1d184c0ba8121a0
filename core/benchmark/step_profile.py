"""Where the time of a training step goes: methods of an engine are wrapped while a step is timed.

The product carries no timing code. The backends mirror each other name by name, so this is written once.
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

    `batch`: padding it and placing it as tensors. `embedding`: dropout on it included. Then the encoder, by its own
    name. `backward`: through all layers. `rest`: what the step does between these.
    """
    return "batch", "embedding", encoder.part, HEAD, "backward", "clipping", "optimiser", "rest"


@contextmanager
def timed_parts(side: ModuleType, engine: Any, encoder: Encoder, watch: Stopwatch) -> Iterator[None]:
    """Tell `watch` of every part that the engine enters as long as this lasts; a whole step must lie within.

    It looks into the `Engine` of a backend, beyond the contract.

    Raises AttributeError if a wrapped name is gone, RuntimeError if a part was never entered.
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
        ("optimiser", engine._optimizer, "step"),
    )
    with ExitStack() as stack:
        for part, owner, name in places:
            # What a context manager of contextlib returns is a decorator too.
            stack.enter_context(mock.patch.object(owner, name, watch.part(part)(getattr(owner, name))))
        yield
    missing = {part for part, _, _ in places} - watch.seconds.keys()
    if missing:
        raise RuntimeError(f"the step never entered: {', '.join(sorted(missing))}")
