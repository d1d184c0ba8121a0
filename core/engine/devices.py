"""Device selection, `auto`, `cpu`, `gpu` or `gpu:N`, with the same rules for all backends.

A GPU is used only if the framework's build has kernels for it. Some builds list their architectures, which are compared
with the GPU. In addition, a small layer is tested on the GPU in a separate process: a build without kernels, or with
libraries that do not match the driver, can crash the process or return wrong numbers.
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
"""Test of a GPU, `trial(framework, number)` (`backends/trial.py`): the failure, or None."""


@dataclass(frozen=True)
class Gpu:
    """A GPU visible to a framework: N of `gpu:N`, memory in bytes, capability (major, minor)."""

    number: int
    name: str
    memory: int
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"GPU {self.number} ({self.name}, compute capability {dotted(self.capability)})"


@dataclass(frozen=True)
class Build:
    """The installed build of a framework."""

    framework: str
    """Name of the backend."""
    version: str
    cuda: str
    """CUDA version of the build, or `none`."""
    architectures: tuple[str, ...]
    """Architectures with kernels, `sm_90` (binary) or `compute_90` (compiled on demand).

    May be empty.
    """
    install: str
    """Packages to install if this build cannot use a GPU."""

    def __str__(self) -> str:
        return f"{self.framework} {self.version} ({'built for the CPU only' if self.cpu_only else f'CUDA {self.cuda}'})"

    @property
    def cpu_only(self) -> bool:
        return self.cuda == "none"


# ---- device requests


def parse(request: str) -> tuple[str, int | None]:
    """Parse a request to (`auto` | `cpu` | `gpu`, N or None).

    Raises UserError for anything else.
    """
    kind, colon, number = request.partition(":")
    if request in ("auto", "cpu", "gpu"):
        return request, None
    if kind == "gpu" and colon and re.fullmatch(r"[0-9]{1,4}", number):
        return kind, int(number)
    raise UserError(f"`device` {request}: choose one of {CHOICES}, such as gpu:0")


def resolve(request: str, dtype: str, build: Build, gpus: Callable[[], list[Gpu]], trial: Trial) -> str:
    """Return the device, `cpu` or `gpu:N`, for a request and a spec dtype.

    `gpu` selects the first usable GPU; `auto` does so too, or selects the CPU without one. A `Note` warns about skipped
    GPUs, with the reasons. `gpus` is called only if a GPU may be used. Raises UserError if the request cannot be
    satisfied.
    """
    kind, number = parse(request)
    if kind == "cpu":
        check_cpu(dtype, "")
        return "cpu"
    try:
        seen = gpus()
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        seen, trouble = [], f"{build} cannot list GPUs: {shorten(str(error), 160)}"
    else:
        trouble = ""
    if not seen and kind == "gpu":
        fix = f"install {build.install}" if build.cpu_only else "check the driver with nvidia-smi"
        raise UserError(f"`device` {request}: {trouble or f'{build} sees no GPU'}: use `device` cpu, or {fix}")
    if number is not None and number not in [gpu.number for gpu in seen]:
        raise UserError(f"`device` {request}: no GPU {number}: choose one of {', '.join(map(str, seen))}")
    skipped: list[tuple[Gpu, str]] = []
    for gpu in seen if number is None else [gpu for gpu in seen if gpu.number == number]:
        reason = why_unusable(build, gpu, trial, dtype)
        if reason is None:
            if skipped:
                warnings.warn(Note(f"{_listed(skipped, 'is not used')}; using GPU {gpu.number}"), stacklevel=2)
            return f"gpu:{gpu.number}"
        skipped.append((gpu, reason))
    if kind == "gpu":
        raise UserError(f"`device` {request}: {_listed(skipped, 'cannot be used')}; or use `device` cpu")
    reasons = _listed(skipped, "is not used") or trouble
    check_cpu(dtype, reasons)
    if reasons:
        warnings.warn(Note(f"{reasons}; using the CPU"), stacklevel=2)
    return "cpu"


def _listed(skipped: list[tuple[Gpu, str]], what: str) -> str:
    return "; ".join(f"{gpu} {what}: {reason}" for gpu, reason in skipped)


# ---- usability of a GPU


def why_unusable(build: Build, gpu: Gpu, trial: Trial, dtype: str = "float32") -> str | None:
    """Return why a GPU cannot be used, and the fix; None if it can be used."""
    if dtype == "tf32" and gpu.capability < TF32_FROM:
        return f"TF32 requires compute capability {dotted(TF32_FROM)} or above: use `training.dtype` float32"
    served, own = serves(build.architectures, gpu.capability), dotted(gpu.capability)
    if served is False:
        listed = ", ".join(build.architectures)
        return f"{build} has no kernels for it, only for {listed}; install {build.install}"
    trouble = trial(build.framework, gpu.number)
    if trouble is None:
        return None
    if served is None:
        return (
            f"{build} most likely has no kernels for compute capability {own} (it lists none, and a test {trouble});"
            f" install {build.install}"
        )
    return f"{build} fails on it (a test {trouble}); check that the driver supports CUDA {build.cuda}"


def serves(architectures: tuple[str, ...], capability: tuple[int, int]) -> bool | None:
    """Return whether a build with these architectures runs on a GPU, None if unknown.

    `sm_XY` (binary) runs on the same major version with an equal or higher minor version; `compute_XY` (compiled on
    demand) on any equal or higher version. A suffix `a` requires that exact version, `f` the same major version.
    Unknown means that no architecture is listed, or none of NVIDIA's.
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
