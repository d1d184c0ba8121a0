"""Calls in a separate process, which may crash, hang or print anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.strings import shorten

ROOT = Path(__file__).resolve().parents[1]


_MARK = "seqtwin result: "


def python() -> list[str]:
    """Return the command of this Python, which from version 3.11 on imports nothing from the working directory.

    A user's `core.py` there would hide the package.
    """
    return [sys.executable, *(["-P"] if sys.version_info >= (3, 11) else [])]


def send_result(answer: object) -> None:
    """Send `answer` as JSON from the child process to its parent."""
    print(f"\n{_MARK}{json.dumps(answer)}", flush=True)


def call(function: Callable, *arguments: object, limit: float) -> tuple[Any, str]:
    """Call `function` in a separate process within `limit` seconds; return (result, "").

    Arguments and result are JSON. `function` must be at the top level of a module that can be imported from the project
    root. Failures are returned as in `run_code`.
    """
    module, name = function.__module__, function.__name__
    if module == "__main__":  # the child needs the importable name of the program
        main = sys.modules["__main__"].__spec__
        if main is None:
            raise ValueError(f"{name} is defined in a script, not in a module: start it with python -m")
        module = main.name
    code = f"import json, {module} as module; from {__name__} import send_result;"
    return run_code(f"{code} send_result(module.{name}(*json.loads({json.dumps(arguments)!r})))", limit)


def run_code(code: str, limit: float) -> tuple[Any, str]:
    """Run Python code in a separate process within `limit` seconds; return (sent by `send_result`, "").

    On failure return (None, reason): the process may crash, hang or print anything. Its output is not shown.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [*python(), "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            ended = process.wait(limit)
        except subprocess.TimeoutExpired:
            _kill(process)
            return None, f"did not end within {limit:g} seconds"
        except BaseException:  # such as Ctrl-C
            _kill(process)
            raise
        output, complaint = (_text(stream) for stream in (out, err))
    lines = [line.removeprefix(_MARK) for line in output.splitlines() if line.startswith(_MARK)]
    if lines:
        try:
            return json.loads(lines[-1]), ""
        except json.JSONDecodeError:
            return None, "returned an unreadable result"
    if ended == 0:
        return None, "returned no result"
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line] or lines
    why = f": {shorten(telling[-1], 160)}" if telling else ""
    return None, f"{_ending(ended)}{why}"


def _kill(process: subprocess.Popen) -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # blocked in a driver: it cannot be killed
        process.wait(5)


def _text(stream) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", errors="replace")


def _ending(code: int) -> str:
    if code > 0:
        return f"exited with code {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"
