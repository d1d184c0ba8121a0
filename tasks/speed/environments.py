"""The processes that `tasks.speed` times in: one per framework and setting, since most settings are read at start-up.

Idle ones must not steal time, and a framework's threads go on spinning when their work is done (Intel's OpenMP, in
Paddle, for 200 ms): between its turns a worker is stopped by a signal; where there is none, it is given time to rest.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import backends
from core.engine import machine
from core.errors import UserError
from tasks.speed import worker as worker_program

ROOT = Path(__file__).parents[2]
REST_SECONDS = 0.3
IMPLEMENTATIONS = {
    "fast": "ours",
    "builtin": "the framework's, a call per direction, made exact for lengths",
    "packed": "the framework's, one call, with its own handling of lengths",
    "padded": "the framework's, over the padding too",
    "loop": "the textbook's, one step at a time",
}
"""Every backend's, and each one's `NATIVE`, in the order of a table."""
OWN = ("builtin", "packed", "padded")
"""Those that are the framework's own layer."""
KEPT_MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1073741824"}
MKL_TYPE = {"MKL_DEBUG_CPU_TYPE": "5"}
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", *KEPT_MEMORY, *MKL_TYPE)
"""What is not inherited: an environment says by itself what it sets."""


@dataclass(frozen=True)
class Environment:
    """A framework with its settings."""

    name: str
    backend: str | None
    """None: NumPy alone."""
    about: str
    implementations: tuple[str, ...] = tuple(IMPLEMENTATIONS)
    quick: tuple[str, ...] = ()
    """Those that `--quick` times."""
    slow: tuple[str, ...] = ()
    """Those of them that it leaves out where they would take seconds."""
    variables: dict[str, str] = field(default_factory=dict)
    plain: bool = False
    """The framework is imported as a user imports it, in the environment a user has: no thread count is set."""
    obstacle: str | None = None
    """Why it is left out on this machine."""


GLIBC = None if platform.libc_ver()[0] == "glibc" else "it is a setting of glibc's memory allocator"
AMD = "it opens MKL's fast path on AMD processors, and elsewhere has no effect"
ENVIRONMENTS = (
    Environment(
        "torch", "torch", "as seqtwin imports it", quick=("fast", "packed", "padded", "loop"), slow=("packed", "loop")
    ),
    Environment(
        "torch, memory kept",
        "torch",
        f"GLIBC_TUNABLES={KEPT_MEMORY['GLIBC_TUNABLES']}",
        ("packed", "padded"),
        variables=KEPT_MEMORY,
        obstacle=GLIBC,
    ),
    Environment(
        "paddle", "paddle", "as seqtwin imports it: told its threads", quick=("fast", "packed", "loop"), slow=("loop",)
    ),
    Environment(
        "paddle, as installed", "paddle", "a plain import, which takes one thread", OWN, quick=("packed",), plain=True
    ),
    Environment(
        "paddle, MKL type 5",
        "paddle",
        "MKL_DEBUG_CPU_TYPE=5",
        OWN,
        quick=("packed",),
        variables=MKL_TYPE,
        obstacle=None if machine.processor_vendor() == "AuthenticAMD" else AMD,
    ),
)


def peak_environment() -> Environment:
    """Where the machine's matrix product is measured: by torch, whose library is fast on every processor, or NumPy."""
    backend, library = ("torch", "torch") if backends.installed("torch") else (None, "NumPy")
    # Products of 9 MB each: kept memory spares them the page faults, which are none of the peak.
    return Environment("peak", backend, f"a matrix product by {library}", implementations=(), variables=KEPT_MEMORY)


class Worker:
    """A process of `tasks.speed.worker`, which computes only while it is asked."""

    def __init__(self, environment: Environment, threads: int, stack: ExitStack) -> None:
        """Start it; it is killed when `stack` ends. `hello` waits until it is there."""
        self.environment, self.hello = environment, {}
        variables = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        # An uninstalled copy is found too; and the user's own folders keep their place.
        path = os.pathsep.join([str(ROOT), *filter(None, [variables.get("PYTHONPATH")])])
        own = {} if environment.plain else {"OMP_NUM_THREADS": str(threads)}
        self._stderr = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", worker_program.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**variables, **own, **environment.variables, "PYTHONPATH": path},
            encoding="utf-8",
        )
        assert process.stdin and process.stdout
        self._requests, self._answers = process.stdin, process.stdout
        stack.callback(self._process.communicate)  # closes the pipes and waits
        stack.callback(self._process.kill)
        self.pid = self._process.pid
        self._send("start", backend=environment.backend, plain=environment.plain, threads=threads)

    def ask(self, do: str, **arguments) -> dict:
        """Have one thing done. Raises UserError, which names the worker, if it could not be or the worker died."""
        if hasattr(signal, "SIGCONT"):
            self._process.send_signal(signal.SIGCONT)
        self._send(do, **arguments)
        return self.answer()

    def answer(self) -> dict:
        """Wait for what was asked, and have the worker rest."""
        line = self._answers.readline()
        if not line.endswith("\n"):
            raise UserError(self._died())
        if hasattr(signal, "SIGSTOP"):
            self._process.send_signal(signal.SIGSTOP)
        else:
            time.sleep(REST_SECONDS)
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(f"{self.environment.name}: {answer['error']}")
        return answer

    def _send(self, do: str, **arguments) -> None:
        with suppress(OSError):  # of a dead worker, which `answer` sees
            self._requests.write(json.dumps({"do": do, **arguments}) + "\n")
            self._requests.flush()

    def _died(self) -> str:
        code = self._process.wait()
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"the worker of {self.environment.name} ended by {how}: {last[:300]}"


@contextmanager
def workers(environments: Iterable[Environment], threads: int) -> Iterator[dict[str, Worker]]:
    """Yield workers that are ready, by their environments' names; they are killed when this ends, however it ends."""
    with ExitStack() as stack:
        started = {environment.name: Worker(environment, threads, stack) for environment in environments}
        for worker in started.values():  # they import at the same time
            worker.hello = worker.answer()
        yield started
