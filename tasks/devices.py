"""List the CPU, the installed backends and the GPUs that each of them can train on.

python -m tasks.devices

Each framework is probed in a separate process, so that a crash becomes one line of the output.
"""

from __future__ import annotations

import os
from dataclasses import asdict

import backends
from backends import implementations, kernels
from backends.trial import run_trial
from core.child_process import call
from core.engine import devices, machine
from core.engine.devices import Build, Gpu
from tasks.cli.commands import program_command
from tasks.cli.console import Parser, fact, launch
from tasks.cli.flags import name_flags

PROBE_LIMIT = 120.0
"""Time limit in seconds for importing a framework and listing its GPUs."""


def main(argv: list[str]) -> int:
    Parser(
        prog=program_command("tasks.devices"),
        description="Print the CPU and, for each framework, its version, its CUDA version, the GPU architectures of its"
        " kernels, every GPU that it detects and whether it can train there. Each GPU is tested with a small layer,"
        " which can take a minute.",
    ).parse_args(argv)
    told = os.environ.get("OMP_NUM_THREADS")
    threads = f"{machine.usable_cores()} cores" + (f", OMP_NUM_THREADS {told}" if told else "")
    fact("cpu", f"{machine.processor()}; {threads}")
    reason = implementations.why_not_fast("cpu")
    fact("", f"implementation fast: {f'unavailable: {reason}' if reason else kernels.target()}")
    for name in backends.NAMES:
        for number, line in enumerate(_lines(name)):
            fact("" if number else name, line)
    return 0


def probe(name: str) -> dict[str, object]:
    """Return the build and the GPUs of a framework; runs in the child process."""
    side = backends.load(name)
    return {"build": asdict(side.build()), "gpus": [asdict(gpu) for gpu in side.gpus()]}


def _lines(name: str) -> list[str]:
    """Return the lines about one framework."""
    if not backends.installed(name):
        return [f"not installed; run: {backends.how_to_install(name)}"]
    answer, trouble = call(probe, name, limit=PROBE_LIMIT)
    try:
        build, gpus = _read(answer) if not trouble else (None, [])
    except (TypeError, KeyError, ValueError):
        build, gpus, trouble = None, [], "returned an unreadable result"
    if build is None:
        return [f"installed but unusable: the process that probed it {trouble}"]
    if build.cpu_only:
        return [f"{build.version}, built for the CPU only; for GPU support, install {build.install}"]
    listed = ", ".join(build.architectures) or "not listed"
    lines = [f"{build.version}, built for CUDA {build.cuda}; kernels for: {listed}"]
    for gpu in gpus:
        reason = devices.why_unusable(build, gpu, run_trial)
        verdict = f"cannot train: {name_flags(reason)}" if reason else f"can train: --device gpu:{gpu.number}"
        lines.append(f"{gpu}, {gpu.memory / (1 << 30):.0f} GiB: {verdict}")
    return lines if gpus else [*lines, "no GPU detected; check the driver with nvidia-smi"]


def _read(answer: dict) -> tuple[Build, list[Gpu]]:
    build = {**answer["build"], "architectures": tuple(answer["build"]["architectures"])}
    return Build(**build), [Gpu(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in answer["gpus"]]


if __name__ == "__main__":
    launch(main)
