"""The run folder: the files of one run, readable by all backends.

Files are written atomically, with a digest: a reader, or a resume after a crash, sees the old or the new version, never
a partial one, and notices damage. Only `metrics.jsonl` is appended to, in complete lines.
"""

from __future__ import annotations

import io
import os
import shlex
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.checked_json import file_digest_of, read_checked_json, write_checked_json
from core.data.ngrams.fit import Fitted
from core.data.vocabulary import TARGET_TOKENS, Vocabulary
from core.errors import Note, UserError
from core.files import TEMPORARY, as_spreadsheet_text, remove_unfinished, row_writer, write_text_atomic
from core.models.heads.decoder import DecoderHead
from core.models.model import Model, check_parameters
from core.schema import of_kind
from core.spec.data import RUN_TEXTS
from core.spec.experiment import FORMAT_VERSION, Experiment, parse_experiment
from core.spec.word_runs import WORDS_KIND, WORDS_ONLY
from core.train.metrics_file import MetricsFile
from core.train.ngrams import read_ngrams, write_ngrams
from core.train.predictions_file import Predictions
from core.train.run_lock import LOCK
from core.train.run_schema import check_complete, check_execution, check_result
from core.train.state import TrainingState, in_this_format
from core.weights.array_file import read_arrays, write_arrays

CHECKED_SINCE = 3
"""First format whose files have digests."""

RECORD, PLAN = "experiment.json", "plan.json"
"""The first file of a run, and of a folder of several runs."""

OPTIMIZER, AVERAGE = "optimizer/", "average/"
"""Prefixes of arrays of a checkpoint that are not parameters."""


TARGET_VOCABULARY = "target_vocab.json"
"""Vocabulary of the targets of a decoder."""


