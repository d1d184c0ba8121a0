"""Worker processes of `tasks.speed`: one per framework and setting, since most settings are read at start-up.

Idle workers must not use the CPU, but a framework's threads keep spinning after their work (Intel's OpenMP, in Paddle,
for 200 ms). A signal stops each worker between its timings; on systems without such signals the program waits.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import backends
from core.child_process import python
from core.engine import machine
from core.errors import UserError
from tasks.speed import worker as worker_program

ROOT = Path(__file__).parents[2]
REST_SECONDS = 0.3
IMPLEMENTATIONS = {
    "fast": "seqtwin's compiled layers",
    "builtin": "the framework's layer, one call per direction, exact for lengths",
    "packed": "the framework's layer, one call, with its own handling of lengths",
    "padded": "the framework's layer, padding included",
    "loop": "the textbook's equations, one step at a time",
}
"""Implementations of every backend, and those of `NATIVE`, in table order."""
OWN = ("builtin", "packed", "padded")
"""Implementations that call the framework's own layer."""
KEPT_MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1073741824"}
MKL_TYPE = {"MKL_DEBUG_CPU_TYPE": "5"}
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", *KEPT_MEMORY, *MKL_TYPE)
"""Variables that workers do not inherit: each environment sets its own."""


@dataclass(frozen=True)
class Environment:
    """A framework with its settings."""

    name: str
    backend: str | None
    """None for NumPy alone."""
    about: str
    implementations: tuple[str, ...] = tuple(IMPLEMENTATIONS)
    quick: tuple[str, ...] = ()
    """Implementations that `--quick` times."""
    slow: tuple[str, ...] = ()
    """Implementations of `quick` that it skips for shapes that take seconds."""
    variables: dict[str, str] = field(default_factory=dict)
    plain: bool = False
    """Whether the framework is imported as users import it, without a thread count."""
    unavailable: str | None = None
    """Why this machine skips the environment."""


GLIBC = None if platform.libc_ver()[0] == "glibc" else "requires glibc's memory allocator"
AMD = "requires an AMD processor, where it enables MKL's fast path"
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
        unavailable=GLIBC,
    ),
    Environment(
        "paddle", "paddle", "as seqtwin imports it: thread count set", quick=("fast", "packed", "loop"), slow=("loop",)
    ),
    Environment(
        "paddle, as installed", "paddle", "a plain import, which uses one thread", OWN, quick=("packed",), plain=True
    ),
    Environment(
        "paddle, MKL type 5",
        "paddle",
        "MKL_DEBUG_CPU_TYPE=5",
        OWN,
        quick=("packed",),
        variables=MKL_TYPE,
        unavailable=None if machine.processor_vendor() == "AuthenticAMD" else AMD,
    ),
)


def peak_environment() -> Environment:
    """Return the environment of the peak measurement: torch, which is fast on every processor, or NumPy."""
    backend, library = ("torch", "torch") if backends.installed("torch") else (None, "NumPy")
    # Each product takes 9 MB: kept memory avoids page faults, which are not part of the peak.
    return Environment("peak", backend, f"a matrix product by {library}", implementations=(), variables=KEPT_MEMORY)


class Worker:
    """A process of `tasks.speed.worker`, which runs only while it serves a request."""

    def __init__(self, environment: Environment, threads: int, stack: ExitStack) -> None:
        """Start the process, which is killed when `stack` closes. `workers` waits for it and sets `hello`."""
        self.environment, self.hello = environment, {}
        variables = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        # Works without an installation, and keeps the user's own folders.
        path = os.pathsep.join([str(ROOT), *filter(None, [variables.get("PYTHONPATH")])])
        own = {} if environment.plain else {"OMP_NUM_THREADS": str(threads)}
        self._stderr = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        self._process = process = subprocess.Popen(
            [*python(), "-m", worker_program.__name__],
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
        """Send a request and return its answer. Raises UserError, with the worker's name, if it fails or dies."""
        if hasattr(signal, "SIGCONT"):
            self._process.send_signal(signal.SIGCONT)
        self._send(do, **arguments)
        return self.answer()

    def answer(self) -> dict:
        """Wait for the answer, then stop the worker."""
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
        with suppress(OSError):  # a dead worker: `answer` reports it
            self._requests.write(json.dumps({"do": do, **arguments}) + "\n")
            self._requests.flush()

    def _died(self) -> str:
        code = self._process.wait()
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return f"the worker of {self.environment.name} ended with {how}: {last[:300]}"


@contextmanager
def workers(environments: Iterable[Environment], threads: int) -> Iterator[dict[str, Worker]]:
    """Yield started workers by environment name; kill them on exit."""
    with ExitStack() as stack:
        started = {environment.name: Worker(environment, threads, stack) for environment in environments}
        for worker in started.values():  # all import at the same time
            worker.hello = worker.answer()
        yield started
