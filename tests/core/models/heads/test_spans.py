"""Spans of tags: words, entities by the rules of conlleval and seqeval, F1, impossible sequences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from core.models.heads.spans import find_spans, impossible_steps, scheme_of, score_spans

ENTITIES = ["O", *(f"{role}-{kind}" for role in "BIES" for kind in ("LOC", "PER"))]


def spans_of(sentences: list[str], classes: list[str]) -> list[list[tuple[int, int, str]]]:
    """Return first, end and type of the spans of each sentence, a string of tags."""
    split = [sentence.split() for sentence in sentences]
    offsets = np.concatenate(([0], np.cumsum([len(tags) for tags in split])))
    tags = np.array([classes.index(tag) for sentence in split for tag in sentence])
    scheme = scheme_of(classes)
    found = find_spans(tags, offsets, scheme)
    return [
        [
            (int(start - first), int(end - first), scheme.names[kind])
            for start, end, kind in zip(found.starts, found.ends, found.types, strict=True)
            if first <= start < last
        ]
        for first, last in pairwise(offsets)
    ]


@pytest.mark.parametrize(
    "classes, words",
    [("BMES", True), (["B", "I"], True), (["O", "B-PER", "I-PER"], False), (["B-X", "M-X", "E-X", "S-X"], False)],
)
def test_scheme_of_tags_that_mark_spans(classes, words):
    assert scheme_of(list(classes)).words == words


@pytest.mark.parametrize("classes", [["n", "v", "w"], ["O"], ["B-X", "noun", "O"], ["M", "E"], ["b-PER", "O"]])
def test_scheme_of_other_tags_is_none(classes):
    assert scheme_of(classes) is None


def test_words_cover_a_sentence_whatever_the_tags():
    found = spans_of(["B E S B M E", "M M", "E E B", "S"], list("BMES"))
    assert [[span[:2] for span in own] for own in found] == [
        [(0, 2), (2, 3), (3, 6)],
        [(0, 2)],
        [(0, 1), (1, 2), (2, 3)],
        [(0, 1)],
    ]


RECORDED = {
    "O B-PER I-PER O": [(1, 3, "PER")],
    "B-PER B-PER I-LOC": [(0, 1, "PER"), (1, 2, "PER"), (2, 3, "LOC")],
    "I-PER I-PER E-PER I-PER": [(0, 3, "PER"), (3, 4, "PER")],
    "S-LOC I-LOC E-LOC E-LOC": [(0, 1, "LOC"), (1, 3, "LOC"), (3, 4, "LOC")],
    "I-LOC B-PER E-LOC O I-LOC": [(0, 1, "LOC"), (1, 2, "PER"), (2, 3, "LOC"), (4, 5, "LOC")],
    "S-PER S-PER O E-LOC": [(0, 1, "PER"), (1, 2, "PER"), (3, 4, "LOC")],
}
"""Entities of valid and invalid sequences, as `seqeval` 1.2.2 finds them."""


def test_entities_equal_those_that_seqeval_found():
    """The sentences are one batch: no entity continues into the next sentence."""
    assert spans_of(list(RECORDED), ENTITIES) == list(RECORDED.values())


def test_scores_equal_those_of_seqeval(rng):
    """Random sequences, most of them invalid, of unequal lengths."""
    metrics = pytest.importorskip("seqeval.metrics", exc_type=ImportError)
    lengths = [1, 1, *rng.integers(1, 12, 60).tolist()]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    true, predicted = (rng.integers(0, len(ENTITIES), offsets[-1]) for _ in range(2))
    predicted = np.where(rng.random(len(true)) < 0.6, true, predicted)
    scheme = scheme_of(ENTITIES)
    scores = score_spans(*(find_spans(tags, offsets, scheme) for tags in (true, predicted)), scheme)
    theirs = [
        [[ENTITIES[tag] for tag in tags[start:end]] for start, end in pairwise(offsets)] for tags in (true, predicted)
    ]
    assert 0.0 < scores.f1 < 1.0
    wanted = metrics.precision_score(*theirs), metrics.recall_score(*theirs), metrics.f1_score(*theirs)
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx(wanted, abs=1e-15)
    report = metrics.classification_report(*theirs, output_dict=True)
    for name, own in scores.by_type().items():
        assert own["f1"] == pytest.approx(report[name]["f1-score"], abs=1e-15)
        assert own["count"] == report[name]["support"]


def test_word_scores_by_hand():
    """Of three true words, the prediction has the first and joins the others."""
    classes, offsets = list("BMES"), np.array([0, 4])
    scheme = scheme_of(classes)
    true, predicted = (np.array([classes.index(tag) for tag in tags]) for tags in ("BESS", "BEBE"))
    scores = score_spans(*(find_spans(tags, offsets, scheme) for tags in (true, predicted)), scheme)
    assert (scores.precision, scores.recall, scores.f1) == (1 / 2, 1 / 3, 2 / 5)


@pytest.mark.parametrize(
    "tags, places",
    [
        ("B E S B M E", []),
        ("E S", [0]),
        ("B S", [1]),
        ("B M", [1]),
        ("S M E", [1]),
        ("B B E", [1]),
        ("B", [0]),
    ],
)
def test_impossible_steps_of_words(tags, places):
    classes, own = list("BMES"), tags.split()
    found = impossible_steps(np.array([classes.index(tag) for tag in own]), np.array([0, len(own)]), classes)
    assert np.flatnonzero(found).tolist() == places


def test_impossible_steps_of_entities():
    classes = ENTITIES
    own = ["B-PER", "E-LOC", "O", "B-PER", "I-PER", "E-PER", "O", "I-LOC"]
    found = impossible_steps(np.array([classes.index(tag) for tag in own]), np.array([0, 8]), classes)
    assert np.flatnonzero(found).tolist() == [1, 7]
    bio = ["O", "B-PER", "I-PER"]
    assert not impossible_steps(np.array([2, 0, 2, 2]), np.array([0, 4]), bio).any(), "BIO has no impossible sequence"
