"""The run folder: the files of one run, readable by all backends.

Files are written atomically: a reader, or a resume after a crash, sees the old or the new version, never a partial one.
Only `metrics.jsonl` is appended to, in complete lines.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from pydantic import TypeAdapter, ValidationError

from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.files import (
    as_spreadsheet_text,
    remove_unfinished,
    row_writer,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)
from core.models.heads.scores import Evaluation
from core.models.model import Model, check_parameters
from core.spec.experiment import FORMAT_VERSION, Experiment, describe, parse_experiment

EXECUTION_PARTS = ("backend", "device", "implementation", "versions", "classes", "data", "segments")
"""Required keys of the execution record."""


@dataclass
class TrainingState:
    """Progress of a run. All other state of a resume is a function of the spec and `step`."""

    step: int = 0
    best_step: int = 0
    """Step of the best checkpoint, 0 for none."""
    best_score: float = 0.0
    best_loss: float = 0.0
    evaluations: int = 0
    evaluations_since_best: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Training time so far, without evaluation."""
    epoch_seconds: list[float] = field(default_factory=list)
    finished: bool = False

    def take(self, evaluation: Evaluation) -> bool:
        """Record an evaluation on dev; return whether it is the best so far.

        The best has a higher score, or an equal score and a lower loss; its loss must be finite.
        """
        best = self.best_step == 0 or (evaluation.score, -evaluation.loss) > (self.best_score, -self.best_loss)
        best = best and math.isfinite(evaluation.loss)
        self.evaluations += 1
        self.evaluations_since_best = 0 if best else self.evaluations_since_best + 1
        if best:
            self.best_step, self.best_score, self.best_loss = self.step, evaluation.score, evaluation.loss
        return best


