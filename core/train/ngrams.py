"""The n-grams of a run: fitted on its training texts, read by its data sets, kept in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.data.dataset import Dataset, Prepared
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
    """Return the data with the n-grams of its texts; unchanged without a fitted model."""
    if fitted is None or prepared.whole is None:
        return prepared
    return replace(
        prepared, **{part: split_with_ngrams(experiment, prepared, fitted, part) for part in ("train", "dev", "test")}
    )


def split_with_ngrams(experiment: Experiment, prepared: Prepared, fitted: Fitted | None, part: str) -> Dataset:
    """Return a data set with the n-grams of its texts; unchanged without a fitted model.

    Training texts have the logits of the fold that did not see them.
    """
    dataset = prepared.split(part)
    if fitted is None or prepared.whole is None:
        return dataset
    own = prepared.whole(part)
    known = (fitted.train_logits, own.labels) if part == "train" else (None, None)
    return replace(dataset, ngrams=fitted.model.features(own.texts, experiment.text, *known))


def write_ngrams(folder: Path, fitted: Fitted) -> None:
    """Write a fitted model to a run folder, with the logits of its training texts."""
    model, tables = fitted.model, {"tokens": fitted.model.tokens, "characters": fitted.model.characters}
    arrays = {name: getattr(model, name) for name in ("ratios", "weights", "bias", "counts", "per_class")}
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
    if state["spec"] != spec.model_dump(mode="json"):
        raise UserError(f"{path}: of another model.ngrams than the run's: restore the file")
    tokens, characters = (
        _table(name, orders, arrays, state["units"])
        for name, orders in (("tokens", spec.orders), ("characters", spec.characters))
    )
    fitted = NgramModel(
        spec, tokens, characters, *(arrays[name] for name in ("ratios", "weights", "bias", "counts", "per_class"))
    )
    _check(fitted, model.head.classes, path)
    return Fitted(fitted, arrays["train_logits"])


def _table(name: str, orders: int, arrays: dict[str, np.ndarray], units: dict) -> NgramTable | None:
    return NgramTable(units[name], tuple(arrays[f"{name}/{n}"] for n in range(2, orders + 1))) if orders else None


def _check(model: NgramModel, classes: int, path: Path) -> None:
    """Raise UserError for arrays of other shapes than those of the tables and classes."""
    size, columns = len(model.tokens or ()) + len(model.characters or ()), columns_of(classes)
    expected = {
        "ratios": (size, columns),
        "weights": (size, columns),
        "bias": (columns,),
        "counts": (len(model.tokens or ()), classes),
        "per_class": (classes,),
    }
    for name, shape in expected.items():
        if getattr(model, name).shape != shape:
            raise UserError(
                f"{path}: {name}: got shape {list(getattr(model, name).shape)}, expected {list(shape)}:"
                " restore the file"
            )
