"""Examples of word2vec by their definition, in plain Python, word by word.

Both frameworks train on the examples that `core.words.examples` draws, so that a comparison of frameworks cannot find
a fault in them. This file draws them again, in the order of the papers: subsample, form windows over the words that
remain, draw noise (Mikolov et al. 2013, sections 2.2 and 2.3). It takes no array operation from `core.words`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from core.rng import generator
from core.spec.words import WordModel, WordTraining
from core.words.corpus import WordCorpus
from core.words.examples import Examples
from core.words.sampling import NoiseTable, key_of, noise_table

MASK = (1 << 64) - 1


def split_mix(key: int, number: int) -> int:
    """Return number `number` of the SplitMix64 stream `key` (Steele, Lea and Flood 2014)."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def noise_probabilities(counts: np.ndarray, power: float) -> np.ndarray:
    """Return the share of every word in the noise, [V]: count ** power, normalized."""
    weights = [float(count) ** power for count in counts]
    total = math.fsum(weights)
    return np.array([weight / total for weight in weights])


def chunks_by_definition(corpus: WordCorpus, chunk_words: int) -> list[list[list[int]]]:
    """Return the sentences of every chunk: complete ones, until there are `chunk_words` words."""
    chunks: list[list[list[int]]] = [[]]
    size = 0
    for first, last in zip(corpus.offsets[:-1].tolist(), corpus.offsets[1:].tolist(), strict=True):
        if size >= chunk_words:
            chunks.append([])
            size = 0
        chunks[-1].append(corpus.ids[first:last].tolist())
        size += last - first
    return chunks


def examples_by_definition(
    corpus: WordCorpus, model: WordModel, training: WordTraining, epoch: int, place: int
) -> Examples:
    """Return what `Sampler(corpus, model, training).draw(epoch, place)` must return."""
    chunks = chunks_by_definition(corpus, training.chunk_words)
    order = generator(training.seed, "chunks", epoch).permutation(len(chunks)).tolist()
    chunk, before = order[place], epoch * len(corpus.ids)
    for earlier in order[:place]:
        before += sum(map(len, chunks[earlier]))
    sentences = chunks[chunk]
    drawn = list(_windows(corpus, model, training, sentences, key_of(training.seed, "words", epoch, chunk)))
    shuffle = key_of(training.seed, "order", epoch, chunk)
    drawn = [drawn[n] for n in sorted(range(len(drawn)), key=lambda n: split_mix(shuffle, n))]
    predictions: list[tuple[list[int], int]] = []
    for center, contexts in drawn:
        if model.kind == "skip_gram":
            predictions += [([center], context) for context in contexts]
        elif contexts:
            predictions.append((contexts, center))
    table, noise = noise_table(corpus.counts, model.noise_power), key_of(training.seed, "noise", epoch, chunk)
    targets = [
        [positive, *_noise(table, noise, number * model.negatives, model.negatives, positive)]
        for number, (_, positive) in enumerate(predictions)
    ]
    words = sum(map(len, sentences))
    starts = list(range(0, len(predictions), training.batch_size))
    rates = []
    for start in starts:
        done = (before + words * start / len(predictions)) / (training.epochs * len(corpus.ids))
        last = training.learning_rate * training.final_share
        rates.append(training.learning_rate - done * (training.learning_rate - last))
    return Examples(
        np.array([word for inputs, _ in predictions for word in inputs], dtype=np.int32),
        np.array([0, *np.cumsum([len(inputs) for inputs, _ in predictions])], dtype=np.int64),
        np.array(targets, dtype=np.int32).reshape(len(predictions), 1 + model.negatives),
        np.array([*starts, len(predictions)], dtype=np.int64),
        np.array(rates, dtype=np.float64),
        words,
        len(drawn),
    )


def _windows(
    corpus: WordCorpus, model: WordModel, training: WordTraining, sentences: list[list[int]], key: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield every kept word with the context words of the window that it draws."""
    total, number = int(corpus.counts.sum()), 0
    for sentence in sentences:
        kept: list[tuple[int, int]] = []
        for word in sentence:
            bits = split_mix(key, number)
            number += 1
            frequency = int(corpus.counts[word]) / total
            keep = min(1.0, math.sqrt(training.subsample / frequency)) if training.subsample else 1.0
            if bits >> 32 < round(keep * 2**32):
                kept.append((word, 1 + ((bits & 0xFFFFFFFF) * model.window >> 32)))
        for at, (word, window) in enumerate(kept):
            near = range(max(0, at - window), min(len(kept), at + window + 1))
            yield word, [kept[other][0] for other in near if other != at]


def _noise(table: NoiseTable, key: int, first: int, count: int, positive: int) -> Iterator[int]:
    """Yield noise words, -1 for one that equals the positive."""
    for number in range(first, first + count):
        bits = split_mix(key, number)
        column = (bits >> 32) * len(table.alias) >> 32
        own = (bits & 0xFFFFFFFF) < int(table.threshold[column])
        word = column if own else int(table.alias[column])
        yield -1 if word == positive else word
