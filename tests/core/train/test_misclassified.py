"""The most confident misclassifications (`core/train/misclassified.py`)."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.models.heads.scores import summarize
from core.train.misclassified import Misclassified, most_confident, read_mistakes, with_texts
from core.train.run_folder import RunFolder
from tests.conftest import make_dataset

CLASSES = ["bad", "good"]


def test_the_most_confident_errors_come_first(rng):
    test = make_dataset(rng, 50)
    found = summarize(rng.normal(size=(50, 2)), test.labels)
    wrong = most_confident(test, found, CLASSES)
    assert {own.name for own in wrong} == {test.names[row] for row in np.flatnonzero(found.predicted != test.labels)}
    assert [own.probability for own in wrong] == sorted((own.probability for own in wrong), reverse=True)
    assert all(own.label != own.predicted and own.probability >= 0.5 for own in wrong)
    assert most_confident(test, found, CLASSES, 3) == wrong[:3]


def test_texts_are_added_by_name(rng):
    test = make_dataset(rng, 2)
    wrong = most_confident(test, summarize(np.eye(2)[1 - test.labels], test.labels), CLASSES)
    named = with_texts(wrong, {test.names[1]: "a text"})
    assert {own.name: own.text for own in named} == {test.names[0]: "", test.names[1]: "a text"}
    assert all(own.cells == (own.name, own.label, own.predicted, "0.731059", own.text) for own in named)


def test_nothing_is_misclassified(rng):
    test = make_dataset(rng, 4)
    assert most_confident(test, summarize(np.eye(2)[test.labels], test.labels), CLASSES) == []


def test_mistakes_are_read_as_written(tmp_path):
    texts = ["a, b", "=1+1", "'quoted'", "line\r\nline", "-5", "- five", "\u5f88\u597d", ""]
    rows = [Misclassified(f"@n{number}", "bad", "+good", 0.5, text) for number, text in enumerate(texts)]
    RunFolder(tmp_path).write_mistakes([own.cells for own in rows])
    assert read_mistakes(tmp_path / "mistakes.csv") == rows
    assert read_mistakes(tmp_path / "mistakes.csv", 3) == rows[:3]


@pytest.mark.parametrize(
    "content", ["", "id,label\n1,2\n", "h,h,h,h,h\n1,a,b,2.0,c\n", "h,h,h,h,h\n1,a,b,x,c\n", "\udcff"]
)
def test_damaged_mistakes_are_refused(tmp_path, content):
    path = tmp_path / "mistakes.csv"
    with pytest.raises(UserError, match="is missing"):
        read_mistakes(path)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="mistakes.csv is damaged"):
        read_mistakes(path)
