"""Run a program in two processes with a framework's own launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from core.errors import UserError
from core.strings import shorten

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 500.0
"""Time limit of the program."""


def started(word: str) -> str:
    """Fill in a word of a launcher's command, for two processes in this environment."""
    installed = Path(sys.executable).with_name(word)
    return {"N": "2", "python": sys.executable}.get(word) or (str(installed) if installed.is_file() else word)


def launch(command: list[object], folder: str) -> None:
    """Run the command and wait; raise UserError with its last message if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PET_STANDALONE": "1"}  # torchrun: on a free port
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # launchers pass it on, then kill processes that ignore it
        output = f"timed out: {process.communicate(timeout=60)[0]}"
    if process.returncode:
        lines = [line for line in output.splitlines() if "rror" in line] or output.splitlines() or ["nothing"]
        raise UserError(f"the launcher exited with code {process.returncode}: {shorten(lines[-1], 160)}")
