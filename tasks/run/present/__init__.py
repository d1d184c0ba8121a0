"""How runs are shown, by the kind of their head: one module each, with the same functions."""

from __future__ import annotations

from types import ModuleType

from core.spec.experiment import Experiment
from tasks.run.present import decoder, language, multilabel, pooled, tokens

PRESENTERS: dict[str, ModuleType] = {
    "pooled": pooled,
    "multilabel": multilabel,
    "tokens": tokens,
    "decoder": decoder,
    "language": language,
}
"""Modules with `describe(run)`, `headline(result)`, `breakdown(found, classes)`, `save(run, found, cache)`, and
`PICTURES`."""


def presenter(experiment: Experiment) -> ModuleType:
    """Return the module that shows a run of this spec."""
    return PRESENTERS[experiment.model.head.kind]
