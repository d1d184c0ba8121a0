"""Inputs and weights of the loss, drawn for both models alike.

A description has a type, a shape and a range: `int[4,9]:50` integers below 50, with 0 and 49 among them,
`int[4]:1..9` from 1 to 9, `float[4,9,16]` standard normal values, `mask[4,9]` true or false, `lengths[4]:9` from 1 to 9
with 1 and 9 among them, and `FILE.npy` the array of a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.rng import generator

DESCRIPTION = re.compile(r"(int|float|mask|lengths)\[([\d,\s]*)\](?::(-?\d+)(?:\.\.(-?\d+))?)?")


def parse_inputs(texts: list[str], seed: int, batch: int = 0) -> dict[str, np.ndarray]:
    """Draw all inputs `NAME=DESCRIPTION`, keyed by (seed, name, batch). Raises UserError."""
    found: dict[str, np.ndarray] = {}
    for text in texts:
        name, equals, description = text.partition("=")
        if not equals or not name.strip():
            raise UserError(f"input {text}: expected NAME=DESCRIPTION, such as ids=int[4,9]:50")
        if name.strip() in found:
            raise UserError(f"input {name.strip()} is given twice: give every input once")
        found[name.strip()] = draw(name.strip(), description.strip(), seed, batch)
    return found


def draw(name: str, description: str, seed: int, batch: int = 0) -> np.ndarray:
    """Return one input: int64, float64 or bool. Raises UserError for a description that is not understood."""
    if description.endswith(".npy"):
        return _file(description)
    match = DESCRIPTION.fullmatch(description)
    if match is None:
        raise UserError(
            f"input {name}={description}: expected int[4,9]:50, float[4,9], mask[4,9], lengths[4]:9 or a .npy file"
        )
    kind, sizes, low, high = match.groups()
    shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    rng = generator(seed, "input", name, batch)
    if kind == "float":
        return rng.standard_normal(shape)
    if kind == "mask":
        return rng.random(shape) < 0.5
    if low is None:
        raise UserError(f"input {name}={description}: integers need a range, such as {kind}[4,9]:50")
    if kind == "lengths":
        return _lengths(rng, shape, int(low), name)
    first, last = (0, int(low) - 1) if high is None else (int(low), int(high))
    if last < first:
        raise UserError(f"input {name}={description}: the range {first}..{last} is empty")
    found = rng.integers(first, last + 1, shape)
    if found.size > 1:
        # The highest id finds a table that is too small, the lowest is mostly that of padding.
        found.flat[0], found.flat[-1] = last, first
    return found


def _lengths(rng: np.random.Generator, shape: tuple[int, ...], longest: int, name: str) -> np.ndarray:
    """Return lengths from 1 to `longest`, the first of them `longest` and the last 1."""
    if len(shape) != 1 or not shape[0] or longest < 1:
        raise UserError(f"input {name}: lengths need one size and a largest length of at least 1: lengths[4]:9")
    found = rng.integers(1, longest + 1, shape)
    found[-1] = 1
    found[0] = longest
    return found


def _file(path: str) -> np.ndarray:
    try:
        found = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read this .npy file ({error}): write it by numpy.save") from None
    if found.dtype.kind == "f":
        return found.astype(np.float64)
    return found if found.dtype == bool else found.astype(np.int64)


def loss_weights(shape: tuple[int, ...], seed: int, number: int) -> np.ndarray:
    """Return the weights of output `number` in the default loss, float64 of `shape`.

    The loss is the sum of all floating-point outputs times these, divided by the number of their entries.
    Axes of different sizes may be in any order: the weights are then permuted alike.
    """
    return _in_any_order(shape, generator(seed, "loss", number).standard_normal)


def dropout_uniform(shape: tuple[int, ...], seed: int, number: int) -> np.ndarray:
    """Return the uniform numbers of dropout call `number` of a run: a unit is kept if its number is >= the rate.

    Axes of different sizes may be in any order: `[B, L, D]` and `[L, B, D]` drop the same units.
    """
    return _in_any_order(shape, generator(seed, "dropout", number).random)


def _in_any_order(shape: tuple[int, ...], drawn: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """Draw with the longest axis first, equally long ones in the given order, and put the axes in place."""
    axes = sorted(range(len(shape)), key=lambda axis: -shape[axis])
    return drawn(tuple(shape[axis] for axis in axes)).transpose(np.argsort(axes))
