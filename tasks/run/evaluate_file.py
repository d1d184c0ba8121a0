"""Evaluate a run on labeled texts of a file that it has never seen."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset
from core.data.documents import Document
from core.data.encode import encode_worded
from core.data.multilabel import has_label_sets
from core.data.sources.table import open_table
from core.data.sources.table_columns import infer_columns
from core.errors import UserError
from core.files import as_spreadsheet_text, incremental_writer, row_writer
from core.label_sets import from_set
from core.models.heads import MultilabelHead
from core.models.heads.multilabel import LABELS
from core.models.heads.pooling import PoolingHead
from core.spec.data import Table
from core.spec.experiment import Experiment
from core.strings import shorten
from core.train.metrics import collected
from core.train.misclassified import Misclassified, most_confident, with_texts
from core.train.run_folder import RunFolder
from tasks.cli.console import DataProgress, console, fact
from tasks.cli.terminal import literal, note
from tasks.run.evaluators import evaluator, evaluator_of_evaluation
from tasks.run.present import presenter
from tasks.run.present.pictures import LINE
from tasks.run.present.pooled import NONE
from tasks.run.worker import Request

SHOWN = 5
"""Number of misclassified texts to print."""


@dataclass(frozen=True)
class LabeledFile:
    """A file of labeled texts. Columns and encoding are the run's, or inferred, unless they are given."""

    path: str
    text_column: str | None = None
    label_column: str | None = None
    encoding: str | None = None

    def table(self, experiment: Experiment) -> Table:
        """Return the file as the data of a spec. Raises UserError like `infer_columns`."""
        run = experiment.data if isinstance(experiment.data, Table) else None
        own = {"text_column": self.text_column, "label_column": self.label_column, "encoding": self.encoding}
        given: dict[str, Any] = {field: value for field, value in own.items() if value is not None}
        if run is not None:
            known = {"text_column": run.text_column, "label_column": run.label_column, "encoding": run.encoding}
            several = {"multi_label": run.multi_label, "label_separator": run.label_separator}
            given = {**known, **several, "columns": run.columns, **given}
        table = Table(source=self.path, **given)
        _, columns = infer_columns(table, set(given))
        return table.model_copy(update={column.field: column.value for column in columns})


def labeled_file(arguments: argparse.Namespace, moved: list[str]) -> LabeledFile | None:
    """Return the file that the arguments of `evaluate` name, None without one. Raises UserError for others with it.

    `moved` are the flags of the run's own data.
    """
    own = {"--text-column": "text_column", "--label-column": "label_column", "--encoding": "encoding", "--out": "out"}
    if arguments.file is None:
        alone = [flag for flag, name in own.items() if getattr(arguments, name) is not None]
        if alone:
            raise UserError(f"{alone[0]} applies to --file: add --file, or omit it")
        return None
    others = [flag for flag in moved if getattr(arguments, flag[2:]) is not None]
    if others or arguments.split != "test":
        raise UserError(f"--file is evaluated instead of a split of the run: omit {(others or ['--split'])[0]}")
    return LabeledFile(arguments.file, arguments.text_column, arguments.label_column, arguments.encoding)


def evaluate_file(run: str, request: Request, file: LabeledFile, out: str | None) -> int:
    """Print the figures of a run's best checkpoint on a file, and the most confident mistakes. Return the exit code.

    `out`: a CSV file to write with all mistakes.
    """
    folder = RunFolder.open(Path(run))
    experiment, execution = folder.read_record()
    head = experiment.model.head
    if not isinstance(head, PoolingHead):
        raise UserError(f"{run}: run of task {experiment.task}: --file is for classifiers of texts, use --test")
    if out is not None and Path(out).exists():
        raise UserError(f"{out}: exists already: give another name")
    classes = execution["classes"]
    dataset, texts = _read(folder, experiment, file, classes)
    chosen = evaluator(folder, experiment, evaluator_of_evaluation(experiment, execution, request))
    with DataProgress() as progress:
        each = np.ones(len(dataset), np.int64)
        logits = collected(chosen.engine.logits, each, dataset, lambda *done: progress("evaluating", *done))
    found = head.score(logits, dataset.targets, dataset.classes)
    console.print(literal(f"{file.path}: {found.describe()}  ({len(dataset):,} texts, {chosen.computed_by})"))
    presenter(experiment).breakdown(found, classes)
    wrong = with_texts(most_confident(dataset, found, classes, len(dataset)), texts)
    _show(wrong)
    if out is not None:
        _write(wrong, Path(out))
        fact("mistakes", f"{out}: {len(wrong):,} texts")
    return 0


