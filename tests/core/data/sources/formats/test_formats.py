"""Formats of tables: each by its content, under any name, with random cells."""

from __future__ import annotations

import csv
import datetime
import gzip
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest

from core.data import text_files
from core.data.sources.formats import excel
from core.data.sources.formats.detect import Format, detect_format, is_named_format
from core.data.sources.table import is_table, read_rows, whole_cells
from core.data.sources.table_columns import read_texts
from core.errors import Note, UserError
from core.spec.data import Table
from tests.conftest import one_line
from tests.core.data.sources.formats.workbook import row, write_workbook

COLUMNS = ["text", "label"]
SUFFIXES = ["t.txt", "t", "t.csv", "t.tsv", "t.json", "t.data.GZ", "t.xlsx"]


def rows(path: Path, columns=COLUMNS, **more) -> list[list[str]]:
    return [own.cells for own in read_rows(path, columns, "utf-8", **more)]


def random_cells(rng, alphabet: str, count: int = 60) -> list[list[str]]:
    """Unequal lengths; at least one cell of every row is not blank."""
    characters = np.array([*alphabet])
    found = [["".join(rng.choice(characters, rng.integers(0, 12))) for _ in COLUMNS] for _ in range(count)]
    return [[cells[0], cells[1] if "".join(cells).strip() else "x"] for cells in found]


def stripped(cells: list[list[str]]) -> list[list[str]]:
    return [[cell.strip() for cell in own] for own in cells]


def delimited(cells: list[list[str]], delimiter: str, **form) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, **form).writerows([COLUMNS, *cells])
    return stream.getvalue()


HARD = "ab ,;|\t\"'\n\\{}[]\u00e9\u4e2d\U0001f600\u2028\x85"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimited_under_any_name(rng, tmp_path, delimiter):
    cells = random_cells(rng, HARD)
    path = tmp_path / str(rng.choice(SUFFIXES))
    path.write_text(delimited(cells, delimiter, quoting=csv.QUOTE_ALL), encoding="utf-8", newline="")
    assert rows(path) == stripped(cells)


@pytest.mark.parametrize("kind", [Format.JSON_ARRAY, Format.JSON_LINES])
def test_json_under_any_name(rng, tmp_path, monkeypatch, kind):
    """In blocks that divide values, numbers and characters."""
    monkeypatch.setattr(text_files, "BLOCK", int(rng.integers(1, 40)))
    cells = random_cells(rng, HARD)
    values = [{"label": label, "text": text, "n": 12345.5e-3} for text, label in cells]
    indent = None if kind is Format.JSON_LINES or rng.integers(2) else 2
    content = (
        json.dumps(values, indent=indent, ensure_ascii=False)
        if kind is Format.JSON_ARRAY
        else "\n".join(map(json.dumps, values))
    )
    path = tmp_path / str(rng.choice(SUFFIXES))
    packed = bool(rng.integers(2))
    data = ("\ufeff" * int(rng.integers(2)) + content).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert rows(path) == stripped(cells) and detect_format(path, "utf-8") is kind and is_named_format(path)
    assert rows(path, ["n"])[-1] == ["12.3455"]


