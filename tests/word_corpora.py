"""Small random corpora for tests of word2vec."""

from __future__ import annotations

import numpy as np

from core.spec.words import WordExperiment, WordModel, WordText, WordTraining
from core.words.corpus import WordCorpus, build_corpus


def random_sentences(rng: np.random.Generator, count: int, vocabulary: int = 40) -> list[list[str]]:
    """Sentences of 1 to 30 words of very unequal frequency; the first has one word."""
    shares = 1.0 / np.arange(1, vocabulary + 1)
    shares /= shares.sum()
    sizes = rng.integers(1, 31, size=count)
    sizes[0] = 1
    return [[f"w{number}" for number in rng.choice(vocabulary, size, p=shares)] for size in sizes]


def small_experiment(rng: np.random.Generator, kind: str = "skip_gram", **training: object) -> WordExperiment:
    """A spec that trains several chunks of several steps per epoch."""
    settings = {"epochs": 3, "batch_size": 64, "chunk_words": 300, "subsample": 0.05, "learning_rate": 0.1}
    return WordExperiment(
        model=WordModel(kind=kind, dim=int(rng.integers(5, 20)), window=3, negatives=2),  # type: ignore[arg-type]
        text=WordText(min_count=2),
        training=WordTraining(**{**settings, "seed": int(rng.integers(1000)), **training}),  # type: ignore[arg-type]
    )


def corpus_of(experiment: WordExperiment, sentences: list[list[str]]) -> WordCorpus:
    return build_corpus(sentences, experiment.text, experiment.training)
