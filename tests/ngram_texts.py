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


def prepared_of(train: Dataset, dev: Dataset, classes: int = 2) -> Prepared:
    """Return these data sets as the data of a run."""

    def whole(part: str) -> LabeledTexts:
        own = train if part == "train" else dev
        return LabeledTexts(texts_of(own), own.labels, np.full(len(own), -1), classes)

    return Prepared(Vocabulary([], []), train, dev, dev, [str(number) for number in range(classes)], {}, whole=whole)


def with_ngrams_of(experiment: Experiment, train: Dataset, dev: Dataset) -> tuple[Fitted, Dataset, Dataset]:
    """Fit the n-grams of a spec; return them and the data sets that have them."""
    plain = [dataclasses.replace(own, ngrams=None) for own in (train, dev)]
    prepared = prepared_of(*plain, classes=experiment.model.head.classes)
    fitted = fit_ngrams(experiment, prepared)
    assert fitted is not None
    found = with_ngrams(experiment, prepared, fitted)
    return fitted, found.train, found.dev