def test_array_of_wide_characters(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(json.dumps([{"text": "\u4e2d", "label": 1}], ensure_ascii=False).encode("utf-16"))
    assert rows(path) == [["\u4e2d", "1"]]


def test_fasttext_under_any_name(rng, tmp_path):
    cells = [[" ".join(text.split()), "".join(label.split())] for text, label in random_cells(rng, HARD)]
    path = tmp_path / str(rng.choice(SUFFIXES))
    lines = [f"__label__{label} {text}".rstrip() + "\n" for text, label in cells if label]
    path.write_text("".join(lines), encoding="utf-8", newline="")
    assert rows(path) == [own for own in cells if own[1]] and is_table(path)
    path.write_text("__label__a  x , y\n\nno label\n__label__b\n", encoding="utf-8")
    assert rows(path) == [["x , y", "a"], ["no label", ""], ["", "b"]]


def test_quotes_in_a_file_of_tabs(tmp_path):
    """Characters of the text if every line is a row, and around cells with line breaks otherwise."""
    path = tmp_path / "t.csv"
    path.write_text('text\tlabel\n"never closed\tp\nso "it" is\tn\n"all"\tp\nend"\tn\n', encoding="utf-8")
    assert rows(path) == [['"never closed', "p"], ['so "it" is', "n"], ["all", "p"], ['end"', "n"]]
    path.write_text('text\tlabel\n"two\nlines, ""so""\tx"\tp\n5" disk\tn\n', encoding="utf-8")
    assert rows(path) == [['two\nlines, "so"\tx', "p"], ['5" disk', "n"]]
    assert [own.number for own in read_rows(path, COLUMNS, "utf-8")] == [1, 2]
    path.write_text('label\ttext\np\t"two\nlines"\nn\tone "line\n', encoding="utf-8")
    assert rows(path) == [["two\nlines", "p"], ['one "line', "n"]]
    path.write_text('text\tlabel\n"two\nlines"\tp\n"open\tn\nx\tp\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"row 1 \(line 2\): got 1 cells, expected 2"):
        rows(path)


def test_delimiter_is_the_one_that_splits_evenly(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("good, very good, fine\t1\nso, so\t0\nbad\t1\n", encoding="utf-8")
    assert rows(path, names=COLUMNS) == [["good, very good, fine", "1"], ["so, so", "0"], ["bad", "1"]]
    path.write_text("1,a\tb\tc\n0,b\n1,c\td\n", encoding="utf-8")
    assert rows(path, names=["label", "text"]) == [["a\tb\tc", "1"], ["b", "0"], ["c\td", "1"]]
    (tmp_path / "t.tsv").write_text("text,label,x\tid\na,b,1\n", encoding="utf-8")
    assert rows(tmp_path / "t.tsv") == [["a", "b"]]


def test_header_line_and_data_are_told_apart(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('3,Good news,"Stocks rose, and rose, on Monday"\n1,Bad,They fell again\n', encoding="utf-8")
    with pytest.raises(UserError) as error:
        rows(path)
    says = "the first row looks like data (3, Good news, Stocks rose, and rose, on …)"
    assert f"no column 'text': {says}: name the columns by `data.columns`, e.g. label," in one_line(error)
    names = ("label", "title", "text")
    assert rows(path, names=names)[1] == ["They fell again", "1"]
    for header in ("x,y\n", "Review ,\u6807\u7b7e\n", "text,label\n"):
        path.write_text(f"{header}p,fine\n", encoding="utf-8")
        with pytest.raises(UserError) as error:
            rows(path, names=header.strip().split(","))
        assert "the first row is a header line" in one_line(error) and "omit `data.columns`" in one_line(error)
        with pytest.raises(UserError, match=r"no column 'texts' in the header"):
            rows(path, ["texts"])
    path.write_text("p,fine\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"row 1 \(line 1\): got 2 cells, expected 3 as in `data.columns` \(a, b, c\)"):
        rows(path, ["a"], names=("a", "b", "c"))


def test_old_specs_of_tables_read():
    data = Table.model_validate({"kind": "table", "source": "t.csv", "text_column": "body"})
    assert data.columns is None and data.text_columns == ("body",) and data.text_column == "body"
    several = Table(source="t.csv", text_column=("title", "text"), columns=("label", "title", "text"))
    assert Table.model_validate(several.model_dump(mode="json")) == several
    for wrong in ({"text_column": ()}, {"columns": ("a", "a")}, {"text_column": ("a", "a")}):
        with pytest.raises(ValueError, match="expected names that differ"):
            Table(source="t.csv", **wrong)


def test_lines_that_begin_like_json_are_no_table(tmp_path):
    path = tmp_path / "t.txt"
    for content, found in [
        ("{ so } it goes\n", False),
        ("{}\n", True),
        ('{"text": "a"\n', False),
        ('{"text": "' + "a" * 9000 + '"}', True),
        ("[sic] good\n", False),
        ('[\n{"text": 1}]', True),
        ("\0{}", False),
    ]:
        path.write_text(content)
        assert is_table(path) is found, content


# Excel

needs_calamine = pytest.mark.skipif(importlib.util.find_spec("python_calamine") is None, reason="no python-calamine")


@needs_calamine
def test_excel_under_any_name(rng, tmp_path):
    cells = random_cells(rng, HARD)
    numbers = [3, 2.5, -1.0, True, False, 0, None]
    texts = ["3", "2.5", "-1", "true", "false", "0", ""]
    body = [row(2, COLUMNS), *(row(place, own) for place, own in enumerate(cells, 3))]
    end = len(cells) + 5
    body += [row(end + place, [f"w{place}", number]) for place, number in enumerate(numbers)]
    path = write_workbook(tmp_path / str(rng.choice(SUFFIXES)), "".join(body), ("A", "B", "C"))
    with pytest.warns(Note, match="read the first sheet, 'A', without 'B', 'C'"):
        found = rows(path)
    assert found == stripped(cells) + [[f"w{place}", text] for place, text in enumerate(texts)]


@needs_calamine
def test_excel_without_header(tmp_path):
    path = write_workbook(tmp_path / "t.xlsx", row(1, [1, "good, fine"]) + row(2, [0, "bad"]))
    assert rows(path, names=["label", "text"]) == [["good, fine", "1"], ["bad", "0"]]
    with pytest.raises(UserError, match=r"the first row looks like data \(1, good, fine\)"):
        rows(path)


@needs_calamine
@pytest.mark.parametrize(
    "claims", ["far cell", "many strings", "one string often", "large when unpacked", "no sheet", "truncated"]
)
def test_hostile_workbooks_are_refused_within_limits(tmp_path, monkeypatch, claims):
    """Calamine would reserve 400 GB, 96 GB and 13 GB for the first three, and end the process."""
    body, strings = row(1, COLUMNS) + row(2, ["a", 1]), ""
    if claims == "far cell":
        body += '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    if claims == "many strings":
        strings = '<sst count="4000000000" uniqueCount="4000000000"><si><t>a</t></si></sst>'
    if claims == "one string often":
        monkeypatch.setattr(excel, "MEMORY", 300_000_000)
        strings = f"<sst><si><t>{'x' * 32_000}</t></si></sst>"
        body += "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(3, 20_000))
    if claims == "large when unpacked":
        monkeypatch.setattr(excel, "UNPACKED", 1000)
    path = write_workbook(tmp_path / "t.xlsx", body, () if claims == "no sheet" else ("A",), strings)
    if claims == "truncated":
        path.write_bytes(path.read_bytes().replace(b"sheetData", b"sheetDat")[:-9])
    with pytest.raises(UserError) as error:
        rows(path)
    message = one_line(error)
    assert message.startswith(f"{path}: ") and len(message) < 300
    if claims in ("far cell", "many strings", "one string often"):
        assert "needs more than" in message and "save it as .csv" in message
    if claims == "large when unpacked":
        assert "unpacks to" in message and "at most 1,000" in message


@pytest.mark.parametrize(
    ("content", "package", "extra"),
    [(b"PAR1", "pyarrow", "parquet"), (bytes.fromhex("d0cf11e0a1b11ae1"), "python_calamine", "excel")],
)
def test_missing_packages_are_named(tmp_path, monkeypatch, content, package, extra):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == package else find(name, *more))
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(UserError) as error:
        rows(tmp_path / "t")
    assert f'pip install "seqtwin[{extra}]"' in one_line(error) and package.replace("_", "-") in one_line(error)


# Parquet


def test_parquet_under_any_name(rng, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = random_cells(rng, HARD, 2500)
    columns = {
        "label": pa.array([own[1] for own in cells]).dictionary_encode(),
        "text": pa.array([own[0] for own in cells], pa.large_string()),
        "id": pa.array(range(len(cells))),
        "share": pa.array([None, 2.0, 2.5, float("nan")] + [0.0] * (len(cells) - 4)),
        "day": pa.array([datetime.date(2026, 1, 2)] * len(cells)),
        "list": pa.array([[1]] * len(cells)),
    }
    path = tmp_path / str(rng.choice(SUFFIXES))
    pq.write_table(pa.table(columns), path, row_group_size=int(rng.integers(300, 3000)))
    found = rows(path, [*COLUMNS, "id", "share"])
    assert [own[:2] for own in found] == stripped(cells) and [own[2] for own in found[:2]] == ["0", "1"]
    assert [own[3] for own in found[:5]] == ["", "2", "2.5", "", "0"]
    whole, _ = next(read_texts(path, None, "text", None))
    assert whole_cells(whole, ["list", "day", "share", "id"]) == ["[1]", "2026-01-02", "", "0"]
    with pytest.raises(UserError, match="no column 'texts' in the Parquet file .*label, text, id, share"):
        rows(path, ["texts"])
    with pytest.raises(UserError, match="row 1: 'list' holds more than one value"):
        rows(path, ["list"])
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="not a valid Parquet file"):
        rows(path)
