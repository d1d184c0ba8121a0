"""A complete run folder with random weights, and the readers of its files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from core.data.vocabulary import Vocabulary
from core.models.model import parameter_table
from core.spec.experiment import Experiment, replace
from core.spec.training import Adam
from core.train.optimizer_state import moment_kinds
from core.train.predictions_file import Predictions
from core.train.run_folder import RunFolder
from core.train.state import TrainingState

EXPERIMENT = replace(
    Experiment(),
    {
        "model.embedding.vocab_size": 5,
        "model.embedding.dim": 3,
        "model.encoder.hidden_size": 2,
        "model.encoder.num_layers": 2,
        "model.head.hidden_size": 4,
    },
)
MODEL = EXPERIMENT.model
EXECUTION = {
    "backend": "torch",
    "device": "cpu",
    "implementation": "builtin",
    "versions": {"torch": "2.13.0"},
    "classes": ["negative", "positive"],
    "data": {"kind": "packaged", "description": "reviews", "fingerprint": "abc"},
    "segments": [
        {
            "backend": "torch",
            "device": "cpu",
            "implementation": "builtin",
            "versions": {"torch": "2.13.0"},
            "from_step": 0,
        }
    ],
}
RESULT = {
    "test": {"documents": 3, "accuracy": 0.5, "loss": 0.7, "macro_f1": 0.5},
    "dev": {"accuracy": 0.75, "loss": 0.5, "step": 5},
    "training": {"steps": 7, "seconds": 1.5, "tokens_per_second": 600.0},
}
PREDICTIONS = Predictions(
    ["a", "b,c", "d"],
    ["negative", "positive", "positive"],
    ["negative", "negative", "positive"],
    np.array([[0.9, 0.1], [0.6, 0.4], [0.25, 0.75]]),
    ["negative", "positive"],
)
STATE = TrainingState(7, 5, 0.75, 0.5, 2, 1, 900, 1.5, [0.5, 1.0], False)


def random_arrays(rng, dtype="float32") -> dict[str, np.ndarray]:
    return {row.name: rng.normal(size=row.shape).astype(dtype) for row in parameter_table(MODEL)}


def random_moments(rng, dtype="float32") -> dict[str, np.ndarray]:
    return {
        f"{kind}/{name}": rng.normal(size=array.shape).astype(dtype)
        for kind in moment_kinds(Adam())
        for name, array in random_arrays(rng).items()
    }


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """The same names, shapes, types and bits."""
    return found.keys() == expected.keys() and all(
        found[name].shape == array.shape and found[name].dtype == array.dtype and np.array_equal(found[name], array)
        for name, array in expected.items()
    )


def line_of(step: int, split: str = "train") -> dict:
    """A line of metrics."""
    line = {"step": step, "epoch": step / 8, "split": split, "loss": 0.7 - step / 16, "accuracy": 0.5}
    return line | ({"counted": 4} if split == "train" else {})


def names_in(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.path.iterdir()}


READERS = {
    "experiment.json": lambda folder: folder.read_record(),
    "vocab.json": lambda folder: folder.read_vocabulary(MODEL),
    "best.safetensors": lambda folder: folder.read_best(MODEL),
    "last.safetensors": lambda folder: folder.read_last(MODEL),
    "result.json": lambda folder: folder.read_result(),
    "predictions.csv": lambda folder: folder.read_predictions(),
}


def complete(path: Path, rng: np.random.Generator) -> RunFolder:
    """Write all files of a run, with metrics of four lines."""
    folder = RunFolder.create(path)
    folder.write_record(EXPERIMENT, EXECUTION)
    folder.write_vocabulary(Vocabulary(["<pad>", "<unk>", "caf\u00e9", "b", "c"], [0, 1, 9, 5, 2]))
    folder.append_metrics([line_of(1), line_of(2)])
    folder.append_metrics([line_of(2, "dev"), line_of(3)])
    folder.write_best(random_arrays(rng), 2)
    folder.write_last(random_arrays(rng), random_moments(rng), dataclasses.replace(STATE))
    folder.write_predictions(PREDICTIONS)
    folder.write_result(RESULT)
    return folder
