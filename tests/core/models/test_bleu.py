"""BLEU against values of sacrebleu, and d2l's sentence score against the values that the book prints."""

from __future__ import annotations

import numpy as np
import pytest

from core.models.heads.bleu import STATISTICS, bleu_counts, corpus_bleu, sentence_score

SACREBLEU = [
    (
        [
            ("the cat sat on the mat .", "the cat sat on a mat ."),
            ("hello world", "hello there world"),
            ("a b c d e f", "a b c d e f g h"),
        ],
        0.5883466523431031,
    ),
    ([("a b x d e f", "a b c d e f")], 0.3799178428257963),
    ([("a x c y e z", "a b c d e f")], 0.10682175159905853),
]
"""Corpora, predictions first, with `corpus_bleu(...).score / 100` of sacrebleu 2.6.0, `tokenize="none"`."""


def counts(pairs) -> np.ndarray:
    return sum(bleu_counts(predicted.split(), label.split()) for predicted, label in pairs)


@pytest.mark.parametrize(("pairs", "wanted"), SACREBLEU)
def test_corpus_bleu_equals_sacrebleu(pairs, wanted):
    assert corpus_bleu(counts(pairs)) == pytest.approx(wanted, abs=1e-14)


def test_corpus_bleu_equals_an_installed_sacrebleu(rng):
    sacrebleu = pytest.importorskip("sacrebleu")
    for _ in range(20):
        labels = [rng.integers(0, 4, rng.integers(1, 12)) for _ in range(3)]
        predicted = [np.where(rng.random(len(own)) < 0.7, own, 9)[: rng.integers(0, len(own) + 1)] for own in labels]
        strings = [[" ".join(map(str, row)) for row in side] for side in (predicted, labels)]
        wanted = sacrebleu.corpus_bleu(strings[0], [strings[1]], tokenize="none").score / 100
        assert corpus_bleu(counts(zip(*strings, strict=True))) == pytest.approx(wanted, abs=1e-14)


def test_corpus_bleu_at_its_ends():
    assert corpus_bleu(counts([("a b c d", "a b c d")])) == 1.0
    assert corpus_bleu(counts([("", "a b c d")])) == 0.0
    assert corpus_bleu(counts([("a b c", "a b c")])) == 0.0  # no 4-gram
    assert corpus_bleu(np.zeros(STATISTICS, np.int64)) == 0.0
    assert counts([("a a a", "a b a")]).tolist() == [2, 0, 0, 0, 3, 2, 1, 0, 3, 3]


@pytest.mark.parametrize(
    ("predicted", "label", "printed"),
    [
        ("va !", "va !", 1.0),
        ("j'ai perdu .", "j'ai perdu .", 1.0),
        ("il est riche .", "il est calme .", 0.658),
        ("je suis <unk> .", "je suis chez moi .", 0.512),
    ],
)
def test_sentence_score_of_d2l(predicted, label, printed):
    assert sentence_score(predicted.split(), label.split()) == pytest.approx(printed, abs=5e-4)


def test_sentence_score_of_short_predictions():
    assert sentence_score([], ["a"]) == 0.0
    assert sentence_score(["a"], ["a"]) == 1.0
    assert sentence_score(["a"], ["a", "b"]) == pytest.approx(np.exp(-1.0))
