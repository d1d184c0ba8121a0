"""Conversions of weights from PyTorch to Paddle as users write them: right ones, and typical mistakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.twin.pairs.transformer import DIM


@dataclass(frozen=True)
class Conversion:
    """A conversion: names in PyTorch by names in Paddle, and values by name in PyTorch, in Paddle's layout."""

    rename: Callable[[str], str] = str
    change: Callable[[str, np.ndarray], np.ndarray] | None = None


def blocks_in_order(order: tuple[int, ...], part: str) -> Callable[[str, np.ndarray], np.ndarray]:
    """Put equal blocks of the first axis of all parameters with `part` in their names in another order."""

    def change(name: str, values: np.ndarray) -> np.ndarray:
        if part not in name:
            return values
        return np.concatenate([np.split(values, len(order))[block] for block in order])

    return change


def exchange(one: str, two: str) -> Callable[[str], str]:
    """Exchange two parts of a name."""
    return lambda name: name.replace(one, "\0").replace(two, one).replace("\0", two)


def other_direction(name: str) -> str:
    """Return the name in the other direction of a recurrent layer."""
    if "lstm" not in name:
        return name
    return name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"


def only(wanted: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[str, np.ndarray], np.ndarray]:
    """Change the values of the names that end with `wanted`."""
    return lambda name, values: change(values) if name.endswith(wanted) else values


def keys_first(name: str, values: np.ndarray) -> np.ndarray:
    """Fuse the projections of the first block in the order k, q, v."""
    if "blocks.0.qkv" not in name:
        return values
    q, k, v = np.split(values, 3, axis=-1)
    assert q.shape[-1] == DIM
    return np.concatenate([k, q, v], axis=-1)


def without_statistics(name: str, values: np.ndarray) -> np.ndarray:
    """Leave the running statistics of the first normalization as they start."""
    if name == "bn1.running_mean":
        return np.zeros_like(values)
    return np.ones_like(values) if name == "bn1.running_var" else values


CONVERSIONS = {
    "right": Conversion(),
    "gates": Conversion(change=blocks_in_order((0, 2, 1, 3), "lstm.")),
    "directions": Conversion(rename=other_direction),
    "gru_gates": Conversion(change=blocks_in_order((1, 0, 2), "encoder.")),
    "qkv": Conversion(change=keys_first),
    "square": Conversion(change=only("blocks.1.proj.weight", np.transpose)),
    "square_second": Conversion(change=only("second.weight", np.transpose)),
    "statistics": Conversion(change=without_statistics),
    "equal_shapes": Conversion(rename=exchange("convs.0", "convs.1")),
    "shifted_rows": Conversion(change=only("embed.weight", lambda values: np.roll(values, 1, axis=0))),
    "transitions": Conversion(change=only("transitions", np.transpose)),
    "start_end": Conversion(rename=exchange("start", "end")),
}
"""Conversions by the name that `tests.twin.cases.Case.conversion` has."""
