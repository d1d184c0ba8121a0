"""What the JSON files of a run must contain: the record of its execution, and its result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UserError
from core.spec.experiment import ADDED, Experiment, describe

Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a file that has these fields, and may have others."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Segment(Part):
    backend: str
    device: str
    implementation: str
    versions: dict[str, str]
    from_step: Count


class _Data(Part):
    kind: str
    description: str
    fingerprint: str


class _Vectors(Part):
    source: str
    found: Count
    missing: Count


class _Start(Part):
    source: str
    task: str
    digest: str
    found: Count
    missing: Count
    parameters: list[str]
    drawn: list[str]


class _Execution(Part):
    backend: str
    device: str
    implementation: str
    versions: dict[str, str]
    classes: list[str]
    data: _Data
    segments: Annotated[list[Segment], Field(min_length=1)]
    vectors: _Vectors | None = None
    start: _Start | None = None
    started: str = ""
    tokenized_by: str = ""
    processes: Annotated[int, Field(ge=1)] = 1
    stacked_shape: Annotated[int, Field(ge=1)] = 1


class _ClassScores(Part):
    precision: Rate
    recall: Rate
    f1: Rate
    count: Count


class _Test(Part):
    documents: Annotated[int, Field(ge=1)]
    accuracy: Rate
    loss: Number
    macro_f1: Rate | None = None
    micro_f1: Rate | None = None
    precision: Rate | None = None
    recall: Rate | None = None
    confusion: list[list[Count]] | None = None
    interval: Annotated[list[Rate], Field(min_length=2, max_length=2)] | None = None
    """95 % interval of the accuracy of a classifier of texts."""
    per_class: list[_ClassScores] | None = None
    """In the order of `execution.classes`."""


class _Accuracy(Part):
    accuracy: Rate


class _Simple(Part):
    """The figures of a simple model on the same split."""

    name: str
    dev: _Accuracy
    test: _Accuracy


class _Discordant(Part):
    """Test texts that only one of two models classifies correctly, and the p-value of McNemar's exact test."""

    only_model: Count
    only_baseline: Count
    p: Rate


class _Baseline(_Simple):
    largest_class: _Simple | None = None
    mcnemar: _Discordant | None = None
    seconds: Number | None = None


class _Dev(Part):
    accuracy: Rate
    loss: Number
    step: Count


class _Training(Part):
    steps: Count
    seconds: Number
    epoch_seconds: list[Number] = []
    tokens_per_second: Number
    device_share: Number | None = None


class _Reliability(Part):
    error: Rate
    counts: list[Count]
    confidence: list[Rate]
    accuracy: list[Rate]


class _Reliabilities(Part):
    before: _Reliability
    after: _Reliability


class _Calibration(Part):
    """The temperature of a classifier, and what it changes (`core/train/calibration.py`)."""

    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    dev: _Reliabilities
    test: _Reliabilities
    coverage: Annotated[list[list[Rate | None]], Field(min_length=100, max_length=100)]
    """For least probabilities 0.00 to 0.99 on dev: share of the texts that reach it, and accuracy on these."""


class _Result(Part):
    test: _Test
    dev: _Dev
    training: _Training
    baseline: _Baseline | None = None
    calibration: _Calibration | None = None
    peak_memory_mb: Number | None = None
    files: dict[str, str] = {}


def check_execution(tree: Any, experiment: Experiment, path: Path) -> None:
    """Raise UserError, naming `path`, if a record of an execution lacks something or fits another spec."""
    try:
        own = _Execution.model_validate(tree)
    except ValidationError as error:
        raise _damaged(path, f"execution.{describe(error)}") from None
    for versions, backend in ((part.versions, part.backend) for part in (own, *own.segments)):
        if backend not in versions:
            raise _damaged(path, f"execution.versions does not have that of {backend}")
    if len(own.classes) != experiment.model.head.classes:
        raise _damaged(
            path, f"execution.classes has {len(own.classes)} names, expected {experiment.model.head.classes}"
        )


def check_result(tree: dict, path: Path) -> None:
    """Raise UserError, naming `path`, if a result lacks a figure."""
    try:
        _Result.model_validate(tree)
    except ValidationError as error:
        raise _damaged(path, describe(error)) from None


COMPLETE_SINCE = 3
"""First format whose records have every field."""


def check_complete(tree: Any, experiment: Experiment, path: Path, version: int) -> None:
    """Raise UserError if a stored spec of format `version` lacks a field, for which a default would be used.

    Formats before `COMPLETE_SINCE` may lack fields, but no section; others may lack those that were `ADDED` later.
    """
    later = {name for added, names in ADDED.items() if added > version for name in names}
    for name in _missing(tree, experiment.model_dump(mode="json"), sections_only=version < COMPLETE_SINCE):
        if name not in later:
            raise _damaged(path, f"experiment.{name} is missing")


def _missing(tree: Any, full: dict, sections_only: bool) -> Iterator[str]:
    for key, value in full.items():
        section = isinstance(value, dict)
        if key not in tree:
            if section or not sections_only:
                yield key
        elif section and isinstance(tree[key], dict):
            yield from (f"{key}.{name}" for name in _missing(tree[key], value, sections_only))


def _damaged(path: Path, problem: str) -> UserError:
    return UserError(f"{path}: damaged ({problem}): restore the file")
