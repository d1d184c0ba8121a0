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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import backends
from core.engine import machine
from core.errors import UserError
from tasks.speed import worker as worker_program

ROOT = Path(__file__).parents[2]
REST_SECONDS = 0.3
IMPLEMENTATIONS = ("fast", "builtin", "packed", "padded", "loop")
"""Every backend's, and each one's `NATIVE`, in the order of a table."""
OWN = ("builtin", "packed", "padded")
"""Those that are the framework's own layer."""
KEPT_MEMORY = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1073741824"
SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GLIBC_TUNABLES",
    "MKL_DEBUG_CPU_TYPE",
)
"""What is not inherited: an environment says by itself what it sets."""


def _always() -> str | None:
    return None


def _no_glibc() -> str | None:
    return None if platform.libc_ver()[0] == "glibc" else "it is a setting of glibc's memory allocator"


def _no_amd() -> str | None:
    if machine.processor_vendor() == "AuthenticAMD":
        return None
    return "it opens MKL's fast path on AMD processors, and elsewhere has no effect"


@dataclass(frozen=True)
class Environment:
    """A framework with its settings."""

    name: str
    backend: str | None
    """None: NumPy alone."""
    about: str
    implementations: tuple[str, ...] = IMPLEMENTATIONS
    quick: tuple[str, ...] = ()
    """Those that `--quick` times."""
    slow: tuple[str, ...] = ()
    """Those of them that it leaves out where they would take seconds."""
    variables: dict[str, str] = field(default_factory=dict)
    plain: bool = False
    """The framework is imported as a user imports it, in the environment a user has: no thread count is set."""
    obstacle: Callable[[], str | None] = _always
    """Why it is left out on this machine; None if it is not."""


ENVIRONMENTS = (
    Environment(
        "torch",
        "torch",
        "as seqtwin imports it",
        quick=("fast", "packed", "padded", "loop"),
        slow=("packed", "loop"),
    ),
    Environment(
        "torch, memory kept",
        "torch",
        f"GLIBC_TUNABLES={KEPT_MEMORY}",
        implementations=("packed", "padded"),
        variables={"GLIBC_TUNABLES": KEPT_MEMORY},
        obstacle=_no_glibc,
    ),
    Environment(
        "paddle",
        "paddle",
        "as seqtwin imports it: told its threads",
        quick=("fast", "packed", "loop"),
        slow=("loop",),
    ),
    Environment(
        "paddle, as installed",
        "paddle",
        "a plain import, which takes one thread",
        implementations=OWN,
        quick=("packed",),
        plain=True,
    ),
    Environment(
        "paddle, MKL type 5",
        "paddle",
        "MKL_DEBUG_CPU_TYPE=5",
        implementations=OWN,
        quick=("packed",),
        variables={"MKL_DEBUG_CPU_TYPE": "5"},
        obstacle=_no_amd,
    ),
)

# Products of 9 MB each: kept memory spares them the page faults, which are none of the peak.
PEAK = {"variables": {"GLIBC_TUNABLES": KEPT_MEMORY}, "implementations": ()}


def peak_environment() -> Environment:
    """Where the machine's matrix product is measured: by torch, whose library is fast on every processor, or NumPy."""
    if backends.installed("torch"):
        return Environment("peak", "torch", "a matrix product by torch", **PEAK)
    return Environment("peak", None, "a matrix product by NumPy", **PEAK)


class Worker:
    """A process of `tasks.speed.worker`, which computes only while it is asked."""

    def __init__(self, environment: Environment, threads: int) -> None:
        """Starts it; `greet` waits until it is there."""
        self.environment = environment
        self.hello: dict = {}
        variables = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        # An uninstalled copy is found too; and the user's own folders keep their place.
        path = os.pathsep.join([str(ROOT), *filter(None, [variables.get("PYTHONPATH")])])
        own = {} if environment.plain else {"OMP_NUM_THREADS": str(threads)}
        self._stderr = tempfile.TemporaryFile()  # closed in `kill`
        self._process = subprocess.Popen(
            [sys.executable, "-m", worker_program.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**variables, **own, **environment.variables, "PYTHONPATH": path},
            encoding="utf-8",
        )
        self._send({"backend": environment.backend, "plain": environment.plain, "threads": threads})

    @property
    def pid(self) -> int:
        return self._process.pid

    def greet(self) -> None:
        """Wait until the framework is imported. Raises UserError if it could not be."""
        self.hello = self._receive()
        self._rest()

    def ask(self, do: str, **arguments) -> dict:
        """Have one thing done. Raises UserError, which names the worker, if it could not be or the worker died."""
        self._signal("SIGCONT")
        self._send({"do": do, **arguments})
        answer = self._receive()
        self._rest()
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            try:
                stream.close()
            except OSError:  # what was not yet sent to it
                pass

    def _send(self, message: dict) -> None:
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise UserError(self._died()) from None

    def _receive(self) -> dict:
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise UserError(self._died())
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(f"{self.environment.name}: {answer['error']}")
        return answer

    def _died(self) -> str:
        code = self._process.wait()
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
        return f"the worker of {self.environment.name} ended by {how}: {last[:300]}"

    def _rest(self) -> None:
        if not self._signal("SIGSTOP"):
            time.sleep(REST_SECONDS)

    def _signal(self, name: str) -> bool:
        """False where the system has no such signal."""
        number = getattr(signal, name, None)
        if number is not None and self._process.poll() is None:
            os.kill(self.pid, number)
        return number is not None


@contextmanager
def workers(environments: list[Environment], threads: int) -> Iterator[list[Worker]]:
    """Workers that are ready, in this order; they are killed when this ends, however it ends."""
    with ExitStack() as stack:
        started = []
        for environment in environments:
            started.append(Worker(environment, threads))
            stack.callback(started[-1].kill)
        for worker in started:  # they import at the same time
            worker.greet()
        yield started
