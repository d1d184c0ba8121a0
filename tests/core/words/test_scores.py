"""Scores of word vectors on pairs and on questions of analogy (`similarity.py`, `analogies.py`, `score_files.py`)."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.words import analogies
from core.words.analogies import SectionScore, score_questions, summaries
from core.words.caseless import CaselessRows
from core.words.score_files import Pair, Question, read_pairs, read_questions
from core.words.similarity import ranks, score_pairs, spearman
from core.words.vector_table import VectorTable
from tests.conftest import one_line


def test_ranks_by_their_formula(rng):
    values = rng.integers(0, 8, 50).astype(np.float64)
    expected = [1 + (values < own).sum() + ((values == own).sum() - 1) / 2 for own in values]
    assert ranks(values).tolist() == expected


def test_spearman_of_ties_is_that_of_scipy():
    """scipy.stats.spearmanr of SciPy 1.17.1 gives the constant."""
    people = [6.77, 7.35, 10.0, 7.46, 7.62, 7.58, 5.77, 6.31, 7.5, 6.77, 0.23, 7.35]
    cosines = [0.31, 0.52, 1.0, 0.52, 0.48, 0.71, 0.11, 0.31, 0.66, 0.31, -0.2, 0.05]
    assert spearman(np.array(people), np.array(cosines)) == pytest.approx(0.8301001972815939, abs=1e-14)


def test_spearman_depends_on_the_order_alone(rng):
    x, y = rng.normal(size=(2, 30))
    assert spearman(x, np.exp(x)) == pytest.approx(1.0) and spearman(x, -(x**3)) == pytest.approx(-1.0)
    assert spearman(x, y) == pytest.approx(spearman(np.exp(x), y * 7 + 1))
    assert spearman(x, np.ones(30)) is None and spearman(x[:1], y[:1]) is None


def test_pairs_are_found_without_regard_to_case(rng):
    words = ["Cat", "dog", "cat", "zero", "TREE"]
    values = rng.normal(size=(5, 4)).astype(np.float32)
    values[3] = 0.0
    rows = CaselessRows(VectorTable("v", words, values))
    assert (rows.row("CAT"), rows.row("Dog"), rows.row("zero"), rows.row("fox")) == (0, 1, None, None)
    pairs = [Pair("cat", "Dog", 3.0), Pair("tree", "dog", 1.0), Pair("tree", "cat", 2.0)]
    lost = [Pair("zero", "dog", 9.0), Pair("dog", "fox", 9.0)]
    score = score_pairs(rows, [*pairs, *lost])
    cosines = [
        float(values[a] @ values[b] / np.linalg.norm(values[a]) / np.linalg.norm(values[b]))
        for a, b in ((0, 1), (4, 1), (4, 0))
    ]
    assert (score.used, score.total) == (3, 5)
    assert score.spearman == pytest.approx(np.corrcoef(ranks(np.array(cosines)), [3, 1, 2])[0, 1])
    assert score_pairs(rows, lost).spearman is None and score_pairs(rows, lost).used == 0


def by_definition(table: VectorTable, question: Question) -> str:
    """The nearest word to b - a + c, without the spellings of a, b and c; in upper case."""
    values = table.values.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1)
    first = {word.upper(): row for row, word in reversed(list(enumerate(table.words))) if lengths[row]}
    a, b, c = (
        values[first[word.upper()]] / lengths[first[word.upper()]] for word in (question.a, question.b, question.c)
    )
    given = {question.a.upper(), question.b.upper(), question.c.upper()}
    rows = [row for row, word in enumerate(table.words) if lengths[row] and word.upper() not in given]
    best = max(rows, key=lambda row: float(values[row] @ (b - a + c)) / lengths[row])
    return table.words[best].upper()


@pytest.mark.parametrize("block", [1, 7, 256])
def test_questions_by_definition(rng, monkeypatch, block):
    """Words of several spellings, vectors of zeros and of unequal lengths, questions in several blocks."""
    monkeypatch.setattr(analogies, "BLOCK", block)
    words = [f"w{number}" for number in range(12)] + [f"W{number}" for number in range(0, 12, 3)] + ["zero"]
    values = (rng.normal(size=(17, 5)) * rng.uniform(0.1, 9.0, (17, 1))).astype(np.float32)
    values[-1] = 0.0
    shuffled = rng.permutation(17)
    table = VectorTable("v", [words[row] for row in shuffled], values[shuffled])
    draws = [Question(*rng.choice(words[:12], 4)) for _ in range(90)]
    # Half of the questions have the right answer, in another case.
    draws = [
        Question(one.a, one.b, one.c, by_definition(table, one).swapcase()) if number % 2 else one
        for number, one in enumerate(draws)
    ]
    sections = {"first": draws[:11], "none": [], "gram-rest": draws[11:], "lost": [Question("zero", "w1", "w2", "w3")]}
    sections["first"] = [*sections["first"], Question("w1", "W2", "w3", "fox")]
    seen = []
    scores = score_questions(CaselessRows(table), sections, lambda *given: seen.append(given))
    right = [by_definition(table, one) == one.expected.upper() for one in draws]
    assert scores == [
        SectionScore("first", sum(right[:11]), 11, 12),
        SectionScore("none", 0, 0, 0),
        SectionScore("gram-rest", sum(right[11:]), 79, 79),
        SectionScore("lost", 0, 0, 1),
    ]
    assert sum(right) >= 45 and not all(right)
    assert seen[-1] == (90, 90) and len(seen) == -(-90 // block)


def test_a_vector_of_zeros_is_no_answer():
    """Even if all other words point the other way."""
    values = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.0, 0.0], [-1.0, 0.0], [-1.0, 0.9]], dtype=np.float32)
    rows = CaselessRows(VectorTable("v", ["a", "b", "c", "zero", "far", "near"], values))
    (score,) = score_questions(rows, {"s": [Question("a", "b", "c", "near")]})
    assert score.right == 1


def test_summaries():
    sections = [SectionScore("family", 2, 4, 9), SectionScore("gram1", 1, 6, 6), SectionScore("capitals", 1, 1, 2)]
    semantic, syntactic, overall = summaries(sections)
    assert semantic == SectionScore("semantic", 3, 5, 11) and syntactic == SectionScore("syntactic", 1, 6, 6)
    assert overall == SectionScore("all", 4, 11, 17) and overall.accuracy == 4 / 11
    assert summaries(sections[:1]) == [SectionScore("all", 2, 4, 9)]
    assert SectionScore("x", 0, 0, 3).accuracy is None


def test_files_of_both_layouts(tmp_path):
    pairs, questions = tmp_path / "pairs.tsv", tmp_path / "questions.txt"
    pairs.write_bytes(
        "\ufeff# a comment\n# Word 1\tWord 2\tHuman (mean)\nlove\tsex\t6.77\r\n\nnew york\told\t.5\n".encode()
    )
    assert read_pairs(pairs) == [Pair("love", "sex", 6.77), Pair("new york", "old", 0.5)]
    questions.write_text(": capitals\nAthens Greece Oslo Norway\n\n: gram1\n: family\nboy girl son daughter\n")
    assert read_questions(questions) == {
        "capitals": [Question("Athens", "Greece", "Oslo", "Norway")],
        "gram1": [],
        "family": [Question("boy", "girl", "son", "daughter")],
    }


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (read_pairs, b"", "no pairs of words"),
        (read_pairs, b"# only\n# comments\n", "no pairs of words"),
        (
            read_pairs,
            b"love\tsex\t6.77\nWord 1,Word 2,Human\n",
            "line 2: got 'Word 1,Word 2,Human', expected a word, a tab",
        ),
        (read_pairs, b"word1\tword2\tPOS\tSimLex999\n", "line 1: got"),
        (read_pairs, b"a\tb\tnan\n", "line 1: got"),
        (read_pairs, b"a\t\t1\n", "line 1: got"),
        (read_pairs, b": capitals\nAthens Greece Oslo Norway\n", "line 1: got ': capitals'"),
        (read_pairs, b"caf\xe9\tb\t1\n", "not UTF-8 at byte 3"),
        (read_questions, b"", "no questions"),
        (read_questions, b": a\n: b\n", "no questions"),
        (read_questions, b"a b c d\n", "line 1: got 'a b c d', expected four words, or a line `: SECTION`"),
        (read_questions, b": a\na b c d\na b c\n", "line 3: got 'a b c'"),
        (read_questions, b"love\tsex\t6.77\n", "line 1: got 'love sex 6.77'"),
    ],
)
def test_other_files_are_refused(tmp_path, read, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(path)
    assert one_line(error).startswith(f"{path}: ") and said in str(error.value)


@pytest.mark.parametrize("read", [read_pairs, read_questions])
def test_missing_files_are_refused(tmp_path, read):
    for path, said in ((tmp_path, "a folder"), (tmp_path / "none", "no such file")):
        with pytest.raises(UserError, match=said):
            read(path)
