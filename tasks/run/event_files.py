"""Write TensorBoard event files to a run's folder during training."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

from core.errors import UserError
from core.models.heads.scores import Evaluation
from core.train.trainer import Interval, Observer

FOLDER = "tensorboard"
"""Subfolder of a run's folder."""


def check_installed() -> None:
    """Raise UserError if the package tensorboard is missing; called before any file is written."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("--tensorboard: package tensorboard is not installed; run: pip install 'seqtwin[tensorboard]'")


class EventLog:
    """Write scalars during training (`core.train.trainer.Observer`).

    `loss/train`, `accuracy/train` and `tokens_per_second` are means over the steps of an interval, as are the norms
    `gradient/NAME` of `training.watch_gradients`; `loss/dev` and `accuracy/dev` are those of an evaluation. If a
    resumed run starts from `from_step`, TensorBoard hides the events that an earlier segment wrote beyond it.
    """

    def __init__(self, run: Path, from_step: int) -> None:
        # Imported here, since the import takes a third of a second.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self.folder = run / FOLDER
        self._writer = EventFileWriter(str(self.folder), flush_secs=5)
        if from_step:
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=time.time(), step=from_step + 1, session_log=start))

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_) -> None:
        self._writer.close()

    def on_interval(self, interval: Interval) -> None:
        figures = {"loss/train": interval.loss, "accuracy/train": interval.accuracy}
        norms = {f"gradient/{name}": norm for name, norm in interval.grad_norms.items()}
        self._write(interval.step, {**figures, "tokens_per_second": interval.tokens_per_second, **norms})

    def on_evaluating(self, done: int, total: int) -> None:
        pass

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None:
        self._write(step, {"loss/dev": evaluation.loss, "accuracy/dev": evaluation.accuracy})

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))


class Observers:
    """Forward every event to several observers."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def on_interval(self, interval: Interval) -> None:
        for observer in self.observers:
            observer.on_interval(interval)

    def on_evaluating(self, done: int, total: int) -> None:
        for observer in self.observers:
            observer.on_evaluating(done, total)

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None:
        for observer in self.observers:
            observer.on_evaluation(epoch, step, evaluation, is_best)