class RunFolder:
    """The folder of one run.

    Methods raise UserError if a file is missing, damaged or of a newer format, or if the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.metrics = MetricsFile(self.path / "metrics.jsonl")

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Raise UserError for a path that exists, as runs are never overwritten, or is not writable.

        A folder with nothing but the texts of its run is free. Nothing is created.
        """
        if cls(path).has_texts_alone:
            return
        if path.is_dir() and cls(path).is_empty:
            raise UserError(f"{path}: exists, but {cls(path)._how_to_remove()}, or give another `out`")
        if path.exists():
            raise UserError(f"{path}: exists: give another `out`, or continue that run with `resume` {path}")
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise UserError(f"{path}: cannot be created in {above}: give another `out`")

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Create a new folder. Raises UserError like `check_free`."""
        path = Path(path)
        cls.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=cls(path).has_texts_alone)
        except OSError as error:
            raise UserError(f"{path}: cannot be created ({error.strerror}): give another `out`") from None
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing folder."""
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: no such run folder: check the path")
        return cls(path)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is there but the lock and temporary files of a run that ended before it wrote its spec."""
        return all(
            own.name == LOCK or (own.name.startswith(".") and own.suffix == TEMPORARY) for own in self.path.iterdir()
        )

    @property
    def has_texts_alone(self) -> bool:
        """Whether the folder holds the labeled texts of a run that has not begun, and nothing else."""
        return self.path.is_dir() and [own.name for own in self.path.iterdir()] == [RUN_TEXTS]

    def _how_to_remove(self) -> str:
        command = f"rm -r {shlex.quote(str(self.path))}"
        return f"holds no run, or one that ended before its spec was written: remove it with {command}"

    def file(self, name: str) -> Path:
        """Return the path of a file. Raises UserError if it is missing."""
        path = self.path / name
        if path.is_file():
            return path
        if self.is_empty:
            raise UserError(f"{self.path}: {self._how_to_remove()}")
        raise UserError(
            f"{self.path}: {name} is missing (not a run folder, or the run was interrupted before it was written):"
            f" give a finished run"
        )

    # The record: the spec, and how it was executed.

    def write_record(self, experiment: Experiment, execution: dict) -> None:
        """Write `experiment.json`: the spec and the execution (backend, device, versions, data)."""
        spec = experiment.stored(self.path).model_dump(mode="json")
        tree = {"format": FORMAT_VERSION, "experiment": spec, "execution": execution}
        write_checked_json(self.path / RECORD, tree)

    def read_record(self) -> tuple[Experiment, dict]:
        """Read the spec and the execution record."""
        path = self.file(RECORD)
        tree = read_checked_json(path, CHECKED_SINCE)
        if tree.get("kind") == WORDS_KIND:
            raise UserError(f"{self.path}: {WORDS_ONLY}")
        version = tree.get("format")
        if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
            raise UserError(
                f"{path}: got format {version!r}, this version of seqtwin reads up to {FORMAT_VERSION}: update seqtwin"
            )
        experiment = parse_experiment(tree.get("experiment"), str(path))
        check_complete(tree["experiment"], experiment, path, version)
        execution: dict = tree.get("execution")  # type: ignore[assignment]
        check_execution(execution, experiment, path)
        return experiment.located(self.path), execution

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        vocabulary.save(self.path / "vocab.json")

    def write_ngrams(self, fitted: Fitted) -> None:
        write_ngrams(self.path, fitted)

    def read_ngrams(self, model: Model) -> Fitted | None:
        """Read the linear model of n-grams; None for a model without one."""
        return read_ngrams(self.path, model)

    def write_target_vocabulary(self, vocabulary: Vocabulary) -> None:
        vocabulary.save(self.path / TARGET_VOCABULARY)

    def read_target_vocabulary(self, model: Model) -> Vocabulary:
        """Read the vocabulary of a decoder's targets."""
        path, size = self.file(TARGET_VOCABULARY), of_kind(model.head, DecoderHead).vocab_size
        vocabulary = Vocabulary.load(path, TARGET_TOKENS)
        if len(vocabulary) != size:
            raise UserError(f"{path}: got {len(vocabulary)} entries, expected {size}: use the vocabulary of this run")
        return vocabulary

    def read_vocabulary(self, model: Model) -> Vocabulary:
        path = self.file("vocab.json")
        vocabulary = Vocabulary.load(path)
        if len(vocabulary) != model.embedding.vocab_size:
            raise UserError(
                f"{path}: got {len(vocabulary)} entries, expected {model.embedding.vocab_size}:"
                " use the vocabulary of this run"
            )
        return vocabulary

    # Metrics: one line per step and evaluation.

    def append_metrics(self, lines: list[dict]) -> None:
        """Append lines to `metrics.jsonl`."""
        self.metrics.append(lines)

    def read_metrics(self) -> list[dict]:
        """Read all sound lines; others are skipped in a Note, an incomplete last line (after a crash) without."""
        lines, problem = self.metrics.read(self._digest("metrics.jsonl"))
        if problem:
            warnings.warn(Note(f"{self.metrics.path}: {problem}"), stacklevel=2)
        return lines

    def recover(self, step: int, mark: str = "") -> None:
        """Drop what was written after the checkpoint of `step`: metrics lines, and unfinished files.

        `mark` is that of the metrics in the checkpoint.
        """
        remove_unfinished(self.path, age=0)
        self.metrics.recover(step, mark)

    # Checkpoints.

    def write_best(self, parameters: dict[str, np.ndarray], step: int) -> None:
        self.write_arrays("best.safetensors", parameters, {"step": step})

    def read_best(self, model: Model) -> dict[str, np.ndarray]:
        arrays, _ = self.read_arrays("best.safetensors")
        check_parameters(arrays, model, str(self.path / "best.safetensors"))
        return arrays

    def write_last(
        self,
        parameters: dict[str, np.ndarray],
        moments: dict[str, np.ndarray],
        state: TrainingState,
        mean: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Write parameters, `optimizer/...` moments and training state to one file, for consistency.

        `mean` is that of averaged parameters, if there are any (`average/...`). Sets `state.metrics`.
        """
        arrays = {**parameters, **{f"{OPTIMIZER}{name}": array for name, array in moments.items()}}
        arrays |= {f"{AVERAGE}{name}": array for name, array in (mean or {}).items()}
        state.metrics = self.metrics.mark()
        self.write_arrays("last.safetensors", arrays, asdict(state))

    def read_last(self, model: Model) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], TrainingState]:
        arrays, state = self.read_arrays("last.safetensors")
        where = str(self.path / "last.safetensors")
        moments = {name.removeprefix(OPTIMIZER): a for name, a in arrays.items() if name.startswith(OPTIMIZER)}
        parameters = {name: array for name, array in arrays.items() if not name.startswith((OPTIMIZER, AVERAGE))}
        check_parameters(parameters, model, where)
        return parameters, moments, TrainingState.read(state, where)

    def read_average(self, model: Model) -> dict[str, np.ndarray]:
        """Return the mean of averaged parameters in the last checkpoint, {} if it has none."""
        arrays, _ = self.read_arrays("last.safetensors")
        mean = {name.removeprefix(AVERAGE): array for name, array in arrays.items() if name.startswith(AVERAGE)}
        if mean:
            check_parameters(mean, model, f"{self.path / 'last.safetensors'}, average")
        return mean

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray], state: dict) -> None:
        """Write arrays and a JSON state to one file."""
        write_arrays(self.path / name, arrays, state)

    def read_arrays(self, name: str) -> tuple[dict[str, np.ndarray], Any]:
        """Read a file of `write_arrays`: arrays and state."""
        arrays, state = read_arrays(self.file(name))
        return arrays, in_this_format(state)

    # Results.

    def write_result(self, result: dict) -> None:
        """Write `result.json`, with the digests of the files that it is read with."""
        read = [path for path in (self.path / "predictions.csv", self.metrics.path) if path.is_file()]
        files = {path.name: file_digest_of(path.read_bytes()) for path in read}
        write_checked_json(self.path / "result.json", {"format": FORMAT_VERSION, **result, "files": files})

    def read_result(self) -> dict:
        path = self.file("result.json")
        result = read_checked_json(path, CHECKED_SINCE)
        check_result(result, path)
        return result

    def write_predictions(self, predictions: Predictions) -> None:
        predictions.write(self.path / "predictions.csv")

    def read_predictions(self) -> Predictions:
        """Read `predictions.csv`, with its digest if the run is finished."""
        return Predictions.read(self.path / "predictions.csv", self._digest("predictions.csv"))

    def _digest(self, name: str) -> str | None:
        """Return the digest of a file of a finished run, None before its end and before format 3."""
        if not (self.path / "result.json").is_file():
            return None
        return self.read_result().get("files", {}).get(name)

    def write_mistakes(self, rows: list[tuple[str, ...]]) -> None:
        """Write `mistakes.csv`, for spreadsheets: id, label, predicted, its probability, text."""
        stream = io.StringIO()
        stream.write("\ufeff")
        write = row_writer(stream)
        for row in [("id", "label", "predicted", "probability", "text"), *rows]:
            write([as_spreadsheet_text(cell) for cell in row])
        write_text_atomic(self.path / "mistakes.csv", stream.getvalue())


def _ignored(*_: Any, **__: Any) -> None:
    """Write nothing."""


class ReadOnlyRunFolder(RunFolder):
    """The run folder of a process of rank > 0: reads only, all writes are ignored."""

    write_record = write_vocabulary = write_target_vocabulary = write_ngrams = append_metrics = recover = _ignored
    write_best = write_last = write_arrays = write_result = write_predictions = write_mistakes = _ignored
