"""A finished run that answers requests: predictions as JSON, explanations, and files of predictions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.batch import UNK
from core.data.download import no_progress
from core.data.encode import dataset_of_encoded, encode_each
from core.errors import UserError
from core.label_sets import split_labels
from core.models.heads.pooling import PoolingHead
from core.report.run_list import RESULT, task_of
from core.schema import of_kind
from core.spec.experiment import Experiment
from core.strings import shorten
from core.train.metrics import all_logits
from core.train.run_folder import RECORD, RunFolder
from core.train.run_lock import is_held
from tasks.cli.commands import program_command, run_command
from tasks.cli.recipes import TASK_RECIPES
from tasks.run.explain import Explained
from tasks.run.predict import PREDICTORS, predictor_of
from tasks.run.predict_classes import Predictor
from tasks.run.predict_file import Text, Texts, texts_of_file
from tasks.run.predict_labels import LabelPredictor
from tasks.run.predict_options import PredictOptions
from tasks.run.predict_tags import TagPredictor
from tasks.run.worker import Request
from tasks.serve.limits import MOST_ROWS

Answer = dict[str, Any]
"""The prediction for a text as JSON."""


@dataclass
class ServedRun:
    """A run by the predictor of its kind; `predictor.engine` computes one call at a time."""

    predictor: Predictor | TagPredictor

    @classmethod
    def open(cls, run: str, wanted: PredictOptions) -> ServedRun:
        """Load a finished classifier or tagger. Raises UserError for any other run."""
        check_finished(Path(run))
        return cls(predictor_of(run, Request(), wanted))

    @property
    def experiment(self) -> Experiment:
        return self.predictor.experiment

    @property
    def description(self) -> dict[str, Any]:
        """What the server predicts with, as JSON."""
        own = self.predictor
        classes = own.classes if isinstance(own, TagPredictor) else own.execution["classes"]
        return {
            "run": Path(own.run).name,
            "task": self.experiment.task,
            "model": self.experiment.model.label,
            "evaluator": own.computed_by,
            "predicts": self._predicts,
            "classes": list(classes),
        }

    @property
    def _predicts(self) -> str:
        kinds = {TagPredictor: "tags", LabelPredictor: "labels"}
        return kinds.get(type(self.predictor), "a class")

    def answers(self, texts: list[str]) -> list[Answer | None]:
        """Return the predictions for texts; None for a text without tokens."""
        own = self.predictor
        if isinstance(own, TagPredictor):
            rows = (Text(number, text, []) for number, text in enumerate(texts, 1))
            found = own.with_engine(own.engine).tagged(Texts("text", [], rows))
            return [None if tagged is None else _tags(own, tagged) for _, tagged in found]
        encoded = encode_each(texts, own.vocabulary, self.experiment.text)
        worded = [one for one in encoded if one is not None]
        if not worded:
            return [None] * len(texts)
        dataset = dataset_of_encoded(worded, self.experiment.text, own.ngrams)
        head = of_kind(self.experiment.model.head, PoolingHead)
        shares = iter(head.probabilities(all_logits(own.engine.logits, dataset)))
        return [
            None if one is None else _class(own, next(shares)) | {"unknown": one.unknown, "truncated": one.cut}
            for one in encoded
        ]

    def explanation(self, text: str, token: int | None, engine: Any) -> Answer | None:
        """Return the effects of the words of a text on its prediction, or on the tag of a token, as JSON.

        Returns None for a text without tokens. Raises UserError for a token that the text, or the model, does not have.
        """
        own = self.predictor.with_engine(engine)
        if isinstance(own, TagPredictor):
            own.wanted = PredictOptions(token=token)
            _, tagged = next(own.tagged(Texts("text", [], iter([Text(1, text, [])]))))
            return None if tagged is None else _effects(own.explained(tagged))
        if token is not None:
            raise UserError("token: this run predicts a class per text, not a tag per token: omit it")
        (encoded,) = encode_each([text], own.vocabulary, self.experiment.text)
        return None if encoded is None else _effects(own.explained(text, encoded))

    def write_predictions(self, path: Path, out: Path, fields: dict[str, str], engine: Any) -> int:
        """Write the rows of a file with their predictions to a CSV file; return their number.

        `fields` may name the `text_column` and the `encoding`. Raises UserError as `predict --file --out` does, and for
        more than `MOST_ROWS` rows; no file is left then.
        """
        own = self.predictor.with_engine(engine)
        texts = texts_of_file(path, self.experiment, fields.get("text_column"), fields.get("encoding"), no_progress)
        own.write_file(Texts(texts.unit, texts.columns, _at_most(texts, path)), out)
        return own.counts.texts


def check_finished(path: Path) -> None:
    """Raise UserError unless a folder is a finished run of texts."""
    folder = RunFolder.open(path)
    if is_held(path):
        raise UserError(f"{path}: in training: wait until it is finished, or serve another run")
    task = task_of(path)
    if not (path / RECORD).is_file():
        raise UserError(f"{path}: a folder of several runs: give one of them, see {program_command('tasks.runs')}")
    if task not in TASK_RECIPES or folder.read_record()[0].model.head.kind not in PREDICTORS:
        raise UserError(f"{path}: run of task {shorten(task, 80)}, expected a classifier or tagger of texts")
    if not (path / RESULT).is_file():
        use = run_command(f"tasks.{task}", "resume")
        raise UserError(f"{path}: stopped before its end: finish it with {use} {shlex.quote(str(path))}")


def _at_most(texts: Texts, path: Path) -> Iterator[Text]:
    """Yield the rows of a file. Raises UserError for more than `MOST_ROWS`."""
    for count, row in enumerate(texts.rows, 1):
        if count > MOST_ROWS:
            raise UserError(f"{path}: more than {MOST_ROWS:,} {texts.unit}s: divide it, or use predict --file")
        yield row


def _class(predictor: Predictor, probabilities: np.ndarray) -> Answer:
    shares = predictor.answers.shares(probabilities)
    names = predictor.answers.classes
    label = predictor.answers.answer(shares)
    several = {"labels": split_labels(label)} if isinstance(predictor, LabelPredictor) else {}
    return {
        "label": label,
        **several,
        "probability": float(shares.max()),
        "probabilities": {name: float(share) for name, share in zip(names, shares, strict=True)},
    }


def _tags(predictor: TagPredictor, tagged: Any) -> Answer:
    _, sentence, tags = tagged
    best = tags.probabilities[np.arange(len(tags.tags)), tags.tags]
    return {
        "tagged": predictor.rendered(tagged),
        "tokens": sentence.tokens,
        "tags": [predictor.classes[own] for own in tags.tags],
        "probabilities": [float(own) for own in best],
        "unknown": [token for token, number in zip(sentence.tokens, sentence.ids, strict=True) if number == UNK],
    }


def _effects(explained: Explained) -> Answer:
    return {
        "label": explained.prediction,
        "probability": explained.probability,
        "quantity": explained.quantity,
        "exact": explained.exact,
        "words": [{"token": token, "effect": effect, "share": share} for token, effect, share in explained.words],
        "pieces": [
            {"text": own.text, "effect": own.effect, "share": own.share, "unknown": own.unknown, "unread": own.unread}
            for own in explained.pieces
        ],
        "notes": list(explained.notes),
    }
