"""Which device a run gets: `auto`, `cpu`, `gpu` or `gpu:N`, by the same rules and in the same words in every framework.

A GPU is used only if the framework's build has kernels for it. Some builds list the architectures that they carry
kernels for, and arithmetic decides; and a small layer is tried out on it, in a process of its own, because a build
without kernels, or without libraries that fit the driver, can end the process or answer with garbage.

TF32 is settled here too: GPUs from compute capability 8.0 on can multiply float32 with 10 bits instead of 23.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from core.documents import shorten
from core.errors import Note, UserError
from core.parameters import parameter_table
from core.spec import Embedding, Model, RecurrentEncoder

ROOT = Path(__file__).resolve().parents[1]
CHOICES = "auto, cpu, gpu or gpu:N"
HELP = f"{CHOICES}; auto takes the first usable GPU [auto]"
"""Of every program's `--device`."""

TRIAL_LIMIT = 120.0
"""Seconds for importing a framework and one small layer: the first use of a GPU can take most of a minute."""
TRIAL_TOLERANCE = 0.02
"""Of a trial's answers, which are of size 1: more than rounding, with TF32 too, and less than garbage."""
TF32_FROM = (8, 0)
"""Compute capability."""
TF32_DTYPES = ("tf32", "bfloat16")
"""Of a spec, for which a GPU uses TF32: it holds every bfloat16. One without computes bfloat16 in float32."""
TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
"""NVIDIA's own, read by cuBLAS and cuDNN: 0 turns TF32 off, whatever a program asks for. Of Paddle's recurrent layers
nothing else does."""


@dataclass(frozen=True)
class Gpu:
    """As a framework sees it: `number` is the N of `gpu:N`, `memory` in bytes, `capability` (major, minor)."""

    number: int
    name: str
    memory: int
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"GPU {self.number} ({self.name}, compute capability {dotted(self.capability)})"


@dataclass(frozen=True)
class Build:
    """A framework as it is installed."""

    framework: str
    """As in `--backend`."""
    version: str
    cuda: str
    """The CUDA version that it was built for, or `none`."""
    architectures: tuple[str, ...]
    """That it has kernels for, as in `sm_90` and, to be compiled when needed, `compute_90`; empty: it lists none."""
    install: str
    """What to install where this build cannot use a GPU."""

    def __str__(self) -> str:
        return f"{self.framework} {self.version} ({'built for the CPU only' if self.cpu_only else f'CUDA {self.cuda}'})"

    @property
    def cpu_only(self) -> bool:
        return self.cuda == "none"


def dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


# ---- what is asked for


def parse(request: str) -> tuple[str, int | None]:
    """(`auto` | `cpu` | `gpu`, N or None). Raises UserError for anything else."""
    kind, colon, number = request.partition(":")
    if request in ("auto", "cpu", "gpu"):
        return request, None
    if kind == "gpu" and colon and re.fullmatch(r"[0-9]{1,4}", number):
        return kind, int(number)
    raise UserError(f"--device {request}: choose one of {CHOICES}, as in gpu:0")


def resolve(request: str, dtype: str, build: Build, gpus: Callable[[], list[Gpu]]) -> str:
    """`cpu` or `gpu:N`: the device for a request and a spec's dtype. `gpus` is called only if one may be used.

    `gpu` is the first usable one. `auto` too, and without one it is the CPU; a `Note` says which GPUs it passed over
    and why. Raises UserError, one line, if what is asked for cannot be had.
    """
    kind, number = parse(request)
    if kind == "cpu":
        _check_cpu(dtype, "")
        return "cpu"
    try:
        seen = gpus()
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        seen, trouble = [], f"{build} cannot look for GPUs: {shorten(str(error), 160)}"
    else:
        trouble = ""
    if not seen and kind == "gpu":
        cure = f"install {build.install}" if build.cpu_only else "see with nvidia-smi whether the driver works"
        raise UserError(f"--device {request}: {trouble or f'{build} sees no GPU'}; use --device cpu, or {cure}")
    if number is not None and number not in [gpu.number for gpu in seen]:
        raise UserError(f"--device {request}: there is no GPU {number}; {build} sees {', '.join(map(str, seen))}")
    passed_over: list[tuple[Gpu, str]] = []
    for gpu in seen if number is None else [gpu for gpu in seen if gpu.number == number]:
        reason = obstacle(build, gpu, dtype)
        if reason is None:
            if passed_over:
                warnings.warn(Note(f"{_told(passed_over, 'is not used')}; GPU {gpu.number} is used"), stacklevel=2)
            return f"gpu:{gpu.number}"
        passed_over.append((gpu, reason))
    if kind == "gpu":
        raise UserError(f"--device {request}: {_told(passed_over, 'cannot be used')}; or use --device cpu")
    reasons = _told(passed_over, "is not used") or trouble
    _check_cpu(dtype, reasons)
    if reasons:
        warnings.warn(Note(f"{reasons}; the CPU is used"), stacklevel=2)
    return "cpu"


def _told(passed_over: list[tuple[Gpu, str]], what: str) -> str:
    return "; ".join(f"{gpu} {what}: {reason}" for gpu, reason in passed_over)


# ---- whether a GPU can be used


