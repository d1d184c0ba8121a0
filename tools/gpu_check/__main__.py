"""Run all GPU checks and print one table.

    python -m tools.gpu_check                            # all; --quick: fewer cases and steps
    python -m tools.gpu_check --write docs/gpu.md        # also update the page
    python -m tools.gpu_check --checks parity tf32

Each check (`measured.py`) of each framework runs in a separate process, so that a crash or hang becomes a table row. A
framework without a usable GPU is a row, too. If no framework has one, the program prints one line and exits with code
0. If a check misses its limit, it exits with code 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import backends
from core.child_process import call
from core.engine import machine
from core.errors import UserError
from core.files import write_json_atomic, write_text_atomic
from tasks.cli.console import Parser, launch
from tasks.cli.paths import cache_folder
from tools.gpu_check.context import row
from tools.gpu_check.measured import CHECKS, PROCESS_SECONDS, run_checks, usable_gpu

MARK = "<!-- results: replaced by python -m tools.gpu_check --write -->"
COLUMNS = ("framework", "check", "what", "figure", "limit", "verdict", "seconds")
WIDEST = 70
"""Maximum column width of the printed table; the JSON is not shortened."""


def main(argv: list[str]) -> int:
    arguments = parsed(argv)
    out = Path(arguments.out)
    record = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "size": "tiny" if arguments.device == "cpu" else "quick" if arguments.quick else "full",
        "machine": machine.description(),
        "frameworks": {},
        "rows": [],
    }
    for name in arguments.backend or backends.NAMES:
        found = {"device": "cpu", "gpu": ""} if arguments.device == "cpu" else probe(name)
        record["frameworks"][name] = found
        if "refused" in found:
            record["rows"].append(whole_check(name, "devices", "a usable GPU", f"not run: {found['refused']}"))
    usable = {name: found for name, found in record["frameworks"].items() if "refused" not in found}
    if not usable:
        reasons = "; ".join(f"{name}: {found['refused']}" for name, found in record["frameworks"].items())
        print(f"skipped: no usable GPU ({reasons})")
        return 0
    for name, found in usable.items():
        settings = {**found, "size": record["size"], "data": arguments.data, "cache": str(cache_folder(None))}
        # On a CPU, one process serves all checks: they share no device state, and the import takes most of the time.
        for checks in [arguments.checks] if arguments.device == "cpu" else [[check] for check in arguments.checks]:
            print(f"{name}: {', '.join(checks)} ...", file=sys.stderr, flush=True)
            versions, rows = run_in_child(name, checks, settings)
            found.update(versions and {"versions": versions})
            record["rows"] += rows
            write_json_atomic(out, record)  # after each check: access to the machine may end
    print(heading(record), "", table(record["rows"]), "", summary(record["rows"]), f"written to {out}", sep="\n")
    if arguments.write:
        write_page(Path(arguments.write), record)
    return int(any(found["verdict"] == "MISSED" for found in record["rows"]))


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m tools.gpu_check", description="Run all GPU checks and print one table.")
    parser.add_argument("--quick", action="store_true", help="fewer cases, and timings from fewer steps")
    parser.add_argument("--checks", metavar="C", nargs="+", default=list(CHECKS), help=f"{', '.join(CHECKS)} [all]")
    parser.add_argument("--backend", metavar="B", nargs="+", help="frameworks [all]")
    help_data = "reviews, or a CSV for tasks.classify [packaged]"
    parser.add_argument("--data", metavar="PATH", default="packaged", help=help_data)
    parser.add_argument("--out", metavar="FILE", default="gpu-check.json", help="output file [gpu-check.json]")
    parser.add_argument("--write", metavar="FILE", help="update the table in this page")
    parser.add_argument("--device", default="gpu", help=argparse.SUPPRESS)  # cpu: tests of the checks
    arguments = parser.parse_args(argv)
    for given, known in ((arguments.checks, CHECKS), (arguments.backend or (), backends.NAMES)):
        for name in given:
            if name not in known:
                raise UserError(f"unknown {name!r}: choose from {', '.join(known)}")
    if arguments.device not in ("cpu", "gpu"):
        raise UserError(
            f"--device {arguments.device}: must be gpu, the first usable one; set CUDA_VISIBLE_DEVICES for another"
        )
    if arguments.data != "packaged":
        arguments.data = str(Path(arguments.data).absolute())
    return arguments


def call_in_child(function: Callable, *arguments: object) -> tuple[object, str]:
    """Call a function of `measured.py` in a separate process; return (result, "") or (None, failure)."""
    return call(function, *arguments, limit=PROCESS_SECONDS)


def probe(name: str) -> dict:
    """Return the GPU of a framework, as `measured.usable_gpu`, or the reason why it has none."""
    if not backends.installed(name):
        return {"refused": f"not installed; run: {backends.how_to_install(name)}"}
    answer, trouble = call_in_child(usable_gpu, name)
    return {"refused": f"the process that probed it {trouble}"} if trouble else answer


def run_in_child(name: str, checks: list[str], settings: dict) -> tuple[dict, list[dict]]:
    """Run checks; return versions and rows, with a row per check if the process dies."""
    began = time.perf_counter()
    answer, trouble = call_in_child(run_checks, name, checks, settings)
    if not trouble:
        return answer["versions"], answer["rows"]
    seconds = round(time.perf_counter() - began, 2)
    return {}, [whole_check(name, check, f"its process {trouble}", "MISSED", seconds) for check in checks]


def whole_check(name: str, check: str, what: str, verdict: str, seconds: float = 0.0) -> dict:
    """Return a row for a whole check."""
    return {"check": check, "framework": name, **row(what, "", verdict=verdict), "seconds": seconds}


# ---- output


def heading(record: dict) -> str:
    """Return the lines above the table: date, size, GPUs and versions."""
    lines = [f"{record['date'][:16].replace('T', ' ')}, {record['size']}"]
    for name, found in record["frameworks"].items():
        versions = ", ".join(f"{part} {version}" for part, version in found.get("versions", {}).items())
        lines.append(f"{name}: {found.get('refused') or found['gpu'] or 'CPU, no GPU was checked'}")
        lines[-1] += f"; {versions}" if versions else ""
    return "\n".join(lines)


def table(rows: list[dict]) -> str:
    """Return the rows as an aligned text table."""
    lines = [COLUMNS, *(cells(found) for found in rows)]
    lines = [[shortened(cell) for cell in line[:-2]] + list(line[-2:]) for line in lines]
    # The verdict may contain a long reason: it is the last column, without padding.
    order = [*range(len(COLUMNS) - 2), len(COLUMNS) - 1, len(COLUMNS) - 2]
    widths = [max(len(line[column]) for line in lines) for column in order[:-1]]
    text = ["  ".join([*(line[c].ljust(w) for c, w in zip(order, widths, strict=False)), line[-2]]) for line in lines]
    return "\n".join(line.rstrip() for line in text)


def cells(found: dict) -> list[str]:
    return [str(found[column]) for column in COLUMNS]


def shortened(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def summary(rows: list[dict]) -> str:
    """Return the number of rows by verdict."""
    kinds = [found["verdict"].partition(":")[0] for found in rows]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("ok", "MISSED", "recorded", "not run"))


def write_page(path: Path, record: dict) -> None:
    """Write the results into a page, replacing everything after `MARK`."""
    before = path.read_text(encoding="utf-8").partition(MARK)[0] if path.is_file() else "# On a GPU\n\n"
    when, *who = heading(record).splitlines()
    lines = [f"## Measured {when}", "", *(f"- {line}" for line in who), ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for found in record["rows"]:
        lines.append("| " + " | ".join(re.sub(r"([|<>*_\[\]])", r"\\\1", cell) for cell in cells(found)) + " |")
    write_text_atomic(path, "\n".join([before + MARK, "", *lines, "", summary(record["rows"]) + "."]) + "\n")


if __name__ == "__main__":
    launch(main)
