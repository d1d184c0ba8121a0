"""Results of `tasks.speed`: speedups over other implementations, and the JSON record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

import numpy as np

from backends import implementations
from core.benchmark.timing import LayerRow, Row, Summary, ratios
from core.engine import machine
from tasks.speed.environments import Worker
from tasks.speed.measure import PASSES, Measurement, Plan
from tasks.speed.series import DRAWN, RIVALS, Series

FORMAT = 2
"""Version of the record; since 2, steps have `flops_per_second` and `share_of_peak`."""


def compare(rows: list[LayerRow]) -> list[dict]:
    """Return, as JSON, each `fast` row's comparison with each rival.

    `ratio`: the rival's time over that of `fast`, the median over rounds that timed both.
    """
    found = []
    for base in rows:
        if base.implementation == "fast":
            for rival in (*RIVALS, Series("loop", base.backend, ("loop",))):
                row = rival.row(rows, base.case)
                if row is not None:
                    case = {"shape": base.shape, "cell": base.cell, "training": base.training}
                    against = {"fast_in": base.backend, "against": rival.name, "environment": row.environment}
                    ratio = asdict(ratios(row, base))
                    found.append({**case, **against, "implementation": row.implementation, "ratio": ratio})
    return found


def panels(rows: list[LayerRow]) -> tuple[dict[str, dict[str, dict[str, Summary]]], str]:
    """Return time ratios by panel (cell and pass), series and shape; and the label of the axis.

    The base is torch's or Paddle's `fast` if timed in every case, else the fastest row of the case.
    """
    drawn = {case: {} for case in dict.fromkeys(row.case for row in rows)}
    for case, found in drawn.items():
        found.update({series.name: row for series in DRAWN if (row := series.row(rows, case)) is not None})
    bases = [name for name in ("torch fast", "Paddle fast") if all(name in found for found in drawn.values())]
    base = bases[0] if bases else None
    grouped = {}
    for cell, training in dict.fromkeys(case[1:] for case in drawn):
        own = {case[0]: found for case, found in drawn.items() if case[1:] == (cell, training)}
        references = {
            shape: found[base] if base else min(found.values(), key=lambda row: row.seconds.median)
            for shape, found in own.items()
        }
        grouped[f"{cell.upper()}, {PASSES[training]}"] = {
            name: {shape: ratios(found[name], references[shape]) for shape, found in own.items() if name in found}
            for name in (series.name for series in DRAWN)
            if name != base and any(name in found for found in own.values())
        }
    return grouped, f"time relative to {base or 'the fastest'}"


def peaks(rows: Iterable[Row]) -> Summary | None:
    """Summarize the machine's peak over the whole run, in FLOP/s; None if nothing was timed."""
    found = [timing[when] for row in rows for timing in row.timings for when in ("peak_before", "peak_after")]
    return Summary.of(found) if found else None


def describe_disturbance(rounds: list[dict]) -> str | None:
    """Return a warning if other processes used the cores, else None."""
    disturbed = [round["others"] for round in rounds if round["disturbed"]]
    if any(round["others"] is None for round in rounds):
        return "this system does not report whether other processes disturbed the run"
    if not disturbed:
        return None
    return (
        f"other processes disturbed {len(disturbed)} of {len(rounds)} rounds, by up to {max(disturbed):.1f}"
        " cores: the timings are unreliable; stop those processes and run it again"
    )


def kernels() -> str | None:
    """Return the build of the `fast` layers that runs on this machine; None if unavailable."""
    return None if implementations.why_not_fast("cpu") else implementations.implementation_version("fast")["kernels"]


def describe_run(plan: Plan, threads: int, ready: dict[str, Worker], skipped: dict[str, str]) -> dict:
    """Return the description of the run as JSON."""
    peak, *others = ready.values()
    versions = {"numpy": np.__version__}
    for worker in ready.values():
        versions.update(worker.hello["versions"])
    return {
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {**machine.description(), "processor": machine.processor()},
        "threads": threads,
        "versions": versions,
        "dtype": plan.dtype,
        "rounds_at_most": plan.rounds,
        "peak_by": peak.environment.about,
        "environments": [{**asdict(worker.environment), "threads": worker.hello["threads"]} for worker in others],
        "left_out": skipped,
        "shapes": [
            asdict(shape) | {"lengths": plan.lengths_of(shape).tolist(), "drawn": plan.lengths} for shape in plan.shapes
        ],
    }


def tree(measured: Measurement, about: dict) -> dict:
    """Return the whole record as JSON; `about` is the result of `describe_run`."""
    over_all = peaks([*measured.rows, *measured.steps])
    return {
        "format": FORMAT,
        **about,
        "peak": {"flops_per_second": over_all and asdict(over_all), "by": about["peak_by"]},
        "kernels": kernels(),
        "rows": [row.tree() for row in measured.rows],
        "untimed": [
            {
                name: getattr(row, name)
                for name in ("environment", "implementation", "shape", "cell", "training", "cost")
            }
            for row in measured.untimed
        ],
        "ratios": compare(measured.rows),
        "steps": [row.tree() for row in measured.steps],
        "rounds": measured.rounds,
        "warning": describe_disturbance(measured.rounds),
    }
