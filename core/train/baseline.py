"""Simple models beside a classifier of texts: the most frequent class, and the linear model of n-grams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.data.dataset import Dataset, Prepared
from core.data.ngrams.fit import fit_alone
from core.data.ngrams.solver import Progress, Solver, no_progress, solve
from core.models.heads.multilabel_scores import score_labels
from core.models.ngrams import Ngrams, spread
from core.spec.experiment import Experiment
from core.spec.text import Text
from core.statistics import mcnemar

SPLITS = ("dev", "test")


@dataclass(frozen=True)
class SimpleModel:
    """A simple model, and its predictions [N] by split."""

    name: str
    predicted: dict[str, np.ndarray]

    def figures(self, data: Prepared) -> dict:
        """Return its name, and its accuracy on dev and test."""
        shares = {split: float((self.predicted[split] == data.split(split).labels).mean()) for split in SPLITS}
        return {"name": self.name, **{split: {"accuracy": share} for split, share in shares.items()}}


def largest_class(data: Prepared) -> SimpleModel:
    """Return the model that predicts the most frequent class of training, the first one on ties."""
    best = int(np.bincount(data.train.labels, minlength=len(data.classes)).argmax())
    return SimpleModel(
        f"most frequent class, {data.classes[best]}",
        {split: np.full(len(data.split(split)), best) for split in SPLITS},
    )


def label_figures(
    experiment: Experiment, data: Prepared, solver: Solver = solve, progress: Progress = no_progress
) -> dict:
    """Return the entry `baseline` of `result.json` for texts with several labels, of the linear model of n-grams.

    It has a model for each label against the rest, and predicts those of probability above one half. Raises UserError
    like `fit_alone`.
    """
    assert data.whole is not None, "the data are labeled texts"
    spec, found = ngrams_of(experiment.text), {}
    fitted = fit_alone(data.whole("train"), spec, experiment.training.seed, solver, progress)
    for split in SPLITS:
        own = data.whole(split)
        scores = score_labels(fitted.logits(fitted.rows(own.texts)), own.labels, 0.5)
        found[split] = {"accuracy": scores.accuracy, "micro_f1": scores.micro_f1, "macro_f1": scores.macro_f1}
    return {"name": f"linear model of {spec.describe()}", **found}


def ngrams_of(text: Text) -> Ngrams:
    """Return the n-grams of the baseline: of tokens, and of characters too if words had to be segmented.

    On dev of the packaged Chinese reviews, words reach 0.862, characters 0.858 and both 0.861, which is all within the
    standard error of 0.008. Both depend least on the segmentation.
    """
    return Ngrams(orders=3, characters=3 if text.tokenizer == "jieba" else 0)


def linear_model(
    experiment: Experiment, data: Prepared, solver: Solver = solve, progress: Progress = no_progress
) -> SimpleModel | None:
    """Return the linear model of n-grams on the splits of a run.

    That of a network with n-grams was fitted with it; others are fitted here. None if the run's model is such a linear
    model itself, or its data are no labeled texts. Raises UserError like `fit_alone`.
    """
    model = experiment.model
    if model.is_linear:
        return None
    if model.ngrams is not None:
        logits = {split: _logits(data.split(split)) for split in SPLITS}
        return SimpleModel(f"linear model of {model.ngrams.describe()}", _predicted(logits, data))
    if data.whole is None:
        return None
    spec = ngrams_of(experiment.text)
    fitted = fit_alone(data.whole("train"), spec, experiment.training.seed, solver, progress)
    logits = {split: fitted.logits(fitted.rows(data.whole(split).texts)) for split in SPLITS}
    return SimpleModel(f"linear model of {spec.describe()}", _predicted(logits, data))


def baseline_figures(data: Prepared, linear: SimpleModel | None, predicted: np.ndarray) -> dict:
    """Return the entry `baseline` of `result.json`, for a model with the predictions [N] on test.

    It has the name and the accuracies of the linear model, or without one of the most frequent class, which is
    `largest_class` too. `mcnemar` compares the predictions with the linear model's.
    """
    largest = largest_class(data)
    found = {**(linear or largest).figures(data), "largest_class": largest.figures(data)}
    if linear is None:
        return found
    labels = data.test.labels
    own, other = predicted == labels, linear.predicted["test"] == labels
    only = int((own & ~other).sum()), int((other & ~own).sum())
    return {**found, "mcnemar": {"only_model": only[0], "only_baseline": only[1], "p": mcnemar(*only)}}


def _logits(dataset: Dataset) -> np.ndarray:
    assert dataset.ngrams is not None, "the data of a model with n-grams has theirs"
    return dataset.ngrams.logits


def _predicted(logits: dict[str, np.ndarray], data: Prepared) -> dict[str, np.ndarray]:
    """Return the classes of the largest logits [N, K], the first one on ties."""
    return {split: spread(own, len(data.classes)).argmax(axis=1) for split, own in logits.items()}
