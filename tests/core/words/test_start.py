"""The corpus of the word vectors with which a classifier starts: what it reads, and when it counts as another one."""

from __future__ import annotations

import itertools
import re

import pytest

from core.data.sources import imdb
from core.errors import UserError
from core.spec.experiment import Experiment, parse_experiment, replace
from core.words.start import open_texts
from tests.conftest import make_reviews

EACH = 8


@pytest.fixture
def experiment(tmp_path, rng, monkeypatch):
    """Every review has a word with its split and number, and there are two unlabeled ones."""
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    folder = make_reviews(tmp_path / "data", rng, EACH)
    for number, path in enumerate(sorted(folder.rglob("*_*.txt"))):
        if path.parent.name in ("pos", "neg"):
            split = path.parent.parent.name
            path.write_text(f"{path.read_text(encoding='utf-8')} {split}{number} {split}{number}", encoding="utf-8")
    unsup = folder / "train" / "unsup"
    unsup.mkdir()
    for number in range(2):
        (unsup / f"{number}_0.txt").write_text("unlabeled words", encoding="utf-8")
    changes = {
        "data.source": str(folder),
        "data.dev_share": 0.25,
        "model.embedding.dim": 4,
        "model.embedding.vectors": "word2vec",
        "words": {"model": {"dim": 4}, "min_count": 1},
    }
    return replace(Experiment(), changes)


def test_the_corpus_is_the_training_split_and_the_unlabeled_texts(experiment, tmp_path):
    corpus = open_texts(experiment, tmp_path / "cache").read()
    kept = 2 * EACH - 4  # a quarter is dev
    assert corpus.texts == kept + 2
    known = [word for word in corpus.words if re.fullmatch(r"(train|test)\d+", word)]
    assert len(known) == kept and all(word.startswith("train") for word in known)
    assert corpus.counts[corpus.index["unlabeled"]] == 2
    without = replace(experiment, {"words.unlabeled": False})
    assert "unlabeled" not in open_texts(without, tmp_path / "cache").read().index


def test_texts_are_read_whole_and_rare_words_dropped(experiment, tmp_path):
    short = replace(experiment, {"text.max_length": 1})
    texts = open_texts(experiment, tmp_path / "cache"), open_texts(short, tmp_path / "cache")
    found = [own.read() for own in texts]
    assert found[0].words == found[1].words and (found[0].ids == found[1].ids).all()
    assert texts[0].fingerprint == texts[1].fingerprint
    frequent = open_texts(replace(experiment, {"words.min_count": 3}), tmp_path / "cache").read()
    assert frequent.counts.min() >= 3 and len(frequent.words) < len(found[0].words)


def test_the_fingerprint_changes_with_all_that_the_vectors_depend_on(experiment, tmp_path):
    variants = [
        {},
        {"data.split_seed": 1},
        {"words.training.seed": 1},
        {"words.model.window": 2},
        {"words.unlabeled": False},
        {"text.signs": False},
    ]
    found = [open_texts(replace(experiment, own), tmp_path / "cache").fingerprint for own in variants]
    assert all(one != other for one, other in itertools.combinations(found, 2))
    others = {"training.seed": 7, "model.encoder.cell": "gru", "text.vocab_size": 50}
    assert open_texts(replace(experiment, others), tmp_path / "cache").fingerprint == found[0]


def test_the_section_and_the_vectors_need_each_other():
    words = {"model.embedding.vectors": "word2vec", "words": {}}
    assert replace(Experiment(), words).words.model.kind == "cbow"
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
