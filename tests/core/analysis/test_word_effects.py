"""Mean effects of words, with a model whose effects are known: its logits are sums of the words' weights."""

from __future__ import annotations

import numpy as np
import pytest

from core.analysis.word_effects import LEAST_TEXTS, EffectSums, sample_effects
from core.batch import UNK
from core.data.dataset import Dataset


def random_texts(rng, words: int, count: int) -> Dataset:
    texts = [rng.integers(1, words, size=rng.integers(2, 12)) for _ in range(count)]
    offsets = np.concatenate(([0], np.cumsum([len(text) for text in texts])))
    return Dataset(np.concatenate(texts), offsets, {}, [""] * count)


def sums_of_weights(weights: np.ndarray):
    """Return a function from a batch to logits [B, C]: sums of the weights [V, C] of the words."""

    def logits(batch) -> np.ndarray:
        real = np.arange(batch.ids.shape[1]) < batch.lengths[:, None]
        return (weights[batch.ids] * real[:, :, None]).sum(axis=1)

    return logits


def test_means_for_two_classes_are_differences_of_weights(rng):
    weights = rng.normal(size=(9, 2))
    dataset = random_texts(rng, 9, 40)
    *_, found = sample_effects(sums_of_weights(weights), dataset, 2, 40)
    assert found.texts == 40
    tokens = [f"w{number}" for number in range(9)]
    for number in (0, 1):
        strongest = found.strongest(number, tokens, 20)
        expected = {f"w{own}": weights[own, number] - weights[own, 1 - number] for own in range(9) if own != UNK}
        assert {own.word for own in strongest} == {
            word for word, effect in expected.items() if effect > 0 and word != "w0"
        }
        assert [own.effect for own in strongest] == sorted((own.effect for own in strongest), reverse=True)
        for own in strongest:
            assert own.effect == pytest.approx(expected[own.word])
            assert own.count == int((dataset.tokens == int(own.word[1:])).sum())


def test_effects_of_several_classes_are_those_of_the_predicted_one(rng):
    weights = rng.normal(size=(9, 4))
    dataset, logits = random_texts(rng, 9, 60), sums_of_weights(weights)
    *_, found = sample_effects(logits, dataset, 4, 60)
    predicted = logits(dataset.batch(np.arange(60))).argmax(axis=1)
    for number in range(4):
        words = {own.word for own in found.strongest(number, [str(own) for own in range(9)], 20)}
        rows = np.flatnonzero(predicted == number)
        texts = [set(dataset.tokens[dataset.offsets[row] : dataset.offsets[row + 1]].tolist()) for row in rows]
        counts = {str(own): sum(own in text for text in texts) for own in range(9)}
        assert all(counts[word] >= LEAST_TEXTS for word in words)


def test_the_sample_is_bounded_and_the_same_each_time(rng):
    dataset, logits = random_texts(rng, 9, 30), sums_of_weights(rng.normal(size=(9, 2)))
    sizes = [own.texts for own in sample_effects(logits, dataset, 2, 7)]
    assert sizes == [1, 2, 3, 4, 5, 6, 7]
    first, second = (list(sample_effects(logits, dataset, 2, 7))[-1] for _ in range(2))
    assert first.sums == second.sums and first.counts == second.counts
    assert EffectSums().strongest(0, [], 5) == []
