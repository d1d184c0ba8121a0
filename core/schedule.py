"""The learning rate of a step: a pure function, so that every backend and every resumed run sees the same."""

from __future__ import annotations

import math

from core.spec import Schedule


def learning_rate(schedule: Schedule, peak: float, step: int, total_steps: int) -> float:
    """Rate of step 0 <= `step` < `total_steps`; `peak` is the optimiser's learning rate."""
    if schedule.kind == "constant":
        return peak
    warmup = schedule.warmup_share * total_steps
    if step < warmup:
        share, start, end = step / warmup, schedule.start_share, 1.0
    else:
        share = (step - warmup) / max(total_steps - 1 - warmup, 1)
        start, end = 1.0, schedule.final_share
    share = min(share, 1.0)
    if schedule.kind == "one_cycle":
        share = (1.0 - math.cos(math.pi * share)) / 2.0
    return peak * (start + (end - start) * share)
