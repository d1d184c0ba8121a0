"""Examples of word2vec against their definition, sentence by sentence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from core.parity.words.definition import examples_by_definition, split_mix
from core.parity.words.drawing import examples_finding
from core.spec.words import WordModel, WordText, WordTraining
from core.words.corpus import WordCorpus, build_corpus
from core.words.examples import Examples, Sampler, padded_inputs
from core.words.reference import ReferenceEngine, initial_vectors
from core.words.sampling import key_of


@pytest.fixture
def corpus(rng) -> WordCorpus:
    """About 60 sentences, one of them longer than any chunk of the tests."""
    share = 1.0 / np.arange(1, 31)
    sizes = [*rng.integers(1, 16, 60), 150]
    texts = [[f"w{n:02d}" for n in rng.choice(30, size, p=share / share.sum())] for size in rng.permutation(sizes)]
    return build_corpus(texts, WordText(min_count=1), WordTraining())


def same(one: Examples, other: Examples) -> bool:
    return all(np.array_equal(getattr(one, name.name), getattr(other, name.name)) for name in dataclasses.fields(one))


@pytest.mark.parametrize("kind", ["skip_gram", "cbow"])
@pytest.mark.parametrize(
    ("window", "subsample", "chunk_words"), [(5, 0.02, 100), (1, 0.0, 37), (40, 0.005, 1), (3, 1.0, 10_000)]
)
def test_examples_equal_their_definition(corpus, rng, kind, window, subsample, chunk_words):
    model = WordModel(kind=kind, window=window, negatives=int(rng.integers(1, 8)))
    training = WordTraining(
        seed=int(rng.integers(1000)), epochs=3, batch_size=17, subsample=subsample, chunk_words=chunk_words
    )
    sampler = Sampler(corpus, model, training)
    for epoch, place in {(0, 0), (2, len(sampler) - 1), (int(rng.integers(3)), int(rng.integers(len(sampler))))}:
        drawn, expected = sampler.draw(epoch, place), examples_by_definition(corpus, model, training, epoch, place)
        finding = examples_finding("sampler ~ definition", drawn, expected)
        assert finding.passed, finding.first
        np.testing.assert_allclose(drawn.rates, expected.rates, rtol=1e-13)
        assert drawn.words == expected.words
        for name in ("inputs", "offsets", "targets", "steps", "rates"):
            assert getattr(drawn, name).dtype == getattr(expected, name).dtype, name


def test_a_difference_from_the_definition_is_found(corpus):
    model, training = WordModel(), WordTraining(chunk_words=200, subsample=0.0)
    drawn = Sampler(corpus, model, training).draw(0, 0)
    for name in ("inputs", "offsets", "targets"):
        changed = getattr(drawn, name).copy()
        changed.flat[3] += 1
        finding = examples_finding("a ~ b", dataclasses.replace(drawn, **{name: changed}), drawn)
        assert not finding.passed and finding.first == f"{name} (1 entries)"
    assert not examples_finding("a ~ b", drawn.part(0, 0), drawn).passed


def test_chunks_of_an_epoch_have_every_sentence_once(corpus):
    """Without subsampling, CBOW with one epoch predicts every word once."""
    sampler = Sampler(corpus, WordModel(kind="cbow"), WordTraining(subsample=0.0, chunk_words=50, epochs=2))
    orders = [sampler.order(epoch).tolist() for epoch in range(2)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == list(range(len(sampler)))
    for epoch in range(2):
        drawn = [sampler.draw(epoch, place) for place in range(len(sampler))]
        predicted = np.concatenate([examples.targets[:, 0] for examples in drawn])
        assert np.bincount(predicted).tolist() == np.bincount(corpus.ids).tolist()
        before = np.cumsum([0, *(examples.words for examples in drawn)])
        assert [sampler.words_before(epoch, place) for place in range(len(drawn) + 1)] == [
            epoch * len(corpus.ids) + count for count in before
        ]


def test_a_chunk_is_drawn_alike_at_any_time(corpus):
    """A resumed run needs no state of a generator."""
    model, training = WordModel(), WordTraining(chunk_words=60, subsample=0.0)
    first = Sampler(corpus, model, training)
    drawn = [first.draw(0, place) for place in range(len(first))]
    assert same(Sampler(corpus, model, training).draw(0, 2), drawn[2])
    assert not same(Sampler(corpus, model, training).draw(1, 2), drawn[2])
    assert not same(Sampler(corpus, model, training.model_copy(update={"seed": 1})).draw(0, 2), drawn[2])


def test_learning_rates_fall_linearly_to_the_last(corpus):
    training = WordTraining(learning_rate=0.4, final_share=0.1, epochs=2, chunk_words=40, batch_size=8, subsample=0.0)
    sampler = Sampler(corpus, WordModel(), training)
    drawn = [sampler.draw(epoch, place) for epoch in range(2) for place in range(len(sampler))]
    rates = np.concatenate([examples.rates for examples in drawn])
    assert rates[0] == 0.4 and (np.diff(rates) < 0).all() and 0.04 < rates[-1] < 0.05
    # Within a chunk the steps are equally far apart.
    largest = max(drawn, key=lambda examples: examples.words)
    assert len(largest.rates) > 50
    np.testing.assert_allclose(np.diff(largest.rates), np.diff(largest.rates)[0], rtol=1e-9)


def test_expected_number_of_kept_words(rng):
    """The counts after subsampling are those of the paper's formula, within six standard deviations."""
    counts = np.array([60_000, 20_000, 6_000, 500])
    words = rng.permutation(np.repeat(np.arange(4, dtype=np.int32), counts))
    offsets = np.arange(0, len(words) + 1, 10)
    corpus = WordCorpus(list("abcd"), counts, words, np.append(offsets[:-1], len(words)), len(words), 1)
    training = WordTraining(subsample=0.02, chunk_words=100_000, seed=int(rng.integers(1000)))
    drawn = Sampler(corpus, WordModel(kind="cbow", negatives=1), training).draw(0, 0)
    keep = np.minimum(1.0, np.sqrt(0.02 / (counts / counts.sum())))
    spread = np.sqrt((counts * keep * (1 - keep)).sum())
    assert abs(drawn.kept - (counts * keep).sum()) < 6 * spread and keep[-1] == 1.0
    # Nearly every kept word has a neighbor, and is predicted.
    predicted = np.bincount(drawn.targets[:, 0], minlength=4)
    assert (np.abs(predicted - counts * keep) < 0.06 * counts * keep + 6 * np.sqrt(counts * keep)).all()


