"""Parity check of word2vec, rungs 1 and 2: scores, loss and gradients of one model in several backends."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from core.engine.executor import Executor
from core.models.types import Arrays
from core.parity.derivatives import TINY
from core.parity.findings import REFERENCE, Finding, pairs, widest
from core.parity.layers import ENTRYWISE, GRADIENT_LIMIT, LEAST_GRADIENT, OUTPUT_LIMIT, Side, Sides
from core.spec.words import IN, OUT
from core.words import reference
from core.words.engine import WordEngine
from core.words.examples import Examples

CLOSED_FORM = "closed form"
"""The gradients of `core.words.reference.gradients`, where the reference is the complex step."""


def word_engine(side: ModuleType | Side, parameters: Arrays) -> WordEngine:
    """Return the word2vec engine of a side on the CPU."""
    return side.WordEngine(parameters, Executor("cpu", side.implementation))


def compare_scores(parameters: Arrays, examples: Examples, sides: Sides, at: str = "") -> list[Finding]:
    """Compare the scores (rung 1); `at` is appended to the quantity.

    Differences are absolute, or relative to the largest score if that is above 1.
    """
    exact, dtype = _exact(parameters)
    found = {REFERENCE: {"scores": reference.scores(exact, examples)}}
    found |= {name: {"scores": word_engine(side, parameters).scores(examples)} for name, side in sides.items()}
    findings = []
    for one, other in pairs(list(found)):
        figures = widest(found[one], found[other], OUTPUT_LIMIT[dtype], least_scale=1.0)
        findings.append(Finding(1, f"{one} ~ {other}", f"scores{at}", dtype, **figures))
    return findings


def compare_word_gradients(parameters: Arrays, examples: Examples, sides: Sides, at: str = "") -> list[Finding]:
    """Compare the summed loss, and its gradients of both tables (rung 2); `at` is appended to the quantity.

    The reference is the complex step of the reference's losses, entry by entry, for tables of at most `ENTRYWISE`
    numbers; its closed form must equal it. For larger tables the reference is the closed form.
    """
    exact, dtype = _exact(parameters)
    quantity, closed = f"loss and gradients{at}", _named(reference.gradients(exact, examples))
    found, findings = {REFERENCE: closed}, []
    if sum(array.size for array in exact.values()) <= ENTRYWISE:
        loss = float(reference.losses(exact, examples).sum())
        found[REFERENCE] = _named((loss, complex_step_gradients(exact, examples)))
        figures = widest(closed, found[REFERENCE], GRADIENT_LIMIT["float64"])
        findings.append(Finding(2, f"{CLOSED_FORM} ~ {REFERENCE}", quantity, dtype, **figures))
    found |= {name: _named(word_engine(side, parameters).gradients(examples)) for name, side in sides.items()}
    scales = {name: float(np.abs(array).max()) for name, array in found[REFERENCE].items()}
    least = LEAST_GRADIENT * max(scales[IN], scales[OUT])
    for one, other in pairs(list(found)):
        figures = widest(found[one], found[other], GRADIENT_LIMIT[dtype], scales, least)
        findings.append(Finding(2, f"{one} ~ {other}", quantity, dtype, **figures))
    return findings


def complex_step_gradients(arrays: Arrays, examples: Examples) -> Arrays:
    """Return the exact gradients of the summed loss, with one evaluation per entry. `arrays` are float64."""
    values = {name: array.astype(np.complex128) for name, array in arrays.items()}
    found = {name: np.zeros(array.shape) for name, array in arrays.items()}
    for name, array in values.items():
        for index in np.ndindex(array.shape):
            array[index] += 1j * TINY
            found[name][index] = np.imag(reference.losses(values, examples)).sum() / TINY
            array[index] = array[index].real
    return found


def _named(found: tuple[float, Arrays]) -> Arrays:
    return {"loss": np.array(found[0]), **found[1]}


def _exact(parameters: Arrays) -> tuple[Arrays, str]:
    (dtype,) = {str(array.dtype) for array in parameters.values()}
    return {name: array.astype(np.float64) for name, array in parameters.items()}, dtype
