"""Tokenization of many texts by several processes, with the numbers that one process would give.

A process is a new Python that reads pickled batches of texts from its standard input: a fork would copy the threads'
locks of a framework, and `multiprocessing` would import the user's own script once more.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import chain

import numpy as np

from core.child_process import ROOT, python
from core.data.documents import Document
from core.data.segmenters import segmenter
from core.data.token_numbers import Numbered, TokenNumbers
from core.data.token_process import CODE
from core.data.tokenizer_settings import TokenizerSettings
from core.errors import UserError
from core.spec.text import Text

BATCH, BATCH_RJIEBA, BATCH_JIEBA = 250_000, 100_000, 20_000
"""Characters of a batch, and of one that rjieba or jieba segments. Pieces of words repeat in large batches."""
MOST_TEXTS = 4_000
"""Most texts of a batch."""
ALONE, ALONE_RJIEBA, ALONE_JIEBA = 8_000_000, 2_000_000, 300_000
"""Characters that the first process tokenizes before others start, about a second."""
MOST = 8
"""Most processes; reading the texts limits the speed of more."""
AHEAD = 64
"""Batches per process that are read before they are needed. The archive of reviews has 50,000 in its midst that are not
tokenized: meanwhile the processes have these."""


def cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def number_documents(
    documents: Iterable[Document],
    spec: Text,
    processes: int | None = None,
    alone: int | None = None,
    size: int | None = None,
) -> Iterator[tuple[list[Document], Numbered]]:
    """Yield the documents in batches, with their numbered tokens; the number of processes changes nothing.

    Unlabeled documents are tokenized, but not numbered. `processes`: None for one per processor. `alone`: characters
    before other processes start. They start at once, while the first document is read, if `size` exceeds that; it is
    the size of all texts, None if unknown. Raises UserError like `make_tokenizer`, and if a process is killed.
    """
    processes = min(cores(), MOST) if processes is None else processes
    most, default = _limits(spec)
    alone = default if alone is None else alone
    batches, here = _batches(documents, most), TokenNumbers(spec)
    read = 0
    if size is None or size < alone or processes < 2:
        for batch in batches:
            yield batch, here.number(*_of(batch))
            read += sum(len(document.text) for document in batch)
            if processes > 1 and read >= alone:
                break
        if (first := next(batches, None)) is None:
            return
        batches = chain([first], batches)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(spec)) for _ in range(processes)]
        pool = stack.enter_context(ThreadPoolExecutor(processes))
        yield from _joined(batches, workers, pool, here)


def tokenized(texts: Iterable[str], spec: Text) -> Iterator[list[str]]:
    """Yield the tokens of every text. Raises UserError like `number_documents`."""
    tokens: list[str] = []
    for _, numbered in number_documents((Document("", text, "any") for text in texts), spec):
        tokens += numbered.new
        ids = numbered.ids.tolist()
        for end, length in zip(np.cumsum(numbered.lengths).tolist(), numbered.lengths.tolist(), strict=True):
            yield [tokens[number] for number in ids[end - length : end]]


def _joined(
    batches: Iterator[list[Document]], workers: list[Worker], pool: ThreadPoolExecutor, known: TokenNumbers
) -> Iterator[tuple[list[Document], Numbered]]:
    """Yield the batches in order, with the processes' numbers replaced by those of one process."""
    free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def number(batch: list[Document]) -> tuple[Worker, Numbered]:
        worker = free.get()
        try:
            return worker, worker.number(*_of(batch))
        finally:
            free.put(worker)

    waiting: deque[tuple[list[Document], Future]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(number, batch)))
            if len(waiting) > AHEAD * len(workers):
                yield _next(waiting, known)
        while waiting:
            yield _next(waiting, known)
    finally:
        for _, future in waiting:
            future.cancel()


def _next(waiting: deque[tuple[list[Document], Future]], known: TokenNumbers) -> tuple[list[Document], Numbered]:
    batch, future = waiting.popleft()
    worker, own = future.result()
    return batch, worker.translated(own, known)


class Worker:
    """A process that tokenizes, and the numbers of its tokens in the process that started it."""

    def __init__(self, spec: Text):
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [*python(), "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Threads of NumPy's products, of which there are none, would take time to start.
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            # Ctrl-C in a terminal ends it through this process, which closes its input.
            start_new_session=os.name == "posix",
        )
        self._numbers = np.zeros(0, dtype=np.int32)
        self._first: Text | None = spec

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # of what it did not read before it ended
                    stream.close()
        self._process.wait()

    def number(self, texts: Sequence[str], wanted: Sequence[bool]) -> Numbered:
        """Return the numbered tokens of the next texts. Raises UserError if the process has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            if self._first is not None:
                pickle.dump(TokenizerSettings.of(self._first), self._process.stdin)
                self._first = None
            pickle.dump((texts, wanted), self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise UserError(f"tokenizing: a process {_ending(self._process.wait())}: free memory, and retry") from None

    def translated(self, own: Numbered, known: TokenNumbers) -> Numbered:
        """Return a result of the process, in order of its batches, with numbers that `known` gives."""
        new, numbers = known.numbers_of(own.new)
        self._numbers = np.concatenate((self._numbers, numbers))
        return Numbered(new, self._numbers[own.ids], own.lengths, own.digests)


def _limits(spec: Text) -> tuple[int, int]:
    """Return the characters of a batch, and those that the first process tokenizes alone."""
    package = segmenter(spec).partition(" ")[0]
    limits = {"rjieba": (BATCH_RJIEBA, ALONE_RJIEBA), "jieba": (BATCH_JIEBA, ALONE_JIEBA)}
    return limits.get(package, (BATCH, ALONE))


def _batches(documents: Iterable[Document], most: int) -> Iterator[list[Document]]:
    """Yield the documents in batches of `most` characters, to which the last one adds."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= most or len(batch) == MOST_TEXTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _of(batch: list[Document]) -> tuple[list[str], list[bool]]:
    return [document.text for document in batch], [bool(document.label) for document in batch]


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