def obstacle(build: Build, gpu: Gpu, dtype: str = "float32") -> str | None:
    """Why a GPU cannot be used, and what to do; None if it can. Tries it out, once in a process's life."""
    if dtype == "tf32" and gpu.capability < TF32_FROM:
        return f"it has no TF32, which begins with compute capability {dotted(TF32_FROM)}: use --dtype float32"
    served, own = serves(build.architectures, gpu.capability), dotted(gpu.capability)
    if served is False:
        listed = ", ".join(build.architectures)
        return f"{build} has no kernels for it, only for {listed}; install {build.install}"
    trouble = trial(build.framework, gpu.number)
    if trouble is None:
        return None
    if served is None:
        return (
            f"{build} most likely has no kernels for compute capability {own} (it lists none, and a trial {trouble});"
            f" install {build.install}"
        )
    return f"{build} does not work on it (a trial {trouble}); see that the driver is new enough for CUDA {build.cuda}"


def serves(architectures: tuple[str, ...], capability: tuple[int, int]) -> bool | None:
    """Whether a build with these runs on such a GPU; None if they do not tell (none are named, or none of NVIDIA's).

    `sm_XY`, machine code: the same major version, a minor not above the GPU's. `compute_XY`, to be compiled: any GPU
    not below. A trailing `a`: that very one; `f`: its family, the same major version.
    """
    matches = [re.fullmatch(r"(sm|compute)_([0-9]+)([0-9])([af]?)", name) for name in architectures]
    known = [match for match in matches if match]
    if not known:
        return None
    for match in known:
        kind, major, minor, suffix = match.groups()
        built = int(major), int(minor)
        if suffix == "a":
            fits = built == capability
        elif kind == "compute" and not suffix:
            fits = built <= capability
        else:
            fits = built[0] == capability[0] and built[1] <= capability[1]
        if fits:
            return True
    return False


@functools.cache
def trial(framework: str, number: int) -> str | None:
    """What went wrong when a small layer was tried on a GPU in a process of its own (after `a trial ...`), or None."""
    load = f"backends.load({framework!r})"
    code = f"import backends; from core import devices; devices.say(devices.try_out({load}, 'gpu:{number}'))"
    answer, trouble = ask(code, TRIAL_LIMIT)
    if trouble:
        return trouble
    if not isinstance(answer, float):
        return "gave an answer that cannot be read"
    return None if answer <= TRIAL_TOLERANCE else f"gave wrong numbers: {answer:.2g} from the CPU's"


def try_out(side: ModuleType, device: str) -> float:
    """The largest difference between the CPU's and a device's answers for a small recurrent layer, forward and back, in
    both ways that a run may have the framework's layer there.

    It is infinite where an answer is not a number.
    """
    encoder, rng = RecurrentEncoder(hidden_size=8), np.random.default_rng(0)
    table = parameter_table(Model(embedding=Embedding(vocab_size=4, dim=8), encoder=encoder))
    shapes = {row.name: row.shape for row in table if row.name.startswith("encoder.")}
    shapes |= {"x": (4, 5, 8), "d_output": (4, 5, encoder.output_size)}
    arrays = {name: rng.uniform(-0.3, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    found = {}
    for where, implementation in itertools.product(("cpu", device), ("builtin", "packed")):
        probe = side.LayerProbe(encoder, arrays, np.array([5, 4, 2, 1]), where, implementation)
        answers = {**probe.forward(), **probe.gradients()}
        found.setdefault(where, []).extend(answer.ravel() for answer in answers.values())
    differences = np.abs(np.concatenate(found[device]) - np.concatenate(found["cpu"]))
    return float(differences.max()) if np.isfinite(differences).all() else float("inf")


# ---- asking a process of its own

_MARK = "seqtwin answers: "


def say(answer: object) -> None:
    """In the child: hand `answer`, as JSON, to the process that asked."""
    print(f"\n{_MARK}{json.dumps(answer)}", flush=True)


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
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        pass  # held by the driver; there is no more that can be done to it


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


# ---- TF32

_tf32: bool | None = None
"""Whether this process uses TF32 on GPUs, once that is settled."""


def forbid_tf32() -> None:
    """Before a framework is imported: float32 means float32, whatever the environment says."""
    if not _tf32:
        os.environ[TF32_VARIABLE] = "0"


def settle_tf32(dtype: str, device: str) -> bool:
    """Whether TF32 is to be on in this process, for a spec's dtype on a device that `resolve` returned; sets NVIDIA's
    variable. A CPU changes nothing.

    Raises UserError on a CPU, which has none, and where this process has used a GPU the other way: NVIDIA's libraries
    read the variable once.
    """
    global _tf32
    wanted = dtype in TF32_DTYPES
    if device == "cpu":
        _check_cpu(dtype, "")
        return bool(_tf32)
    if _tf32 not in (None, wanted):
        used = "with" if _tf32 else "without"
        raise UserError(
            f"dtype {dtype}: this process has used a GPU {used} TF32, which cannot be changed: start another"
        )
    _tf32 = wanted
    if wanted:
        os.environ.pop(TF32_VARIABLE, None)
    else:
        os.environ[TF32_VARIABLE] = "0"
    return wanted


def _check_cpu(dtype: str, reasons: str) -> None:
    if dtype == "tf32":
        why = f" ({reasons})" if reasons else ""
        needs = f"a GPU of compute capability {dotted(TF32_FROM)} or above"
        raise UserError(f"dtype tf32: a CPU has no TF32{why}: use --dtype float32, or {needs}")
