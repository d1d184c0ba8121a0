"""Values of matched parameters that a user converted: equal, turned, in another order, or different."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from core.twin.functions import factor, factor_text
from core.twin.kinds import CELL, FRAMEWORK_NAMES, RECURRENT
from core.twin.naming import labels
from core.twin.recording import Parameter, Recording
from core.twin.verdict import Cause, Pairing

EQUAL = 1e-6
"""Largest relative difference of equal values: one model may hold them in float32."""
GATES = {"lstm": "ifgo", "gru": "rzn"}
"""Gates of PyTorch's recurrent layers, in order."""
BLOCKS = {2: "12", 3: "qkv", 4: "1234"}


@dataclass(frozen=True)
class Judged:
    """Values of all pairs, judged."""

    value: float
    """Largest difference."""
    how: dict[str, str]
    """`transposed` and `gates`, by name in PyTorch."""
    sentence: str = ""
    cause: Cause | None = None


def judge_values(first: Recording, second: Recording, pairing: Pairing) -> Judged:
    """Compare the values of all pairs, and say what became of the first that differ."""
    sides = [{own.name: own for own in side.parameters} for side in (first, second)]
    kinds = {own.path: own for own in first.modules}
    largest, how, wrong = 0.0, {}, []
    for name, partner in pairing.names.items():
        one, two = sides[0][name], sides[1][partner]
        gap = _gap(one.values, two.values)
        largest = max(largest, gap)
        if not gap <= EQUAL:
            wrong.append((one, two, gap))
    explained = []
    for one, two, _ in wrong:
        module = kinds.get(one.module)
        gates = GATES.get(str(module.settings.get("cell"))) if module and module.kind in (RECURRENT, CELL) else None
        reason, key = _reason(one, two, sides, gates)
        explained.append((one, two, reason))
        if key:
            how[one.name] = key
    if not wrong:
        return Judged(largest, how)
    one, two, reason = next((own for own in explained if own[2]), explained[0])
    names = labels({first.framework: one.name, second.framework: two.name})
    gap = next(own[2] for own in wrong if own[0] is one)
    sentence = f"the values of {len(wrong)} of {len(pairing.names)} parameters differ, {names} by {gap:.1e}"
    words = reason or "different values, in no order that is known"
    name = FRAMEWORK_NAMES.get(second.framework, second.framework)
    paths = {first.framework: one.module, second.framework: two.module}
    return Judged(largest, how, sentence, Cause(f"{names}: {words} in {name}", paths, "parameters"))


def _gap(one: np.ndarray, two: np.ndarray) -> float:
    if one.shape != two.shape:
        return float("inf")
    if np.array_equal(one, two):
        return 0.0
    one, two = one.astype(np.float64), two.astype(np.float64)
    size = max(float(np.abs(one).max(initial=0.0)), float(np.abs(two).max(initial=0.0)), 1e-12)
    gap = float(np.abs(one - two).max(initial=0.0)) / size
    return gap if np.isfinite(gap) else float("inf")


def _reason(one: Parameter, two: Parameter, sides: list[dict[str, Parameter]], gates: str | None) -> tuple[str, str]:
    """Return how the second model's values come from the first's, in words and as `Pairing.how`; "" if unknown."""
    for text, key, found in _orders(one.values, gates):
        if found.shape == two.values.shape and _gap(found, two.values) <= EQUAL:
            return text, key
    others = [own for own in sides[0].values() if own.name != one.name and _gap(own.values, two.values) <= EQUAL]
    if others and two.values.size > 1:
        near = next((own for own in others if own.module == one.module), others[0])
        return f"the values of `{near.name}`", "permutation"
    if one.values.shape == two.values.shape:
        ratio = factor(one.values.astype(np.float64), two.values.astype(np.float64))
        if ratio is not None:
            return f"values times {factor_text(1.0 / ratio)}", ""
    return "", ""


def _orders(array: np.ndarray, gates: str | None) -> Iterator[tuple[str, str, np.ndarray]]:
    if array.ndim == 2:
        yield "transposed", "transposed", array.T
    elif array.ndim > 2:
        for axes in permutations(range(array.ndim)):
            yield f"axes in the order {axes}", "transposed", array.transpose(axes)
    if not array.ndim:
        return
    sizes = (len(gates),) if gates else tuple(BLOCKS)
    for count in sizes:
        if array.shape[0] % count or array.shape[0] < count:
            continue
        blocks = np.split(array, count)
        letters = gates or BLOCKS[count]
        for order in permutations(range(count)):
            what = "gates" if gates else "blocks of rows"
            text = f"{what} in the order {' '.join(letters[at] for at in order)}, not {' '.join(letters)},"
            yield text, "gates", np.concatenate([blocks[at] for at in order])
    rows = array.shape[0]
    for shift in (1, -1):
        yield f"rows are shifted by {shift}", "", np.roll(array, shift, 0)
    yield "rows are reversed", "", array[::-1]
    for heads in range(2, rows // 3 + 1) if rows % 3 == 0 else ():
        if (rows // 3) % heads == 0:
            parts = array.reshape(3, heads, rows // 3 // heads, *array.shape[1:])
            text = f"q, k and v of each of {heads} heads together"
            yield text, "", parts.swapaxes(0, 1).reshape(array.shape)
