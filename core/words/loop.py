"""The training loop of word2vec, for all backends.

A chunk of examples depends on its epoch and its place alone. A resume therefore needs only the tables and the place;
a run that was interrupted has the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from core.data.prefetch import prefetch
from core.errors import UserError
from core.spec.words import IN
from core.words.engine import WordEngine
from core.words.examples import Examples, Sampler
from core.words.probes import Nearest, nearest_words
from core.words.run_folder import WordRunFolder
from core.words.run_state import WordState

SAVE_SECONDS = 50.0
"""Maximum seconds of training between checkpoints."""


@dataclass(frozen=True)
class Progress:
    """The figures of a run after a chunk."""

    epoch: int
    """Number of the epoch, from 1."""
    chunk: int
    """Chunks of all epochs so far."""
    loss: float
    """Mean loss per prediction of the chunk."""
    words_per_second: float


class Observer(Protocol):
    """Callbacks by which a program displays a run."""

    def on_chunk(self, progress: Progress) -> None: ...

    def on_evaluation(self, epoch: float, loss: float, nearest: Nearest) -> None: ...


@dataclass(frozen=True)
class Session:
    """A run to train from its state on.

    The nearest words of `probes` are recorded at the end of every epoch, and after every `interval` chunks of it
    (0: never).
    """

    sampler: Sampler
    folder: WordRunFolder
    """Receives metrics and checkpoints."""
    state: WordState
    """Changes in training."""
    probes: Sequence[str] = ()
    interval: int = 0


def train(
    engine: WordEngine, session: Session, observer: Observer, should_stop: Callable[[], bool] = lambda: False
) -> bool:
    """Train a session from its state to the end, or until `should_stop` after a chunk. Return whether it is the end.

    The folder then holds a checkpoint. The next chunks are drawn by a thread. Raises UserError if training diverges.
    """
    loop = _Loop(engine, session, observer)
    if session.state.step == 0:
        loop.save()  # before the first step, so that a run stopped at any moment can be resumed
    return loop.run(should_stop)


class _Loop:
    def __init__(self, engine: WordEngine, session: Session, observer: Observer) -> None:
        self.engine, self.observer = engine, observer
        self.sampler, self.folder, self.state = session.sampler, session.folder, session.state
        self.probes, self.interval = session.probes, session.interval
        self.epochs, self.chunks = self.sampler.training.epochs, len(self.sampler)
        self.last_save = time.perf_counter()
        self._start_clocks()

    def run(self, should_stop: Callable[[], bool]) -> bool:
        with closing(prefetch(self._examples(), depth=1)) as drawn:
            self._start_clocks()
            for examples in drawn:
                self._take(examples)
                ends_epoch = self.state.place == 0
                if ends_epoch or (self.interval and self.state.place % self.interval == 0):
                    self._evaluate()
                stops = self.state.epoch < self.epochs and should_stop()
                if ends_epoch or stops or time.perf_counter() - self.last_save > SAVE_SECONDS:
                    self.save()
                self._start_clocks()
                if stops:
                    return False
        return True

    def _examples(self) -> Iterator[Examples]:
        """Yield the examples of all remaining chunks."""
        for epoch in range(self.state.epoch, self.epochs):
            for place in range(self.state.place if epoch == self.state.epoch else 0, self.chunks):
                yield self.sampler.draw(epoch, place)

    def _take(self, examples: Examples) -> None:
        """Train a chunk and write its metrics."""
        state = self.state
        losses = self.engine.train(examples)
        seconds = time.perf_counter() - self.clock
        loss, count = float(losses.sum()), len(examples)
        if not math.isfinite(loss):
            raise UserError(
                f"step {state.step + len(losses)}: the loss is {loss}, training diverged: lower"
                f" `training.learning_rate` or `training.batch_size`"
            )
        if state.place == 0:
            state.loss, state.counted = 0.0, 0
        state.loss += loss
        state.counted += count
        state.step += len(losses)
        state.words += examples.words
        state.predictions += count
        state.seconds += seconds
        state.cpu_seconds += time.process_time() - self.cpu_clock
        number, place = state.epoch + 1, state.place + 1
        state.epoch, state.place = (state.epoch, place) if place < self.chunks else (number, 0)
        mean, speed = loss / max(count, 1), examples.words / max(seconds, 1e-9)
        line = {
            "step": state.step,
            "epoch": round(self._epoch, 6),
            "split": "train",
            "words": state.words,
            "predictions": count,
            "loss": mean,
            "learning_rate": float(examples.rates[-1]) if len(examples.rates) else 0.0,
            "words_per_second": round(speed, 1),
        }
        self.folder.metrics.append([line])
        self.observer.on_chunk(Progress(number, state.epoch * self.chunks + state.place, mean, speed))

    @property
    def _epoch(self) -> float:
        return self.state.epoch + self.state.place / self.chunks

    def _evaluate(self) -> None:
        """Write and show the nearest words of the probes, and the mean loss of the epoch so far."""
        state = self.state
        vectors = self.engine.parameters()[IN]
        nearest = nearest_words(self.sampler.corpus, vectors, self.probes)
        loss = state.loss / max(state.counted, 1)
        shown = {word: [[other, round(cosine, 4)] for other, cosine in own] for word, own in nearest.items()}
        line = {"step": state.step, "epoch": round(self._epoch, 6), "split": "evaluation", "words": state.words}
        self.folder.metrics.append([{**line, "loss": loss, "nearest": shown}])
        self.observer.on_evaluation(self._epoch, loss, nearest)

    def save(self) -> None:
        self.folder.write_last(self.engine.parameters(), self.state)
        self.last_save = time.perf_counter()

    def _start_clocks(self) -> None:
        self.clock, self.cpu_clock = time.perf_counter(), time.process_time()
