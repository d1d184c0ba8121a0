"""Folds of a cross-validation: every text is in the test split of exactly one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from core.data.class_checks import NAME
from core.data.splits import CODES, token_digests
from core.errors import UserError
from core.rng import generator
from core.spec.data import Folds
from core.strings import shorten


class Divisible(Protocol):
    """The part of a corpus (`core/data/corpus.py`) that folds depend on."""

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def offsets(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def groups(self) -> np.ndarray: ...

    @property
    def classes(self) -> list[str]: ...


def tested_texts(corpus: Divisible, marks: np.ndarray, data: Folds) -> np.ndarray | None:
    """Return whether each text is in the fold `data.fold`, [N] bool; None without a cross-validation.

    `marks` [N] by CODES, others for texts in no split. Texts marked dev are in no fold. Raises UserError for data with
    a test split, or if a class has too few texts.
    """
    if data.folds is None:
        return None
    if (marks == CODES["test"]).any():
        raise UserError(f"`data.folds` {data.folds}: the data has a test split: use data without one")
    rows = np.flatnonzero((marks == CODES[""]) | (marks == CODES["train"]))
    labels = corpus.labels[rows]
    units = units_of(corpus.groups[rows], token_digests(corpus.ids, corpus.offsets)[rows])
    check_folds(labels, units, data.folds, corpus.classes)
    tested = np.zeros(len(marks), dtype=bool)
    tested[rows] = fold_of(labels, units, data.folds, data.split_seed) == data.fold
    return tested


def units_of(groups: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """Return the unit of every text, [N] int64: texts of one unit share a fold.

    `groups` [N]: texts of one group >= 0 are a unit. `digests` [N]: other texts are a unit if theirs are equal.
    """
    _, copies = np.unique(digests, return_inverse=True)
    return np.where(groups >= 0, groups.astype(np.int64), -1 - copies)


def fold_of(labels: np.ndarray, units: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of every text, [N] int64 from 1, a function of the arguments alone.

    Units are shuffled within the class of their first text and dealt to the folds in turn, class after class. Of units
    of one text, two folds differ by at most one text, and so do they for every class.
    """
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    own = labels[first]
    order = [
        members[generator(seed, "folds", int(label)).permutation(len(members))]
        for label in np.unique(own)
        for members in [np.flatnonzero(own == label)]
    ]
    fold = np.empty(len(first), dtype=np.int64)
    fold[np.concatenate(order)] = np.arange(len(first)) % folds + 1
    return fold[unit]


def check_folds(labels: np.ndarray, units: np.ndarray, folds: int, classes: Sequence[str]) -> None:
    """Raise UserError unless every class has a unit for every fold."""
    sizes = np.zeros(len(classes), dtype=np.int64)
    for label in np.unique(labels):
        sizes[label] = len(np.unique(units[labels == label]))
    present = np.flatnonzero(sizes)
    smallest = int(present[sizes[present].argmin()])
    least = int(sizes[smallest])
    if least < folds:
        name = shorten(classes[smallest], NAME)
        fix = f"use `data.folds` {least}" if least > 1 else "remove that class"
        raise UserError(
            f"`data.folds` {folds}: label {name!r} has {least} text{'s' * (least != 1)}, expected at least {folds}:"
            f" {fix}, or add texts"
        )
