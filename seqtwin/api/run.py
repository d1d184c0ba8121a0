"""A finished run: its figures, its model and its predictions."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from core.data.encode import encode_text
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.models.heads import MultilabelHead
from core.report.html import render
from core.spec.experiment import Experiment
from core.strings import shorten
from core.train.run_folder import RunFolder
from core.words.nearest import nearest
from core.words.queries import known_rows
from core.words.run_vectors import run_table
from seqtwin.api.calls import called
from seqtwin.api.explanation import Explanation
from seqtwin.api.gates import Gates
from seqtwin.api.texts import checked_texts
from tasks.cli.paths import cache_folder
from tasks.run.answers import Answers
from tasks.run.evaluate import evaluate_split
from tasks.run.evaluators import Evaluator, evaluator
from tasks.run.explain_ngrams import Explainer
from tasks.run.gate_values import Place, gate_values
from tasks.run.latest import named_run
from tasks.run.predict_file import Text, predictions_of
from tasks.run.predict_options import PredictOptions
from tasks.run.worker import Request

PICTURES = ("curves.png", "confusion.png")
"""Pictures that a notebook shows."""
SPLITS = ("test", "dev", "train")


class Run:
    """A finished run of any task, read from its folder. `load` returns it.

    `path` is the folder, `task` the name of the task, `classes` the names of the classes or tags. Predictions and
    explanations are those of classifiers of texts. They need no framework, unless `backend` names one.

    A run can be pickled: a pickle holds the path of the folder, not the model.
    """

    def __init__(self, path: Path, backend: str | None = None, device: str = "auto", impl: str = "auto") -> None:
        self.path = path.absolute()
        self._request = Request(backend, device, impl)
        self._folder = RunFolder.open(self.path)
        self._experiment, self._execution = self._folder.read_record()
        self.task: str = self._experiment.task
        self.classes: list[str] = list(self._execution["classes"])
        if not (self.path / "result.json").is_file():
            raise UserError(f"{path}: not finished: resume it with `tasks.{self.task} resume` {path}")

    def __reduce__(self) -> tuple:
        return load, (str(self.path), self._request.backend, self._request.device, self._request.implementation)

    @property
    def experiment(self) -> Experiment:
        """The specification: `run.experiment.model.encoder.hidden_size`; `model_dump()` returns a dictionary."""
        return self._experiment

    @property
    def execution(self) -> dict[str, Any]:
        """How it was trained: backend, device, versions, data."""
        return self._execution

    @cached_property
    def result(self) -> dict[str, Any]:
        """The content of `result.json`: `run.result["test"]["accuracy"]`."""
        with called():
            return self._folder.read_result()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A dictionary per training step and evaluation, as in `metrics.jsonl`."""
        with called():
            return self._folder.read_metrics()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary: `tokens` and `counts` are lists, and id n is `tokens[n]`."""
        with called():
            return self._folder.read_vocabulary(self._experiment.model)

    @cached_property
    def parameters(self) -> dict[str, np.ndarray]:
        """The parameters of the best checkpoint by name, as arrays: `run.parameters["embedding.weight"]`."""
        with called():
            return self._folder.read_best(self._experiment.model)

    def predict(self, texts: str | Iterable[str], calibrate: bool = False) -> Any:
        """Return the predicted class of a text, or a list for several texts; None for a text without tokens.

        A model of several labels gives a list of labels for each text.
        """
        shares = self.predict_proba([texts] if isinstance(texts, str) else texts, calibrate)
        found = [None if np.isnan(own[0]) else self._answer(own) for own in shares]
        return found[0] if isinstance(texts, str) else found

    def predict_proba(self, texts: Iterable[str], calibrate: bool = False) -> np.ndarray:
        """Return the probabilities [N, C] of N texts, in the order of `classes`; NaN for a text without tokens.

        `calibrate` divides the logits by the run's temperature.
        """
        given = checked_texts(texts)
        with called():
            answers = Answers.of(self._folder, self.classes, PredictOptions(calibrate=calibrate))
            rows = (Text(number, text, []) for number, text in enumerate(given, 1))
            ngrams = self._ngrams
            found = predictions_of(rows, self._evaluator.engine.logits, self.vocabulary, self._experiment, ngrams)
            shares = np.full((len(given), len(self.classes)), np.nan)
            for place, own in enumerate(found):
                if own.shares is not None:
                    shares[place] = answers.shares(own.shares)
        return shares

    def _answer(self, shares: np.ndarray) -> Any:
        """Return the class, or the labels above the threshold, with these probabilities [C]."""
        head = self._experiment.model.head
        if isinstance(head, MultilabelHead):
            return [name for name, own in zip(self.classes, shares, strict=True) if own > head.threshold]
        return self.classes[int(shares.argmax())]

    def explain(self, texts: str | Iterable[str]) -> Any:
        """Return the `Explanation` of the prediction for a text, or a list for several texts.

        Raises UserError for a text without tokens.
        """
        several = not isinstance(texts, str)
        given = checked_texts(texts if several else [texts])
        with called():
            engine, model = self._evaluator.engine, self._experiment.model
            explainer = Explainer(engine, model, self._ngrams, self.classes)
            found = []
            for place, text in enumerate(given):
                where = f"texts[{place}]" if several else shorten(repr(text), 60)
                encoded = encode_text(text, self.vocabulary, self._experiment.text, where)
                explained = explainer.of_text(text, encoded, self._experiment.text, place + 1)
                found.append(Explanation(explained, self.classes))
        return found if several else found[0]

    def evaluate(self, split: str = "test", data: str | None = None, cache_dir: str | None = None) -> dict[str, Any]:
        """Evaluate the best checkpoint on `test`, `dev` or `train`, and return its figures by name.

        `data` is the path of the data, if it was moved. Raises UserError if the data is not that of the run.
        """
        with called():
            if split not in SPLITS:
                raise UserError(f"split {split}: choose one of {', '.join(SPLITS)}")
            moved = {} if data is None else {"data.source": os.fspath(data)}
            evaluated = evaluate_split(self._folder, self._request, moved, split, cache_folder(cache_dir))
        return {"documents": len(evaluated.dataset), **evaluated.found.figures()}

    def gates(self, text: str, layer: int = 0, reverse: bool = False) -> Gates:
        """Return the `Gates` of a recurrent layer over a text; `reverse` chooses the other direction.

        Raises UserError for a model without gates, and for a layer or direction that it does not have.
        """
        with called():
            check_classifier(self, "gates")
            (text,) = checked_texts([text])
            sequence = encode_text(text, self.vocabulary, self._experiment.text, shorten(repr(text), 60))
            found = gate_values(self._folder, self._experiment, self.classes, sequence, Place(layer, reverse))
        return Gates(found, self.path.name)

    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """Return the `count` words whose vectors are nearest to that of a word, with their cosines.

        Raises UserError for a word that is not in the vocabulary, with the nearest spellings.
        """
        with called():
            table = run_table(self._folder)
            rows = known_rows(table, [word], every=True)
            return [(own.word, own.cosine) for own in nearest(table, rows, count)]

    @cached_property
    def _evaluator(self) -> Evaluator:
        check_classifier(self, "predict")
        return evaluator(self._folder, self._experiment, self._request)

    @cached_property
    def _ngrams(self) -> Any:
        fitted = self._folder.read_ngrams(self._experiment.model)
        return None if fitted is None else fitted.model

    def _facts(self) -> dict[str, str]:
        test = self.result["test"]
        execution, backend = self._execution, self._execution["backend"]
        return {
            "model": self._experiment.model.describe(),
            "backend": f"{backend} {execution['versions'][backend]} on {execution['device']}",
            "data": execution["data"]["description"],
            "test": ", ".join(f"{name} {test[name]:.4f}" for name in ("accuracy", "macro_f1", "loss") if name in test),
            "folder": str(self.path),
        }

    def __repr__(self) -> str:
        return "\n".join([f"Run of task {self.task}", *(f"  {name:<8}{own}" for name, own in self._facts().items())])

    def _repr_html_(self) -> str:
        pictures = [(name, self.path / name) for name in PICTURES if (self.path / name).is_file()]
        encoded = [(name, base64.b64encode(path.read_bytes()).decode()) for name, path in pictures]
        return render(
            "run_summary.html", title=f"Run of task {self.task}", facts=self._facts().items(), pictures=encoded
        )


def load(path: str | os.PathLike, backend: str | None = None, device: str = "auto", impl: str = "auto") -> Run:
    """Open the folder of a finished run; `latest` is the newest finished one in `runs`.

    `backend` chooses what predicts: `fast` (the compiled kernels), `numpy`, `torch` or `paddle`. By default it is
    `fast`, or `numpy` for a model that the kernels do not support. Raises UserError for a folder that is no finished
    run.
    """
    with called():
        return Run(Path(named_run(os.fspath(path))), backend, device, impl)


def check_classifier(run: Run, what: str) -> None:
    """Raise UserError for a run whose model is no classifier of texts; `what` needs one."""
    if run.experiment.model.head.kind not in ("pooled", "multilabel"):
        raise UserError(f"{run.path}: run of task {run.task}: {what} needs a classifier of texts")
