"""The simple models beside a classifier of texts: their predictions are those of models fitted on the same split."""

from __future__ import annotations

import numpy as np
import pytest

from core.data.dataset import Dataset, Prepared
from core.data.ngrams.fit import fit, fit_alone
from core.data.ngrams.texts import LabeledTexts, Texts
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.models.heads.scores import scores_by_class, summarize
from core.models.ngrams import Ngrams, spread
from core.spec.experiment import Experiment, replace
from core.spec.text import Text
from core.train.baseline import baseline_figures, largest_class, linear_model, ngrams_of
from core.train.ngrams import with_ngrams

SIZES = {"train": 60, "dev": 17, "test": 31}


def prepared(rng: np.random.Generator, classes: int) -> Prepared:
    """Texts of unequal lengths, 1 included, of words that tell the class.

    The last class is the most frequent one of training alone.
    """
    shares = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    whole, sets = {}, {}
    for split, size in SIZES.items():
        labels = rng.choice(classes, size, p=shares if split == "train" else shares[::-1])
        labels[:classes] = np.arange(classes)
        lengths = rng.integers(1, 15, size)
        told = [
            [f"c{label}" if rng.random() < 0.15 else f"w{rng.integers(9)}" for _ in range(length)]
            for label, length in zip(labels, lengths, strict=True)
        ]
        whole[split] = LabeledTexts(Texts.of(told), labels, np.full(size, -1), classes)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        tokens = rng.integers(2, 9, offsets[-1]).astype(np.int32)
        sets[split] = Dataset(tokens, offsets, {"label": labels}, [str(n) for n in range(size)])
    names = [f"class {n}" for n in range(classes)]
    vocabulary = Vocabulary(["<pad>", "<unk>"], [0, 1])
    return Prepared(vocabulary, sets["train"], sets["dev"], sets["test"], names, {}, whole=whole.__getitem__)


def whole_of(data: Prepared, split: str) -> LabeledTexts:
    assert data.whole is not None
    return data.whole(split)


def experiment_of(classes: int, **fields: object) -> Experiment:
    return replace(Experiment(), {"model.head.classes": classes, "task": "classify", **fields})


@pytest.mark.parametrize("classes", [2, 3])
def test_figures_are_those_of_a_model_fitted_on_the_training_texts(rng, classes):
    data, experiment = prepared(rng, classes), experiment_of(classes)
    test, labels = whole_of(data, "test"), data.test.labels
    model = fit_alone(whole_of(data, "train"), Ngrams(), experiment.training.seed)
    expected = spread(model.logits(model.rows(test.texts)), classes).argmax(axis=1)
    predicted = np.where(rng.random(len(labels)) < 0.5, labels, expected)
    found = baseline_figures(data, linear_model(experiment, data), predicted)
    assert found["name"] == "linear model of 1-3-grams of tokens"
    assert found["test"]["accuracy"] == pytest.approx((expected == labels).mean())
    right = [(bool(a), bool(b)) for a, b in zip(predicted == labels, expected == labels, strict=True)]
    pair = found["mcnemar"]
    assert (pair["only_model"], pair["only_baseline"]) == (right.count((True, False)), right.count((False, True)))
    assert 0 < pair["p"] <= 1


def test_the_most_frequent_class_is_that_of_training(rng):
    data = prepared(rng, 3)
    counts = np.bincount(data.train.labels)
    found = largest_class(data).figures(data)
    best = int(counts.argmax())
    assert found["name"] == f"most frequent class, class {best}"
    assert found["test"]["accuracy"] == pytest.approx((data.test.labels == best).mean())
    assert found["dev"]["accuracy"] == pytest.approx((data.dev.labels == best).mean())


def test_a_network_with_ngrams_is_compared_with_its_own_linear_model(rng):
    data = prepared(rng, 2)
    spec = Ngrams(orders=1, min_texts=1, inputs=False)
    experiment = experiment_of(2, **{"model.ngrams": spec.model_dump(mode="json")})
    fitted = fit(whole_of(data, "train"), spec, experiment.training.seed)
    with_them = with_ngrams(experiment, data, fitted)

    def refuse(*_):
        raise AssertionError("fitted once more")

    found = linear_model(experiment, with_them, refuse)
    own = spread(fitted.model.logits(fitted.model.rows(whole_of(data, "dev").texts)), 2).argmax(axis=1)
    assert found is not None and np.array_equal(found.predicted["dev"], own)
    assert found.name == "linear model of 1-1-grams of tokens"


def test_a_linear_model_is_compared_with_the_most_frequent_class_alone(rng):
    data = prepared(rng, 2)
    fields = {"model.encoder": {"kind": "ngrams"}, "model.ngrams": Ngrams(inputs=False).model_dump(mode="json")}
    assert linear_model(experiment_of(2, **fields), data) is None
    found = baseline_figures(data, None, data.test.labels)
    assert "mcnemar" not in found and found["name"] == found["largest_class"]["name"]


def test_texts_without_common_ngrams_are_refused(rng):
    data = prepared(rng, 2)
    texts = Texts.of([[f"x{n}"] for n in range(SIZES["train"])])
    whole = LabeledTexts(texts, data.train.labels, np.full(len(texts), -1), 2)
    alone = Prepared(data.vocabulary, data.train, data.dev, data.test, data.classes, {}, whole=lambda _: whole)
    with pytest.raises(UserError, match="no n-gram occurs in 2 training texts"):
        linear_model(experiment_of(2), alone)


def test_characters_are_added_where_words_were_segmented():
    assert [ngrams_of(Text(tokenizer=name)).characters for name in ("words", "jieba", "characters")] == [0, 3, 0]


def test_scores_by_class_are_those_of_counts(rng):
    """A class without texts and one without predictions included."""
    classes, size = 5, 83
    labels = rng.integers(0, classes - 1, size)
    logits = rng.normal(size=(size, classes))
    logits[:, 0] = -9.0
    found = summarize(logits, labels)
    for number, own in enumerate(scores_by_class(found.confusion)):
        hits = int(((found.predicted == number) & (labels == number)).sum())
        predicted, true = int((found.predicted == number).sum()), int((labels == number).sum())
        assert own["count"] == true
        assert own["precision"] == pytest.approx(hits / predicted if predicted else 0)
        assert own["recall"] == pytest.approx(hits / true if true else 0)
        assert own["f1"] == pytest.approx(2 * hits / (true + predicted) if true + predicted else 0)
    figures = found.figures()
    assert figures["per_class"] == scores_by_class(found.confusion)
    low, high = figures["interval"]
    assert low < found.accuracy < high
