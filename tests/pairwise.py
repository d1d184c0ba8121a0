"""Draw pairwise samples: few cases that still contain every pair of values of any two factors.

The sample is drawn anew in every session. `SEQTWIN_SAMPLE=N` repeats one; a session with failures prints its N.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable

import pytest

SAMPLE_VARIABLE = "SEQTWIN_SAMPLE"
# Workers of pytest-xdist inherit the environment, and must collect the same cases.
SAMPLE = int(os.environ.setdefault(SAMPLE_VARIABLE, str(int.from_bytes(os.urandom(4), "little"))))
CANDIDATES = 20


def pairwise_rows(factors: dict[str, Iterable], seed: int = SAMPLE) -> list[tuple]:
    """Return rows with one value per factor that contain every pair of values of any two factors."""
    values = [list(choices) for choices in factors.values()]
    rows = list(itertools.product(*(range(len(choices)) for choices in values)))
    random.Random(f"{seed} {list(factors)} {len(rows)}").shuffle(rows)

    def pairs(row: tuple[int, ...]) -> set:
        return set(itertools.combinations(enumerate(row), 2)) or {row}

    own = {row: pairs(row) for row in rows}
    open_pairs = set().union(*own.values())
    chosen = []
    while open_pairs:
        rows = [row for row in rows if not own[row].isdisjoint(open_pairs)]
        best = max(rows[:CANDIDATES], key=lambda row: len(own[row] & open_pairs))
        open_pairs -= own[best]
        chosen.append(best)
    return [tuple(values[place][index] for place, index in enumerate(row)) for row in sorted(chosen)]


def pairwise(*, indirect: Iterable[str] = (), **factors: Iterable):
    """Parametrize a test with a pairwise sample of the product of `factors`."""
    return pytest.mark.parametrize(tuple(factors), pairwise_rows(factors), indirect=list(indirect))
