"""Predict for all waiting requests together, in one thread: engines compute one call at a time.

While a batch is computed, requests arrive; the next batch holds all of them. So a request never waits for others to
come, and batches grow with the load.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np

from core.batch import Batch

PIECE_TEXTS, PIECE_CHARACTERS = 32, 20_000
"""Largest part of a request that is computed at once; a single text may be longer."""
BATCH_TEXTS, BATCH_CHARACTERS = 64, 40_000
"""Sizes at which a batch takes no further piece."""
CALL_TOKENS = 8192
"""Tokens, with padding, of one call for a file or an explanation, for which others wait."""


class Closed(Exception):
    """Raised for requests that the server no longer computes, as it ends."""


class _Piece:
    """Texts of one request, and the future of their answers."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.size = texts, sum(map(len, texts))
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list] = self.loop.create_future()

    def set(self, result: list | BaseException) -> None:
        """Set the result; call it in the loop. The request may be gone."""
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Batcher:
    """Runs `predict(texts)` and calls of other threads in one thread, alternately.

    After each batch of texts comes one call, such as a batch of an uploaded file. So a short request waits for at most
    one call, and a long one progresses under any load.
    """

    def __init__(self, predict: Callable[[list[str]], list], on_batch: Callable[[int], None] = lambda size: None):
        self._predict, self._on_batch = predict, on_batch
        self._pieces: deque[_Piece] = deque()
        self._calls: deque[tuple[Future, Callable, tuple]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="predictions", daemon=True)
        self._thread.start()

    async def answers(self, texts: list[str]) -> list:
        """Return the answers to the texts of a request, in order. Raises Closed."""
        found: list = []
        for texts_of_piece in pieces_of(texts):
            piece = _Piece(texts_of_piece)
            self._add(self._pieces, piece)
            found += await piece.future
        return found

    def call(self, function: Callable, *arguments: Any) -> Any:
        """Run a function in the thread of predictions, and wait for its result. Raises Closed."""
        future: Future = Future()
        self._add(self._calls, (future, function, arguments))
        return future.result()

    def close(self) -> None:
        """End the thread; what still waits raises Closed."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _add(self, queue: deque, entry: Any) -> None:
        with self._changed:
            if self._closed:
                raise Closed
            queue.append(entry)
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._calls or self._closed)
                if self._closed:
                    break
                batch = self._next_batch()
                call = self._calls.popleft() if self._calls else None
            if batch:
                self._answer(batch)
            if call is not None:
                _run(*call)
        _resolve(list(self._pieces), [Closed()] * len(self._pieces))
        for future, _, _ in self._calls:
            future.set_exception(Closed())

    def _next_batch(self) -> list[_Piece]:
        batch, texts, size = [], 0, 0
        while self._pieces and texts < BATCH_TEXTS and size < BATCH_CHARACTERS:
            piece = self._pieces.popleft()
            if piece.future.cancelled():
                continue
            batch.append(piece)
            texts, size = texts + len(piece.texts), size + piece.size
        return batch

    def _answer(self, batch: list[_Piece]) -> None:
        texts = [text for piece in batch for text in piece.texts]
        try:
            answers = iter(self._predict(texts))
        except Exception as error:
            if len(batch) == 1:
                _resolve(batch, [error])
                return
            for piece in batch:  # an error belongs to the request that causes it
                self._answer([piece])
            return
        self._on_batch(len(texts))
        _resolve(batch, [[next(answers) for _ in piece.texts] for piece in batch])


class QueuedEngine:
    """The methods of an engine that predictions use, computed in the thread of a batcher."""

    def __init__(self, engine: Any, batcher: Batcher) -> None:
        self._engine, self._batcher = engine, batcher

    def logits(self, batch: Batch) -> np.ndarray:
        """Return logits as the engine does, in calls of at most `CALL_TOKENS` or one row. Raises Closed."""
        rows = max(CALL_TOKENS // batch.ids.shape[1], 1)
        parts = [np.arange(start, min(start + rows, len(batch.ids))) for start in range(0, len(batch.ids), rows)]
        return np.concatenate([self._batcher.call(self._engine.logits, batch.rows(part)) for part in parts])

    def parameters(self) -> Any:
        return self._engine.parameters()


def pieces_of(texts: list[str]) -> Iterator[list[str]]:
    """Yield the texts in lists of at most `PIECE_TEXTS` texts that end after `PIECE_CHARACTERS` characters."""
    piece, size = [], 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if len(piece) == PIECE_TEXTS or size >= PIECE_CHARACTERS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _run(future: Future, function: Callable, arguments: tuple) -> None:
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)


def _resolve(batch: list[_Piece], results: list) -> None:
    """Set the results of pieces in their loop, all in one call: each call wakes the loop."""

    def set_all() -> None:
        for piece, result in zip(batch, results, strict=True):
            piece.set(result)

    if batch and not batch[0].loop.is_closed():
        batch[0].loop.call_soon_threadsafe(set_all)
