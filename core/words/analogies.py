"""Accuracy on questions of analogy, "a is to b as c is to what", by section.

The answer is the word nearest to b - a + c among unit vectors: 3CosAdd (Levy and Goldberg 2014), as in Mikolov, Chen,
Corrado and Dean (2013), Efficient Estimation of Word Representations in Vector Space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from core.words.caseless import CaselessRows
from core.words.score_files import Question

BLOCK = 256
"""Questions per matrix product."""
SYNTACTIC = "gram"
"""Beginning of the names of word2vec's syntactic sections."""


@dataclass(frozen=True)
class SectionScore:
    """Right answers among the `used` of `total` questions of a section; the others have an unknown word."""

    name: str
    right: int
    used: int
    total: int

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None without a question."""
        return self.right / self.used if self.used else None


def summarize(name: str, sections: Iterable[SectionScore]) -> SectionScore:
    """Return the score of several sections together."""
    own = list(sections)
    return SectionScore(name, *(sum(getattr(one, field) for one in own) for field in ("right", "used", "total")))


def summaries(sections: Sequence[SectionScore]) -> list[SectionScore]:
    """Return the scores of the semantic sections, the syntactic ones (named `gram...`) and all of them."""
    syntactic = [section for section in sections if section.name.startswith(SYNTACTIC)]
    semantic = [section for section in sections if section not in syntactic]
    both = [("semantic", semantic), ("syntactic", syntactic)] if syntactic and semantic else []
    return [*(summarize(name, own) for name, own in both), summarize("all", sections)]


def score_questions(
    rows: CaselessRows, sections: dict[str, list[Question]], progress: Callable[[int, int], None] = lambda *_: None
) -> list[SectionScore]:
    """Answer all questions whose four words are in the table.

    An answer is right if it is the expected word without regard to case; the other three words are no answers.
    `progress(done, total)` is called after every block.
    """
    known = {name: _known(rows, questions) for name, questions in sections.items()}
    asked = np.concatenate(list(known.values()))
    right = np.zeros(len(asked), dtype=bool)
    units, absent = _units(rows)
    for start in range(0, len(asked), BLOCK):
        block = slice(start, start + BLOCK)
        right[block] = rows.group[_answers(rows, units, absent, asked[block, :3])] == asked[block, 3]
        progress(min(start + BLOCK, len(asked)), len(asked))
    ends = np.cumsum([len(own) for own in known.values()])
    scores = []
    for (name, own), end in zip(known.items(), ends, strict=True):
        scores.append(SectionScore(name, int(right[end - len(own) : end].sum()), len(own), len(sections[name])))
    return scores


def _known(rows: CaselessRows, questions: Sequence[Question]) -> np.ndarray:
    """Return the rows [Q, 4] int64 of the questions whose words are all in the table."""
    found = [[rows.row(word) for word in (one.a, one.b, one.c, one.expected)] for one in questions]
    return np.array([four for four in found if None not in four], dtype=np.int64).reshape(-1, 4)


def _units(rows: CaselessRows) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors [N, D] float32, and the rows of those that are zero."""
    norms = rows.table.norms
    units = np.asarray(rows.table.values, dtype=np.float32) / np.where(norms > 0, norms, 1.0)[:, None]
    return units.astype(np.float32, copy=False), np.flatnonzero(norms == 0)


def _answers(rows: CaselessRows, units: np.ndarray, absent: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the row [Q] nearest to b - a + c, for the rows a, b, c `given` [Q, 3], without their words."""
    a, b, c = units[given[:, 0]], units[given[:, 1]], units[given[:, 2]]
    scores = (b - a + c) @ units.T  # the length of b - a + c does not change the order
    scores[:, absent] = -np.inf
    np.put_along_axis(scores, given, -np.inf, axis=1)
    if rows.spellings:
        for question, three in enumerate(given.tolist()):
            for row in three:
                if row in rows.spellings:
                    scores[question, rows.spellings[row]] = -np.inf
    return scores.argmax(axis=1)
