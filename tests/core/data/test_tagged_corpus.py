"""Tagged sentences as data sets: words as characters, splits, duplicates, long sentences, baselines."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from core.data.sources.tagged import open_tagged
from core.data.tagged_corpus import prepare_tagged, read_corpus
from core.data.tagged_text import encode_sentence, form, pieces, word_tags
from core.data.tagging_baselines import by_start, maximum_match, most_frequent_tags
from core.errors import UserError
from core.spec.data import Tagged
from core.spec.experiment import Experiment, replace
from core.spec.text import Text
from tests.conftest import one_line

WORDS = ["我", "爱", "北京", "天安门", "社会主义", "的", "。", "，"]


def make_lines(rng: np.random.Generator, rows: int) -> list[list[str]]:
    """Random sentences of words; the first has one."""
    return [list(rng.choice(WORDS, size)) for size in [1, *rng.integers(2, 12, rows - 1)]]


def write(path, lines: list[list[str]], tag: str = "x") -> str:
    path.write_text("\n".join(" ".join(f"{word}/{tag}{len(word)}" for word in own) for own in lines), encoding="utf-8")
    return str(path)


def prepared(data: Tagged, **text):
    own = Text(tokenizer="letters" if data.labels == "boundaries" else "whitespace", **text)
    return prepare_tagged(read_corpus(open_tagged(data), own), data, own)


def sentences_of(found, dataset) -> list[tuple[list[str], list[str]]]:
    """Return tokens and tags of every row."""
    tags = dataset.targets["tags"]
    return [
        (
            [found.vocabulary.tokens[number] for number in dataset.tokens[start:end]],
            [found.classes[number] for number in tags.values[start:end]],
        )
        for start, end in pairwise(dataset.offsets)
    ]


def test_words_become_characters_with_their_place(tmp_path, rng):
    lines = make_lines(rng, 40)
    found = prepared(Tagged(source=write(tmp_path / "a.txt", lines), labels="boundaries", duplicates="keep"))
    assert found.classes == ["B", "M", "E", "S"]
    assert len(found.train) + len(found.dev) + len(found.test) == 40
    for dataset in (found.train, found.dev, found.test):
        assert np.array_equal(dataset.targets["tags"].offsets, dataset.offsets)
        for (tokens, tags), name in zip(sentences_of(found, dataset), dataset.names, strict=True):
            line = lines[int(name.rpartition("/")[2]) - 1]
            assert "".join(tokens).replace("<unk>", "?") == "".join(line) or "<unk>" in tokens
            assert tags == [tag for word in line for tag in word_tags(len(word))]
    assert [word_tags(size) for size in (1, 2, 4)] == [("S",), ("B", "E"), ("B", "M", "M", "E")]


def test_given_tags_of_words(tmp_path, rng):
    lines = make_lines(rng, 40)
    found = prepared(Tagged(source=write(tmp_path / "a.txt", lines), duplicates="keep"))
    assert found.classes == sorted({f"x{len(word)}" for line in lines for word in line})
    for tokens, tags in sentences_of(found, found.train):
        assert tags == [f"x{len(word)}" for word in tokens]
    assert found.summary["train"]["per_class"] == np.bincount(found.train.targets["tags"].values).tolist()


def test_equal_sentences_are_kept_once(tmp_path, rng):
    lines = make_lines(rng, 30)
    found = prepared(Tagged(source=write(tmp_path / "a.txt", lines * 2)))
    different = len({tuple(own) for own in lines})
    assert len(found.train) + len(found.dev) + len(found.test) == different
    assert found.summary["left_out"] == {"duplicate": 60 - different}


def test_a_long_sentence_is_divided_without_losing_a_tag(tmp_path, rng):
    lines = [*make_lines(rng, 30), ["社会主义"] * 9 + ["。"] + ["北京"] * 15]
    data = Tagged(source=write(tmp_path / "a.txt", lines), labels="boundaries", split_seed=int(rng.integers(100)))
    whole, divided = prepared(data), prepared(data, max_length=24)
    for split in ("train", "dev", "test"):
        one, other = getattr(whole, split), getattr(divided, split)
        assert np.array_equal(one.tokens, other.tokens)
        assert np.array_equal(one.targets["tags"].values, other.targets["tags"].values)
        assert other.lengths.max() <= 24
    assert sum(divided.summary[split]["divided"] for split in ("train", "dev", "test")) >= 1


def test_pieces_end_after_punctuation_or_at_the_limit():
    assert pieces("ab。cd。e", 3) == [3, 6, 7]
    assert pieces("abcdefg", 3) == [3, 6, 7]
    assert pieces("a。bcdefg", 4) == [4, 8], "a break in the first half would give short pieces"
    assert pieces("abc", 3) == [3] and pieces("abc", 1) == [1, 2, 3]


def test_a_tag_that_training_lacks(tmp_path, rng):
    train = write(tmp_path / "a.txt", make_lines(rng, 20))
    test = tmp_path / "b.txt"
    test.write_text("我/x1 爱/x1\n\n的/x1 新/odd\n", encoding="utf-8")
    with pytest.raises(UserError) as error:
        prepared(Tagged(source=train, test=str(test)))
    assert "line 3" in one_line(error) and "'odd' does not occur in the training split" in one_line(error)


def test_too_little_data(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("我/r 爱/v\n我/r 的/u\n", encoding="utf-8")
    with pytest.raises(UserError) as error:
        prepared(Tagged(source=str(path)))
    assert "split has no sentence" in one_line(error)
    path.write_text("".join(f"我/r {own}/r\n" for own in "abcdefghij"), encoding="utf-8")
    with pytest.raises(UserError) as error:
        prepared(Tagged(source=str(path)))
    assert "all tokens have the tag 'r'" in one_line(error)


def test_impossible_sequences_are_counted(tmp_path):
    path = tmp_path / "a.conll"
    good, bad = "我 S\n们 S\n", "我 B\n{} S\n"
    sentences = [good.replace("们", own) for own in "abcdefgh"] + [bad.format(own) for own in "ijk"]
    path.write_text("\n".join(sentences), encoding="utf-8")
    assert prepared(Tagged(source=str(path))).summary["impossible"] == 3


def test_forms_of_tokens():
    text = Text(half_width=True, lowercase=True)
    assert [form(own, text) for own in ("Ａ", "１", "，", "é", "中")] == ["a", "1", ",", "é", "中"]
    assert form("Ａ", Text(lowercase=False)) == "Ａ"


def test_encode_sentence(tmp_path, rng):
    found = prepared(Tagged(source=write(tmp_path / "a.txt", make_lines(rng, 40)), labels="boundaries"))
    letters, words = Text(tokenizer="letters", max_length=4), Text(tokenizer="whitespace")
    own = encode_sentence(" 我爱 北京x", found.vocabulary, letters, "text 1")
    assert own.tokens == list("我爱北京x") and own.unknown.tolist() == [False] * 4 + [True]
    assert np.flatnonzero(own.spaced).tolist() == [0, 2] and own.ends == [4, 5]
    with pytest.raises(UserError, match="only white space"):
        encode_sentence(" \u3000", found.vocabulary, letters, "text 1")
    assert encode_sentence("我 爱 北京", found.vocabulary, words, "text 1").tokens == ["我", "爱", "北京"]


def test_the_tokenizer_must_give_the_tokens_of_the_data():
    with pytest.raises(UserError) as error:
        replace(Experiment(), {"data": {"kind": "tagged", "labels": "boundaries"}, "text.tokenizer": "words"})
    assert "text.tokenizer letters" in one_line(error)


def test_baselines_by_hand():
    words = by_start({(1, 2), (1, 2, 3), (4,), (3, 4)})
    assert maximum_match([1, 2, 3, 4, 1, 2, 9], words) == [3, 1, 2, 1]
    tags, other = most_frequent_tags(np.array([1, 1, 1, 2, 2, 3]), np.array([5, 4, 5, 4, 0, 4]))
    assert tags == {1: 5, 2: 0, 3: 4} and other == 4


def test_baseline_of_words_that_are_all_known(tmp_path, rng):
    """The words share no beginning, so the longest match finds all of them."""
    found = prepared(Tagged(source=write(tmp_path / "a.txt", make_lines(rng, 200)), labels="boundaries"))
    assert found.summary["baseline"]["test"]["f1"] == 1.0
    found = prepared(Tagged(source=write(tmp_path / "b.txt", make_lines(rng, 200))))
    assert found.summary["baseline"]["dev"] == {"accuracy": 1.0}
