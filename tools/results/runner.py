"""Train what is missing of a set of runs, one process after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import backends
from core.errors import UserError
from core.train.run_folder import RECORD
from tasks.cli.console import INTERRUPTED, console
from tasks.cli.paths import quoted
from tasks.cli.recipes import recipe
from tasks.cli.terminal import literal
from tasks.run.child import run_child


@dataclass(frozen=True)
class Plan:
    """The runs of one task: every recipe with every seed in every framework.

    `options`: further options of the program, the same for all runs.
    """

    task: str
    recipes: list[str]
    seeds: list[int]
    frameworks: list[str]
    folder: Path
    options: list[str]

    def runs(self) -> list[tuple[Path, list[str]]]:
        """Return the folder and the options of every run; a linear model, which needs no framework, runs once."""
        found = []
        for seed in self.seeds:
            for name in self.recipes:
                linear = recipe(name, self.task).model.is_linear
                for framework in [None] if linear else self.frameworks:
                    own = "-".join([self.task, name, *([framework] if framework else []), str(seed)])
                    chosen = ["--recipe", name, "--seed", str(seed), *(["--backend", framework] if framework else [])]
                    found.append((self.folder / own, [*chosen, *self.options]))
        return found


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of `10-14,20`. Raises UserError for other text."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise UserError(f"--seeds {text}: expected numbers and ranges, such as 10-14 or 0,1,2")
        found += range(int(low), int(high if dash else low) + 1)
    if not found or len(set(found)) < len(found):
        raise UserError(f"--seeds {text}: give each seed once, and ranges from low to high")
    return found


def check_frameworks(names: list[str]) -> None:
    """Raise UserError for an unknown framework."""
    for name in names:
        if name not in backends.NAMES:
            raise UserError(f"--backends {','.join(names)}: unknown {name}: choose from {', '.join(backends.NAMES)}")


def run_missing(plan: Plan) -> int:
    """Start or resume every run that is not finished. Return the exit code of the first that fails, else 0."""
    runs = plan.runs()
    for number, (path, options) in enumerate(runs, start=1):
        done = (path / "result.json").is_file()
        console.print(f"\n[bold]{number} of {len(runs)}: {literal(path.name)}[/]{', finished' if done else ''}")
        if done:
            continue
        if path.exists() and not (path / RECORD).is_file():
            raise UserError(f"{path}: ended before its spec was written: remove it with rm -r {quoted(path)}")
        argv = ["--resume", str(path)] if path.exists() else [*options, "--out", str(path)]
        code, stopped = run_child(f"tasks.{plan.task}", argv)
        if code or stopped:
            console.print("stopped; the same command continues with the runs that are missing")
            return INTERRUPTED if stopped else max(code, 1)
    return 0
