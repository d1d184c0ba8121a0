"""The plan of a bench: what it trains, and where. It is written before the first run, so that it can be resumed.

runs/bench-imdb-DATE-TIME/plan.json, specs/gru.json, torch/gru-seed0/, ..., report.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import backends
from core.checked_json import read_checked_json, write_checked_json
from core.errors import UserError
from core.spec.experiment import FORMAT_VERSION, Experiment, parse_experiment
from core.train.run_folder import CHECKED_SINCE, PLAN, RECORD, RunFolder
from tasks.bench.models import MODELS
from tasks.cli.recipes import TASK_RECIPES

BENCH = "bench"
SPECS = "specs"
RESULT = "result.json"


@dataclass(frozen=True)
class Job:
    """One run of the plan."""

    backend: str
    model: str
    seed: int
    path: Path

    @property
    def finished(self) -> bool:
        return (self.path / RESULT).is_file()

    @property
    def resumable(self) -> bool:
        return (self.path / RECORD).is_file()


@dataclass(frozen=True)
class Plan:
    """The models, seeds and backends of a bench in `folder`."""

    folder: Path
    task: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    backends: tuple[str, ...]
    device: str
    implementation: str

    @property
    def program(self) -> str:
        """Module of the program that trains a run."""
        return f"tasks.{self.task}"

    def spec(self, model: str) -> Path:
        """Return the path of a model's spec."""
        return self.folder / SPECS / f"{model}.json"

    def jobs(self) -> Iterator[Job]:
        """Yield the runs in order: every model once before the next seed, one backend after the other."""
        for backend in self.backends:
            for seed in self.seeds:
                for model in self.models:
                    yield Job(backend, model, seed, self.folder / backend / f"{model}-seed{seed}")

    def write(self, experiments: dict[str, Experiment]) -> None:
        """Write the specs, then the plan."""
        (self.folder / SPECS).mkdir()
        for model, experiment in experiments.items():
            tree = {"format": FORMAT_VERSION, "experiment": experiment.model_dump(mode="json")}
            write_checked_json(self.spec(model), tree)
        tree = {
            "format": FORMAT_VERSION,
            "kind": BENCH,
            "task": self.task,
            "models": list(self.models),
            "seeds": list(self.seeds),
            "backends": list(self.backends),
            "device": self.device,
            "implementation": self.implementation,
        }
        write_checked_json(self.folder / PLAN, tree)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read the plan in a folder. Raises UserError if there is none, or if it is damaged."""
        folder = RunFolder.open(path)
        where = folder.file(PLAN)
        tree = read_checked_json(where, CHECKED_SINCE)
        if tree.get("kind") != BENCH:
            raise UserError(f"{path}: not a folder of tasks.bench: give one that it created")
        try:
            plan = cls._of(folder.path, tree)
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{where}: not a plan of tasks.bench, the file is damaged: restore it") from None
        for model in plan.models:
            spec = plan.spec(model)
            parse_experiment(read_checked_json(spec, CHECKED_SINCE).get("experiment"), str(spec))
        return plan

    @classmethod
    def _of(cls, folder: Path, tree: dict) -> Plan:
        """Return the plan of a tree. Raises KeyError, TypeError or ValueError for any other."""
        models, seeds, names = (tuple(tree[name]) for name in ("models", "seeds", "backends"))
        plan = cls(folder, tree["task"], models, seeds, names, tree["device"], tree["implementation"])
        known = plan.task in TASK_RECIPES and set(models) <= set(MODELS) and set(names) <= set(backends.NAMES)
        if not (known and models and seeds and names and all(type(seed) is int for seed in seeds)):
            raise ValueError
        return plan
