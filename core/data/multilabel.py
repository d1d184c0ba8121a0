"""Data with several labels per text: sets of labels as classes, their strata for splits, checks, and targets.

A corpus numbers the different sets of labels, as it numbers the classes of other texts, so duplicates with other labels
are found by these numbers. `with_targets` replaces them by a 0 or 1 for every label.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.data.class_checks import NAME, PARTS, Labeled
from core.data.dataset import Dataset, Prepared
from core.data.ngrams.texts import LabeledTexts
from core.data.splits import CODES
from core.errors import UserError
from core.label_sets import from_set
from core.models.heads.multilabel import LABELS
from core.strings import in_order, shorten


def has_label_sets(data: object) -> bool:
    """Return whether the classes of a source of texts are sets of labels."""
    return bool(getattr(data, "multi_label", False))


def members_of(sets: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the names of all labels in order, and [sets, C] int64: 1 for a label of a set, 0 for others."""
    found = [from_set(own) for own in sets]
    names = in_order({label for labels in found for label in labels})
    places = {name: place for place, name in enumerate(names)}
    members = np.zeros((len(sets), len(names)), np.int64)
    for row, labels in enumerate(found):
        members[row, [places[label] for label in labels]] = 1
    return names, members


def strata_of(numbers: np.ndarray, sets: Sequence[str]) -> np.ndarray:
    """Return the strata [N] by which texts with sets `numbers` [N] are split: the rarest label of each text.

    It is the first of several; texts without a label have one stratum. Strata of whole sets would be too small, as most
    sets of many labels occur once.
    """
    _, members = members_of(sets)
    counts = np.bincount(numbers, minlength=len(sets)) @ members
    # A label that a set does not have is more frequent than any other.
    by_label = np.where(members > 0, counts, len(numbers) + 1)
    none = np.full((len(sets), 1), len(numbers))
    return np.concatenate([by_label, none], axis=1).argmin(axis=1)[numbers]


def check_label_sets(corpus: Labeled, rows: dict[str, np.ndarray], data: Any) -> None:
    """Check the `rows` of train, dev and test. Dev and test may lack a label.

    Raises UserError: fewer than two labels, more labels than texts, the same labels in all texts, a split without
    texts, a label that train lacks.
    """
    names, members = members_of(corpus.classes)
    where = f"{data.source}: "
    shown = [repr(shorten(name, NAME)) for name in names]
    if not len(rows["train"]):
        raise UserError(
            f"{where}no text remains for training: all are also in the dev or test split, or have conflicting labels:"
            f" set `data.duplicates` keep, or add texts"
        )
    texts = sum(map(len, rows.values()))
    if len(names) < 2:
        only = f"the only label is {shown[0]}" if names else "no text has a label"
        raise UserError(f"{where}{only}, expected at least two labels: add labels, or name another `data.label_column`")
    if len(names) > texts:
        raise UserError(
            f"{where}{len(names):,} labels in {texts:,} texts, such as {shown[0]}: name another `data.label_column`, or"
            f" its `data.label_separator`"
        )
    if len(corpus.classes) == 1:
        raise UserError(f"{where}all texts have the same {len(names)} labels: add texts without some of them")
    present = {part: members[corpus.labels[rows[part]]].sum(axis=0) for part in PARTS}
    for part in PARTS:
        missing = np.flatnonzero((present["train"] == 0) & (present[part] > 0))
        if (corpus.splits == CODES[part]).any() and len(missing):
            text = next(row for row in rows[part] if members[corpus.labels[row], missing[0]])
            row = corpus.names[text].rpartition("/")[2]
            raise UserError(
                f"{getattr(data, part)}: row {row}: label {shown[missing[0]]} does not occur in the training split:"
                f" correct it, or add training texts with that label"
            )
    missing = np.flatnonzero(present["train"] == 0)
    if len(missing):
        others = f" (and none with {len(missing) - 1:,} other labels)" if len(missing) > 1 else ""
        raise UserError(
            f"{where}the train split has no text with label {shown[missing[0]]}{others}: add such texts, set another"
            f" `data.split_seed`, or raise `data.train_limit`"
        )
    for part in PARTS:
        if not len(rows[part]):
            raise UserError(f"{where}the {part} split has no text, as every label has fewer than three: add texts")


def with_targets(prepared: Prepared, data: object) -> Prepared:
    """Return prepared data with a 0 or 1 for every label as targets, `labels` [N, C] int64.

    A text of data with one label each has that label alone.
    """
    names, members = list(prepared.classes), np.eye(len(prepared.classes), dtype=np.int64)
    if has_label_sets(data):
        names, members = members_of(prepared.classes)
    sets, summary = {}, dict(prepared.summary)
    for part in PARTS:
        own = prepared.split(part)
        sets[part] = _with_targets(own, names, members)
        labels = sets[part].targets[LABELS]
        counts = {"per_class": np.sum(labels, axis=0).tolist(), "unlabeled": int((np.sum(labels, axis=1) == 0).sum())}
        summary[part] = {**summary[part], **counts}
    whole = prepared.whole
    assert whole is not None, "the data are labeled texts"

    def texts(part: str) -> LabeledTexts:
        own = whole(part)
        return dataclasses.replace(own, labels=members[own.labels], classes=len(names))

    return dataclasses.replace(prepared, **sets, classes=names, summary=summary, whole=texts)


def _with_targets(dataset: Dataset, names: list[str], members: np.ndarray) -> Dataset:
    return dataclasses.replace(dataset, targets={LABELS: members[dataset.labels]}, classes=tuple(names))
