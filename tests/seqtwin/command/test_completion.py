"""Completion scripts: commands, options and runs."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess

import pytest

from seqtwin.command.main import main
from seqtwin.command.programs import PROGRAMS, RUN_COMMANDS
from tasks.cli.console import Parser
from tests.conftest import run_main

needs_shtab = pytest.mark.skipif(importlib.util.find_spec("shtab") is None, reason="needs shtab")

COMPLETE = """
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); _shtab_seqtwin; }
for last in "$@"; do complete_line seqtwin $last; echo "${COMPREPLY[*]}"; done
complete_line seqtwin predict ""; echo "${COMPREPLY[*]}"
"""


@needs_shtab
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_runs(tmp_path):
    script = run_main(main, "--print-completion", "bash")
    assert (script.code, script.err) == (0, "")
    for name in ("imdb-a", "imdb-b", "tag-c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    lines = ["predict im", "evaluate runs/tag", "resu", "tag --cr", "words near", "imdb --resume l", "twin --conv"]
    argv = ["bash", "-c", script.out + COMPLETE, "bash", *lines]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = [sorted(line.split()) for line in done.stdout.splitlines()]
    assert found == [
        ["runs/imdb-a", "runs/imdb-b"],
        ["runs/tag-c"],
        ["resume"],
        ["--crf"],
        ["nearest"],
        ["latest"],
        ["--convert"],
        ["latest", "runs", "runs/imdb-a", "runs/imdb-b", "runs/tag-c"],
    ]


@needs_shtab
@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_every_command(shell):
    done = run_main(main, "--print-completion", shell)
    assert done.code == 0 and all(name in done.out for name in (*PROGRAMS, *RUN_COMMANDS))
    assert "parse_args" not in vars(Parser)


def test_what_is_missing_is_said(monkeypatch):
    done = run_main(main, "--print-completion", "fish")
    assert done.code == 2 and done.err.endswith("got fish, expected one of bash, zsh, tcsh\n")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "shtab" else find(name, *more))
    done = run_main(main, "--print-completion", "bash")
    assert (done.code, done.err) == (2, "error: --print-completion needs the package shtab; run: pip install shtab\n")
