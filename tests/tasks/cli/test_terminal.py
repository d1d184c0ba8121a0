"""Text of files reaches a terminal without control characters, and no message is longer than a few lines."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings

import pytest
from rich.table import Table
from rich.text import Text

from core.errors import Note, UserError
from core.strings import MESSAGE
from tasks.cli import console as shown
from tasks.cli import terminal
from tasks.cli.console import bar, fact, run_program
from tasks.cli.paths import quoted
from tasks.cli.terminal import Terminal, literal

HOSTILE = "\udc9bz\x85a\x1b]0;title\x07b\x9b2Jc\x7f\rd\u202eright\u2066e [red]f[/] :cat:"
SAFE = "\ufffdz\ufffda\ufffd]0;title\ufffdb\ufffd2Jc\ufffd\ufffdd\ufffdright\ufffde [red]f[/] :cat:"
"""Markup and emoji of the text itself stay as they are."""
BAD = tuple("\udc9b\x85\x1b\x07\x9b\x7f\r\u202e\u2066")


def table() -> Table:
    found = Table()
    found.add_column(HOSTILE)
    found.add_row(literal(HOSTILE), Text(HOSTILE))
    return found


WAYS = {
    "print": lambda: print(HOSTILE),
    "literal": lambda: shown.console.print(literal(HOSTILE)),
    "markup": lambda: shown.console.print(HOSTILE.replace("[", "(")),
    "text": lambda: shown.console.print(Text(HOSTILE)),
    "table": lambda: shown.console.print(table()),
    "fact": lambda: fact("name", HOSTILE),
    "error": lambda: terminal.error(HOSTILE),
    "note": lambda: terminal.note(HOSTILE),
    "warning": lambda: warnings.warn(HOSTILE, stacklevel=1),
    "note as warning": lambda: warnings.warn(Note(HOSTILE), stacklevel=1),
    "stderr": lambda: print(HOSTILE, file=sys.stderr),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_control_character_of_data_is_printed(way, capsys):
    assert run_program(lambda argv: WAYS[way]() or 0, []) == 0
    out = "".join(capsys.readouterr())
    assert "right" in out and not any(own in out for own in BAD), repr(out)


@pytest.mark.parametrize("way", ["literal", "fact", "print"])
def test_text_is_printed_as_it_is(way, capsys):
    assert run_program(lambda argv: WAYS[way]() or 0, []) == 0
    assert SAFE in capsys.readouterr().out


def test_lines_of_data_stay_one_line(capsys):
    name = "a\nerror: forged\tb"
    assert run_program(lambda argv: fact("run", name) or shown.console.print(literal(name)) or 0, []) == 0
    assert capsys.readouterr().out == "run      a\ufffderror: forged\ufffdb\na\ufffderror: forged\ufffdb\n"


def test_styles_and_progress_bars_of_a_terminal_remain(monkeypatch):
    stream = io.StringIO()
    settings = {"width": 60, "color_system": "standard", "soft_wrap": True, "highlight": False, "emoji": False}
    own = Terminal(file=stream, force_terminal=True, **settings)
    own.print(f"[red]{literal(HOSTILE)}[/]")
    assert stream.getvalue() == f"\x1b[31m{SAFE}\x1b[0m\n"
    monkeypatch.setattr(shown, "errors", own)
    with bar() as progress:
        progress.add_task(literal(HOSTILE), total=3)
        progress.refresh()
        print(HOSTILE)
    out = stream.getvalue()
    assert "\x1b[2K" in out and "\x1b]0;" not in out and "\u202e" not in out


@pytest.mark.parametrize("columns", ["0", "1", "", "x", "-3"])
def test_messages_on_a_terminal_of_odd_width(columns):
    """With a width of 0, rich prints nothing."""
    code = "import sys; from tasks.cli.console import run_program, fact; from core.errors import UserError\n"
    code += "def main(argv):\n    fact('name', 'of a value')\n    raise UserError('what is wrong')\n"
    environment = {"COLUMNS": columns, "TERM": "dumb", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}sys.exit(run_program(main, []))"],
        env=environment, capture_output=True, text=True, cwd=shown.__file__.rpartition("/tasks/")[0],
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (2, "name     of a value\n", "error: what is wrong\n")


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (f"field {'x' * 5000}: unknown: give another one", ("field xxx", "x: unknown: give another one")),
        (f"{'many words ' * 500}: wrong: lower `training.batch_size`", ("many words", ": wrong: lower --batch-size")),
        ("line one\nline\ttwo: fix it", ("error: line one line two: fix it",)),
        (f"label {HOSTILE}: fix it", ("d\ufffdright\ufffde [red]f[/] :cat:: fix it",)),
    ],
)
def test_errors_are_one_line_with_the_fix(message, kept, capsys):
    def main(argv):
        raise UserError(message)

    assert run_program(main, []) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and len(err) <= MESSAGE + len("error: \n")
    assert not any(own in err for own in BAD)
    for part in kept:
        assert part in err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("Exceeds the limit (4300 digits) for integer string conversion"), "thousands of digits"),
        (RecursionError("maximum recursion depth exceeded while decoding a JSON array"), "nested too deeply"),
        (UnicodeEncodeError("utf-8", "runs/caf\udce9", 8, 9, "surrogates not allowed"), r"'runs/caf\xe9' is not UTF-8"),
        (MemoryError("Unable to allocate 30 GiB"), "out of memory (Unable to allocate 30 GiB): lower --batch-size"),
        (RuntimeError(f"CUDA out of memory.{' words' * 500}"), "out of memory (CUDA out of memory. words"),
        (PermissionError(13, "Permission denied", "x\x1b" * 900), "Permission denied"),
    ],
)
def test_errors_of_the_system_are_one_line(error, says, capsys):
    def main(argv):
        raise error

    assert run_program(main, []) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and len(err) <= MESSAGE + 8 and "\x1b" not in err


def test_other_errors_of_a_program_keep_their_traceback():
    def main(argv):
        raise ValueError("a mistake of ours")

    with pytest.raises(ValueError, match="of ours"):
        run_program(main, [])


@pytest.mark.parametrize("name", ["plain", "two words", "it's", "a\nb\x1b[2J'\\c", "right\u202e", "\x9b", "caf\udce9"])
def test_quoted_paths_can_be_pasted_into_bash(name):
    text = quoted(name)
    assert not any(own in text for own in (*BAD, "\n"))
    command = ["bash", "-c", f"printf %s {text}"]
    assert (
        subprocess.run(command, capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout.decode(errors="surrogateescape")
        == name
    )