def test_window_sizes_are_uniform(rng):
    """A word in the middle of a long sentence has 2, 4, ... 2 m contexts, equally often."""
    ids = rng.integers(0, 9, 30_000).astype(np.int32)
    corpus = WordCorpus(list("abcdefghi"), np.bincount(ids), ids, np.array([0, 30_000]), 30_000, 1)
    training = WordTraining(subsample=0.0, seed=int(rng.integers(1000)))
    drawn = Sampler(corpus, WordModel(kind="cbow", window=5, negatives=1), training).draw(0, 0)
    found = np.bincount(np.diff(drawn.offsets), minlength=11)
    assert found[1::2].sum() <= 10  # at the ends only
    expected = len(drawn) / 5
    assert (np.abs(found[2::2] - expected) < 6 * np.sqrt(expected)).all()


def test_windows_stay_within_sentences_and_centers_are_shuffled():
    corpus = build_corpus([["a", "b"], ["c", "d"], ["e", "f"]] * 9, WordText(min_count=1), WordTraining())
    sampler = Sampler(corpus, WordModel(window=9), WordTraining(subsample=0.0))
    drawn = sampler.draw(0, 0)
    partner = {"a": "b", "b": "a", "c": "d", "d": "c", "e": "f", "f": "e"}
    assert [partner[corpus.words[n]] for n in drawn.inputs] == [corpus.words[n] for n in drawn.targets[:, 0]]
    shuffle = key_of(0, "order", 0, 0)
    order = sorted(range(len(corpus.ids)), key=lambda n: split_mix(shuffle, n))
    assert drawn.inputs.tolist() == corpus.ids[order].tolist()


def test_a_chunk_without_predictions(corpus):
    model = WordModel(dim=3)
    training = WordTraining(subsample=1e-12)
    drawn = Sampler(corpus, model, training).draw(0, 0)
    assert len(drawn) == drawn.kept == len(drawn.rates) == 0 and drawn.steps.tolist() == [0]
    engine = ReferenceEngine(initial_vectors(model, training, len(corpus.words)))
    assert engine.train(drawn).tolist() == []


def test_parts_and_padding(corpus):
    drawn = Sampler(corpus, WordModel(kind="cbow"), WordTraining(batch_size=16, subsample=0.0)).draw(0, 0)
    number = 2
    step = drawn.step(number)
    assert same(step, drawn.part(number, number + 1)) and step.steps.tolist() == [0, 16] and len(step) == 16
    words, real = padded_inputs(step)
    for row, n in enumerate(range(number * 16, number * 16 + 16)):
        own = drawn.inputs[drawn.offsets[n] : drawn.offsets[n + 1]]
        assert words[row][real[row]].tolist() == own.tolist() and not words[row][~real[row]].any()
        assert step.targets[row].tolist() == drawn.targets[n].tolist()
    pieces = [drawn.part(0, 3), drawn.part(3, len(drawn.rates))]
    assert np.concatenate([piece.inputs for piece in pieces]).tolist() == drawn.inputs.tolist()
    assert np.concatenate([piece.rates for piece in pieces]).tolist() == drawn.rates.tolist()
    assert pieces[1].steps[-1] == len(drawn) - 48 and len(padded_inputs(drawn.part(0, 0))[0]) == 0
