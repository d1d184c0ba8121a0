"""Hints and errors name the commands of the way in which the process was started."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import UserError
from tasks.cli.commands import module_arguments, program_command, run_command, started_by_seqtwin
from tests.conftest import ROOT, run_main


@pytest.mark.parametrize("by_seqtwin", [False, True])
def test_commands_are_named_as_they_were_started(by_seqtwin):
    def found() -> list[object]:
        shown = [run_command("tasks.imdb", action) for action in ("predict", "evaluate", "resume")]
        return [program_command("tasks.port"), *shown, module_arguments("tasks.tag")]

    modules = ["python -m tasks.port", "python -m tasks.imdb predict", "python -m tasks.imdb evaluate"]
    modules += ["python -m tasks.imdb --resume", ["-m", "tasks.tag"]]
    command = ["seqtwin port", "seqtwin predict", "seqtwin evaluate", "seqtwin resume", ["-m", "seqtwin", "tag"]]
    if by_seqtwin:
        with started_by_seqtwin():
            assert found() == command
    assert found() == modules


def texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are no docstrings; parts of f-strings are joined."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def test_no_other_module_names_a_command():
    """They would be wrong after `seqtwin`."""
    own, found = ROOT / "tasks" / "cli" / "commands.py", []
    for room, part in (("core", "python -m tasks"), ("backends", "python -m tasks"), ("tasks", "python -m")):
        for path in sorted((ROOT / room).rglob("*.py")):
            found += [f"{path}: {text}" for text in texts(path) if part in text and path != own]
    assert not found, found
    assert any("python -m" in text for text in texts(own))


def test_errors_of_core_show_the_command_that_resumes():
    def main(argv):
        raise UserError("run: not finished: `tasks.imdb resume` run")

    assert run_main(main).err == "error: run: not finished: python -m tasks.imdb --resume run\n"
    with started_by_seqtwin():
        assert run_main(main).err == "error: run: not finished: seqtwin resume run\n"
