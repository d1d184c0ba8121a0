"""The folder of a word2vec run, readable by all backends.

`experiment.json`: spec and execution; `words.tsv`: the vocabulary with counts; `metrics.jsonl`; `last.safetensors`:
both tables and the progress; at the end `vectors.txt` and `result.json`. All are written atomically, with digests.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from core.checked_json import file_digest_of, read_checked_json, write_checked_json
from core.data.download import file_digest
from core.errors import Note, UserError
from core.files import remove_unfinished, write_text_atomic
from core.models.types import Arrays
from core.spec.experiment import describe
from core.spec.word_runs import VECTORS, WORDS_FORMAT, WORDS_KIND
from core.spec.words import IN, OUT, WordExperiment, parse_words
from core.train.metrics_file import MetricsFile
from core.train.run_folder import RECORD, RunFolder
from core.train.run_schema import Count, Part, Segment
from core.weights.array_file import read_arrays, write_arrays
from core.words.corpus import WordCorpus
from core.words.run_state import WordState

METRICS, LAST, WORDS, RESULT = "metrics.jsonl", "last.safetensors", "words.tsv", "result.json"


class _Data(Part):
    description: str
    fingerprint: str
    words: Count
    vocabulary: Annotated[int, Field(ge=2)]


class _Execution(Segment):
    from_step: Count = 0
    data: _Data
    probes: list[str]
    probe_interval: Count
    segments: Annotated[list[Segment], Field(min_length=1)]


class WordRunFolder:
    """The folder of one word2vec run.

    Methods raise UserError if a file is missing, damaged or of a newer format, or if the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._files = RunFolder(path)
        self.path = self._files.path
        self.metrics = MetricsFile(self.path / METRICS, is_sound)

    @classmethod
    def create(cls, path: Path) -> WordRunFolder:
        """Create a new folder. Raises UserError for a path that exists or is not writable."""
        return cls(RunFolder.create(path).path)

    @classmethod
    def open(cls, path: Path) -> WordRunFolder:
        """Open an existing folder. Raises UserError if it is none, or of another program."""
        folder = cls(RunFolder.open(path).path)
        folder.read_record()
        return folder

    def file(self, name: str) -> Path:
        """Return the path of a file. Raises UserError if it is missing."""
        return self._files.file(name)

    @property
    def finished(self) -> bool:
        return (self.path / RESULT).is_file()

    @property
    def begun(self) -> bool:
        """Whether the first checkpoint, which precedes all steps, was written."""
        return any((self.path / name).exists() for name in (LAST, METRICS, VECTORS, RESULT))

    def write_record(self, experiment: WordExperiment, execution: dict) -> None:
        """Write `experiment.json`: the spec and the execution."""
        tree = {"kind": WORDS_KIND, "format": WORDS_FORMAT, "experiment": experiment.model_dump(mode="json")}
        write_checked_json(self.path / RECORD, {**tree, "execution": execution})

    def read_record(self) -> tuple[WordExperiment, dict[str, Any]]:
        """Read the spec and the execution."""
        path = self.file(RECORD)
        tree = read_checked_json(path, 0)
        if tree.get("kind") != WORDS_KIND:
            spec = tree.get("experiment")
            task = spec.get("task", "") if isinstance(spec, dict) else ""
            raise UserError(
                f"{self.path}: {f'a run of task {task}' if task else 'not a run'}, expected word vectors: give a run"
                f" folder of tasks.word2vec"
            )
        if tree.get("format") != WORDS_FORMAT:
            raise UserError(
                f"{path}: got format {tree.get('format')!r}, this version of seqtwin reads {WORDS_FORMAT}: update"
                f" seqtwin"
            )
        experiment = parse_words(tree.get("experiment"), str(path))
        if experiment.model_dump(mode="json") != tree["experiment"]:
            raise UserError(f"{path}: damaged, the spec is incomplete: restore the file")
        try:
            _Execution.model_validate(tree.get("execution"))
        except ValidationError as error:
            raise UserError(f"{path}: damaged (execution.{describe(error)}): restore the file") from None
        return experiment, tree["execution"]

    def write_words(self, corpus: WordCorpus) -> None:
        """Write the words and their counts, in the order of the rows of both tables."""
        counted = zip(corpus.words, corpus.counts.tolist(), strict=True)
        write_text_atomic(self.path / WORDS, "".join(f"{word}\t{count}\n" for word, count in counted))

    def read_words(self, size: int) -> list[str]:
        """Return the `size` words, in the order of the rows."""
        path = self.file(WORDS)
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{path}: cannot be read as UTF-8: restore the file") from None
        words = [line.partition("\t")[0] for line in lines[:-1]]
        if len(words) != size or len(set(words)) != size or not all(words):
            raise UserError(f"{path}: damaged, expected {size:,} different words: restore the file")
        return words

    def write_last(self, parameters: Arrays, state: WordState) -> None:
        """Write the checkpoint: both tables and the progress. Sets `state.metrics`."""
        state.metrics = self.metrics.mark()
        write_arrays(self.path / LAST, parameters, asdict(state))

    def read_last(self, experiment: WordExperiment, vocabulary: int, chunks: int) -> tuple[Arrays, WordState]:
        """Read the checkpoint of a run with so many words and chunks per epoch."""
        arrays, state = self.read_tables(experiment, vocabulary)
        return arrays, WordState.read(state, str(self.path / LAST), experiment.training.epochs, chunks)

    def read_tables(self, experiment: WordExperiment, vocabulary: int) -> tuple[Arrays, Any]:
        """Read both tables [V, D] of the checkpoint, and its state, unchecked."""
        path = self.file(LAST)
        arrays, state = read_arrays(path)
        shape, dtype = (vocabulary, experiment.model.dim), experiment.training.dtype
        found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        if found != dict.fromkeys((IN, OUT), (shape, dtype)):
            raise UserError(f"{path}: not the tables of this run ({dtype} {list(shape)}): restore the checkpoint")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise UserError(f"{path}: contains NaN or infinity: restore the checkpoint")
        return arrays, state

    def recover(self, state: WordState) -> None:
        """Drop what was written after a checkpoint: metrics lines, and unfinished files."""
        remove_unfinished(self.path, age=0)
        self.metrics.recover(state.step, state.metrics)

    def read_metrics(self) -> list[dict]:
        """Read all sound lines; others are skipped in a Note."""
        lines, problem = self.metrics.read()
        if problem:
            warnings.warn(Note(f"{self.metrics.path}: {problem}"), stacklevel=2)
        return lines

    def write_result(self, result: dict) -> None:
        """Write `result.json`, with the digests of the other files. It marks the run as finished."""
        small = {name: file_digest_of((self.path / name).read_bytes()) for name in (METRICS, WORDS)}
        files = {**small, VECTORS: f"sha256:{file_digest(self.path / VECTORS, 'sha256')}"}
        write_checked_json(self.path / RESULT, {"kind": WORDS_KIND, "format": WORDS_FORMAT, **result, "files": files})

    def read_result(self) -> dict:
        return read_checked_json(self.file(RESULT), 0)


def is_sound(line: object) -> bool:
    """Return whether decoded JSON is a line of metrics: of a chunk (`train`), or an `evaluation`."""
    if not isinstance(line, dict) or line.get("split") not in ("train", "evaluation"):
        return False
    numbers = ("epoch", "words", "loss") + (
        ("predictions", "learning_rate", "words_per_second") if line["split"] == "train" else ()
    )
    if type(line.get("step")) is not int or line["step"] < 0:
        return False
    if line["split"] == "evaluation" and not isinstance(line.get("nearest"), dict):
        return False
    return all(type(line.get(name)) in (int, float) and line[name] >= 0 for name in numbers)
