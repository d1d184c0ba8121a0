"""Texts without labels: reviews from folder and archive, lines of text files, columns of tables."""

from __future__ import annotations

import gzip
import tarfile

import pytest

from core.data.sources import imdb, unlabeled
from core.data.sources.unlabeled import open_reviews, open_texts
from core.errors import UserError
from tests.conftest import make_reviews, one_line

EACH = 3


@pytest.fixture
def reviews(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    root = make_reviews(tmp_path / "data", rng, EACH)
    (root / "train" / "unsup").mkdir()
    for number in range(4 * EACH):
        (root / "train" / "unsup" / f"{number}_0.txt").write_text(f"unlabeled {number} café", encoding="utf-8")
    return root


def archived(root, path):
    with tarfile.open(path, "w:gz") as tar:
        for part in ("train", "test"):  # the last ones must not replace others of the same number
            tar.add(root / part, f"aclImdb/{part}")
    return path


def texts_of(source) -> list[tuple[str, str]]:
    return [(document.name, document.text) for document in source.documents()]


def test_training_and_unlabeled_reviews_are_read_in_one_order_and_no_test_review(reviews, tmp_path):
    folder = texts_of(open_reviews(str(reviews), tmp_path))
    archive = texts_of(open_reviews(str(archived(reviews, tmp_path / "a.tar.gz")), tmp_path))
    assert folder == archive and len(folder) == 6 * EACH
    for name, text in folder:
        assert text == (reviews / f"{name}.txt").read_text(encoding="utf-8")
    assert [name for name, _ in folder[2 * EACH :]] == [f"train/unsup/{number}_0" for number in range(4 * EACH)]


def test_a_dataset_without_unlabeled_reviews_is_read_and_an_incomplete_one_is_not(reviews, tmp_path):
    (reviews / "train" / "unsup" / "1_0.txt").unlink()
    with pytest.raises(UserError) as error:
        open_reviews(str(reviews), tmp_path)
    assert f"{4 * EACH - 1} unsup" in one_line(error)
    with pytest.raises(UserError, match="use a complete copy"):
        texts_of(open_reviews(str(archived(reviews, tmp_path / "a.tar.gz")), tmp_path))
    for path in (reviews / "train" / "unsup").iterdir():
        path.unlink()
    source = open_reviews(str(reviews), tmp_path)
    assert len(texts_of(source)) == 2 * EACH and "0 unlabeled" in source.description


def test_lines_of_text_files(rng, tmp_path):
    lines = ["one text", "", "   ", "zwei Wörter", "三 个"]
    plain, packed, wide = tmp_path / "a.txt", tmp_path / "b.txt.gz", tmp_path / "c.txt"
    plain.write_text("\r\n".join(lines), encoding="utf-8")
    packed.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    wide.write_text("\n".join(lines), encoding="utf-16")
    for path in (plain, packed, wide):
        assert [text.strip() for _, text in texts_of(open_texts([str(path)], "", "utf-8"))] == lines[:1] + lines[3:]
    both = open_texts([str(plain), str(packed)], "", "utf-8")
    assert [name for name, _ in texts_of(both)][2:4] == ["a.txt/3", "b.txt.gz/1"]
    assert both.fingerprint != open_texts([str(packed), str(plain)], "", "utf-8").fingerprint


@pytest.mark.parametrize("longest", [50, 64])
def test_a_long_line_is_divided_at_white_space_the_same_way_for_all_blocks(rng, tmp_path, monkeypatch, longest):
    monkeypatch.setattr(unlabeled, "LONGEST_TEXT", longest)
    words = ["".join(rng.choice(list("abcde文"), rng.integers(1, 12))) for _ in range(200)]
    words.insert(100, "x" * (3 * longest))
    path, found = tmp_path / "a.txt", []
    path.write_text("first\n" + " ".join(words) + "\nlast", encoding="utf-8")
    for block in (7, 100, 1 << 20):
        monkeypatch.setattr("core.data.text_files.BLOCK", block)
        found.append([text for _, text in texts_of(open_texts([str(path)], "", "utf-8"))])
    assert found[0] == found[1] == found[2]
    assert (found[0][0], found[0][-1]) == ("first", "last") and max(map(len, found[0])) <= longest
    pieces = [word for text in found[0][1:-1] for word in text.split()]
    assert [word for word in pieces if "x" not in word] == [word for word in words if "x" not in word]
    assert "".join(word for word in pieces if "x" in word) == "x" * (3 * longest)


def test_a_column_of_a_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,body\n1,"a text, with\nlines"\n2,another\n', encoding="utf-8")
    assert [text for _, text in texts_of(open_texts([str(path)], "body", "utf-8"))] == [
        "a text, with\nlines",
        "another",
    ]
    with pytest.raises(UserError) as error:
        texts_of(open_texts([str(path)], "words", "utf-8"))
    assert "no column 'words'" in one_line(error) and "`data.column`" in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a text\n", encoding="utf-8")
    for paths, says in (
        ([tmp_path / "none.txt"], "No such file"),
        ([tmp_path], "a folder, not a file"),
        ([path, path], "given twice"),
    ):
        with pytest.raises(UserError) as error:
            open_texts([str(own) for own in paths], "", "utf-8")
        assert says in one_line(error)
    path.write_bytes(b"a text\0\n")
    with pytest.raises(UserError, match="not text"):
        texts_of(open_texts([str(path)], "", "utf-8"))
