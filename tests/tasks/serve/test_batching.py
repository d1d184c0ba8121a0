"""Batches of waiting requests: each gets its own answers, short requests pass long ones, errors stay alone."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from core.batch import NgramBatch, pad
from tasks.serve import batching
from tasks.serve.batching import BATCH_TEXTS, PIECE_CHARACTERS, PIECE_TEXTS, Batcher, Closed, QueuedEngine, pieces_of


class Recorded:
    """A batcher whose predictions wait for `go`, with the order of what it computed."""

    def __init__(self) -> None:
        self.go, self.begun, self.order = threading.Event(), threading.Event(), []
        self.sizes: list[int] = []
        self.batcher = Batcher(self._predict, self.sizes.append)

    def _predict(self, texts: list[str]) -> list[str]:
        self.begun.set()
        self.go.wait()
        self.order.append(texts)
        if any(text == "fails" for text in texts):
            raise ValueError("a text that fails")
        return [text.upper() for text in texts]

    def called(self, name: str) -> str:
        self.begun.set()
        self.go.wait()
        self.order.append(name)
        return name


@pytest.fixture
def recorded():
    own = Recorded()
    yield own
    own.go.set()
    own.batcher.close()


async def until(condition) -> None:
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it does not happen")


def test_waiting_requests_are_one_batch(recorded):
    async def run() -> list:
        first = asyncio.create_task(recorded.batcher.answers(["first"]))
        await until(recorded.begun.is_set)
        others = [asyncio.create_task(recorded.batcher.answers([f"a{n}"] * (n % 3 + 1))) for n in range(9)]
        await until(lambda: len(recorded.batcher._pieces) == 9)
        recorded.go.set()
        return await asyncio.gather(first, *others)

    found = asyncio.run(run())
    assert found == [["FIRST"], *([f"A{n}"] * (n % 3 + 1) for n in range(9))]
    assert recorded.sizes == [1, 18]


def test_batches_are_bounded(recorded):
    async def run() -> list:
        first = asyncio.create_task(recorded.batcher.answers(["first"]))
        await until(recorded.begun.is_set)
        others = [asyncio.create_task(recorded.batcher.answers([f"a{n}"])) for n in range(2 * BATCH_TEXTS + 5)]
        await until(lambda: len(recorded.batcher._pieces) == len(others))
        recorded.go.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(run())[1:] == [[f"A{n}"] for n in range(2 * BATCH_TEXTS + 5)]
    assert recorded.sizes == [1, BATCH_TEXTS, BATCH_TEXTS, 5]


def test_a_text_waits_for_one_call_of_a_file(recorded):
    async def run() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(6) as pool:
            calls = [loop.run_in_executor(pool, recorded.batcher.call, recorded.called, "call") for _ in range(6)]
            await until(lambda: recorded.begun.is_set() and len(recorded.batcher._calls) == 5)
            text = asyncio.create_task(recorded.batcher.answers(["text"]))
            await until(lambda: recorded.batcher._pieces)
            recorded.go.set()
            assert await text == ["TEXT"]
            assert await asyncio.gather(*calls) == ["call"] * 6

    asyncio.run(run())
    assert recorded.order == ["call", ["text"], *["call"] * 5]


def test_a_call_of_a_file_waits_for_one_batch(recorded):
    async def run() -> None:
        loop = asyncio.get_running_loop()
        first = asyncio.create_task(recorded.batcher.answers(["first"]))
        await until(recorded.begun.is_set)
        others = [asyncio.create_task(recorded.batcher.answers(["text"])) for _ in range(3 * BATCH_TEXTS)]
        with ThreadPoolExecutor(1) as pool:
            call = loop.run_in_executor(pool, recorded.batcher.call, recorded.called, "call")
            await until(lambda: recorded.batcher._calls and len(recorded.batcher._pieces) == len(others))
            recorded.go.set()
            await asyncio.gather(first, *others, call)

    asyncio.run(run())
    assert [len(own) for own in recorded.order] == [1, BATCH_TEXTS, len("call"), BATCH_TEXTS, BATCH_TEXTS]


def test_a_text_passes_the_rest_of_a_long_request(recorded):
    async def run() -> None:
        long = asyncio.create_task(recorded.batcher.answers(["long"] * (4 * PIECE_TEXTS)))
        await until(recorded.begun.is_set)
        text = asyncio.create_task(recorded.batcher.answers(["text"]))
        await until(lambda: recorded.batcher._pieces)
        recorded.go.set()
        assert await text == ["TEXT"]
        assert await long == ["LONG"] * (4 * PIECE_TEXTS)

    asyncio.run(run())
    place = next(place for place, texts in enumerate(recorded.order) if "text" in texts)
    assert place == 1 and len(recorded.order) in (4, 5)


def test_an_error_fails_its_request_alone(recorded):
    async def run() -> list:
        first = asyncio.create_task(recorded.batcher.answers(["first"]))
        await until(recorded.begun.is_set)
        texts = (["a"], ["fails"], ["b", "c"])
        others = [asyncio.create_task(recorded.batcher.answers(own)) for own in texts]
        await until(lambda: len(recorded.batcher._pieces) == 3)
        recorded.go.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    _, a, failed, bc = asyncio.run(run())
    assert a == ["A"] and bc == ["B", "C"] and isinstance(failed, ValueError)


def test_errors_of_calls_reach_their_caller(recorded):
    recorded.go.set()
    with pytest.raises(ZeroDivisionError):
        recorded.batcher.call(lambda: 1 // 0)
    assert recorded.batcher.call(recorded.called, "next") == "next"


def test_a_request_that_is_gone_is_not_computed(recorded):
    async def run() -> None:
        first = asyncio.create_task(recorded.batcher.answers(["first"]))
        await until(recorded.begun.is_set)
        gone, kept = (asyncio.create_task(recorded.batcher.answers([name])) for name in ("gone", "kept"))
        await until(lambda: len(recorded.batcher._pieces) == 2)
        gone.cancel()
        await asyncio.sleep(0)
        recorded.go.set()
        assert await kept == ["KEPT"] and await first == ["FIRST"]

    asyncio.run(run())
    assert recorded.order == [["first"], ["kept"]]


def test_a_closed_batcher_refuses(recorded):
    async def run() -> list:
        first = asyncio.create_task(recorded.batcher.answers(["first"]))
        await until(recorded.begun.is_set)
        waiting = asyncio.create_task(recorded.batcher.answers(["waits"]))
        await until(lambda: recorded.batcher._pieces)
        closing = threading.Thread(target=recorded.batcher.close)
        closing.start()
        await until(lambda: recorded.batcher._closed)
        recorded.go.set()
        found = await asyncio.gather(first, waiting, return_exceptions=True)
        closing.join()
        return found

    first, waiting = asyncio.run(run())
    assert first == ["FIRST"] and isinstance(waiting, Closed)
    with pytest.raises(Closed):
        recorded.batcher.call(recorded.called, "late")


def test_a_queued_engine_computes_few_tokens_at_a_time_in_the_thread_of_predictions(recorded, rng, monkeypatch):
    monkeypatch.setattr(batching, "CALL_TOKENS", 50)
    calls = []

    class Engine:
        def logits(self, batch):
            calls.append((threading.current_thread().name, batch.ids.shape))
            assert (batch.lengths == (batch.ids > 0).sum(axis=1)).all()
            return np.stack([batch.ids.sum(axis=1), batch.ngrams.logits[:, 0]], axis=1)

        def parameters(self):
            return {"a": 1}

    recorded.go.set()
    engine, lengths = QueuedEngine(Engine(), recorded.batcher), [1, 7, 12, 3, 12, 5, 9, 2, 4, 6]
    sequences = [rng.integers(1, 99, length) for length in lengths]
    values = rng.random((10, 1))
    batch = pad(sequences, {}, lambda width: NgramBatch(values, np.zeros((10, width, 0))))
    expected = [[sequence.sum(), value] for sequence, value in zip(sequences, values[:, 0], strict=True)]
    assert engine.logits(batch) == pytest.approx(np.array(expected)) and engine.parameters() == {"a": 1}
    assert calls == [("predictions", (4, 12)), ("predictions", (4, 12)), ("predictions", (2, 12))]
    calls.clear()
    assert engine.logits(pad([np.ones(80, int)] * 2, {}, lambda _: NgramBatch(values[:2], values))).shape == (2, 2)
    assert [shape for _, shape in calls] == [(1, 80), (1, 80)]


def test_pieces_keep_the_order_and_are_bounded(rng):
    sizes = rng.choice([0, 5, 900, 2 * PIECE_CHARACTERS], 400, p=[0.2, 0.5, 0.25, 0.05])
    texts = [str(number % 10) * int(size) for number, size in enumerate(sizes)]
    pieces = list(pieces_of(texts))
    assert [text for piece in pieces for text in piece] == texts
    assert max(map(len, pieces)) == PIECE_TEXTS
    assert all(sum(map(len, piece[:-1])) < PIECE_CHARACTERS for piece in pieces)
    assert list(pieces_of([])) == []
