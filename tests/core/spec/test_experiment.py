"""Specifications of earlier formats keep their meaning."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.spec.experiment import FORMAT_VERSION, Experiment, parse_experiment, replace, upgrade
from tests.conftest import one_line


@pytest.mark.parametrize("version", [1, 2])
def test_signs_are_off_before_format_3(version):
    old = Experiment().model_dump(mode="json") | {"format": version}
    del old["text"]["signs"]
    for tree in (old, {"format": version}, {"format": version, "text": {"tokenizer": "characters"}}):
        found = parse_experiment(tree, "here")
        assert found.text.signs is False and found.format == FORMAT_VERSION
    assert parse_experiment(old, "here").text == Experiment().text.model_copy(update={"signs": False})
    assert upgrade({"text": {"signs": True}}, version)["text"] == {"signs": True}


def test_signs_are_on_since_format_3():
    assert parse_experiment({}, "here").text.signs and parse_experiment({"format": 3}, "here").text.signs
    tree = Experiment().model_dump(mode="json")
    assert parse_experiment(tree, "here") == Experiment() and upgrade(tree, FORMAT_VERSION) == tree


@pytest.mark.parametrize("text", [3, [1], None])
def test_an_old_spec_with_an_invalid_text_section(text):
    with pytest.raises(UserError) as error:
        parse_experiment({"format": 2, "text": text}, "here")
    assert "here: text" in one_line(error)


def test_replace_does_not_change_the_given_section():
    section = {"kind": "recurrent", "hidden_size": 4}
    found = replace(Experiment(), {"model.encoder": section, "model.encoder.hidden_size": 5})
    assert found.model.encoder.hidden_size == 5 and section["hidden_size"] == 4
