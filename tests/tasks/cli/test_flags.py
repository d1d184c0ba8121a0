"""Messages name fields in `core` and `backends`, and flags in a terminal (`tasks/cli/flags.py`)."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import Note, UserError
from tasks.cli.flags import FLAGS, name_flags
from tests.conftest import ROOT, run_main

BELOW = [path for room in ("core", "backends") for path in sorted((ROOT / room).rglob("*.py"))]
FLAG = re.compile(rf"(?<![\w-])({'|'.join(sorted(set(FLAGS.values())))})(?![\w-])")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("lower `training.optimizer.learning_rate` or `training.clip_norm`", "lower --lr or --clip-norm"),
        ("`device` gpu:7: there is none; use `device` cpu", "--device gpu:7: there is none; use --device cpu"),
        ("`data.encoding` gb18030 and `head` NAME", "--encoding gb18030 and --head NAME"),
        ("experiment.json: training.clip_norm: too small", "experiment.json: training.clip_norm: too small"),
        ("no column `price`, and a `", "no column `price`, and a `"),
    ],
)
def test_a_field_is_shown_as_its_flag(message, shown):
    assert name_flags(message) == shown


def test_errors_and_notes_show_flags():
    def main(argv):
        warnings.warn(Note("`device` auto"), stacklevel=1)
        raise UserError("`out` here: exists")

    done = run_main(main)
    assert done.code == 2 and done.err == "note: --device auto\nerror: --out here: exists\n"


def messages(path: Path) -> Iterator[str]:
    """Every text of an error or a note that a module raises."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("UserError", "Note"):
            inner = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
            yield "".join(part for part in inner if isinstance(part, str))


def test_no_message_below_tasks_names_a_flag():
    for path, message in [(own, message) for own in BELOW for message in messages(own)]:
        assert not FLAG.search(message), (path, message)
        named = set(re.findall(r"`([^`]+)`", message))
        unknown = {own for own in named if not own.startswith("tasks.")} - FLAGS.keys()
        assert not unknown, f"{path}: {message}: no flag for {unknown}"
