"""What n-grams add to a prediction, and what is left without a word."""

from __future__ import annotations

import numpy as np
import pytest

from core.analysis.ngram_effects import effects_of, without_each
from core.analysis.occlusion import explain, log_odds
from core.batch import UNK, pad
from core.data.ngrams.fit import fit_alone
from core.data.ngrams.strongest import by_class, strongest, write_strongest
from core.data.ngrams.texts import LabeledTexts, Texts
from core.engine.reference import ReferenceEngine
from core.models.ngrams import Ngrams
from core.parity.instances import random_parameters
from core.spec.experiment import Experiment, replace

WORDS = ["film", "was", "not", "good", "bad", "\u623f\u95f4\u5f88", "\u670d\u52a1", "very"]
KINDS = {"tokens": (3, 0), "characters": (0, 2), "both": (2, 3)}


def fitted(rng, classes: int, orders: int, characters: int):
    """A model of texts of 1 to 14 words, in which words and pairs of words depend on the class."""
    texts, labels = [], rng.integers(0, classes, 60)
    labels[:classes] = range(classes)
    for label in labels:
        likely = rng.permutation(len(WORDS)) if rng.random() < 0.3 else np.roll(np.arange(len(WORDS)), label)
        texts.append([WORDS[own] for own in likely[: rng.integers(1, 9)]] + list(rng.choice(WORDS, rng.integers(0, 6))))
    training = LabeledTexts(Texts.of(texts), labels, np.full(60, -1), classes)
    spec = Ngrams(orders=orders, characters=characters, inputs=orders > 0, cost=2.0)
    return fit_alone(training, spec, 0)


def logit(model, tokens: list[str], predicted: int) -> float:
    z = model.logits(model.rows(Texts.of([tokens])))[0].astype(np.float64)
    return float(z[predicted]) if len(z) > 1 else float(z[0] if predicted else -z[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_parts_add_up_to_the_logit(kind, classes, rng):
    model = fitted(rng, classes, *KINDS[kind])
    for size in (1, 2, 9):
        text = list(rng.choice([*WORDS, "unknown"], size))
        for predicted in range(classes):
            found = effects_of(model, text, predicted)
            expected = pytest.approx(logit(model, text, predicted), abs=1e-5)
            assert found.bias + sum(part for _, part in found.ngrams) == expected
            assert found.bias + found.tokens.sum() == expected and len(found.tokens) == size
            assert sorted((abs(part) for _, part in found.ngrams), reverse=True) == [
                abs(part) for _, part in found.ngrams
            ]
            assert not np.any(found.tokens[np.array(text) == "unknown"])


def test_a_part_is_divided_among_places_and_words(rng):
    """By hand, on a text with a repeated word and a pair that spans two words."""
    model = fitted(rng, 2, 2, 0)
    text = ["film", "was", "film"]
    found = effects_of(model, text, 1)
    parts = dict(found.ngrams)
    assert {"film", "was"} <= parts.keys() <= {"film", "was", "film was", "was film"}
    first, last = parts.get("film was", 0.0) / 2, parts.get("was film", 0.0) / 2
    expected = [parts["film"] / 2 + first, parts["was"] + first + last, parts["film"] / 2 + last]
    assert found.tokens == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", ["tokens", "both"])
def test_without_a_word_its_ngrams_are_formed_anew(kind, rng):
    """Against the shortened texts, one by one; words that the network does not read stay in the linear model."""
    model = fitted(rng, 3, *KINDS[kind])
    assert model.tokens is not None
    for size, kept in ((9, [0, 1, 2, 6, 7, 8]), (5, [0, 1, 2, 3, 4]), (4, [2]), (1, [0])):
        text = list(rng.choice(WORDS, size))
        places = np.array(kept)
        found = without_each(model, text, places)
        assert len(found.logits) == 1 + len(kept) and found.numbers is not None
        lengths = [len(kept)] + [max(len(kept) - 1, 1)] * len(kept)
        assert len(found.numbers) == sum(lengths)
        starts = np.cumsum([0, *lengths])
        for number, place in enumerate([None, *kept]):
            shorter = [word for other, word in enumerate(text) if other != place]
            assert np.array_equal(found.logits[number], model.logits(model.rows(Texts.of([shorter])))[0])
            read = [other - (place is not None and other > place) for other in kept if other != place]
            expected = model.tokens.find(Texts.of([shorter]))[read] if read else [[-1] * model.spec.orders]
            assert np.array_equal(found.numbers[starts[number] : starts[number + 1]], expected)


def test_occlusion_takes_the_ngrams_away(rng):
    """The effect of a word is the change of the whole model's log-odds, its n-grams included."""
    model = fitted(rng, 2, 2, 0)
    experiment = replace(
        Experiment(),
        {
            "model.embedding.vocab_size": len(WORDS) + 2,
            "model.embedding.dim": 4,
            "model.encoder.hidden_size": 5,
            "model.ngrams": model.spec.model_dump(mode="json"),
            "training.dtype": "float64",
        },
    )
    engine = ReferenceEngine(experiment.model, random_parameters(experiment, rng))
    text = list(rng.choice(WORDS, 6))
    ids = np.array([2 + WORDS.index(word) for word in text])

    def logits(words: list[str], numbers: np.ndarray) -> np.ndarray:
        features = without_each(model, words, np.arange(len(words)))
        ends = np.array([0, len(words)])
        return engine.logits(pad([numbers], {}, lambda width: features.batch(np.zeros(1, np.int64), ends, width)))

    found = explain(engine.logits, ids, without_each(model, text, np.arange(6)))
    whole = log_odds(logits(text, ids), found.predicted)[0]
    for place in range(6):
        shorter = log_odds(logits(text[:place] + text[place + 1 :], np.delete(ids, place)), found.predicted)[0]
        assert found.effects[place] == pytest.approx(whole - shorter, abs=1e-6)
    single = explain(engine.logits, ids[:1], without_each(model, text[:1], np.arange(1)))
    features = without_each(model, text[:1], np.arange(1))
    unknown = pad([np.array([UNK])], {}, lambda width: features.batch(np.ones(1, np.int64), np.array([0, 1, 2]), width))
    known = log_odds(logits(text[:1], ids[:1]), single.predicted)
    assert single.effects == pytest.approx(known - log_odds(engine.logits(unknown), single.predicted), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_strongest_ngrams(classes, rng, tmp_path):
    model = fitted(rng, classes, *KINDS["both"])
    names = ["=bad", "fair", "good"][:classes]
    found = strongest(model, names, 10_000)
    weights = model.weights
    expected = np.abs(weights).max(axis=1) if classes == 2 else weights.max(axis=1)
    assert found[0].weight == pytest.approx(float(expected.max()))
    assert [own.weight for own in found] == sorted((own.weight for own in found), reverse=True)
    groups = by_class(model, names, 4)
    for number, name in enumerate(names):
        own = (weights[:, 0] * (1 if number else -1)) if classes == 2 else weights[:, number]
        assert [one.ngram for one in groups[name]] == [
            model.string(int(place)) for place in np.argsort(-own, kind="stable")[:4]
        ]
    write_strongest(tmp_path / "n.csv", model, names, 5)
    lines = (tmp_path / "n.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("n-gram,class,weight,texts =bad,texts fair") and len(lines) == 6
    first = found[0]
    counts = ",".join(map(str, first.counts)) if first.counts else "," * (classes - 1)
    assert lines[1].endswith(f",{first.weight:.6g},{counts}")
