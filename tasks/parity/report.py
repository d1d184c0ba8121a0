"""The report of the parity check: findings and loss curves by model, printed, drawn and written."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

import backends
from core.engine import machine
from core.files import write_json_atomic
from core.parity.findings import Finding, first_failure
from core.parity.training import TRAINING_LIMIT
from core.plots.curves import draw_differences
from core.spec.experiment import Experiment
from core.spec.words import WordExperiment
from core.train.loop import finite_or_none
from core.train.run_folder import RunFolder
from tasks.cli.console import console, fact
from tasks.cli.framework import load_backend
from tasks.cli.terminal import literal
from tasks.parity.features import not_exercised
from tasks.parity.table import print_findings, worst


@dataclass
class Report:
    """Collect findings and the loss curves of training runs, by name of the case."""

    seed: int
    """Keys the random parameters and input of rungs 1 and 2."""
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    experiments: dict[str, Experiment | WordExperiment] = field(default_factory=dict)
    losses: dict[str, dict[str, dict[str, np.ndarray]]] = field(default_factory=dict)
    """Losses [steps] by run, dtype and backend."""
    seconds: dict[str, float] = field(default_factory=dict)
    unmoved: list[str] = field(default_factory=list)
    """Trainable parameters that no step changed in any backend."""

    @property
    def passed(self) -> bool:
        return all(finding.passed for own in self.findings.values() for finding in own)

    def differences(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the largest loss difference between backends [steps] by run and dtype."""
        return {
            name: {dtype: np.ptp(np.stack(list(sides.values())), axis=0) for dtype, sides in by_dtype.items()}
            for name, by_dtype in self.losses.items()
        }


def conclude(report: Report, arguments: argparse.Namespace, where: str, seconds: float, out: Path) -> int:
    """Print, draw and write the report; return the exit code."""
    rows = worst(report.findings)
    more = "" if arguments.all else "; --all compares them too"
    print_findings(rows)
    count = sum(map(len, report.findings.values()))
    failed = sum(not finding.passed for own in report.findings.values() for finding in own)
    RunFolder.create(out)
    tree = _tree(report, arguments, where, seconds)
    write_json_atomic(out / "parity.json", tree)
    if arguments.json:
        write_json_atomic(arguments.json, tree)
    if report.losses:
        title = "Difference of the training loss between " + " and ".join(tree["versions"].values())
        curves = {name or "this spec": by_dtype for name, by_dtype in report.differences().items()}
        draw_differences(curves, TRAINING_LIMIT["float64"], title, out / "differences.png")
        fact("picture", str(out / "differences.png"))
    fact("report", str(out / "parity.json"))
    if report.unmoved:
        fact("untrained", f"no step changed {', '.join(report.unmoved)}, in any backend: training it was not compared")
    models = [spec for spec in report.experiments.values() if isinstance(spec, Experiment)]
    if models and (skipped := not_exercised(models)):
        fact("not used", f"{', '.join(skipped)}: faults there would not show" + more)
    if models:
        fact(
            "shared",
            "tokens, batches, learning rates and dropout masks come from core, so a fault in core would not show",
        )
    if len(models) < len(report.experiments):
        fact("shared", "examples of word2vec come from core: rung 0 compares them with their definition")
    passed = "all rungs passed" if len(tree["versions"]) > 1 else "all rungs of a single backend passed"
    verdict = f"[green]{passed}[/]" if report.passed else f"[red]{failed} of {count} comparisons failed[/]"
    console.print(f"[bold]{verdict}[/]: {count} comparisons in {seconds:.0f} s")
    if arguments.plant:
        console.print(_detection(arguments.plant, where, rows))
    return 0 if report.passed else 1


def _detection(name: str, where: str, findings: list[Finding]) -> str:
    """Return a line that tells on which rung a planted fault was detected."""
    failed = first_failure(findings)
    if failed is None:
        return f"[red]NOT detected[/]: {name} in {where} passed all rungs"
    return (
        f"detected: {name} in {where}, on rung {failed.rung} ({literal(failed.compared)}, {failed.dtype}):"
        f" {literal(failed.first or failed.where)}"
    )


def _tree(report: Report, arguments: argparse.Namespace, where: str, seconds: float) -> dict:
    """Return the report as a JSON tree; non-finite values become null."""
    return {
        "passed": report.passed,
        "seconds": round(seconds, 1),
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine.description(),
        "versions": {
            name: f"{name} {load_backend(name).versions()[name]}" for name in arguments.backends or backends.NAMES
        },
        "draw": report.seed,
        "planted": {"fault": arguments.plant, "in": where} if arguments.plant else None,
        "compared": [
            {
                "name": name,
                "experiment": report.experiments[name].model_dump(mode="json"),
                "findings": [_finding(finding) for finding in findings],
                "losses": {
                    dtype: {side: [finite_or_none(loss) for loss in curve.tolist()] for side, curve in sides.items()}
                    for dtype, sides in report.losses.get(name, {}).items()
                },
            }
            for name, findings in report.findings.items()
        ],
        "training_seconds": {title: round(value, 1) for title, value in report.seconds.items()},
    }


def _finding(finding: Finding) -> dict:
    tree = {**asdict(finding), "passed": finding.passed}
    return {key: finite_or_none(value) if isinstance(value, float) else value for key, value in tree.items()}
