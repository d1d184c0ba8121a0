"""Finished runs side by side, as one page to read: figures, curves, and the texts on which they differ.

python -m tasks.compare runs/imdb-paddle-... runs/imdb-torch-...
python -m tasks.compare RUN RUN RUN --labels small large textbook --out comparison.html
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tasks.cli.console import Parser, launch
from tasks.cli.paths import cache_folder, new_name
from tasks.run.report import _labels, check_page, write_report

PROGRAM = "python -m tasks.compare"


def main(argv: list[str]) -> int:
    parser = Parser(
        prog=PROGRAM,
        description="Compare finished runs: a page with their figures, specs, curves, predictions and versions.",
        epilog="Runs of any task, framework and spec; of a digit-sum run, single models, as RUN/lstm/L10-seed0.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=110),
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders, two or more")
    parser.add_argument("--out", metavar="FILE", help="page to write [runs/compare-DATE-TIME/report.html]")
    parser.add_argument("--labels", metavar="NAME", nargs="+", help="what to call the runs [their folders' names]")
    parser.add_argument("--cache-dir", metavar="DIR", help="where downloaded reviews are [~/.cache/seqtwin]")
    arguments = parser.parse_args(argv)
    paths = [Path(run) for run in arguments.runs]
    labels = _labels(paths, arguments.labels)
    out = Path(arguments.out) if arguments.out else new_name(Path("runs"), "compare") / "report.html"
    check_page(out)
    write_report(paths, labels, out, cache_folder(arguments.cache_dir))
    return 0


if __name__ == "__main__":
    launch(main)