def _read(
    folder: RunFolder, experiment: Experiment, file: LabeledFile, classes: list[str]
) -> tuple[Dataset, dict[str, str]]:
    """Return the encoded texts with their labels, and the texts by name; say what was left out.

    Raises UserError for a label that is no class of the run, and if no text remains.
    """
    with DataProgress() as progress:
        found = open_table(file.table(experiment), progress).documents()
        documents = [replace(own, name=f"row {own.name.removeprefix('train/')}") for own in found]
    unlabeled = sum(not own.label for own in documents)
    documents = [own for own in documents if own.label]
    labels = [_classes_of(own, has_label_sets(experiment.data), classes, file.path) for own in documents]
    fitted = folder.read_ngrams(experiment.model)
    dataset, rows = encode_worded(
        [own.text for own in documents],
        folder.read_vocabulary(experiment.model),
        experiment.text,
        None if fitted is None else fitted.model,
    )
    if not rows:
        raise UserError(f"{file.path}: no labeled text with tokens: give others")
    if unlabeled or len(rows) < len(documents):
        note(f"left out: {unlabeled:,} rows without a label, {len(documents) - len(rows):,} texts without tokens")
    names = [documents[row].name for row in rows]
    if isinstance(experiment.model.head, MultilabelHead):
        members = np.zeros((len(rows), len(classes)), np.int64)
        for place, row in enumerate(rows):
            members[place, labels[row]] = 1
        targets = {LABELS: members}
    else:
        targets = {"label": np.array([labels[row][0] for row in rows], np.int64)}
    whole = replace(dataset, targets=targets, names=names, classes=tuple(classes))
    return whole, {documents[row].name: documents[row].text for row in rows}


def _classes_of(own: Document, several: bool, classes: list[str], where: str) -> list[int]:
    """Return the numbers of the labels of a document. Raises UserError for one that is no class."""
    found = from_set(own.label) if several else [own.label]
    for label in found:
        if label not in classes:
            named = ", ".join(shorten(name, 30) for name in classes[:20])
            raise UserError(
                f"{where}: {own.name}: label {shorten(label, 60)!r} is no class of the run ({named}): correct it"
            )
    return [classes.index(label) for label in found]


def _show(wrong: list[Misclassified]) -> None:
    """Print the most confident mistakes."""
    if not wrong:
        console.print("no mistakes")
        return
    console.print(f"\nmost confident mistakes ({len(wrong[:SHOWN])} of {len(wrong):,}):")
    for own in wrong[:SHOWN]:
        label = f"{own.name}  true: {shorten(own.label, 30) or NONE}, predicted: {shorten(own.predicted, 30) or NONE}"
        console.print(literal(f"  {label}  {own.probability:.4f}  {shorten(own.text, LINE)}"))


def _write(wrong: list[Misclassified], path: Path) -> None:
    """Write all mistakes, for spreadsheets."""
    with incremental_writer(path) as stream:
        stream.write("\ufeff")
        write = row_writer(stream)
        for cells in [("id", "label", "predicted", "probability", "text"), *(own.cells for own in wrong)]:
            write([as_spreadsheet_text(cell) for cell in cells])
