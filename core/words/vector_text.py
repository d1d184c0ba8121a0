"""Word vectors in word2vec's text format: `COUNT DIM`, then a word and its numbers on each line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.data.download import Progress, no_progress
from core.files import incremental_writer

ROWS = 1024
"""Words between reports of progress."""


def write_vectors(path: Path, words: Sequence[str], vectors: np.ndarray, progress: Progress = no_progress) -> None:
    """Write `vectors` [V, D], atomically. Numbers are the shortest that read back to the same bits.

    Raises UserError if the file cannot be written, ValueError for a word with white space.
    """
    if any(word.split() != [word] for word in words):
        raise ValueError("words: got one with white space, which separates the fields of the format")
    with incremental_writer(path) as file:
        file.write(f"{vectors.shape[0]} {vectors.shape[1]}\n")
        for first in range(0, len(words), ROWS):
            rows = zip(words[first : first + ROWS], vectors[first : first + ROWS], strict=True)
            file.write("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in rows))
            progress(f"writing {path.name}", min(first + ROWS, len(words)), len(words))
