"""The corpus of word2vec against a count by hand, and its chunks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from core.errors import UserError
from core.parity.words.definition import chunks_by_definition
from core.spec.words import WordText, WordTraining
from core.words.corpus import WordCorpus, build_corpus
from tests.conftest import one_line


def random_texts(rng, texts: int = 40, words: int = 30, longest: int = 25) -> list[list[str]]:
    """Texts of unequal lengths, an empty one and one of one word among them; frequent words first."""
    share = 1.0 / np.arange(1, words + 1)
    sizes = rng.integers(1, longest + 1, texts)
    sizes[:2] = 0, 1
    return [[f"w{n:02d}" for n in rng.choice(words, size, p=share / share.sum())] for size in rng.permutation(sizes)]


def by_hand(texts, min_count: int, vocab_size: int, longest: int):
    """Return words, counts, and sentences of words."""
    counts = Counter(token for text in texts for token in text)
    frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    known = frequent[:vocab_size]
    pieces = [text[start : start + longest] for text in texts for start in range(0, len(text), longest)]
    sentences = [[word for word in piece if word in known] for piece in pieces]
    return known, [counts[word] for word in known], [sentence for sentence in sentences if len(sentence) > 1]


@pytest.mark.parametrize(("min_count", "vocab_size", "longest"), [(1, 100, 100), (5, 100, 7), (2, 9, 2)])
def test_corpus_equals_a_count_by_hand(rng, min_count, vocab_size, longest):
    texts = random_texts(rng)
    training = WordTraining(longest_sentence=longest)
    corpus = build_corpus(iter(texts), WordText(min_count=min_count, vocab_size=vocab_size), training)
    words, counts, sentences = by_hand(texts, min_count, vocab_size, longest)
    assert corpus.words == words and corpus.counts.tolist() == counts
    assert [corpus.words[n] for n in corpus.ids] == [word for sentence in sentences for word in sentence]
    assert np.diff(corpus.offsets).tolist() == [len(sentence) for sentence in sentences]
    assert corpus.raw_words == sum(map(len, texts)) and corpus.texts == len(texts)
    assert (corpus.ids.dtype, corpus.offsets.dtype, corpus.counts.dtype) == (np.int32, np.int64, np.int64)
    assert all(corpus.words[number] == word for word, number in corpus.index.items())


@pytest.mark.parametrize(
    ("texts", "min_count", "says"),
    [
        ([], 1, "the 0 texts have no words"),
        ([[], []], 1, "the 2 texts have no words"),
        ([["a", "a", "b"]], 2, "1 of 2 distinct words occur at least 2 times"),
        ([["a"], ["b"]], 1, "none of the 2 texts has two words"),
    ],
)
def test_too_little_text(texts, min_count, says):
    with pytest.raises(UserError) as error:
        build_corpus(texts, WordText(min_count=min_count), WordTraining())
    assert says in one_line(error)


def test_chunks_cover_every_sentence_once(rng):
    sizes = rng.integers(2, 9, 30)
    sizes[rng.integers(30)] = 100  # larger than a chunk
    offsets = np.append(0, np.cumsum(sizes))
    corpus = WordCorpus([], np.zeros(0), rng.integers(0, 9, offsets[-1]).astype(np.int32), offsets, 0, 0)
    for chunk_words in (1, 7, 40, 100, 10_000):
        bounds = corpus.chunks(chunk_words)
        assert bounds[0] == 0 and bounds[-1] == 30 and (np.diff(bounds) > 0).all()
        chunks = chunks_by_definition(corpus, chunk_words)
        assert np.diff(bounds).tolist() == [len(chunk) for chunk in chunks]
        words = np.diff(offsets[bounds])
        assert (words[:-1] >= chunk_words).all()
        # Complete sentences: without its last one, a chunk is too small.
        assert (words - sizes[bounds[1:] - 1] < chunk_words).all()
