"""Hints and errors name the commands of the way in which the process was started."""

from __future__ import annotations

import pytest

from core.errors import UserError
from tasks.cli.commands import module_arguments, program_command, run_command, started_by_seqtwin
from tests.conftest import run_main


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


def test_errors_of_core_show_the_command_that_resumes():
    def main(argv):
        raise UserError("run: not finished: `tasks.imdb resume` run")

    assert run_main(main).err == "error: run: not finished: python -m tasks.imdb --resume run\n"
    with started_by_seqtwin():
        assert run_main(main).err == "error: run: not finished: seqtwin resume run\n"
