"""What `tasks.speed` makes of its timings: who is how many times as fast as whom, and the record of everything."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from backends import implementations
from core.benchmark.timing import Row, Summary, fastest, ratios
from tasks.speed.environments import OWN
from tasks.speed.measure import Results


@dataclass(frozen=True)
class Rival:
    """Rows that our fast layer is compared with: of those that fit, the fastest."""

    name: str
    backend: str | None
    """None: that of the fast layer."""
    implementations: tuple[str, ...]
    environment: str | None = None
    """None: all, so that each framework has its best setting."""

    def row(self, rows: list[Row], base: Row) -> Row | None:
        """The rival of `base`; None if it was not timed."""
        backend = self.backend or base.backend
        return fastest(
            row
            for row in rows
            if row.case == base.case
            and row.backend == backend
            and row.implementation in self.implementations
            and self.environment in (None, row.environment)
        )


RIVALS = (
    Rival("torch padded", "torch", ("padded",)),
    Rival("torch packed", "torch", ("packed",)),
    Rival("torch builtin", "torch", ("builtin",)),
    Rival("Paddle installed", "paddle", OWN, "paddle, as installed"),
    Rival("Paddle best", "paddle", OWN),
    Rival("loop", None, ("loop",)),
)


DRAWN = (
    Rival("torch fast", "torch", ("fast",)),
    Rival("Paddle fast", "paddle", ("fast",)),
    *(rival for rival in RIVALS if rival.backend is not None),
    Rival("torch loop", "torch", ("loop",)),
    Rival("Paddle loop", "paddle", ("loop",)),
)


@dataclass(frozen=True)
class Comparison:
    """`ratio` times as long as `base`, a fast row, took `row`: the median of rounds in which both were timed."""

    rival: str
    base: Row
    row: Row
    ratio: Summary

    def tree(self) -> dict:
        """As JSON."""
        shape, cell, training = self.base.case
        case = {"shape": shape, "cell": cell, "training": training}
        against = {"against": self.rival, "environment": self.row.environment}
        against["implementation"] = self.row.implementation
        return {**case, "fast_in": self.base.backend, **against, "ratio": asdict(self.ratio)}


def compare(rows: list[Row]) -> list[Comparison]:
    """Every rival of every fast row."""
    found = []
    for base in rows:
        if base.implementation == "fast":
            for rival in RIVALS:
                row = rival.row(rows, base)
                if row is not None:
                    found.append(Comparison(rival.name, base, row, Summary.of(ratios(row, base))))
    return found


def panels(rows: list[Row]) -> tuple[dict[str, dict[str, dict[str, Summary]]], str]:
    """For the picture: by cell and pass, by what is drawn, by shape, how many times as long it took as the first that
    is drawn and was timed everywhere, else as the fastest row of its case; and that in words."""
    cases = list(dict.fromkeys(row.case for row in rows))
    drawn = {}
    for case in cases:
        own = [row for row in rows if row.case == case]
        found = {series.name: series.row(own, own[0]) for series in DRAWN}
        drawn[case] = {name: row for name, row in found.items() if row is not None}
    bases = [series.name for series in DRAWN if all(series.name in found for found in drawn.values())]
    bases = [name for name in bases if name.endswith("fast")]
    grouped = {}
    for (shape, cell, training), found in drawn.items():
        panel = grouped.setdefault(f"{cell.upper()}, {'training' if training else 'inference'}", {})
        base = found[bases[0]] if bases else fastest(found.values())
        for name, row in found.items():
            if not bases or name != bases[0]:
                panel.setdefault(name, {})[shape] = Summary.of(ratios(row, base))
    order = [series.name for series in DRAWN]
    for title, panel in grouped.items():
        grouped[title] = {name: panel[name] for name in order if name in panel}
    return grouped, f"times as long as {bases[0] if bases else 'the fastest'}"


def peaks(results: Results) -> Summary | None:
    """The machine's matrix product over the whole run, FLOP/s; None if no layer was timed."""
    found = [peak for row in results.rows for timing in row.timings for peak in (timing.peak_before, timing.peak_after)]
    return Summary.of(found) if found else None


def describe_disturbance(results: Results) -> str | None:
    """A warning where other processes used the cores; None if none did."""
    disturbed = [round for round in results.rounds if round.disturbed]
    if any(round.others is None for round in results.rounds):
        return "this system does not tell whether other processes disturbed the run"
    if not disturbed:
        return None
    most = max(round.others for round in disturbed)
    return (
        f"other processes disturbed {len(disturbed)} of {len(results.rounds)} rounds, by up to {most:.1f} cores:"
        " the figures of this run are not to be relied on; end them and run it again"
    )


def tree(results: Results, about: dict) -> dict:
    """All of it as JSON; `about` is what is known of the run itself."""
    over_all = peaks(results)
    return {
        "format": 1,
        **about,
        "peak": {"flops_per_second": asdict(over_all) if over_all else None, "by": about["peak_by"]},
        "kernels": None
        if implementations.why_not_fast("cpu")
        else implementations.implementation_version("fast")["kernels"],
        "rows": [row.tree() for row in results.rows],
        "ratios": [comparison.tree() for comparison in compare(results.rows)],
        "steps": [row.tree() for row in results.steps],
        "rounds": [{**asdict(round), "disturbed": round.disturbed} for round in results.rounds],
        "warning": describe_disturbance(results),
    }
