"""The n-grams of a run: fitted on its training texts, read by its data sets, kept in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.data.dataset import Dataset, Prepared
from core.data.download import Progress as Reading
from core.data.download import no_progress as no_reading
from core.data.ngrams.fit import Fitted, fit
from core.data.ngrams.linear import NgramModel
from core.data.ngrams.solver import Progress, Solver, no_progress, solve
from core.data.ngrams.table import NgramTable
from core.errors import UserError
from core.models.model import Model
from core.models.ngrams import columns_of
from core.spec.experiment import Experiment
from core.weights.array_file import read_arrays, write_arrays

NGRAMS = "ngrams.safetensors"
"""File of a run with the fitted linear model of n-grams."""
DTYPES = frozenset({"F32", "I64"})
VALUES = ("ratios", "weights", "bias", "counts", "per_class")
"""Arrays of an `NgramModel`, apart from its tables."""


def fit_ngrams(
    experiment: Experiment, prepared: Prepared, solver: Solver = solve, progress: Progress = no_progress
) -> Fitted | None:
    """Fit the linear model of a spec on its training texts; None for a spec without one."""
    spec = experiment.model.ngrams
    if spec is None:
        return None
    if prepared.whole is None:
        raise UserError(f"model.ngrams needs labeled texts, got data.kind {experiment.data.kind}: set it null")
    return fit(prepared.whole("train"), spec, experiment.training.seed, solver, progress)


def read_with_ngrams(
    experiment: Experiment, cache: Path, progress: Reading = no_reading, solver: Solver = solve
) -> Prepared:
    """Read the data of a spec, and fit its n-grams, outside of a run."""
    from core.train.prepare_data import read_data  # all sources of data, which a prediction does not import

    data, _ = read_data(experiment, cache, progress=progress)
    fitted = fit_ngrams(experiment, data, solver, lambda *done: progress("fitting n-grams", *done))
    return with_ngrams(experiment, data, fitted)


def ngrams_record(fitted: Fitted, labels: np.ndarray) -> dict:
    """Return the record entry of a fitted model, given the classes [N] of its training texts.

    `left_out_accuracy` is that on the texts that their fold did not see; `largest_class` is the share of that class.
    `useful`: whether the first is higher by more than two standard errors.
    """
    logits = fitted.train_logits
    predicted = (logits[:, 0] > 0).astype(np.int64) if logits.shape[1] == 1 else logits.argmax(axis=1)
    accuracy, largest = float((predicted == labels).mean()), float(np.bincount(labels).max() / len(labels))
    error = float(np.sqrt(largest * (1.0 - largest) / len(labels)))
    return {
        "number": len(fitted.model.weights),
        "left_out_accuracy": accuracy,
        "largest_class": largest,
        "useful": accuracy > largest + 2.0 * error,
    }


def with_ngrams(experiment: Experiment, prepared: Prepared, fitted: Fitted | None) -> Prepared:
    """Return the data with the n-grams of its texts; unchanged without a fitted model.

    Raises UserError if the model was fitted on another number of training texts.
    """
    if fitted is None or prepared.whole is None:
        return prepared
    own = {part: split_with_ngrams(experiment, prepared, fitted, part) for part in ("train", "dev", "test")}
    more, texts = prepared.unlabeled, prepared.unlabeled_texts
    if more is not None and texts is not None:
        more = replace(more, ngrams=fitted.model.features(texts, experiment.text))
    return replace(prepared, **own, unlabeled=more)


def split_with_ngrams(experiment: Experiment, prepared: Prepared, fitted: Fitted | None, part: str) -> Dataset:
    """Return a data set with the n-grams of its texts; unchanged without a fitted model.

    Training texts have the logits of the fold that did not see them. Raises UserError if the model was fitted on
    another number of training texts.
    """
    dataset = prepared.split(part)
    if fitted is None or prepared.whole is None:
        return dataset
    if part == "train" and len(fitted.train_logits) != len(dataset):
        raise UserError(
            f"{NGRAMS}: train_logits: got {len(fitted.train_logits)} texts, the data has {len(dataset)}:"
            " restore the file"
        )
    own = prepared.whole(part)
    known = (fitted.train_logits, own.labels) if part == "train" else (None, None)
    return replace(dataset, ngrams=fitted.model.features(own.texts, experiment.text, *known))


def write_ngrams(folder: Path, fitted: Fitted) -> None:
    """Write a fitted model to a run folder, with the logits of its training texts."""
    model, tables = fitted.model, {"tokens": fitted.model.tokens, "characters": fitted.model.characters}
    arrays = {name: getattr(model, name) for name in VALUES}
    arrays["train_logits"] = fitted.train_logits
    units = {}
    for name, table in tables.items():
        if table is not None:
            units[name] = list(table.units)
            arrays.update({f"{name}/{n}": keys for n, keys in enumerate(table.keys, 2)})
    write_arrays(folder / NGRAMS, arrays, {"spec": model.spec.model_dump(mode="json"), "units": units})


def read_ngrams(folder: Path, model: Model) -> Fitted | None:
    """Read the fitted model of a run; None for a model without one.

    Raises UserError if the file is missing, damaged, or of another spec.
    """
    spec, path = model.ngrams, folder / NGRAMS
    if spec is None:
        return None
    if not path.is_file():
        raise UserError(f"{folder}: {NGRAMS} is missing: restore the file")
    arrays, state = read_arrays(path, DTYPES)
    if not isinstance(state, dict) or state.get("spec") != spec.model_dump(mode="json"):
        raise UserError(f"{path}: of another model.ngrams than the run's: restore the file")
    orders = {"tokens": spec.orders, "characters": spec.characters}
    units = {name: _units(name, state.get("units"), path) for name, most in orders.items() if most}
    _check_arrays(arrays, orders, units, model.head.classes, path)
    tokens, characters = (
        NgramTable(units[name], tuple(arrays[f"{name}/{n}"] for n in range(2, most + 1))) if most else None
        for name, most in orders.items()
    )
    fitted = NgramModel(spec, tokens, characters, *(arrays[name] for name in VALUES))
    return Fitted(fitted, arrays["train_logits"])


def _units(name: str, units: object, path: Path) -> list[str]:
    """Return the unigrams of a table. Raises UserError for other JSON than distinct strings."""
    own = units.get(name) if isinstance(units, dict) else None
    if not isinstance(own, list) or not all(isinstance(unit, str) for unit in own) or len(set(own)) < len(own):
        raise UserError(f"{path}: units of {name}: expected a list of distinct strings: restore the file")
    return own


def _check_arrays(
    arrays: dict[str, np.ndarray], orders: dict[str, int], units: dict[str, list[str]], classes: int, path: Path
) -> None:
    """Raise UserError naming the first array that does not fit the spec, the units or the classes."""
    keys = {f"{name}/{n}": (name, n) for name, most in orders.items() for n in range(2, most + 1)}
    for name in (*VALUES, "train_logits", *keys):
        if name not in arrays:
            raise UserError(f"{path}: {name} is missing: restore the file")
    for name in arrays:
        if name not in (*VALUES, "train_logits", *keys):
            raise UserError(f"{path}: {name}: no array of this model.ngrams: restore the file")
    sizes = {name: len(own) for name, own in units.items()}
    before = dict(sizes)
    for name, (table, _) in keys.items():
        own, limit = arrays[name], before[table] * len(units[table])
        sound = own.ndim == 1 and own.dtype == np.int64 and bool((own[1:] > own[:-1]).all())
        if not sound or (len(own) and (own[0] < 0 or own[-1] >= limit)):
            raise UserError(f"{path}: {name}: expected ascending integers in 0..{limit - 1}: restore the file")
        before[table] = len(own)
        sizes[table] += len(own)
    size, columns, texts = sum(sizes.values()), columns_of(classes), (*arrays["train_logits"].shape, 0)[0]
    shapes = {
        "ratios": (size, columns),
        "weights": (size, columns),
        "bias": (columns,),
        "counts": (sizes.get("tokens", 0), classes),
        "per_class": (classes,),
        "train_logits": (texts, columns),
    }
    for name, shape in shapes.items():
        own = arrays[name]
        if own.shape != shape or own.dtype != np.float32:
            raise UserError(
                f"{path}: {name}: got shape {list(own.shape)} of {own.dtype}, expected {list(shape)} of float32:"
                " restore the file"
            )
        if not np.isfinite(own).all():
            raise UserError(f"{path}: {name} has NaN or infinite values: restore the file")
    counts, per_class = arrays["counts"], arrays["per_class"]
    if per_class.min() < 1 or counts.min(initial=0) < 0 or (counts > per_class).any():
        raise UserError(f"{path}: counts: expected 0 to per_class texts of each class: restore the file")
