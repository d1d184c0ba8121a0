"""Differences of gradients, of outputs and of parameters, at the scale of the model's gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from core.twin.arrays import difference
from core.twin.naming import pair_routes
from core.twin.recording import Arrays, Call, Parameter, Recording
from core.twin.verdict import Pairing

LEAST_SHARE = 0.01
"""Smallest scale of a gradient, as a share of the model's largest gradient of its kind.

A gradient that cancels, as that of a bias in front of a normalization, holds nothing but rounding.
"""

Two = tuple[np.ndarray | None, np.ndarray | None]
"""The gradients of one tensor in both models, None where the loss does not depend on it."""


@dataclass(frozen=True)
class Gap:
    """Difference of the gradients of one tensor."""

    value: float
    one: np.ndarray
    two: np.ndarray
    missing: int | None = None
    """The model, 0 or 1, whose loss does not depend on the tensor though the other's does."""


def output_gradients(one: Call, two: Call) -> list[Two]:
    """Return the gradients of the outputs of two aligned calls, without those that both models lack."""
    routes = pair_routes(one.outputs, two.outputs)
    pairs = [(one.gradients.get(here), two.gradients.get(there)) for here, there in routes]
    return [pair for pair in pairs if any(own is not None for own in pair)]


def parameter_gradients(
    pairing: Pairing,
    first: Arrays,
    second: Arrays,
    parameters: tuple[tuple[Parameter, ...], tuple[Parameter, ...]],
) -> dict[str, Two]:
    """Return the gradients of paired parameters by PyTorch's name, of tied ones once."""
    roots = [{own.name: own.tied_to or own.name for own in side} for side in parameters]
    buffers = {own.name for own in parameters[0] if own.buffer}
    found: dict[str, Two] = {}
    for name, partner in pairing.names.items():
        if name in buffers or (roots[0].get(name, name) != name and roots[1].get(partner, partner) != partner):
            continue
        one = first.get(name, first.get(roots[0].get(name, name)))
        two = second.get(partner, second.get(roots[1].get(partner, partner)))
        if one is not None or two is not None:
            found[name] = (one, two)
    return found


def of_recordings(first: Recording, second: Recording, pairing: Pairing) -> dict[str, Two]:
    """Return the parameters' gradients of two recordings (`parameter_gradients`)."""
    return parameter_gradients(pairing, first.gradients, second.gradients, (first.parameters, second.parameters))


def scale_of(pairs: Iterable[Two]) -> float:
    """Return the smallest scale of these gradients."""
    sizes = [np.abs(own[np.isfinite(own)]).max(initial=0.0) for pair in pairs for own in pair if own is not None]
    return LEAST_SHARE * float(max(sizes, default=0.0))


def gap(pair: Two, scale: float, limit: float) -> Gap | None:
    """Return the difference of two gradients; None if their shapes do not answer to each other.

    A gradient that one model lacks counts as zero: PyTorch leaves out what Paddle fills with zeros.
    """
    one, two = pair
    if one is None and two is None:
        return None
    one = np.zeros_like(two) if one is None else one
    two = np.zeros_like(one) if two is None else two
    found = difference(one, two, floor=max(scale, 1e-300))
    if found is None:
        return None
    if found.axes is not None:
        two = (two if len(found.axes) == two.ndim else two.squeeze()).transpose(found.axes)
    missing = next((number for number, own in enumerate((one, two)) if not own.any()), None)
    return Gap(found.value, one, two.reshape(one.shape), missing if found.value > limit else None)


def worst(pairs: list[Two], scale: float, limit: float) -> Gap | None:
    """Return the largest difference of these gradients, None if none was compared."""
    gaps = [found for pair in pairs if (found := gap(pair, scale, limit)) is not None]
    return max(gaps, key=lambda own: own.value, default=None)


def owner(parameter: str, modules: Mapping[str, object]) -> str:
    """Return the path of the module in `modules` that holds a parameter, the innermost one, "" for the model."""
    path = parameter
    while "." in path:
        path = path.rpartition(".")[0]
        if path in modules:
            return path
    return ""
