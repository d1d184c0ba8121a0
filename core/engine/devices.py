"""Which device a run gets: `auto`, `cpu`, `gpu` or `gpu:N`, by the same rules and in the same words in every framework.

A GPU is used only if the framework's build has kernels for it. Some builds list the architectures that they carry
kernels for, and arithmetic decides; and a small layer is tried out on it, in a process of its own, because a build
without kernels, or without libraries that fit the driver, can end the process or answer with garbage.

TF32 is settled here too: GPUs from compute capability 8.0 on can multiply float32 with 10 bits instead of 23.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from core.engine.tf32 import TF32_FROM, check_cpu, dotted
from core.errors import Note, UserError
from core.strings import shorten

CHOICES = "auto, cpu, gpu or gpu:N"

Trial = Callable[[str, int], str | None]
"""`trial(framework, number)`: what went wrong when a GPU was tried out (`backends/trial.py`), or None."""


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
    """The backend's name."""
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


# ---- what is asked for


def parse(request: str) -> tuple[str, int | None]:
    """(`auto` | `cpu` | `gpu`, N or None). Raises UserError for anything else."""
    kind, colon, number = request.partition(":")
    if request in ("auto", "cpu", "gpu"):
        return request, None
    if kind == "gpu" and colon and re.fullmatch(r"[0-9]{1,4}", number):
        return kind, int(number)
    raise UserError(f"`device` {request}: choose one of {CHOICES}, as in gpu:0")


def resolve(request: str, dtype: str, build: Build, gpus: Callable[[], list[Gpu]], trial: Trial) -> str:
    """`cpu` or `gpu:N`: the device for a request and a spec's dtype. `gpus` is called only if one may be used.

    `gpu` is the first usable one. `auto` too, and without one it is the CPU; a `Note` says which GPUs it passed over
    and why. Raises UserError, one line, if what is asked for cannot be had.
    """
    kind, number = parse(request)
    if kind == "cpu":
        check_cpu(dtype, "")
        return "cpu"
    try:
        seen = gpus()
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        seen, trouble = [], f"{build} cannot look for GPUs: {shorten(str(error), 160)}"
    else:
        trouble = ""
    if not seen and kind == "gpu":
        cure = f"install {build.install}" if build.cpu_only else "see with nvidia-smi whether the driver works"
        raise UserError(f"`device` {request}: {trouble or f'{build} sees no GPU'}; use `device` cpu, or {cure}")
    if number is not None and number not in [gpu.number for gpu in seen]:
        raise UserError(f"`device` {request}: there is no GPU {number}; {build} sees {', '.join(map(str, seen))}")
    passed_over: list[tuple[Gpu, str]] = []
    for gpu in seen if number is None else [gpu for gpu in seen if gpu.number == number]:
        reason = obstacle(build, gpu, trial, dtype)
        if reason is None:
            if passed_over:
                warnings.warn(Note(f"{_told(passed_over, 'is not used')}; GPU {gpu.number} is used"), stacklevel=2)
            return f"gpu:{gpu.number}"
        passed_over.append((gpu, reason))
    if kind == "gpu":
        raise UserError(f"`device` {request}: {_told(passed_over, 'cannot be used')}; or use `device` cpu")
    reasons = _told(passed_over, "is not used") or trouble
    check_cpu(dtype, reasons)
    if reasons:
        warnings.warn(Note(f"{reasons}; the CPU is used"), stacklevel=2)
    return "cpu"


def _told(passed_over: list[tuple[Gpu, str]], what: str) -> str:
    return "; ".join(f"{gpu} {what}: {reason}" for gpu, reason in passed_over)


# ---- whether a GPU can be used


def obstacle(build: Build, gpu: Gpu, trial: Trial, dtype: str = "float32") -> str | None:
    """Why a GPU cannot be used, and what to do; None if it can."""
    if dtype == "tf32" and gpu.capability < TF32_FROM:
        return f"it has no TF32, which begins with compute capability {dotted(TF32_FROM)}: use `training.dtype` float32"
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
