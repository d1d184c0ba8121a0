"""Columns of tables that the user did not name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.sources.table_columns import infer_columns, read_texts
from core.errors import UserError
from core.spec.data import MovieReviews, Table
from tests.conftest import one_line


def put(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def inferred(path: Path, given=(), **fields) -> dict[str, object]:
    return {own.field: own.value for own in infer_columns(Table(source=str(path), **fields), given)[1]}


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("review,sentiment", "review", "sentiment"),
        ("label\ttext_a", "text_a", "label"),
        ("qid\tlabel\ttext_a", "text_a", "label"),
        ("label,review", "review", "label"),
        ("id,text,label,sentiment", "text", "label"),
        ("\u7c7b\u522b,\u8bc4\u8bba", "\u8bc4\u8bba", "\u7c7b\u522b"),
        ("\u6807\u7b7e;\u5185\u5bb9;\u6807\u9898", "\u5185\u5bb9", "\u6807\u7b7e"),
        ("Class Index,Title,Description", "Description", "Class Index"),
        ("Comment | Stars", "Comment", "Stars"),
        ("title,category", "title", "category"),
        ("rating,Text,class", "Text", "class"),
        ("a,b", "text", "label"),
    ],
)
def test_usual_names_are_found(tmp_path, header, text, label):
    path = put(tmp_path / "t.csv", f"{header}\n" + header.replace(header.split()[0], "x") + "\n")
    found = inferred(path)
    assert (found.get("text_column", "text"), found.get("label_column", "label")) == (text, label)
    assert set(found.values()) == {text, label} - {"text", "label"}
    objects = [json.dumps(dict.fromkeys(map(str.strip, header.replace("|", ",").split(","))))]
    if "," in header:
        assert inferred(put(tmp_path / "t.txt", f"[{','.join(objects)}]")) == found


def test_given_columns_win(tmp_path):
    path = put(tmp_path / "t.csv", "title,body,stars,class\na,b,1,c\n")
    assert inferred(path, {"label_column"}, label_column="stars") == {"text_column": "body"}
    assert inferred(path, {"text_column"}, text_column="title,body") == {
        "text_column": ("title", "body"),
        "label_column": "class",
    }
    assert inferred(path, {"text_column"}, text_column="class") == {"label_column": "stars"}
    put(path, '"a,b",class\nx,y\n')
    assert inferred(path, {"text_column"}, text_column="a,b") == {"label_column": "class"}


def test_columns_without_header_line(tmp_path):
    path = put(tmp_path / "t.csv", "3,Good,They rose\n1,Bad,They fell\n")
    for names, text, label in [
        ("label,title,text", ("title", "text"), "label"),
        ("class,x,text", "text", "class"),
        ("stars,a,b", "text", "stars"),
    ]:
        found = {"text_column": "text", "label_column": "label", **inferred(path, columns=tuple(names.split(",")))}
        assert found == {"text_column": text, "label_column": label}
    assert inferred(put(path, "3,They rose\n"), columns=("label", "words")) == {"text_column": "words"}
    with pytest.raises(UserError) as error:
        inferred(put(path, '[{"a": 1}]'), columns=("label", "text"))
    assert "a JSON array names its columns (a): omit `data.columns`" in one_line(error)


def test_format_is_told_if_the_name_does_not(tmp_path):
    for name, content, format_found in [
        ("t.txt", '[{"text": 1}]', "a JSON array"),
        ("t.json.gz", '[{"text": 1}]', ""),
        ("t.json", '{"text": 1}', "JSON Lines"),
        ("t.txt", "__label__a b", "fastText"),
        ("t.txt", "text,label", ""),
    ]:
        assert infer_columns(Table(source=str(put(tmp_path / name, content))), ())[0] == format_found


def test_texts_to_predict_for(tmp_path):
    """With the run's columns, or the places of a run without a header line; and all columns unchanged."""
    path = tmp_path / "n.csv"

    def read(content: str, data: object, column: str | None = None) -> list[str]:
        return [text for _, text in read_texts(put(path, content), data, column, None)]

    plain = Table(source="t", text_column=("title", "text"))
    assert read("text,id,title\nb,1,a\n,2,c\n", plain) == ["a b", "c"]
    assert read('[{"text": "b", "title": null}]', plain) == ["b"]
    assert read("x,y\n1,2\n", plain, "y,x") == ["2 1"]
    assert read("text\ngood\n", MovieReviews()) == ["good"]
    unnamed = Table(source="t", columns=("label", "title", "text"), text_column=("title", "text"))
    assert read("1,a,b\n0,c,d\n", unnamed) == ["a b", "c d"]
    assert read("a,b\nc,d\n", unnamed) == ["a b", "c d"]
    assert read("text,title\nb,a\n", unnamed) == ["a b"]
    for content, data, column, says in [
        (
            "review,label\na,b\n",
            plain,
            None,
            "no column 'title' (first row: review, label): set `data.text_column`, or",
        ),
        ("review,label\na,b\n", unnamed, None, "no column 'title' (first row: review, label): set `data.text_column`"),
        ("a\nb\n", unnamed, None, "no column 'title' (first row: a)"),
        ('[{"a": 1}]', plain, "text", "no column 'text' (columns: a): set `data.text_column`"),
        ("__label__a b\n", plain, None, "no column 'title' (columns: label, text): set `data.text_column`"),
    ]:
        with pytest.raises(UserError) as error:
            read(content, data, column)
        assert one_line(error).startswith(f"{path}: {says}")
