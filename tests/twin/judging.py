"""Whether the comparison of a case finds what was planted, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from backends.twin import compare
from core.twin.verdict import Verdict
from tests.twin.build import build
from tests.twin.cases import Case
from tests.twin.optimizers import OPTIMIZERS, Optimizers


def compare_case(case: Case, seed: int) -> Verdict:
    """Compare the two models of a case."""
    built = build(case, seed)
    optimizers = OPTIMIZERS[case.optimizer] if case.optimizer else Optimizers()
    return compare(
        built.torch,
        built.paddle,
        built.inputs,
        to=None if case.conversion else "paddle",
        optimizer=optimizers.settings or (optimizers.torch, optimizers.paddle),
        steps=case.steps,
        seed=seed,
    )


@dataclass(frozen=True)
class Found:
    """What a comparison found first, in the words of a case."""

    rung: int | None = None
    mode: str = ""
    place: str = ""
    paths: tuple[str, ...] = ()
    setting: str = ""
    sentence: str = ""


def found_in(verdict: Verdict) -> Found:
    """Return the first difference of a verdict; all is empty if there is none."""
    first = verdict.first
    if first is None:
        return Found(sentence=verdict.sentence())
    if first.cause is None:
        return Found(first.rung, first.mode, sentence=verdict.sentence())
    cause = first.cause
    return Found(first.rung, first.mode, cause.place, tuple(cause.paths.values()), cause.setting, verdict.sentence())


def wrong(case: Case, verdict: Verdict) -> list[str]:
    """Return what of the verdict is not as the case expects: `rung`, `mode`, `place`, `path`, `setting`, `warning`."""
    found = found_in(verdict)
    said = [*verdict.warnings, *verdict.pairing.notes]
    mistakes = [] if not case.warned or any(case.warned in text for text in said) else ["warning"]
    if not case.place:
        return mistakes if verdict.same else [*mistakes, "false alarm"]
    if found.rung is None:
        return [*mistakes, "not found"]
    if found.rung != case.rung:
        mistakes.append("rung")
    if case.rung and found.mode != case.mode:
        mistakes.append("mode")
    if found.place not in case.place.split("|"):
        mistakes.append("place")
    if case.path != "*" and not set(found.paths) & set(case.path.split("|")):
        mistakes.append("path")
    if case.setting and found.setting not in case.setting.split("|"):
        mistakes.append("setting")
    return mistakes
