"""What a finished run answers: predictions on new texts, and its accuracy measured again, in either framework."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import backends
from core.corpus import encode_texts
from core.errors import UserError
from core.metrics import all_logits, evaluate, probabilities_of
from core.reference import ReferenceEngine
from core.run_folder import RunFolder
from core.spec import replace
from tasks.console import DataProgress, console
from tasks.training import read_data

NUMPY = "numpy"
"""Answers from `core/reference.py`: no framework to import, so a sentence takes a fraction of a second."""

EVALUATORS = (NUMPY, *backends.NAMES)


def evaluator(folder: RunFolder, experiment, backend_name: str, device: str, implementation: str):
    """An engine with the best parameters of a run: a backend's, or the NumPy reference."""
    parameters = folder.read_best(experiment.model)
    if backend_name == NUMPY:
        if device == "gpu":
            raise UserError(f"--device gpu: {NUMPY} computes on the CPU; add --backend {' or '.join(backends.NAMES)}")
        if implementation != "auto":
            raise UserError(
                f"--impl {implementation}: {NUMPY} has its own; add --backend {' or '.join(backends.NAMES)}"
            )
        return ReferenceEngine(experiment.model, parameters)
    if backend_name not in EVALUATORS:
        raise UserError(f"unknown backend {backend_name!r}: choose one of {', '.join(EVALUATORS)}")
    backend = backends.load(backend_name)
    device = backend.resolve_device(device)
    dtype = experiment.training.dtype
    parameters = {name: array.astype(dtype, copy=False) for name, array in parameters.items()}
    implementation = backends.resolve_implementation(implementation, device, experiment.model.encoder.cell)
    return backend.Engine(experiment.model, experiment.training, parameters, device, implementation)


def predict(run: str, texts: list[str], file: str | None, backend_name: str, device: str, implementation: str) -> int:
    """Print label, probability and text, tab-separated, for every text: from arguments, a file, or standard input."""
    folder = RunFolder.open(Path(run))
    experiment, execution = folder.read_record()
    vocabulary = folder.read_vocabulary(experiment.model)
    if file is not None:
        texts = read_lines(Path(file))
    elif not texts:
        texts = _lines(_read_input(), "standard input")
    dataset = encode_texts(texts, vocabulary, experiment.text)
    engine = evaluator(folder, experiment, backend_name, device, implementation)
    probabilities = probabilities_of(all_logits(engine.logits, dataset))
    for text, row in zip(texts, probabilities, strict=True):
        best = int(row.argmax())
        print(f"{execution['classes'][best]}\t{row[best]:.4f}\t{' '.join(text.split())}")
    return 0


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file that are not blank. Raises UserError naming the file and the offset."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return _lines(data, str(path))


def _read_input() -> bytes:
    if sys.stdin.isatty():
        print("type a text per line, then Ctrl-D", file=sys.stderr)
    return sys.stdin.buffer.read()


def _lines(data: bytes, where: str) -> list[str]:
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start}; convert it, as with iconv -t utf-8") from None
    # Not splitlines: it also cuts at form feeds and Unicode separators, which stand within texts.
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]


def evaluate_run(
    run: str, backend_name: str | None, device: str, implementation: str, source: str | None, split: str, cache: Path
) -> int:
    """Measure a run's best parameters again and hold the predictions against predictions.csv."""
    folder = RunFolder.open(Path(run))
    experiment, execution = folder.read_record()
    if source is not None:
        experiment = replace(experiment, {"data.source": source}, "--data")
    engine = evaluator(folder, experiment, backend_name or execution["backend"], device, implementation)
    prepared, record = read_data(experiment, cache)
    if record["fingerprint"] != execution["data"]["fingerprint"]:
        raise UserError(f"{experiment.data.source}: not the data of {run}; give those by --data")
    if prepared.vocabulary != folder.read_vocabulary(experiment.model):
        raise UserError(f"{folder.path / 'vocab.json'}: not the vocabulary of this run's data: the file was changed")
    dataset = getattr(prepared, split)
    with DataProgress() as progress:
        found = evaluate(engine.logits, dataset, lambda done, total: progress(f"evaluating on {split}", done, total))
    console.print(
        f"{split} accuracy {found.accuracy:.4f}  loss {found.loss:.6f}  macro F1 {found.macro_f1:.4f}"
        f"  ({len(dataset):,} reviews, {backend_name or execution['backend']} on {engine.device})"
    )
    if split == "test" and (folder.path / "predictions.csv").is_file():
        _compare(folder.read_predictions(), execution, dataset, found)
    return 0


def _compare(written: dict[str, str], execution: dict, dataset, found) -> None:
    """Say how far the predictions agree with those that the run wrote, and how near a tie the others are."""
    said = [execution["classes"][index] for index in found.predicted]
    different = np.array([written.get(name) != label for name, label in zip(dataset.names, said, strict=True)])
    line = f"{int((~different).sum()):,} of {len(said):,} predictions as in predictions.csv ({execution['backend']})"
    if different.any():
        top = np.sort(found.probabilities[different], axis=1)
        line += f"; the others are decided by at most {float((top[:, -1] - top[:, -2]).max()):.1e} of probability"
    console.print(line)
