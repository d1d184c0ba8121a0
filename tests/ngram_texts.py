"""N-grams for the data sets of tests, whose token ids stand for words."""

from __future__ import annotations

import dataclasses

import numpy as np

from core.data.dataset import Dataset, Prepared
from core.data.ngrams.fit import Fitted
from core.data.ngrams.texts import LabeledTexts, Texts
from core.data.vocabulary import Vocabulary
from core.spec.experiment import Experiment
from core.train.ngrams import fit_ngrams, with_ngrams


def texts_of(dataset: Dataset) -> Texts:
    """Return the words of a data set: `w3` for the id 3."""
    return Texts.of([[f"w{number}" for number in dataset.batch(np.array([row])).ids[0]] for row in range(len(dataset))])


def prepared_of(train: Dataset, dev: Dataset) -> Prepared:
    """Return these data sets as the data of a run; dev is also test."""
    return Prepared(Vocabulary([], []), train, dev, dev, [], {})


def with_ngrams_of(experiment: Experiment, prepared: Prepared) -> tuple[Fitted, Prepared]:
    """Fit the n-grams of a spec; return them and the data that has them."""
    classes = experiment.model.head.classes

    def whole(part: str) -> LabeledTexts:
        own = prepared.split(part)
        return LabeledTexts(texts_of(own), own.labels, np.full(len(own), -1), classes)

    prepared = dataclasses.replace(prepared, whole=whole)
    fitted = fit_ngrams(experiment, prepared)
    assert fitted is not None
    return fitted, with_ngrams(experiment, prepared, fitted)
