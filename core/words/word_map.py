"""A two-dimensional map of words: the principal components of their unit vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.words.vector_table import VectorTable


@dataclass(frozen=True)
class WordMap:
    """Coordinates [n, 2] of n words, and the share of their variance along each of the two axes.

    `groups` [n] are numbers of groups of words. `queries` are places of words, and `arrows` pairs of places.
    """

    words: list[str]
    coordinates: np.ndarray
    explained: tuple[float, float]
    groups: list[int]
    queries: set[int]
    arrows: list[tuple[int, int]]


def map_rows(
    table: VectorTable, groups: Mapping[int, int], queries: Iterable[int], arrows: Sequence[tuple[int, int]] = ()
) -> WordMap:
    """Return the map of the rows of `groups`, which gives the group of each; `queries` and `arrows` are rows, too.

    Raises UserError for fewer than two rows, and for a vector of zeros.
    """
    if len(groups) < 2:
        raise UserError("a map needs at least two words: give more words, or neighbors")
    place = {row: number for number, row in enumerate(groups)}
    coordinates, explained = project(table.units(groups))
    return WordMap(
        words=[table.words[row] for row in groups],
        coordinates=coordinates,
        explained=explained,
        groups=list(groups.values()),
        queries={place[row] for row in queries},
        arrows=[(place[start], place[end]) for start, end in arrows],
    )


def project(units: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Project vectors [n, D] on their first two principal components (Pearson 1901), by an SVD.

    Returns coordinates [n, 2] and the share of the variance along each axis. The largest component of an axis is
    positive, so that equal vectors give equal maps.
    """
    centered = units - units.mean(axis=0)
    _, singular, axes = np.linalg.svd(centered, full_matrices=False)
    axes, variances = axes[:2], singular**2
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    coordinates = np.zeros((len(units), 2))
    coordinates[:, : len(axes)] = centered @ (axes * signs[:, None]).T
    total = float(variances.sum())
    shares = [float(own) / total if total else 0.0 for own in variances[:2]] + [0.0]
    return coordinates, (shares[0], shares[1])
