"""The strongest n-grams of a fitted linear model, by class, for people and spreadsheets."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.ngrams.linear import NgramModel
from core.files import as_spreadsheet_text, row_writer, write_text_atomic

KEPT = 1000
"""Number of n-grams in a file."""


@dataclass(frozen=True)
class Strong:
    """An n-gram with its class, weight w * r, and the training texts of each class that have it.

    `counts` is empty for n-grams of characters, which are not counted by class.
    """

    ngram: str
    name: str
    weight: float
    counts: tuple[int, ...]


def strongest(model: NgramModel, classes: list[str], count: int) -> list[Strong]:
    """Return the n-grams with the largest absolute weights, in decreasing order.

    For two classes a positive weight is evidence for the second; an n-gram is listed with the class that it is
    evidence for. For more, one weight per class says for or against it, and only evidence for a class is listed.
    """
    if model.weights.shape[1] == 1:
        column = model.weights[:, 0]
        order = np.argsort(-np.abs(column), kind="stable")[:count]
        return [_strong(model, classes, int(own), int(column[own] > 0), float(abs(column[own]))) for own in order]
    flat = model.weights.reshape(-1)
    order = np.argsort(-flat, kind="stable")[:count]
    found = [(*divmod(int(own), len(classes)), float(flat[own])) for own in order if flat[own] > 0]
    return [_strong(model, classes, number, column, weight) for number, column, weight in found]


def by_class(model: NgramModel, classes: list[str], count: int) -> dict[str, list[Strong]]:
    """Return the `count` strongest n-grams for each class."""
    weights = model.weights
    if weights.shape[1] == 1:
        weights = np.concatenate([-weights, weights], axis=1)
    found = {}
    for number, name in enumerate(classes):
        order = np.argsort(-weights[:, number], kind="stable")[:count]
        chosen = [int(own) for own in order if weights[own, number] > 0]
        found[name] = [_strong(model, classes, own, number, float(weights[own, number])) for own in chosen]
    return found


def write_strongest(path: Path, model: NgramModel, classes: list[str], count: int = KEPT) -> None:
    """Write the strongest n-grams to a CSV file: n-gram, class, weight and texts of each class with it."""
    stream = io.StringIO()
    stream.write("\ufeff")
    write = row_writer(stream)
    rows = [["n-gram", "class", "weight", *(f"texts {name}" for name in classes)]]
    for own in strongest(model, classes, count):
        counts = map(str, own.counts) if own.counts else [""] * len(classes)
        rows.append([own.ngram, own.name, f"{own.weight:.6g}", *counts])
    for row in rows:
        write([as_spreadsheet_text(cell) for cell in row])
    write_text_atomic(path, stream.getvalue())


def _strong(model: NgramModel, classes: list[str], number: int, column: int, weight: float) -> Strong:
    known = number < len(model.counts)
    counts = tuple(int(own) for own in model.counts[number]) if known else ()
    return Strong(model.string(number), classes[column], weight, counts)
