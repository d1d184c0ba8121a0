"""Checks of the classes of a data set: which of them its splits lack, and which labels look like one."""

from __future__ import annotations

import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from core.data.splits import CODES
from core.errors import Note, UserError
from core.spec.data import MovieReviews, PairedFiles, Table
from core.strings import shorten

PARTS = ("train", "dev", "test")

NAME = 60
"""Maximum characters of a label in a message."""

SHOWN = 5
"""Maximum number of labels, or of groups of labels, in a message."""

TRUTH = {"false": 0.0, "true": 1.0}


class Labeled(Protocol):
    """The part of a corpus (`core/data/corpus.py`) that is checked."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def splits(self) -> np.ndarray: ...

    @property
    def classes(self) -> list[str]: ...

    @property
    def names(self) -> list[str]: ...


def check_classes(
    corpus: Labeled, rows: dict[str, np.ndarray], data: MovieReviews | PairedFiles | Table, classes: int | None
) -> None:
    """Check the `rows` of train, dev and test.

    Dev and test may lack a class: one with fewer than three texts is in train only. Raises UserError if the number of
    labels is not `classes` (None: at least two), if a split has no text, or if train lacks a label.
    """
    names = [repr(shorten(name, NAME)) for name in corpus.classes]
    present = {part: np.bincount(corpus.labels[rows[part]], minlength=len(names)) for part in PARTS}
    where = f"{data.source}: "
    if not len(rows["train"]):
        raise UserError(
            f"{where}no text remains for training: all are also in the dev or test split, or have conflicting labels:"
            f" set `data.duplicates` keep, or add texts"
        )
    own = {part: bool((corpus.splits == CODES[part]).any()) for part in PARTS}
    for part in PARTS:
        missing = np.flatnonzero((present["train"] == 0) & (present[part] > 0))
        if own[part] and len(missing):
            name = corpus.names[next(row for row in rows[part] if corpus.labels[row] == missing[0])]
            if data.kind == "table":
                name = f"{getattr(data, part)}: row {name.rpartition('/')[2]}"
            raise UserError(
                f"{name}: label {names[missing[0]]} does not occur in the training split: correct it, or add"
                f" training texts with that label"
            )
    if classes is not None and len(names) != classes:
        raise UserError(
            f"the model has {classes} classes, but the data has {len(names)} labels ({', '.join(names)}):"
            f" set head.classes"
        )
    if len(names) == 1:
        raise UserError(
            f"{where}all texts have the label {names[0]}, expected at least two labels: add texts with another label"
        )
    missing = np.flatnonzero(present["train"] == 0)
    if len(missing):
        others = f" (and none with {len(missing) - 1:,} other labels)" if len(missing) > 1 else ""
        advice = "all are in another split or have conflicting labels: correct or remove them"
        if data.train_limit is not None and data.train_limit < len(names):
            advice = f"there are {len(names):,} labels: raise `data.train_limit`"
        raise UserError(f"{where}the train split has no text with label {names[missing[0]]}{others}; {advice}")
    for part in PARTS:
        if not len(rows[part]):
            raise UserError(f"{where}the {part} split has no text, as every label has fewer than three: add texts")


def untested(classes: Sequence[str], per_class: dict[str, Sequence[int]]) -> list[tuple[str, list[str]]]:
    """Return the held-out splits that lack classes of train, and these classes, from the counts by split."""
    found = []
    for part in PARTS[1:]:
        lacking = [
            name
            for name, trained, held_out in zip(classes, per_class["train"], per_class[part], strict=True)
            if trained and not held_out
        ]
        if lacking:
            found.append((part, lacking))
    return found


def note_similar_labels(classes: Sequence[str], counts: Sequence[int]) -> None:
    """Issue a Note for labels that are probably one: they differ in case or spaces only, or are equal numbers."""
    groups = defaultdict(list)
    for name, count in zip(classes, counts, strict=True):
        groups[_key(name)].append(f"{shorten(name, NAME)!r} ({count:,})")
    alike = [", ".join(names) for names in groups.values() if len(names) > 1]
    if alike:
        shown = "; ".join(alike[:SHOWN]) + (f"; and {len(alike) - SHOWN} more groups" if len(alike) > SHOWN else "")
        warnings.warn(
            Note(f"labels that look the same are different classes: {shown}: write them alike if they are one class"),
            stacklevel=2,
        )


def _key(label: str) -> str | float:
    """Return the number of a label, or the label without case and spaces."""
    plain = "".join(unicodedata.normalize("NFKC", label).casefold().split())
    try:
        number = TRUTH.get(plain)
        number = float(plain) if number is None else number
    except ValueError:
        return plain
    return plain if number != number else number
