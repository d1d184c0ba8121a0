"""Predictions note texts of which half or more of the words are not in the run's vocabulary."""

from __future__ import annotations

import io
import sys

import pytest

import tasks.classify
from core.spec.text import Text
from core.train.run_folder import RunFolder
from tasks.run.unknown_words import UnknownWords
from tests.conftest import ROOT, run_main

RUN = ROOT / "tests/core/train/format1/finished-torch"
NOT_IT = "unknown (not in the run's vocabulary)"


def predict(*argv: object):
    done = run_main(tasks.classify.main, "predict", RUN, *argv)
    assert done.code == 0, done.err
    return done


@pytest.fixture
def words(rng) -> tuple[list[str], list[str]]:
    """Words that the run knows, and words that it does not know."""
    experiment, _ = RunFolder.open(RUN).read_record()
    known = RunFolder.open(RUN).read_vocabulary(experiment.model).tokens[2:]
    return list(rng.choice(known, 9)), [f"x{number}" for number in rng.integers(10**6, 10**7, 9)]


def text_of(words: tuple[list[str], list[str]], known: int, unknown: int, rng) -> str:
    return " ".join(rng.permutation([*words[0][:known], *words[1][:unknown]]))


def test_typed_texts(words, rng):
    """At least half: 3 of 4 and 2 of 4, but not 1 of 3; a single known word is not noted."""
    texts = [text_of(words, known, unknown, rng) for known, unknown in ((1, 3), (2, 2), (2, 1), (1, 0), (0, 1))]
    expected = [f"text 1: 3 of 4 words {NOT_IT}", f"text 2: 2 of 4 words {NOT_IT}", f"text 5: 1 of 1 word {NOT_IT}"]
    for more in ((), ("--explain",)):
        done = predict(*texts, *more)
        assert [line for line in done.err.splitlines() if line] == [f"note: {own}" for own in expected]


def test_a_file_has_one_line(words, rng, tmp_path):
    texts = [text_of(words, *counts, rng) for counts in ((3, 1), (1, 2), (5, 4), (0, 7), (1, 0))]
    path = tmp_path / "n.txt"
    path.write_text("\n".join([*texts, "..."]), encoding="utf-8")
    line = f"note: 2 of 6 texts: half or more of the words {NOT_IT}\n"
    for more in ((), ("--out", tmp_path / "o.csv"), ("--explain",)):
        assert predict("--file", path, *more).err.count(line) == 1
    path.write_text("\n".join(texts[:1]), encoding="utf-8")
    assert predict("--file", path).err == ""


def test_interactive(words, rng, monkeypatch):
    lines = "".join(f"{text_of(words, *counts, rng)}\n" for counts in ((1, 3), (3, 1), (1, 1)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    done = predict("--interactive")
    assert done.out.count("\n") == 3
    assert done.err == f"note: 3 of 4 words {NOT_IT}\nnote: 1 of 2 words {NOT_IT}\n"


@pytest.mark.parametrize(("tokenizer", "unit"), [("words", "words"), ("letters", "characters"), ("jieba", "words")])
def test_units_and_counts(tokenizer, unit, rng):
    found, noted = UnknownWords.of(Text(tokenizer=tokenizer)), 0
    for tokens in rng.integers(0, 9, size=30):
        unknown = int(rng.integers(0, tokens + 1))
        told = found.add(unknown, int(tokens))
        assert bool(told) == (unknown > 0 and 2 * unknown >= tokens)
        assert not told or told.startswith(f"{unknown} of {tokens} {unit[: None if tokens > 1 else -1]} unknown")
        noted += bool(told)
    assert found.describe().startswith(f"{noted} of 30 texts") if noted else found.describe() == ""
    assert found.mostly_unknown == noted
