"""Pairs: the generated tasks, files, splits by source, and encoding with two vocabularies."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pytest

from core.batch import Ragged
from core.data.sources.pair_generators import BEYOND_EACH, MONTHS, generate, generate_beyond
from core.data.sources.pairs import BEYOND, prepare, read_pairs
from core.errors import UserError
from core.spec.data import Pairs
from core.spec.text import Text
from core.target_sequences import EOS, TARGET, join_tokens
from tests.conftest import one_line

LETTERS = Text(tokenizer="letters", max_length=64)


def test_additions_are_right_and_distinct(rng):
    data = Pairs(source="addition", digits=3, examples=2000, seed=int(rng.integers(1000)))
    keys = set()
    for source, target in generate(data):
        a, b = map(int, source.split("+"))
        assert a + b == int(target) and str(a) + "+" + str(b) == source and max(a, b) < 1000
        keys.add((min(a, b), max(a, b)))
    assert len(keys) == 2000
    assert {len(source.partition("+")[0]) for source, _ in generate(data)} == {1, 2, 3}


def test_reversals_are_right_and_cover_all_lengths(rng):
    data = Pairs(source="reverse", longest=6, beyond=8, examples=1000, seed=int(rng.integers(1000)))
    pairs = generate(data)
    assert all(target == source[::-1] for source, target in pairs)
    assert len({source for source, _ in pairs}) == 1000
    assert {len(source) for source, _ in pairs} == set(range(1, 7))
    longer = generate_beyond(data)
    assert [len(source) for source, _ in longer] == [7] * BEYOND_EACH + [8] * BEYOND_EACH
    assert all(target == source[::-1] for source, target in longer)
    assert generate_beyond(Pairs(source="addition")) == [] == generate_beyond(Pairs(source="reverse", beyond=5))


def test_dates_are_read_back_from_their_notation(rng):
    def parsed(source: str) -> str:
        numbers = [int(own) for own in re.findall(r"\d+", source)]
        if "/" in source:
            month, day, year = numbers
        elif "." in source:
            day, month, year = numbers
        else:
            (month,) = (n + 1 for n, name in enumerate(MONTHS) if name[:3] in source)
            day, year = numbers
        if year < 100:
            year += 1900 if year >= 50 else 2000
        return datetime.date(year, month, day).isoformat()

    pairs = generate(Pairs(source="dates", examples=3000, seed=int(rng.integers(1000))))
    assert all(parsed(source) == target for source, target in pairs)
    assert len({re.sub(r"\w", "x", re.sub(r"[A-Z][a-z]+", "M", source)) for source, _ in pairs}) >= 6


@pytest.mark.parametrize("source", ["addition", "reverse", "dates"])
def test_a_seed_gives_the_same_pairs(source):
    one, other, changed = (generate(Pairs(source=source, examples=200, seed=seed)) for seed in (3, 3, 4))
    assert one == other != changed


def test_more_examples_than_exist_are_refused():
    with pytest.raises(UserError) as error:
        generate(Pairs(source="addition", digits=1, examples=56))
    assert one_line(error).startswith("data.examples 56: only 55 examples differ")
    assert len(generate(Pairs(source="addition", digits=1, examples=55))) == 55


def test_prepared_pairs_are_the_pairs(rng):
    """Decoded with the vocabularies, the three splits are all pairs, none twice, and targets end with EOS."""
    data = Pairs(source="addition", examples=400, dev_share=0.1, test_share=0.2, reverse_source=True)
    prepared, record = prepare(data, LETTERS, 8)
    sets = {"train": prepared.train, "dev": prepared.dev, "test": prepared.test}
    assert {name: len(own) for name, own in sets.items()} == {"train": 280, "dev": 40, "test": 80}
    found = []
    for name, own in sets.items():
        target = own.targets[TARGET]
        assert isinstance(target, Ragged) and (target.values[target.offsets[1:] - 1] == EOS).all()
        for row in range(len(own)):
            ids = own.tokens[own.offsets[row] : own.offsets[row + 1]]
            source = "".join(prepared.vocabulary.tokens[number] for number in ids)[::-1]
            found.append((source, join_tokens(target[row][:-1], own.classes)))
        assert record[name]["documents"] == len(own)
    assert sorted(found) == sorted(generate(data))
    assert prepared.target_vocabulary.tokens[:4] == ["<pad>", "<unk>", "<bos>", "<eos>"]
    assert prepared.classes == [] and prepared.test.classes == tuple(prepared.target_vocabulary.tokens)


def test_reversal_has_a_test_set_of_longer_sequences():
    prepared, record = prepare(Pairs(source="reverse", longest=4, beyond=6, examples=100), LETTERS, 16)
    beyond = prepared.split(BEYOND)
    assert sorted(set(beyond.lengths.tolist())) == [5, 6] and record[BEYOND]["documents"] == len(beyond) == 100
    assert prepared.test.lengths.max() <= 4
    with pytest.raises(UserError) as error:
        prepared.split("other")
    assert "choose one of test, dev, train, beyond" in one_line(error)


def write(path, lines: list[str]):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Pairs(source=str(path), test_share=0.2, dev_share=0.2)


def test_a_file_of_pairs(tmp_path, rng):
    """Pairs with the same source stay in one split; blank lines do not count."""
    words = [f"word{number} and more\tWort{number} und mehr" for number in range(20)]
    lines = [*words, "", "word3 and more\tein anderes", *(f"word{n} and more\tnoch eins" for n in range(6))]
    data = write(tmp_path / "pairs.tsv", lines)
    prepared, record = prepare(data, Text(tokenizer="words"), 8)
    assert record["kind"] == "path" and record["description"] == "pairs in pairs.tsv"
    assert record["fingerprint"].startswith("sha256:")
    split_of = {}
    for split in ("train", "dev", "test"):
        own = prepared.split(split)
        for name in own.names:
            line = lines[int(name.removeprefix("pairs.tsv:")) - 1]
            assert split_of.setdefault(line.partition("\t")[0], split) == split
    assert len(split_of) == 20 and sum(len(prepared.split(own)) for own in ("train", "dev", "test")) == 27
    assert list(split_of.values()).count("test") == 4 == list(split_of.values()).count("dev")
    wanted = [(own.source, own.target) for own in read_pairs(data)[0]]
    assert wanted == [tuple(line.split("\t")) for line in lines if line]
    # Tokens that occur in test alone are UNK.
    known = prepared.target_vocabulary.encode(["und", "nowhere"])
    assert known[0] > EOS and known[1] == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no tab", "line 12: got 0 tabs, expected SOURCE, a tab, TARGET"),
        ("two\ttabs\there", "line 12: got 2 tabs"),
        ("\ttarget", "line 12: its source is empty"),
        ("source\t  ", "line 12: its target is empty"),
        ("source\t,;", "pairs.tsv:12: the words tokenizer finds no tokens in its target"),
        ("source\ta b c d e f g h", "pairs.tsv:12: its target has 8 tokens, expected at most 7"),
    ],
)
def test_a_bad_line_is_named(line, message, tmp_path):
    lines = [f"one {number}\teins {number}" for number in range(11)]
    data = write(tmp_path / "pairs.tsv", [*lines, line])
    with pytest.raises(UserError) as error:
        prepare(data, Text(tokenizer="words"), 8)
    assert message in one_line(error)


def test_few_sources_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(UserError) as error:
        prepare(write(tmp_path / "pairs.tsv", ["a\tb"] * 30), Text(tokenizer="words"), 8)
    assert "got 1 different sources, expected at least 10" in one_line(error)
    with pytest.raises(UserError) as error:
        read_pairs(Pairs(source=str(tmp_path / "none.tsv")))
    assert "none.tsv" in one_line(error)


def test_long_sources_are_truncated(tmp_path):
    lines = [f"{number} {'long ' * 30}\tkurz {number}" for number in range(20)]
    prepared, _ = prepare(write(tmp_path / "pairs.tsv", lines), Text(tokenizer="words", max_length=9), 8)
    assert prepared.train.lengths.max() == 9
    assert np.diff(prepared.train.targets[TARGET].offsets).max() == 3
