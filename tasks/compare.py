"""Compare finished runs on one page: metrics, curves and the texts on which they differ.

python -m tasks.compare runs/imdb-paddle-... runs/imdb-torch-...
python -m tasks.compare RUN RUN RUN --labels small large textbook --out comparison.html
"""

from __future__ import annotations

from pathlib import Path

from tasks.cli.commands import program_command
from tasks.cli.console import Parser, launch
from tasks.cli.paths import cache_folder, new_name
from tasks.cli.streams import keep_working
from tasks.run.latest import named_run
from tasks.run.report import check_page, run_labels, write_report

PROGRAM = "tasks.compare"


def main(argv: list[str]) -> int:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Compare finished runs on one page: metrics, specs, curves, predictions and versions.",
        epilog="Runs may differ in task, backend and spec. Of a digit-sum run, give models: RUN/lstm/L10-seed0.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="two or more run folders")
    parser.add_argument("--out", metavar="FILE", help="page to write [runs/compare-DATE-TIME/report.html]")
    parser.add_argument("--labels", metavar="NAME", nargs="+", help="labels of the runs [folder names]")
    parser.add_argument("--cache-dir", metavar="DIR", help="cache of downloads and tokenized texts [~/.cache/seqtwin]")
    arguments = parser.parse_args(argv)
    keep_working("the comparison")
    paths = [Path(named_run(run)) for run in arguments.runs]
    labels = run_labels(paths, arguments.labels)
    out = Path(arguments.out) if arguments.out else new_name(Path("runs"), "compare") / "report.html"
    check_page(out)
    write_report(paths, labels, out, cache_folder(arguments.cache_dir))
    return 0


if __name__ == "__main__":
    launch(main)
