"""docs/python-api.md is what the docstrings say."""

from __future__ import annotations

import inspect

import seqtwin
from tests.markdown import ROOT, anchors
from tools.python_api import page

PAGE = ROOT / "docs" / "python-api.md"


def test_the_page_is_current():
    advice = "run: python -m tools.python_api --write docs/python-api.md"
    assert PAGE.read_text(encoding="utf-8") == page(), advice


def test_the_page_describes_every_public_name():
    found = anchors(PAGE.read_text(encoding="utf-8"))
    for name in seqtwin.PUBLIC:
        own = getattr(seqtwin, name)
        assert name.lower() in found
        if not inspect.isclass(own) or issubclass(own, Exception):
            continue
        for member, value in vars(own).items():
            if not member.startswith("_") and (callable(value) or isinstance(value, property | classmethod)):
                assert f"{name}{member}".lower() in found, member
                assert inspect.getdoc(value), member