class RunFolder:
    """The folder of one run.

    Methods raise UserError if a file is missing, damaged or of a newer format, or if the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @staticmethod
    def check_free(path: Path) -> None:
        """Raise UserError for a path that exists, as runs are never overwritten, or is not writable.

        Nothing is created.
        """
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
            path.mkdir(parents=True)
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

    def file(self, name: str) -> Path:
        """Return the path of a file. Raises UserError if it is missing."""
        path = self.path / name
        if not path.is_file():
            raise UserError(
                f"{self.path}: {name} is missing (not a run folder, or the run was interrupted before it was written):"
                f" give a finished run"
            )
        return path

    # The record: the spec, and how it was executed.

    def write_record(self, experiment: Experiment, execution: dict) -> None:
        """Write `experiment.json`: the spec and the execution (backend, device, versions, data)."""
        tree = {"format": FORMAT_VERSION, "experiment": experiment.model_dump(mode="json"), "execution": execution}
        write_json_atomic(self.path / "experiment.json", tree)

    def read_record(self) -> tuple[Experiment, dict]:
        """Read the spec and the execution record."""
        path = self.file("experiment.json")
        tree = read_json(path)
        version = tree.get("format")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise UserError(
                f"{path}: got format {version!r}, this version of seqtwin reads up to {FORMAT_VERSION}: update seqtwin"
            )
        experiment, execution = parse_experiment(tree.get("experiment"), str(path)), tree.get("execution")
        if not isinstance(execution, dict):
            execution = {}
        for part in EXECUTION_PARTS:
            if part not in execution:
                raise UserError(f"{path}: damaged, execution.{part} is missing: restore the file")
        return experiment, execution

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        vocabulary.save(self.path / "vocab.json")

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
        path = self.path / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(metrics_text(lines))
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}): free disk space, then `resume`") from None

    def read_metrics(self) -> list[dict]:
        """Read all complete lines; an incomplete last line (after a crash) is ignored."""
        found = []
        for line in self.file("metrics.jsonl").read_text(encoding="utf-8").splitlines():
            try:
                found.append(in_this_format(json.loads(line)))
            except json.JSONDecodeError:
                break
        return found

    def forget_metrics_after(self, step: int) -> None:
        """Drop metrics lines after `step`, which a resume repeats, and leftover temporary files."""
        remove_unfinished(self.path)
        if (self.path / "metrics.jsonl").is_file():
            kept = [line for line in self.read_metrics() if line["step"] <= step]
            write_text_atomic(self.path / "metrics.jsonl", metrics_text(kept))

    # Checkpoints.

    def write_best(self, parameters: dict[str, np.ndarray], step: int) -> None:
        self.write_arrays("best.safetensors", parameters, {"step": step})

    def read_best(self, model: Model) -> dict[str, np.ndarray]:
        arrays, _ = self.read_arrays("best.safetensors")
        check_parameters(arrays, model, str(self.path / "best.safetensors"))
        return arrays

    def write_last(
        self, parameters: dict[str, np.ndarray], moments: dict[str, np.ndarray], state: TrainingState
    ) -> None:
        """Write parameters, `optimizer/...` moments and training state to one file, for consistency."""
        arrays = {**parameters, **{f"optimizer/{name}": array for name, array in moments.items()}}
        self.write_arrays("last.safetensors", arrays, asdict(state))

    def read_last(self, model: Model) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], TrainingState]:
        arrays, state = self.read_arrays("last.safetensors")
        where = str(self.path / "last.safetensors")
        moments = {name.removeprefix("optimizer/"): a for name, a in arrays.items() if name.startswith("optimizer/")}
        parameters = {name: array for name, array in arrays.items() if not name.startswith("optimizer/")}
        check_parameters(parameters, model, where)
        try:
            if not isinstance(state, dict) or set(state) != {part.name for part in fields(TrainingState)}:
                raise UserError(
                    f"{where}: no training state that this version of seqtwin can read: update seqtwin, or start a new"
                    f" run"
                )
            return parameters, moments, TypeAdapter(TrainingState).validate_json(json.dumps(state), strict=True)
        except ValidationError as error:
            problem = describe(error)
            raise UserError(
                f"{where}: no training state that this version of seqtwin can read ({problem}): update seqtwin, or"
                f" start a new run"
            ) from None

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray], state: dict) -> None:
        """Write arrays and a JSON state to one file."""
        # safetensors' NumPy writer corrupts arrays that are not C-contiguous: it stores their memory as it is.
        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        metadata = {"format": str(FORMAT_VERSION), "state": json.dumps(state)}
        write_bytes_atomic(self.path / name, safetensors.numpy.save(contiguous, metadata=metadata))

    def read_arrays(self, name: str) -> tuple[dict[str, np.ndarray], dict]:
        """Read a file of `write_arrays`: arrays and state."""
        path = self.file(name)
        try:
            with safetensors.safe_open(path, framework="numpy") as stream:
                metadata = stream.metadata() or {}
                arrays = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (it is no dict)
            version = int(metadata.get("format", "0"))
            state = in_this_format(json.loads(metadata.get("state", "{}")))
        except (safetensors.SafetensorError, ValueError, OSError) as error:
            raise UserError(f"{path}: damaged or not a checkpoint ({error}): restore the file") from None
        if version > FORMAT_VERSION:
            raise UserError(
                f"{path}: got format {version}, this version of seqtwin reads up to {FORMAT_VERSION}: update seqtwin"
            )
        return arrays, state

    # Results.

    def write_result(self, result: dict) -> None:
        write_json_atomic(self.path / "result.json", result)

    def read_result(self) -> dict:
        return read_json(self.file("result.json"))

    def write_predictions(
        self, names: list[str], labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, classes: list[str]
    ) -> None:
        """Write `predictions.csv`: id, label, predicted, and `p_CLASS` per class."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", "label", "predicted", *(f"p_{name}" for name in classes)])
        for name, label, guess, row in zip(names, labels, predicted, probabilities, strict=True):
            writer.writerow([name, classes[label], classes[guess], *(f"{p:.6f}" for p in row)])
        write_text_atomic(self.path / "predictions.csv", stream.getvalue())

    def write_mistakes(self, rows: list[tuple[str, ...]]) -> None:
        """Write `mistakes.csv`, for spreadsheets: id, label, predicted, its probability, text."""
        stream = io.StringIO()
        stream.write("\ufeff")
        write = row_writer(stream)
        for row in [("id", "label", "predicted", "probability", "text"), *rows]:
            write([as_spreadsheet_text(cell) for cell in row])
        write_text_atomic(self.path / "mistakes.csv", stream.getvalue())

    def read_predictions(self) -> dict[str, str]:
        """Read the predicted class by id."""
        with self.file("predictions.csv").open(encoding="utf-8-sig", newline="") as stream:
            return {row["id"]: row["predicted"] for row in csv.DictReader(stream)}


def _ignored(*_: Any, **__: Any) -> None:
    """Write nothing."""


class ReadOnlyRunFolder(RunFolder):
    """The run folder of a process of rank > 0: reads only, all writes are ignored."""

    write_record = write_vocabulary = append_metrics = forget_metrics_after = _ignored
    write_best = write_last = write_arrays = write_result = write_predictions = write_mistakes = _ignored


RENAMED = {"best_accuracy": "best_score", "examples": "counted", "correct": "right"}
"""Keys of metrics and training states in format 1, and their names in format 2."""


def in_this_format(tree: Any) -> Any:
    """Convert JSON of format 1 or 2 to the keys of format 2."""
    if isinstance(tree, list):
        return [in_this_format(entry) for entry in tree]
    if isinstance(tree, dict):
        return {RENAMED.get(key, key): in_this_format(entry) for key, entry in tree.items()}
    return tree


def metrics_text(lines: list[dict]) -> str:
    """Format lines of `metrics.jsonl`."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def read_json(path: Path) -> dict:
    """Read an object from a JSON file. Raises UserError if it is missing or invalid."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise UserError(f"{path}: damaged, not JSON: restore the file") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: damaged, not a JSON object: restore the file")
    return tree
