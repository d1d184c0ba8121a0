"""Defaults in the help: that of the first recipe, then the recipes that differ, by value."""

from __future__ import annotations

import pytest

from tasks.cli.defaults import defaults


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ({"default": "lstm", "glove": "lstm"}, "lstm"),
        ({"default": "2", "a": "5", "b": "2", "c": "5", "d": "3"}, "2; a, c: 5; d: 3"),
        ({"default": "", "textcnn": "3,4,5"}, "3,4,5"),
        ({"default": "", "a": "1", "b": "2"}, "a: 1; b: 2"),
        ({"default": "off", "bow": ""}, "off"),
        ({"default": ""}, ""),
    ],
)
def test_defaults_name_only_recipes_that_differ(shown, text):
    assert defaults(shown) == text
