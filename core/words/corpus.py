"""The corpus of word2vec: sentences as word ids, in memory, and its division into chunks."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np

from core.errors import UserError
from core.spec.words import WordText, WordTraining


@dataclass(frozen=True)
class WordCorpus:
    """Sentences of known words.

    `words` [V] in descending order of `counts` [V] int64, equally frequent ones in alphabetical order. Sentence n is
    `ids[offsets[n]:offsets[n + 1]]`; `ids` [T] int32, `offsets` [N + 1] int64. `raw_words` counts the words of all
    texts, including those that are not in `words`; `texts` counts the texts.
    """

    words: list[str]
    counts: np.ndarray
    ids: np.ndarray
    offsets: np.ndarray
    raw_words: int
    texts: int

    @cached_property
    def index(self) -> dict[str, int]:
        """The id of every word."""
        return {word: number for number, word in enumerate(self.words)}

    def chunks(self, chunk_words: int) -> np.ndarray:
        """Return the bounds [C + 1] of the chunks in sentences: each has `chunk_words` words or slightly more."""
        bounds, start = [0], 0
        while bounds[-1] < len(self.offsets) - 1:
            end = int(np.searchsorted(self.offsets, self.offsets[start] + chunk_words, side="left"))
            start = min(end, len(self.offsets) - 1)
            bounds.append(start)
        return np.array(bounds, dtype=np.int64)


def build_corpus(texts: Iterable[list[str]], text: WordText, training: WordTraining) -> WordCorpus:
    """Build the corpus of tokenized texts.

    Words that are rarer than `text.min_count` are dropped, then sentences of fewer than two words, which have no
    context. Raises UserError if fewer than two words or no sentence remain.
    """
    numbers: dict[str, int] = {}
    fresh = count().__next__
    stream, lengths, number_of_texts = array("i"), array("q"), 0
    for tokens in texts:
        number_of_texts += 1
        for token in tokens:
            number = numbers.get(token)
            if number is None:
                number = numbers[token] = fresh()
            stream.append(number)
        for start in range(0, len(tokens), training.longest_sentence):
            lengths.append(min(training.longest_sentence, len(tokens) - start))
    provisional = np.frombuffer(stream, dtype=np.int32) if stream else np.zeros(0, dtype=np.int32)
    if not len(provisional):
        raise UserError(f"the {number_of_texts:,} texts have no words: give texts with words in them")
    counts = np.bincount(provisional, minlength=len(numbers))
    names = list(numbers)
    frequent = [number for number in range(len(names)) if counts[number] >= text.min_count]
    frequent.sort(key=lambda number: (-counts[number], names[number]))
    kept = np.array(frequent[: text.vocab_size], dtype=np.int64)
    if len(kept) < 2:
        raise UserError(
            f"{len(kept)} of {len(names):,} distinct words occur at least {text.min_count} times, expected 2 or more:"
            f" give more text, or set `text.min_count` lower"
        )
    final = np.full(len(names), -1, dtype=np.int32)
    final[kept] = np.arange(len(kept))
    ids = final[provisional]
    divided = np.frombuffer(lengths, dtype=np.int64)
    # Not by the cumulative sum, which takes 8 bytes per word.
    sizes = np.add.reduceat(ids >= 0, np.cumsum(divided) - divided, dtype=np.int64)
    # Sentences of one word: their word goes, the vocabulary and its counts stay.
    alone = np.repeat(sizes < 2, divided)
    ids = ids[(ids >= 0) & ~alone]
    sizes = sizes[sizes >= 2]
    if not len(sizes):
        raise UserError(
            f"none of the {number_of_texts:,} texts has two words of the vocabulary: give longer texts, or set"
            f" `text.min_count` lower"
        )
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return WordCorpus(
        [names[n] for n in kept], counts[kept].astype(np.int64), ids, offsets, len(stream), number_of_texts
    )
