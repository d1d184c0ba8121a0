"""Write the page of a finished run: figures, data, curves, confusions, mistakes, words that matter, and its limits.

python -m tasks.report runs/imdb-torch-...
python -m tasks.report latest --out card.html
"""

from __future__ import annotations

from pathlib import Path

from tasks.cli.commands import program_command
from tasks.cli.console import Parser, fact, launch
from tasks.cli.paths import cache_folder
from tasks.cli.streams import keep_working
from tasks.run.latest import named_run
from tasks.run.report import check_page
from tasks.run.run_page import PAGE, write_run_page

PROGRAM = "tasks.report"


def main(argv: list[str]) -> int:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Write the page of a finished run, which is also its model card: figures, data, curves, confusions,"
        " calibration, mistakes, words that matter, scope and limits, versions. One file, without scripts.",
        epilog="Of a digit-sum run, give a model: RUN/lstm/L10-seed0. The page in the run folder is written anew.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or latest")
    parser.add_argument("--out", metavar="FILE", help=f"page to write [RUN/{PAGE}]")
    parser.add_argument("--no-words", action="store_true", help="leave out the words that matter")
    parser.add_argument("--cache-dir", metavar="DIR", help="cache of downloads and tokenized texts [~/.cache/seqtwin]")
    arguments = parser.parse_args(argv)
    keep_working("the page")
    path = Path(named_run(arguments.run))
    out = Path(arguments.out) if arguments.out else path / PAGE
    if arguments.out:
        check_page(out)
    write_run_page(path, out, cache_folder(arguments.cache_dir), not arguments.no_words)
    fact("page", str(out))
    return 0


if __name__ == "__main__":
    launch(main)
