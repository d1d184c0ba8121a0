"""What there is to compute on: each framework as it is installed, the GPUs that it sees, and if it can train there.

python -m tasks.devices

Each framework is looked at in a process of its own: where one crashes, that is a line, and the rest is still told.
"""

from __future__ import annotations

import os
from dataclasses import asdict

import backends
from backends import implementations, kernels
from backends.trial import run_trial
from core.engine import devices, machine
from core.engine.child_process import call
from core.engine.devices import Build, Gpu
from tasks.cli.console import Parser, fact, launch
from tasks.cli.flags import name_flags

LOOK_LIMIT = 120.0
"""Seconds for importing a framework and asking for its GPUs."""


def main(argv: list[str]) -> int:
    Parser(
        prog="python -m tasks.devices",
        description="Print, for each framework, its version, the CUDA that it was built for, the architectures that it"
        " has kernels for, every GPU that it sees and whether it can train there; and what there is of the CPU."
        " Each GPU is tried out with a small layer, which can take a minute.",
    ).parse_args(argv)
    told = os.environ.get("OMP_NUM_THREADS")
    threads = f"{machine.usable_cores()} cores" + (f", OMP_NUM_THREADS {told}" if told else "")
    fact("cpu", f"{machine.processor()}; {threads}")
    ours = implementations.why_not_fast("cpu")
    fact("", f"our recurrent layers: {f'no: {ours}' if ours else f'fast ({kernels.target()})'}")
    for name in backends.NAMES:
        for number, line in enumerate(_lines(name)):
            fact("" if number else name, line)
    return 0


def look(name: str) -> dict[str, object]:
    """In the child: how a framework was built, and what it sees."""
    side = backends.load(name)
    return {"build": asdict(side.build()), "gpus": [asdict(gpu) for gpu in side.gpus()]}


def _lines(name: str) -> list[str]:
    """What there is to say about one framework."""
    if not backends.installed(name):
        return [f"not installed; run: {backends.how_to_install(name)}"]
    answer, trouble = call(look, name, limit=LOOK_LIMIT)
    try:
        build, gpus = _read(answer) if not trouble else (None, [])
    except (TypeError, KeyError, ValueError):
        build, trouble = None, "gave an answer that cannot be read"
    if build is None:
        return [f"installed, and cannot be used: a process that looked at it {trouble}"]
    if build.cpu_only:
        return [f"{build.version}, built for the CPU only: it sees no GPU; for one, install {build.install}"]
    listed = ", ".join(build.architectures) or "it does not list them"
    lines = [f"{build.version}, built for CUDA {build.cuda}; kernels for: {listed}"]
    for gpu in gpus:
        obstacle = devices.obstacle(build, gpu, run_trial)
        verdict = (
            f"cannot train there: {name_flags(obstacle)}" if obstacle else f"can train there: --device gpu:{gpu.number}"
        )
        lines.append(f"{gpu}, {gpu.memory / (1 << 30):.0f} GiB: {verdict}")
    return lines if gpus else [*lines, "sees no GPU; nvidia-smi tells whether the driver works"]


def _read(answer: dict) -> tuple[Build, list[Gpu]]:
    build = {**answer["build"], "architectures": tuple(answer["build"]["architectures"])}
    return Build(**build), [Gpu(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in answer["gpus"]]


if __name__ == "__main__":
    launch(main)
