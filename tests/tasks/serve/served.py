"""Texts for served runs, and a server in a process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.train.run_folder import RunFolder
from tests.conftest import ROOT

RUN = ROOT / "tests/core/train/format1/finished-torch"
"""Its classes are bad and good, and its tokenizer drops signs."""


def make_texts(rng: np.random.Generator, run: Path, count: int) -> list[str]:
    """Return texts of known and unknown words, of 1 to 40 words; the first have 1 word, none, and signs only."""
    experiment, _ = RunFolder.open(run).read_record()
    known = RunFolder.open(run).read_vocabulary(experiment.model).tokens[2:]
    sizes = rng.integers(1, 41, count - 3)
    words = [*known, "zzqx", "qqvw"]
    more = [" ".join(rng.choice(words, size)) for size in sizes]
    return [str(rng.choice(words)), "", "()", *more]


@dataclass
class Process:
    """A server in a process, and what it printed."""

    process: subprocess.Popen
    port: int
    lines: list[str]
    reader: threading.Thread

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def post(self, path: str, tree: object) -> tuple[int, dict]:
        """Return status and JSON of a request."""
        data = json.dumps(tree).encode()
        request = urllib.request.Request(self.url(path), data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; return the exit code and all that was printed."""
        self.process.send_signal(number)
        code = self.process.wait()
        self.reader.join()
        return code, "".join(self.lines)


@contextmanager
def serving(run: Path, *options: object) -> Iterator[Process]:
    """Serve a run on a free port until the block ends."""
    argv = [sys.executable, "-u", "-m", "tasks.serve", str(run), "--port", "0", *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if found := re.match(r"address +http://\S+:(\d+)", line):
                    break
            else:
                raise AssertionError("".join(lines))
            # Read on, so that the server never waits for the pipe.
            reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
            reader.start()
            own = Process(process, int(found[1]), lines, reader)
            yield own
        finally:
            process.kill()
