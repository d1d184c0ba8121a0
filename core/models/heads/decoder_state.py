"""The state of a decoder between two steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.models.encoders.encoder import States


@dataclass(frozen=True)
class DecoderState:
    """The state of a decoder between two steps, for R rows: NumPy arrays, or a framework's tensors."""

    layers: tuple[States, ...]
    """States of every layer, [1, R, H]."""
    context: Any
    """z [R, H] with `context` every, otherwise None."""
    keys: Any
    """W_k e [R, S, H] with attention, otherwise None."""
    values: Any
    """e [R, S, F] with attention, otherwise None."""
    real: Any
    """Real source tokens [R, S] with attention, otherwise None."""


def map_state(state: DecoderState, own: Any) -> DecoderState:
    """Apply `own(array, axis)` to every array of a state; `axis` is that of its rows."""
    layers = tuple(States(own(h, 1), None if c is None else own(c, 1)) for h, c in state.layers)
    others = (
        None if array is None else own(array, 0) for array in (state.context, state.keys, state.values, state.real)
    )
    return DecoderState(layers, *others)
