"""Export a finished run for ONNX, TorchScript, Paddle Inference, or in 8 bits, and check what was written.

python -m tasks.export RUN --to onnx
python -m tasks.export RUN --to int8 --check-texts all
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import numpy as np

from core.data.dataset import Dataset
from core.data.sources.lookup import read_texts
from core.errors import UserError
from core.files import user_path, write_json_atomic
from core.spec.experiment import Experiment
from core.train.metrics import evaluate
from core.train.ngrams import split_with_ngrams
from core.train.prepare_data import read_data
from core.train.run_folder import RunFolder
from core.train.setup import check_vocabulary
from tasks.cli.commands import program_command
from tasks.cli.console import DataProgress, Parser, console, fact, launch
from tasks.cli.paths import cache_folder
from tasks.cli.streams import keep_working
from tasks.export.check import Checked, compare, encode_texts, encoded_differently, evaluate_rows, load_script
from tasks.export.formats import FORMATS, check_format
from tasks.export.write import CARD, write_export
from tasks.run.evaluators import EVALUATORS, evaluator
from tasks.run.latest import named_run
from tasks.run.worker import Request

PROGRAM = "tasks.export"
CHECKED_TEXTS = 1000
ALL = "all"


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    keep_working("the export")
    limit = _limit(arguments.check_texts)
    folder = RunFolder.open(user_path(named_run(arguments.run)))
    experiment, execution = folder.read_record()
    folder.read_result()
    check_format(arguments.to, experiment)
    out = user_path(arguments.out) if arguments.out else folder.path / f"export-{arguments.to}"
    if out.exists():
        raise UserError(f"{out}: exists; choose another folder with --out")
    fact("model", f"{experiment.model.describe()} ({execution['backend']})")
    texts = test_texts(folder, experiment, execution, limit, cache_folder(arguments.cache_dir)) if limit != 0 else None
    card = write_export(out, arguments.to, folder, experiment, execution)
    sizes = [f"{path.name} {_size(path.stat().st_size)}" for path in sorted(out.iterdir())]
    fact("written", f"{out}: {', '.join(sizes)}")
    passed = True
    if texts is None:
        fact("check", "not checked (--check-texts 0)")
    else:
        request = Request(arguments.backend or _evaluator(experiment, execution), "cpu")
        checked = check(out, (folder, experiment), texts, request, FORMATS[arguments.to].int8)
        write_json_atomic(out / CARD, {**card, "check": checked.record()})
        for line in checked.lines():
            fact("check", line)
        passed = checked.passed
        if not passed:
            console.print("[red]failed: the export does not predict as the run does[/]")
    fact("next", f"python {shlex.quote(str(out / 'predict.py'))} TEXT", command=True)
    return 0 if passed else 1


def test_texts(
    folder: RunFolder, experiment: Experiment, execution: dict, limit: int | None, cache: Path
) -> tuple[Dataset, dict[str, str]]:
    """Return the first test texts of a run, encoded and as strings by name. Raises UserError for other data."""
    fingerprint = execution["data"]["fingerprint"]
    with DataProgress() as progress:
        wanted = fingerprint, f"not the data of {folder.path}: restore it, or give --check-texts 0"
        prepared, _ = read_data(experiment, cache, wanted, progress)
        check_vocabulary(folder, experiment, prepared)
        dataset = split_with_ngrams(experiment, prepared, folder.read_ngrams(experiment.model), "test")
        dataset = dataset if limit is None else dataset.first(limit)
        return dataset, read_texts(experiment, fingerprint, set(dataset.names), cache, progress)


def check(
    out: Path, run: tuple[RunFolder, Experiment], texts: tuple[Dataset, dict[str, str]], request: Request, int8: bool
) -> Checked:
    """Compare predict.py of the folder `out` with the run's own evaluator."""
    (folder, experiment), (dataset, strings), script = run, texts, load_script(out)
    rows, same = encode_texts(script, experiment, dataset, strings)
    chosen = evaluator(folder, experiment, request)
    engine, name = chosen.engine, chosen.computed_by
    if same < len(dataset):
        return encoded_differently(len(dataset), same, name, int8)
    with DataProgress() as progress:
        head = experiment.model.head
        own = evaluate(engine, head, dataset, lambda done, total: progress(f"predicting, {name}", done, total))
        other = evaluate_rows(
            lambda chosen: np.asarray(script.run([rows[row] for row in chosen])[0]),
            head,
            dataset,
            engine.parameters() if head.reads_parameters else {},
            lambda done, total: progress("predicting, exported", done, total),
        )
    return compare(own, other, len(dataset), name, int8)


def _evaluator(experiment: Experiment, execution: dict) -> str | None:
    """Return the name of the run's own evaluator; None for a linear model of n-grams, which needs no framework."""
    return None if experiment.model.is_linear else execution["backend"]


def _limit(given: str) -> int | None:
    """Return the number of texts to check, None for all. Raises UserError."""
    if given == ALL:
        return None
    if not given.isdecimal():
        raise UserError(f"--check-texts {given}: expected a number of texts, or {ALL}")
    return int(given)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Export a finished classifier or tagger, of either framework, with a predict.py that needs no"
        " seqtwin. The export is checked on test texts of the run.",
        epilog=f"Formats: {', '.join(FORMATS)}. Exit code 1: the export predicts differently.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--to", metavar="FORMAT", required=True, help=f"format: {', '.join(FORMATS)}")
    parser.add_argument("--out", metavar="FOLDER", help="new folder [RUN/export-FORMAT]")
    parser.add_argument(
        "--check-texts", metavar="N", default=str(CHECKED_TEXTS), help=f"test texts to check, or all [{CHECKED_TEXTS}]"
    )
    parser.add_argument("--backend", metavar="B", help=f"compare with: {', '.join(EVALUATORS)} [the run's]")
    parser.add_argument("--cache-dir", metavar="DIR", help="folder of downloads and tokenized texts")
    return parser


if __name__ == "__main__":
    launch(main)
