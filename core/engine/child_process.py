"""A function called in a process of its own, which may die, hang or print anything."""

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

from core.strings import shorten

ROOT = Path(__file__).resolve().parents[2]


_MARK = "seqtwin answers: "


def say(answer: object) -> None:
    """In the child: hand `answer`, as JSON, to the process that asked."""
    print(f"\n{_MARK}{json.dumps(answer)}", flush=True)


def call(function: Callable, *arguments: object, limit: float) -> tuple[object, str]:
    """What `function` returns for `arguments` in a process of its own within `limit` seconds: (answer, ""), all JSON.

    `function` stands at the top of a module that can be imported from the project's root. Otherwise as `ask`.
    """
    module, name = function.__module__, function.__name__
    if module == "__main__":  # as the program is called elsewhere
        module = sys.modules["__main__"].__spec__.name
    code = f"import json, {module} as module; from {__name__} import say;"
    return ask(f"{code} say(module.{name}(*json.loads({json.dumps(arguments)!r})))", limit)


def ask(code: str, limit: float) -> tuple[object, str]:
    """What Python code said by `say` in a process of its own within `limit` seconds: (answer, "").

    Or (None, what became of the process): it may die, hang or print anything. Nothing of its output is shown.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
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
        except BaseException:  # Ctrl-C: it is not left behind
            _kill(process)
            raise
        said, complaint = (_text(stream) for stream in (out, err))
    lines = [line.removeprefix(_MARK) for line in said.splitlines() if line.startswith(_MARK)]
    if lines:
        try:
            return json.loads(lines[-1]), ""
        except json.JSONDecodeError:
            return None, "gave an answer that cannot be read"
    if ended == 0:
        return None, "gave no answer"
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line] or lines
    why = f": {shorten(telling[-1], 160)}" if telling else ""
    return None, f"{_ending(ended)}{why}"


def _kill(process: subprocess.Popen) -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # held by the driver; there is no more that can be done to it
        process.wait(5)


def _text(stream) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", errors="replace")


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was ended by signal {-code}"
