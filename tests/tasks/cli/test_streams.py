"""Closed, full and broken standard streams: one line and an exit code, and a training run goes on."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shlex
import subprocess
import sys
import warnings

import pytest

from core.errors import UserError
from tasks.cli import streams
from tasks.cli.console import console, errors, fact, run_program
from tasks.cli.streams import PIPE_CLOSED, keep_working
from tests.conftest import INSTALLED, ROOT
from tests.pairwise import SAMPLE

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")


class Failing(io.StringIO):
    """A stream that fails from its third write."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code, self.writes = code, 0

    def write(self, text: str) -> int:
        self.writes += 1
        if self.writes > 2:
            raise OSError(self.code, os.strerror(self.code))
        return super().write(text)


class Buffered(io.StringIO):
    """A stream that fails only when it is flushed."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def prints(done: list[str]) -> None:
    """Print in every way that programs do."""
    for number in range(4):
        console.print(f"line {number}")
        fact("name", "value")
        print("plain")
        errors.print("progress")
        warnings.warn("careful", stacklevel=1)
    done.append("done")


@pytest.fixture
def run(monkeypatch):
    """Run `prints` as a program that trains, or only prints. Return exit code, both outputs, and whether it ended."""

    def call(out, err, trains: bool):
        done: list[str] = []

        def main(argv: list[str]) -> int:
            if trains:
                keep_working()
            prints(done)
            return 0

        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        code = run_program(main, [])
        assert (sys.stdout, sys.stderr) == (out, err)
        written = [stream.getvalue() if stream else "" for stream in (out, err)]
        return code, *written, done == ["done"]

    return call


LOST = {
    "closed": lambda: None,
    "full": lambda: Failing(errno.ENOSPC),
    "no reader": lambda: Failing(errno.EPIPE),
    "terminal gone": lambda: Failing(errno.EIO),
}


@pytest.mark.parametrize("how", LOST)
def test_a_program_that_prints_ends_if_standard_output_is_lost(run, how):
    code, _, err, ended = run(LOST[how](), io.StringIO(), trains=False)
    assert not ended
    last = [line for line in err.splitlines() if line.startswith("error: ")]
    if how == "no reader":
        assert code == PIPE_CLOSED and not last
    else:
        assert code == 2 and len(last) == 1 and "standard output: cannot be written" in last[0]


def test_an_error_of_the_last_flush_is_not_lost(run):
    code, _, err, ended = run(Buffered(), io.StringIO(), trains=False)
    assert code == 2 and "No space left on device" in err and not ended


@pytest.mark.parametrize("how", LOST)
def test_training_goes_on_without_standard_output(run, how):
    code, _, err, ended = run(LOST[how](), io.StringIO(), trains=True)
    assert code == 0 and ended and err.count("progress") == 4
    assert err.count("standard output cannot be written") == 1


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("trains", [False, True])
def test_standard_error_never_ends_a_program(run, how, trains):
    code, out, _, ended = run(io.StringIO(), LOST[how](), trains)
    assert code == 0 and ended and out.count("line") == 4
    assert out.count("standard error cannot be written") == trains


@pytest.mark.parametrize("trains", [False, True])
def test_nothing_can_be_printed(run, trains):
    code, out, err, ended = run(None, None, trains)
    assert (code, out, err, ended) == ((0, "", "", True) if trains else (2, "", "", False))


class Directory(io.StringIO):
    """Standard input redirected from a folder."""

    def read(self, *size: int) -> str:
        raise OSError(errno.EISDIR, "Is a directory")

    readline = read


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: None, "standard input is closed"),
        (lambda: io.TextIOWrapper(io.BytesIO(b"a\xff\n"), encoding="utf-8"), "standard input: not UTF-8"),
        (Directory, "standard input: cannot be read (Is a directory)"),
    ],
)
@pytest.mark.parametrize("way", ["read", "readline", "__iter__"])
def test_standard_input_that_cannot_be_read(monkeypatch, capsys, make, says, way):
    monkeypatch.setattr(sys, "stdin", make())
    assert run_program(lambda argv: len(list(getattr(sys.stdin, way)())), []) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and says in shown and shown.count("\n") == 1
    assert not streams.Input(None).isatty()
    with pytest.raises(UserError, match="closed"):
        streams.Input(None).buffer.read()


# ---- in processes


@posix
@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("tasks.compare --help > /dev/full", 2, "error: standard output: cannot be written"),
        ("tasks.compare --help >&-", 2, "error: standard output: cannot be written"),
        ("tasks.compare --help 2>&-", 0, ""),
        ("tasks.compare a b $'caf\\xe9'", 2, r"error: argument 3, 'caf\xe9', is not UTF-8"),
        ("tasks.compare a b <&- >&- 2>&-", 2, ""),
        ("tasks.compare --nothing 2> /dev/full", 2, ""),
        ("tasks.derive --cell srn --backend | true", 2, "error: argument --backend"),
    ],
)
def test_streams_of_a_process(command, code, says):
    line = f"set -o pipefail; {shlex.quote(sys.executable)} -m {command}"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == code and says in done.stderr and done.stderr.count("\n") == bool(says), done.stderr


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "redirected", "result"),
    [
        (f"tasks.classify t.csv --backend {random.Random(SAMPLE).choice(INSTALLED)}", "| head -3", "result.json"),
        ("tasks.classify t.csv --backend both", "| head -3", "report.html"),
        (f"tasks.digit_sum --backend {INSTALLED[0]} --cell srn --lengths 5 --seeds 0", ">&- 2>&-", "results.json"),
        (
            f"tasks.exploding --backend {INSTALLED[0]} --length 5 --seeds 0 --vanishing-epochs 2",
            "2>&1 | head -1",
            "results.json",
        ),
    ],
)
def test_training_finishes_after_its_reader_has_gone(arguments, redirected, result, tmp_path):
    """Exit code 0 and a complete run folder, whatever closed standard output."""
    if "both" in arguments and len(INSTALLED) < 2:
        pytest.skip("trains in both frameworks, and one is not installed")
    rows = "".join(f"{label} word{number},{label}\n" for number in range(20) for label in ("good", "bad"))
    (tmp_path / "t.csv").write_text(f"text,label\n{rows}")
    options = "--device cpu --hidden 4 --embedding-dim 4 --epochs 2 --out run"
    line = f"set -o pipefail; {shlex.quote(sys.executable)} -m {arguments} {options} {redirected}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "run" / result).is_file() and done.stdout.count("\n") <= 3
    if result == "result.json":
        assert json.loads((tmp_path / "run" / result).read_text())["test"]["documents"] > 0
        assert "standard output cannot be written (Broken pipe), training continues without it" in done.stderr
