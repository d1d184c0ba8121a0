"""Spans of tag sequences and their F1: words of B M E S tags, entities of BIO, BIOES and BMES tags.

Words cover a sentence: one ends after E or S and before B or S, so every sequence of tags gives a segmentation.
Entities follow the rules of CoNLL's `conlleval`, which `seqeval` uses by default: a change of the type, or an I, E or M
after an O, begins an entity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

WORD_TAGS = ("B", "M", "E", "S")
"""Tags of the characters of a word: begin, middle, end, and single."""

TYPED = re.compile(r"([BIMELSU])-(.+)")

OUTSIDE, BEGIN, INSIDE, END, SINGLE = range(5)
ROLES = {"O": OUTSIDE, "B": BEGIN, "I": INSIDE, "M": INSIDE, "E": END, "L": END, "S": SINGLE, "U": SINGLE}


@dataclass(frozen=True)
class Scheme:
    """How tags mark spans: the role and the type of each tag, both [C], and the names of the types.

    `words` is True if spans are words, which cover a sentence; they have one type.
    """

    roles: np.ndarray
    types: np.ndarray
    names: tuple[str, ...]
    words: bool


def scheme_of(classes: Sequence[str]) -> Scheme | None:
    """Return the scheme of these tags, None if they mark no spans (as those of parts of speech)."""
    if set(classes) <= {"B", "I", *WORD_TAGS} and "B" in classes:
        roles = np.array([ROLES[name] for name in classes])
        return Scheme(roles, np.zeros(len(classes), np.int64), ("word",), words=True)
    typed = [TYPED.fullmatch(name) for name in classes]
    if not any(typed) or any(match is None and name != "O" for match, name in zip(typed, classes, strict=True)):
        return None
    names = tuple(sorted({match[2] for match in typed if match}))
    return Scheme(
        np.array([ROLES[match[1]] if match else OUTSIDE for match in typed]),
        np.array([names.index(match[2]) if match else -1 for match in typed]),
        names,
        words=False,
    )


@dataclass(frozen=True)
class Spans:
    """Spans of concatenated sequences, arrays [S]: first token, end (exclusive) and number of the type."""

    starts: np.ndarray
    ends: np.ndarray
    types: np.ndarray


def find_spans(tags: np.ndarray, offsets: np.ndarray, scheme: Scheme) -> Spans:
    """Return the spans of tags [T], the concatenation of the sequences between `offsets` [N + 1]; none is empty."""
    if len(tags) == 0:
        none = np.zeros(0, np.int64)
        return Spans(none, none, none)
    roles, types = scheme.roles[tags], scheme.types[tags]
    first = np.zeros(len(tags), dtype=bool)
    first[offsets[:-1]] = True
    before = np.concatenate(([OUTSIDE], roles[:-1]))
    type_before = np.concatenate(([-1], types[:-1]))
    opens = np.isin(roles, (BEGIN, SINGLE))
    closed = np.isin(before, (END, SINGLE))
    if scheme.words:
        begins = first | opens | closed
        starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], len(tags))
        return Spans(starts, ends, types[starts])
    inside = roles != OUTSIDE
    begins = inside & (first | opens | closed | (before == OUTSIDE) | (types != type_before))
    starts = np.flatnonzero(begins)
    # A span ends before the next begin, an O, or the next sequence, which is a begin or an O itself.
    stops = np.append(np.flatnonzero(begins | ~inside), len(tags))
    ends = stops[np.searchsorted(stops, starts, side="right")]
    return Spans(starts, ends, types[starts])


@dataclass(frozen=True)
class SpanScores:
    """Numbers of spans by type, arrays [types]: true ones, predicted ones, and those that are both."""

    names: tuple[str, ...]
    true: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray

    @cached_property
    def precision(self) -> float:
        return _ratio(self.correct.sum(), self.predicted.sum())

    @cached_property
    def recall(self) -> float:
        return _ratio(self.correct.sum(), self.true.sum())

    @cached_property
    def f1(self) -> float:
        """F1 over the spans of all types together (micro average)."""
        return _ratio(2 * self.correct.sum(), self.true.sum() + self.predicted.sum())

    def by_type(self) -> dict[str, dict[str, float | int]]:
        """Return precision, recall, F1 and the number of true spans of each type."""
        return {
            name: {
                "precision": _ratio(correct, predicted),
                "recall": _ratio(correct, true),
                "f1": _ratio(2 * correct, true + predicted),
                "count": int(true),
            }
            for name, true, predicted, correct in zip(self.names, self.true, self.predicted, self.correct, strict=True)
        }


def score_spans(true: Spans, predicted: Spans, scheme: Scheme) -> SpanScores:
    """Compare spans: a predicted span is correct if start, end and type are those of a true one."""
    kinds = len(scheme.names)

    def counts(types: np.ndarray) -> np.ndarray:
        return np.bincount(types, minlength=kinds)

    # Spans of one side do not overlap, so a start occurs once and identifies its span.
    _, own, other = np.intersect1d(true.starts, predicted.starts, assume_unique=True, return_indices=True)
    same = (true.ends[own] == predicted.ends[other]) & (true.types[own] == predicted.types[other])
    return SpanScores(scheme.names, counts(true.types), counts(predicted.types), counts(true.types[own[same]]))


def impossible_steps(tags: np.ndarray, offsets: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return [T] bool: tags that cannot follow the tag before them, or begin or end their sequence.

    Only tags with E or S have such rules (BMES, BIOES): a span that B opened must continue to an E of the same type.
    """
    scheme, found = scheme_of(classes), np.zeros(len(tags), dtype=bool)
    if scheme is None or not np.isin((END, SINGLE), scheme.roles).any() or len(tags) == 0:
        return found
    roles, types = scheme.roles[tags], scheme.types[tags]
    first, last = np.zeros(len(tags), dtype=bool), np.zeros(len(tags), dtype=bool)
    first[offsets[:-1]], last[offsets[1:] - 1] = True, True
    is_open = np.isin(roles, (BEGIN, INSIDE))
    open_before = np.concatenate(([False], is_open[:-1])) & ~first
    goes_on = np.isin(roles, (INSIDE, END))
    same_type = np.concatenate(([True], types[1:] == types[:-1]))
    return (open_before != goes_on) | (open_before & goes_on & ~same_type) | (last & is_open)


def _ratio(part: int | np.integer, whole: int | np.integer) -> float:
    return float(part) / float(whole) if whole else 0.0
