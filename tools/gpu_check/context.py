"""Context, sizes and result rows of the GPU checks."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from core.spec.experiment import Experiment, replace
from core.train.loop import finite_or_none
from core.train.prepare_data import fitted, read_data
from tasks.parity.cases import GRID, TEXTCNN, Case, TextCNNCase

PLAIN = [case for case in GRID if case.lookup == "index"]
LARGER = ("embedding.vocab_size", 500), ("embedding.dim", 128), ("encoder.hidden_size", 128)
LARGE = Case("lstm", 2, True, "mean", "index", tuple((f"model.{path}", size) for path, size in LARGER))
"""A realistic size: the framework uses other kernels than for three units."""


@dataclass(frozen=True)
class Sizes:
    """The amount of work in the checks."""

    cases: tuple[Case | TextCNNCase, ...]
    large: tuple[int, int] | None
    """Rows and tokens of the batch for `LARGE`."""
    steps: int
    routes: int
    rounds: int | None
    """Timed rounds of `LOG_INTERVAL` steps; None for a whole epoch."""
    changes: dict[str, object]
    """Changes to the specs that are trained on reviews."""


SHRUNK = {"text.max_length": 12, "model.embedding.dim": 4, "model.encoder.hidden_size": 4, "training.batch_size": 4}
SIZES = {
    "full": Sizes((*PLAIN, *TEXTCNN), (16, 64), 100, 30, None, {}),
    "quick": Sizes((*(PLAIN[3 * model + model % 3] for model in range(12)), *TEXTCNN[1:4]), (16, 64), 100, 9, 3, {}),
    "tiny": Sizes((PLAIN[0], PLAIN[16], PLAIN[35], TEXTCNN[2]), None, 4, 3, 1, SHRUNK),
}


class NotRun(Exception):
    """A check cannot run here; the message is the reason."""


@dataclass(frozen=True)
class Context:
    """The framework, device and data of a check."""

    name: str
    package: ModuleType
    device: str
    gpu: str
    """Name of the GPU; empty on a CPU."""
    size: str
    data: str
    cache: Path

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.size]

    @property
    def source(self) -> dict[str, object]:
        """Changes to a spec that select the data source."""
        if Path(self.data).suffix == ".csv":
            return {"task": "classify", "data": {"kind": "table", "source": self.data}}
        return {"data.source": self.data}

    def reviews(self, experiment: Experiment):
        """Return the experiment fitted to this data, and the data."""
        experiment = replace(experiment, {**self.sizes.changes, **self.source})
        prepared, _ = read_data(experiment, self.cache)
        return fitted(experiment, prepared), prepared

    def bare(self) -> ModuleType:
        return importlib.import_module(f"tools.gpu_check.bare_{self.name}")


def row(what: str, figure: str, limit: str = "", verdict: str = "recorded", value: float | None = None) -> dict:
    shown = None if value is None else finite_or_none(value)
    return {"what": what, "figure": figure, "limit": limit, "verdict": verdict, "value": shown}


def bounded(what: str, value: float, limit: float | None, form: str = "{:.1e}", note: str = "") -> dict:
    """Return a row whose value must not exceed its limit; NaN counts as exceeding it."""
    verdict = "recorded" if limit is None else "ok" if value <= limit else "MISSED"
    return row(what, form.format(value) + note, "" if limit is None else form.format(limit), verdict, value)
