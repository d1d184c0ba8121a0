"""Probe words: their nearest words show during training what the vectors have learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.words.corpus import WordCorpus
from core.words.nearest import nearest
from core.words.vector_table import VectorTable

USUAL = ("good", "terrible", "film", "actor", "funny", "three", "好", "电影", "便宜", "酒店", "中国", "经济")
"""Probes of a corpus for which none are given, as far as it has them."""
MOST = 5
NEAREST = 5
"""Nearest words that are shown of a probe."""

Nearest = dict[str, list[tuple[str, float]]]
"""By probe its nearest words and their cosine similarity, in descending order."""


def choose_probes(corpus: WordCorpus, given: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the probes, each once, and the given ones that the vocabulary does not have."""
    wanted = list(dict.fromkeys(USUAL if given is None else given))
    known = [word for word in wanted if word in corpus.index]
    if given is None:
        return known[:MOST], []
    return known, [word for word in wanted if word not in corpus.index]


def nearest_words(corpus: WordCorpus, vectors: np.ndarray, probes: Sequence[str], count: int = NEAREST) -> Nearest:
    """Return the words whose vectors [V, D] have the largest cosine with those of the probes, without the probe.

    Raises UserError if vectors are not finite.
    """
    table = VectorTable("the vectors", corpus.words, vectors)
    found = {word: nearest(table, [corpus.index[word]], count) for word in probes}
    return {word: [(own.word, own.cosine) for own in near] for word, near in found.items()}
