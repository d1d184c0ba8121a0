"""A classifier of texts with the interface of scikit-learn's estimators. It works without scikit-learn."""

from __future__ import annotations

import os
import shutil
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from core.checked_json import read_checked_json, write_checked_json
from core.errors import Note, UserError
from core.train.run_folder import RunFolder
from seqtwin.api.calls import called
from seqtwin.api.explanation import Explanation
from seqtwin.api.options import FILES, check_keywords, keywords_of, plain
from seqtwin.api.run import Run, check_classifier, load
from seqtwin.api.texts import checked_labels, checked_texts, remove_texts, write_texts
from seqtwin.api.training import TABLE_TASK, new_folder, program_of, train_run

OWN = "classifier.json"
"""File of a run folder with the parameters of the classifier that trained it, and its labels."""
FORMAT = 1
FIXED = ("backend", "recipe", "runs", "verbose")
"""Parameters that are no options of the program."""


class TextClassifier:
    """A classifier of texts, with the interface of scikit-learn's estimators.

        classifier = seqtwin.TextClassifier(epochs=3, hidden=64).fit(texts, labels)
        classifier.predict(["Where is my parcel?"])

    `backend` is `torch` or `paddle`, by default the first installed one. `recipe` is a recipe of `seqtwin classify`.

    `runs` is the folder in which every `fit` creates a run folder. `verbose` prints what the program prints.

    `options` are the [options](#options) of `seqtwin classify`. Options that are not given have the program's defaults:
    it infers the tokenizer and the number of epochs from the texts. `encoder="ngrams"` trains a linear model of
    n-grams, which needs no framework.

    After `fit`, `classes_` are the labels in order, as an array, and `run_` is the `Run`.

    It works in `cross_val_score`, `GridSearchCV`, `CalibratedClassifierCV` and pipelines of scikit-learn, and without
    scikit-learn. A pickle holds the path of the run folder, not the model. Raises UserError for an unknown option.
    """

    def __init__(
        self,
        backend: str | None = None,
        recipe: str | None = None,
        runs: str = "runs",
        verbose: bool = False,
        **options: Any,
    ) -> None:
        _check_options(options)
        self.backend = backend
        self.recipe = recipe
        self.runs = runs
        self.verbose = verbose
        self._options = options

    def fit(self, texts: Any, labels: Any) -> TextClassifier:
        """Train on texts and their labels, and return the classifier.

        `texts` is a list of strings, a Series or a column of a DataFrame; `labels` holds strings, whole numbers or
        booleans. A tenth of the texts chooses the best epoch, and another tenth tests it, as `dev_share` and
        `test_share` say. Texts and labels are saved in the run folder, so that the run can be repeated.

        Raises UserError that names the first value that is no text or no label.
        """
        given = checked_texts(texts)
        if not given:
            raise UserError("texts: got none, expected labeled texts")
        values = checked_labels(labels, len(given))
        run = new_folder(Path(self.runs).absolute(), TABLE_TASK)
        with called():
            table = write_texts(run, given, values)
        options = {**self._options, "backend": self.backend, "recipe": self.recipe, "train": str(table)}
        try:
            trained = train_run(program_of(TABLE_TASK), options, run, type(self).__name__, self.verbose)
        except UserError as error:
            raise UserError(str(error).replace(f"{table}: ", "texts: ")) from None
        finally:
            if RunFolder(run).has_texts_alone:
                remove_texts(run)
        names = {str(value): value for value in values}
        with called():
            content = {"parameters": plain(self.get_params()), "labels": {own: names[own] for own in trained.classes}}
            write_checked_json(run / OWN, {"format": FORMAT, **content})
        self._take(trained, names)
        return self

    def predict(self, texts: Any) -> np.ndarray:
        """Return the labels [N] of N texts. A text without tokens has the most frequent label."""
        shares = self.predict_proba(texts)
        return self.classes_[shares.argmax(axis=1)]

    def predict_proba(self, texts: Any) -> np.ndarray:
        """Return the probabilities [N, C] of N texts, in the order of `classes_`.

        A text without tokens has the shares of the labels among the training texts.
        """
        shares = self._fitted().predict_proba(checked_texts(texts))[:, self._columns]
        empty = np.isnan(shares).any(axis=1)
        if empty.any():
            number = int(empty.sum())
            warnings.warn(
                Note(f"{number:,} of {len(shares):,} texts have no tokens: their probabilities are the labels' shares"),
                stacklevel=2,
            )
            counts = np.array(self._fitted().execution["data"]["train"]["per_class"], dtype=np.float64)[self._columns]
            shares[empty] = counts / counts.sum()
        return shares

    def score(self, texts: Any, labels: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on texts and their labels; `sample_weight` are weights of the texts."""
        predicted = self.predict(texts)
        expected = checked_labels(labels, len(predicted))
        right = [own == label for own, label in zip(predicted.tolist(), expected, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def explain(self, texts: Any) -> Explanation | list[Explanation]:
        """Return the `Explanation` of the prediction for a text, or a list for several texts."""
        return self._fitted().explain(texts if isinstance(texts, str) else checked_texts(texts))

    def save(self, path: str | os.PathLike) -> None:
        """Copy the run folder to `path`, from where `load` reads it. Raises UserError if it exists."""
        source, target = self._fitted().path, Path(path)
        if target.exists():
            raise UserError(f"{target}: exists: give another path")
        partial = target.with_name(f".{target.name}.tmp")
        try:
            shutil.copytree(source, partial, ignore=shutil.ignore_patterns(".*"))
            partial.rename(target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise UserError(f"{target}: cannot be written ({error.strerror or error}): give another path") from None

    @classmethod
    def load(cls, path: str | os.PathLike) -> TextClassifier:
        """Return the fitted classifier of a run folder: one of `fit` or `save`, or any run of a classifier of texts.

        The labels of a run that was trained by a program are strings.
        """
        run = load(path)
        check_classifier(run, "TextClassifier")
        own = run.path / OWN
        with called():
            found = read_checked_json(own, FORMAT) if own.is_file() else {"parameters": {}, "labels": {}}
        if found.get("format", FORMAT) != FORMAT:
            raise UserError(f"{own}: got format {found['format']!r}, expected {FORMAT}: update seqtwin")
        classifier = cls(**found["parameters"])
        classifier._take(run, {name: found["labels"].get(name, name) for name in run.classes})
        return classifier

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` is ignored, as none is an estimator."""
        return {**{name: getattr(self, name) for name in FIXED}, **self._options}

    def set_params(self, **parameters: Any) -> TextClassifier:
        """Set parameters by name, and return the classifier. Raises UserError for an unknown one."""
        options = {name: value for name, value in parameters.items() if name not in FIXED}
        _check_options(options)
        for name in parameters.keys() - options.keys():
            setattr(self, name, parameters[name])
        self._options = {**self._options, **options}
        return self

    def _take(self, run: Run, labels: dict[str, Any]) -> None:
        """Set what a fit leaves; `labels` are the labels by the name of the class."""
        values = np.array([labels[name] for name in run.classes])
        self._columns = np.argsort(values, kind="stable")
        self.classes_ = values[self._columns]
        self.run_ = run

    def _fitted(self) -> Run:
        if not self.__sklearn_is_fitted__():
            raise UserError("this TextClassifier is not fitted: call fit first")
        return self.run_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks for: a classifier of strings in one dimension."""
        utils = import_module("sklearn.utils")  # which calls this, so it is installed
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(one_d_array=True, two_d_array=False, string=True),
        )

    def __repr__(self) -> str:
        unchanged = TextClassifier().get_params()
        given = {name: value for name, value in self.get_params().items() if unchanged.get(name) != value}
        return f"TextClassifier({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def _repr_html_(self) -> str:
        from core.report.html import render

        if self.__sklearn_is_fitted__():
            return self.run_._repr_html_()
        return render("run.html", title=repr(self), facts=[("state", "not fitted")], pictures=[])


def _check_options(options: dict[str, Any]) -> None:
    known = [name for name in keywords_of(program_of(TABLE_TASK)) if name not in (*FILES, *FIXED)]
    with called():
        check_keywords(options, known, "TextClassifier")
