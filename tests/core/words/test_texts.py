"""The corpus of an experiment: read and tokenized once, then taken from the cache."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.spec.words import TextFiles, WordExperiment, replace_words
from core.words import texts
from core.words.texts import load_corpus
from tests.conftest import one_line
from tests.word_corpora import random_sentences


@pytest.fixture
def experiment(rng, tmp_path) -> WordExperiment:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(" ".join(own) for own in random_sentences(rng, 50)), encoding="utf-8")
    changes = {"data": TextFiles(paths=(str(path),)).model_dump(mode="json"), "text.min_count": 2}
    return replace_words(WordExperiment(), changes, "test")


def check_same(one, other) -> None:
    assert (one.words, one.raw_words, one.texts) == (other.words, other.raw_words, other.texts)
    for field in ("counts", "ids", "offsets"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), strict=True)


def test_a_second_run_takes_the_corpus_from_the_cache(experiment, tmp_path, monkeypatch):
    corpus, record = load_corpus(experiment, tmp_path / "cache")
    assert record["texts"] == 50 and record["vocabulary"] == len(corpus.words)
    with monkeypatch.context() as patch:
        patch.setattr(texts, "build_corpus", None)
        again, other = load_corpus(experiment, tmp_path / "cache", wanted=record["fingerprint"])
    check_same(corpus, again)
    assert record == other
    fewer, _ = load_corpus(replace_words(experiment, {"text.vocab_size": 5}, "test"), tmp_path / "cache")
    assert fewer.words == corpus.words[:5], "another spec is another corpus"


def test_a_damaged_cache_is_rebuilt(experiment, tmp_path, rng):
    corpus, _ = load_corpus(experiment, tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("words-*.npz")
    good = path.read_bytes()
    content = bytearray(good)
    content[int(rng.integers(len(content)))] ^= 64
    for damaged in (bytes(content), good[: len(good) // 2], b""):
        path.write_bytes(damaged)
        check_same(corpus, load_corpus(experiment, tmp_path / "cache")[0])
        assert path.read_bytes() == good


def test_other_data_than_those_of_the_run_are_refused(experiment, tmp_path):
    with pytest.raises(UserError) as error:
        load_corpus(experiment, tmp_path / "cache", wanted="texts:other")
    assert "changed since the run started" in one_line(error)


def test_the_first_texts_only(experiment, tmp_path):
    corpus, record = load_corpus(replace_words(experiment, {"text.max_texts": 20}, "test"), tmp_path / "cache")
    assert corpus.texts == record["texts"] == 20
