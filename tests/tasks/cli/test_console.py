"""Lines of the programs on a terminal of 80 columns, and without one."""

import io

import pytest
from rich.console import Console

from tasks.cli import console
from tasks.cli.console import Parser, fact

WORDS = "words that go on for longer than one line of a terminal has room for: " * 3
COMMAND = "python -m tasks.imdb predict runs/imdb-torch-2026-01-01-000000 " + "'A wonderful film, I loved it.'" * 3


@pytest.fixture
def printed(monkeypatch):
    def call(text: str, terminal: bool, **settings) -> list[str]:
        stream = io.StringIO()
        shown = Console(file=stream, force_terminal=terminal, no_color=True, width=80, soft_wrap=True)
        monkeypatch.setattr(console, "console", shown)
        fact("data", text, **settings)
        return stream.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()

    return call


def test_a_long_text_continues_in_its_own_column(printed):
    first, *rest = printed(WORDS.strip(), terminal=True)
    assert first.startswith("data     words") and rest and all(line.startswith(" " * 9) for line in rest)
    assert max(map(len, [first, *rest])) <= 80
    assert " ".join(line[9:] for line in [first, *rest]) == WORDS.strip()


def test_commands_and_output_for_other_programs_stay_one_line(printed):
    assert printed(COMMAND, terminal=True, command=True) == [f"data     {COMMAND}"]
    assert printed(WORDS.strip(), terminal=False) == [f"data     {WORDS.strip()}"]


@pytest.mark.parametrize(("columns", "widest"), [("80", 80), ("200", 110)])
def test_help_fits_the_terminal(monkeypatch, columns, widest):
    monkeypatch.setenv("COLUMNS", columns)
    parser = Parser("python -m tasks.x", several=True, description=WORDS)
    parser.add_argument("--option", help=WORDS)
    longest = max(map(len, parser.format_help().splitlines()))
    assert widest - 20 < longest <= widest
