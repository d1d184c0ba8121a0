"""Curves for TensorBoard: event files in a run's folder, written while it trains."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

from core.errors import UserError
from core.models.heads.scores import Evaluation
from core.train.trainer import Interval, Observer

FOLDER = "tensorboard"
"""Within a run's folder."""


def check_installed() -> None:
    """Raises UserError where TensorBoard's package is not there: asked before anything is made."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("--tensorboard: its package is not installed; run: pip install 'seqtwin[tensorboard]'")


class EventLog:
    """`core.train.trainer.Observer`: scalars `loss/train`, `accuracy/train`, `tokens_per_second`, means over the steps
    since the last reading, and `loss/dev`, `accuracy/dev`. `from_step`: where a resumed run goes on; TensorBoard then
    leaves out what an earlier part had written beyond it."""

    def __init__(self, run: Path, from_step: int) -> None:
        # Imported here: it takes a third of a second, and no framework with it.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
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
        self._write(interval.step, {**figures, "tokens_per_second": interval.tokens_per_second})

    def on_evaluating(self, done: int, total: int) -> None:
        pass

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None:
        self._write(step, {"loss/dev": evaluation.loss, "accuracy/dev": evaluation.accuracy})

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))


class Observers:
    """Several observers as one."""

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
