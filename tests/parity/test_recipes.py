"""The parity program on recipes: word vectors that need files or training are replaced by drawn ones."""

from __future__ import annotations

from argparse import Namespace

import pytest

from tasks.cli.recipes import RECIPES, recipe
from tasks.parity.__main__ import _base


@pytest.mark.parametrize("name", [name for name in RECIPES if recipe(name).model.embedding.vectors])
def test_vectors_of_recipes_are_replaced(name, capsys):
    base = _base(Namespace(config=None, recipe=name, plant=None, set=[]))
    assert base.model.embedding.vectors is None and base.words is None
    assert base.model.encoder == recipe(name).model.encoder
    assert "pretrained vectors replaced by random ones" in capsys.readouterr().out


def test_values_of_another_run_are_replaced(capsys):
    base = _base(Namespace(config=None, recipe=None, plant=None, set=["start=a run"]))
    assert base == _base(Namespace(config=None, recipe=None, plant=None, set=[]))
    assert "values of another run replaced by random ones" in capsys.readouterr().out
