"""Completion scripts of shells, from the parsers of all programs. They are written by shtab, an optional package."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from importlib import import_module

from core.errors import UserError
from core.strings import shorten
from seqtwin.command.programs import PROGRAMS, RUN_COMMANDS, load
from tasks.cli.console import Parser
from tasks.run.latest import LATEST, RUNS

SHELLS = ("bash", "zsh", "tcsh")
EXAMPLE = "imdb"
"""Program whose options `predict`, `explain` and `evaluate` complete: before the run is known, its task is not."""

FUNCTION = "_seqtwin_runs"
"""Name of the function of a shell that prints `latest` and the folders of runs."""
PREAMBLE = {
    "bash": f"""{FUNCTION}() {{
  compgen -W {LATEST} -- "$1"
  compgen -d -- "$1"
  case "$1" in */*) ;; *) compgen -d -- "{RUNS}/$1" ;; esac
}}
""",
    "zsh": f"""{FUNCTION}() {{
  compadd -- {LATEST} {RUNS}/*(/N)
  _files -/
}}
""",
}
RUN = {"bash": FUNCTION, "zsh": FUNCTION, "tcsh": "d", "preamble": PREAMBLE}
"""What completes a run, in the form that shtab reads."""


def print_completion(argv: list[str]) -> int:
    """Print the completion script of a shell. Return the exit code.

    Raises UserError for an unknown shell, and if shtab is not installed.
    """
    if len(argv) != 1 or argv[0] not in SHELLS:
        given = shorten(" ".join(argv), 80) or "nothing"
        raise UserError(f"--print-completion: got {given}, expected one of {', '.join(SHELLS)}")
    if importlib.util.find_spec("shtab") is None:
        raise UserError("--print-completion needs the package shtab; run: pip install shtab")
    print(import_module("shtab").complete(parser(), shell=argv[0]), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return a parser of the whole command; it describes arguments, and parses none."""
    shtab = import_module("shtab")
    kinds = {"RUN": RUN, "VECTORS": RUN, "DIR": shtab.DIRECTORY, "FILE": shtab.FILE}
    whole = argparse.ArgumentParser("seqtwin")
    commands = whole.add_subparsers()
    for name, text in RUN_COMMANDS.items():
        first = "predict" if name == "explain" else name
        own = _resume_parser() if name == "resume" else _parser_of(load(EXAMPLE).main, [first])
        _add(commands, name, text, own, kinds)
    for name, text in PROGRAMS.items():
        _add(commands, name, text, _parser_of(load(name).main, []), kinds)
    return whole


def _add(commands, name: str, text: str, own: argparse.ArgumentParser, kinds: dict[str, object]) -> None:
    added = commands.add_parser(name, help=text, parents=[own], add_help=False)
    for action in added._actions:
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        kind = next((kind for end, kind in kinds.items() if metavar.endswith(end)), None)
        if kind is not None and action.nargs != 0:
            action.complete = kind  # type: ignore[attr-defined]


def _resume_parser() -> argparse.ArgumentParser:
    """Return the options that apply to a stopped run of any task."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", metavar="RUN", help="run folder")
    for flag, text in (("--backend", "backend [the run's]"), ("--device", "device"), ("--cache-dir", "cache folder")):
        parser.add_argument(flag, metavar="DIR" if flag == "--cache-dir" else "V", help=text)
    return parser


class _Stop(Exception):
    """Raised where a program would parse its arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def _parser_of(main: Callable[[list[str]], int], argv: list[str]) -> argparse.ArgumentParser:
    """Return the parser that a program builds for its arguments."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Stop(parser)

    names = ("parse_args", "parse_intermixed_args")
    try:
        for name in names:
            setattr(Parser, name, stop)
        main(argv)
    except _Stop as found:
        return found.parser
    finally:
        for name in names:
            delattr(Parser, name)
    raise AssertionError("the program has read no arguments")
