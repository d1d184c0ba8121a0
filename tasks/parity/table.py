"""Print findings of the parity check as a table, shared by all programs that compare backends."""

from __future__ import annotations

from collections.abc import Iterable

from core.parity.findings import Finding
from tasks.cli.console import bar, console, errors
from tasks.cli.terminal import literal


def print_findings(findings: Iterable[Finding]) -> None:
    """Print a line per finding under headings of rung and quantity, then failures with their origin."""
    findings = grouped(findings)
    widest = max((len(finding.compared) for finding in findings), default=0)
    wide = max((len(finding.dtype) for finding in findings), default=0)
    console.print()
    console.print(
        f"[dim]      {'compared':<{widest}}  {'dtype':<{wide}}  absolute  relative  limit  result    largest at[/]"
    )
    previous = None
    for finding in findings:
        if (finding.rung, finding.quantity) != previous:
            console.print(f"[bold]rung {finding.rung}[/]  [bold]{literal(finding.quantity)}[/]")
            previous = (finding.rung, finding.quantity)
        limit = "" if finding.limit is None else f"{finding.limit:.0e}" if finding.limit else "0"
        console.print(
            f"      {literal(finding.compared):<{widest}}  {finding.dtype:<{wide}}  {finding.absolute:8.1e}"
            f"  {finding.relative:8.1e}  {limit:>5}  {verdict(finding)}  {literal(finding.where)}"
        )
    for finding in findings:
        if not finding.passed:
            first = literal(finding.first or finding.where)
            console.print(
                f"[red]failed[/]  rung {finding.rung}, {literal(finding.compared)}, {finding.dtype},"
                f" {literal(finding.quantity)}: first above the limit: [bold]{first}[/]"
            )
    console.print()


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings grouped by rung, then by quantity, each in order of first occurrence."""
    groups: dict[tuple[int, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.rung, finding.quantity), []).append(finding)
    return [finding for key in sorted(groups, key=lambda key: key[0]) for finding in groups[key]]


def verdict(finding: Finding) -> str:
    """Return `pass` or `FAIL`, or `recorded` for a finding without a limit."""
    if finding.limit is None:
        return "recorded"
    return "[green]pass[/]    " if finding.passed else "[red]FAIL[/]    "


def worst(findings: dict[str, list[Finding]]) -> list[Finding]:
    """Return the largest finding of each kind over all runs and models, with its name in `where`.

    A failed finding counts as larger than any that passed.
    """
    found: dict[tuple, tuple[Finding, str]] = {}
    for name, own in findings.items():
        for finding in own:
            key = (finding.rung, finding.quantity, finding.compared, finding.dtype)
            if key not in found or _size(finding) > _size(found[key][0]):
                found[key] = (finding, name)
    return [_located(*entry) for entry in found.values()]


def _size(finding: Finding) -> tuple[bool, float]:
    return (not finding.passed, finding.value)


def _located(finding: Finding, name: str) -> Finding:
    values = {**vars(finding), "where": f"{name}: {finding.where}" if name else finding.where}
    return Finding(**values)


class ParityProgress:
    """Show a bar for all models and one for the current rung, and a line per finished training run."""

    def __init__(self, total: int) -> None:
        self._bar = bar()
        self._all = self._bar.add_task("parity check", total=total)
        self._rung = self._bar.add_task("", total=1)
        self._lines = errors if errors.is_terminal and console.is_terminal else console

    def __enter__(self) -> ParityProgress:
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def rung(self, what: str, done: int, total: int) -> None:
        self._bar.update(self._rung, description=literal(what), completed=done, total=total)

    def finished(self, line: str = "") -> None:
        self._bar.advance(self._all)
        if line:
            self._lines.print(line)
