"""Texts with several labels: their cells, what tells them from one label, their splits, targets and checks."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from core.data.corpus import build_corpus, load_corpus, prepare
from core.data.documents import Document, Source
from core.data.multilabel import members_of, strata_of, with_targets
from core.data.ngrams.fit import fit_alone
from core.data.ngrams.texts import LabeledTexts, Texts
from core.data.sources.several_labels import reason_for_several
from core.data.sources.table import open_table
from core.data.splits import split_rows
from core.errors import UserError
from core.label_sets import from_set, join_labels, labels_of, split_labels, to_set
from core.models.ngrams import Ngrams
from core.spec.data import Table
from core.spec.text import Text
from tests.conftest import one_line
from tests.topics import make_topics, rows_of


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("", []),
        (" b | a||b ", ["a", "b"]),
        ("one  label", ["one label"]),
        ('["b", "a", " a "]', ["a", "b"]),
        ("[]", []),
        ("['b', 'a']", ["a", "b"]),  # as pandas writes a list
        ("[3, 1, true, null, 2.5]", ["1", "2.5", "3", "true"]),
        ('["\u4f53\u80b2", "x, y"]', ["x, y", "\u4f53\u80b2"]),
    ],
)
def test_labels_of_a_cell(cell, labels):
    assert labels_of(cell.strip()) == labels == from_set(to_set(labels))
    names = sorted({*labels, "zzz"})
    assert split_labels(join_labels([name in labels for name in names], names)) == labels


def test_another_separator():
    assert labels_of("b; a", ";") == ["a", "b"]
    assert labels_of('["a", "b"]', ";") == ["a", "b"]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("[a, b]", "is no JSON list"),
        ("['a' 'b']", "is no JSON list"),  # an array of NumPy, of which Python would read one string
        ('[["a"], "b"]', "a list within a list"),
        ('[{"a": 1}]', "a list within a list"),
        ('["a|b"]', "contains |"),
        ("[" * 50 + "]" * 50, "a list within a list"),
        ("[" * 100_000 + "]", "list"),
    ],
)
def test_cells_that_are_refused(cell, says):
    with pytest.raises(ValueError, match=r".") as error:
        labels_of(cell)
    assert says in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 200


def put(path: Path, rows: list[tuple[str, str]], label: str = "labels") -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", label), *rows])
    return path


def table(path: Path, **more) -> Table:
    return Table(source=str(path), **{"label_column": "labels", "multi_label": True, **more})


def sets_of(data: Table) -> list[list[str]]:
    return [from_set(own.label) for own in open_table(data).documents()]


def test_every_format_gives_the_same_labels(rng, tmp_path):
    topics = make_topics(rng, 40)
    wanted = topics.labels
    pairs = list(zip(topics.texts, wanted, strict=True))
    assert sets_of(table(put(tmp_path / "a.csv", rows_of(topics)))) == wanted
    semicolons = put(tmp_path / "b.csv", rows_of(topics, " ; "))
    assert sets_of(table(semicolons, label_separator=";")) == wanted
    lists = put(tmp_path / "c.csv", [(text, json.dumps(own)) for text, own in pairs])
    assert sets_of(table(lists)) == wanted
    objects = [{"text": text, "labels": own or [None, []][row % 2]} for row, (text, own) in enumerate(pairs)]
    (tmp_path / "d.json").write_text(json.dumps(objects), encoding="utf-8")
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, objects)), encoding="utf-8")
    assert sets_of(table(tmp_path / "d.json")) == sets_of(table(tmp_path / "e.jsonl")) == wanted
    lines = [" ".join([*(f"__label__{name}" for name in own), text]) for text, own in pairs]
    (tmp_path / "f.txt").write_text("\n".join(lines), encoding="utf-8")
    assert sets_of(table(tmp_path / "f.txt", label_column="label")) == wanted
    if importlib.util.find_spec("pyarrow"):
        import pyarrow
        import pyarrow.parquet

        columns = {"text": topics.texts, "labels": [own or None for own in wanted]}
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "g.parquet")
        assert sets_of(table(tmp_path / "g.parquet")) == wanted
        with pytest.raises(UserError) as error:
            list(open_table(table(tmp_path / "g.parquet", multi_label=False)).documents())
        assert "holds more than one value" in one_line(error)


def test_the_fingerprint_depends_on_how_labels_are_read(rng, tmp_path):
    path = put(tmp_path / "a.csv", rows_of(make_topics(rng, 9), "; "))
    found = {
        open_table(table(path, **more)).fingerprint
        for more in (
            {},
            {"label_separator": ","},
            {"multi_label": False},
            {"multi_label": False, "encoding": "gb18030"},
        )
    }
    assert len(found) == 4


@pytest.mark.parametrize(
    ("column", "cells", "says"),
    [
        ("labels", ["a|b", "c"], "| in column labels"),
        ("genre", ["a|b", "b", "c"], "| in column genre"),
        ("genre", ["a|b", "", "a"], "| in column genre"),
        ("genre", ["a|b", "a|b", "c"], ""),  # a class with this name
        ("genre", ["a|b", "c", "d"], ""),
        ("labels", ["a", "b", ""], ""),
        ("labels", ['["a"]', '["b"]'], "lists in column labels"),
        ("x", ["[1]", "[]"], "lists in column x"),
        ("labels", ["[not a list]", "b"], ""),
        ("labels", ["[1]", "b", "c"], ""),
    ],
)
def test_cells_tell_whether_a_text_has_several_labels(tmp_path, column, cells, says):
    path = put(tmp_path / "t.csv", [(f"text {row}", cell) for row, cell in enumerate(cells)], column)
    assert reason_for_several(table(path, multi_label=False, label_column=column)) == says


def test_lines_of_fasttext_tell_it(tmp_path):
    data = table(tmp_path / "t.txt", multi_label=False, label_column="label")
    (tmp_path / "t.txt").write_text("__label__a one\n__label__b two\n__label__a three\n")
    assert reason_for_several(data) == ""
    (tmp_path / "t.txt").write_text("__label__a one\n__label__b __label__c __label__a two\n__label__a three\n")
    assert reason_for_several(data) == "up to 3 labels per line"


def test_members_and_strata(rng):
    sets = [to_set(own) for own in ([], ["b"], ["a", "b"], ["c", "10"], ["b", "c"])]
    names, members = members_of(sets)
    assert names == ["10", "a", "b", "c"]
    assert [[names[place] for place in np.flatnonzero(row)] for row in members] == [
        *([], ["b"], ["a", "b"], ["10", "c"], ["b", "c"]),
    ]
    numbers = rng.permutation(np.repeat(np.arange(5), [4, 9, 3, 2, 5]))  # 10: 2, a: 3, b: 17, c: 7
    rarest = np.array([4, 2, 1, 0, 3])
    np.testing.assert_array_equal(strata_of(numbers, sets), rarest[numbers])


def prepared(labels: list[list[str]], **more):
    texts = [Document(f"train/{row}", f"w{row} x", to_set(sorted(own))) for row, own in enumerate(labels)]
    source = Source("path", "made up", str(labels), None, lambda: iter(texts), lenient=True)
    data = Table(source="S", multi_label=True, **more)
    return with_targets(prepare(build_corpus(source, Text()), data, Text()), data)


def test_splits_have_every_label_of_three_rarest_texts(rng):
    """Each label is the rarest one of at least three texts, so every split has it."""
    labels = make_topics(rng, 400).labels
    found = prepared(labels, split_seed=int(rng.integers(2**62)))
    assert found.classes == sorted({name for own in labels for name in own})
    by_name = {f"train/{row}": own for row, own in enumerate(labels)}
    seen = []
    for part in ("train", "dev", "test"):
        own = found.split(part)
        assert own.classes == tuple(found.classes)
        for name, row in zip(own.names, own.targets["labels"], strict=True):
            assert [found.classes[place] for place in np.flatnonzero(row)] == by_name[name]
        counts = own.targets["labels"].sum(axis=0)
        assert found.summary[part]["per_class"] == counts.tolist() and counts.min() > 0
        assert found.summary[part]["unlabeled"] == sum(not by_name[name] for name in own.names)
        seen += own.names
    assert sorted(seen) == sorted(by_name)


def test_random_splits_are_disjoint_and_train_has_each_set_of_few_texts(rng):
    numbers = rng.permutation(np.repeat(np.arange(3), [30, 2, 40]))
    strata = strata_of(numbers, [to_set(own) for own in (["a"], ["a", "b"], [])])
    data = Table(source="x", multi_label=True, split_seed=int(rng.integers(2**62)))
    rows, _ = split_rows(np.zeros(72, np.int8), strata, np.full(72, -1), data)
    assert (numbers[rows["train"]] == 1).sum() == 2


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([["a", "b"]] * 9, "all texts have the same 2 labels"),
        ([["a"], []] * 9, "the only label is 'a', expected at least two"),
        ([[]] * 9, "no text has a label, expected at least two"),
        ([[f"l{row}", f"m{row}"] for row in range(9)], "18 labels in 9 texts"),
        ([["a"], ["b"]], "the dev split has no text"),
    ],
)
def test_data_that_are_refused(labels, says):
    with pytest.raises(UserError) as error:
        prepared(labels)
    assert says in one_line(error)


def test_a_label_that_only_a_test_file_has(rng, tmp_path):
    topics = make_topics(rng, 60)
    train, test = put(tmp_path / "train.csv", rows_of(topics)), put(tmp_path / "test.csv", [("one", "x|economy")])
    data = table(train, test=str(test))
    corpus, _ = load_corpus(data, Text(), tmp_path / "cache")
    with pytest.raises(UserError) as error:
        prepare(corpus, data, Text())
    assert "test.csv: row 1: label 'x' does not occur in the training split" in one_line(error)


def test_duplicates_with_other_labels_are_dropped(tmp_path):
    rows = [
        *((f"word{row} x", "a|b" if row % 2 else "") for row in range(20)),
        ("same text", "a|b"),
        ("same text", "b"),
    ]
    data = table(put(tmp_path / "t.csv", rows))
    corpus, _ = load_corpus(data, Text(), tmp_path / "cache")
    again, _ = load_corpus(data, Text(), tmp_path / "cache")
    assert again.classes == corpus.classes and np.array_equal(again.labels, corpus.labels)
    found = prepare(corpus, data, Text())
    assert found.summary["left_out"] == {"with conflicting labels": 2}


@pytest.mark.parametrize("topics", [2, 5])
def test_linear_models_of_labels_are_those_of_each_against_the_rest(rng, topics):
    found = make_topics(rng, 120)
    names = sorted({name for own in found.labels for name in own})[:topics]
    members = np.array([[name in own for name in names] for own in found.labels]).astype(np.int64)
    texts, groups = Texts.of([text.split() for text in found.texts]), np.full(120, -1)
    together = fit_alone(LabeledTexts(texts, members, groups, topics), Ngrams(), 0)
    scores = together.logits(together.rows(texts))
    assert scores.shape == (120, topics)
    np.testing.assert_array_equal(together.per_class, members.sum(axis=0))
    for column in range(topics):
        alone = fit_alone(LabeledTexts(texts, members[:, column], groups, 2), Ngrams(), 0)
        np.testing.assert_allclose(scores[:, [column]], alone.logits(alone.rows(texts)), rtol=1e-4, atol=1e-4)
