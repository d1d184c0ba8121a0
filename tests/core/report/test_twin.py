"""The page of a comparison of two models."""

from __future__ import annotations

import dataclasses

import pytest

from core.report.twin import differing_settings, first_row, page
from core.twin.verdict import Finding
from tests.core.report.pages import Page, fits, stands_alone
from tests.verdicts import CAUSE, PAIRING, rows, verdict


@pytest.mark.parametrize("same", [True, False])
def test_page_stands_alone(same):
    stands_alone(Page(page(verdict(same))))


def test_first_difference_is_marked():
    own = verdict(False)
    shown = Page(page(own))
    assert "First difference" in shown.text and CAUSE.sentence in shown.text and "Certificate" not in shown.text
    assert "docs/differences.md#norm_epsilon" in shown.text
    marked = [attributes["id"] for tag, attributes in shown.tags if tag == "tr" and "style" in attributes]
    assert marked == ["call2"]
    assert first_row(own) == 2
    calls = shown.table("calls")
    assert [row["call"] for row in calls if "first difference" in row["note"]] == ["2"]
    assert "no partner" in calls[2]["PyTorch, mine_torch.py:Model"]


def test_first_difference_between_two_modules_is_the_first_beyond_the_limit():
    own = verdict(False)
    between = dataclasses.replace(CAUSE, place="between", paths={"torch": "block"})
    finding = dataclasses.replace(own.findings[2], cause=between)
    assert first_row(dataclasses.replace(own, findings=(finding,))) == 6  # the training mode's rows are the last four
    gradients = dataclasses.replace(finding, rung=2, mode="evaluation", cause=None)
    assert first_row(dataclasses.replace(own, findings=(gradients,))) == 1
    assert first_row(verdict(True)) is None


def test_certificate_holds_versions_inputs_seed_and_largest_differences():
    own = verdict(True)
    rounding = Finding(1, "training", 1.25, 8.0, True, 4)
    shown = Page(page(dataclasses.replace(own, findings=(*own.findings, rounding))))
    assert "First difference" not in shown.text
    found = {row[0]: row[1] for _, table in shown.tables for row in table if len(row) == 2}
    assert found["PyTorch"] == "2.0.1" and found["seed"] == "7" and found["input ids"] == "int64 [4, 9]"
    assert found["rung 1, forward pass, float32, training"].startswith("largest difference 1.2 units, limit 8 units")
    assert "2.0e-16" in found["rung 1, forward pass, training"]


def test_settings_that_differ_are_those_of_aligned_modules():
    expected = [("block.norm / norm: epsilon", {"PyTorch": "1e-05", "PaddlePaddle": "1e-12"})]
    assert differing_settings(verdict(False)) == expected


def test_trees_name_the_calls_and_the_note():
    shown = Page(page(verdict(False)))
    text = shown.text
    assert "norm LayerNorm call 2 , 6" in text.replace("call 2, 6", "call 2 , 6")
    assert "weight norm <here>" in text and "<b>without effect</b>" in text
    assert "Only in PyTorch: out.bias" in text


def test_empty_verdict_has_a_page():
    empty = verdict(True, findings=(), rows=(), modules={}, warnings=(), pairing=dataclasses.replace(PAIRING, names={}))
    shown = Page(page(empty))
    assert "nothing was compared" in shown.text
    stands_alone(shown)


@pytest.mark.slow
def test_page_fits_a_phone(tmp_path):
    fits(Page(page(verdict(False, rows=rows("evaluation", True) * 40))), 360, tmp_path)
