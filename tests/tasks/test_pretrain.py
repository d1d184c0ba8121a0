"""`tasks.pretrain` as a user runs it: train, evaluate, resume in the other framework, start a classifier from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tasks.imdb
import tasks.pretrain
from core.data import corpus
from core.data.language_texts import prepare_texts
from core.data.sources import imdb
from core.spec.data import PlainTexts
from core.spec.text import Text
from core.train.run_folder import RunFolder
from tests.conftest import (
    INSTALLED,
    check_refused,
    each_backend,
    fresh_rng,
    make_reviews,
    needs_both,
    run_main,
    stop_at,
)

EACH = 8
"""Reviews per split and class; there are four times as many unlabeled ones."""
SIZES = ("--hidden", 4, "--embedding-dim", 3, "--max-length", 12, "--batch-size", 16, "--dtype", "float64")
SMALL = (*SIZES, "--negatives", 6, "--vocab-size", 30, "--eval-limit", 3, "--epochs", 2, "--lr", 0.02)
"""Options of a language model; `--dropout` keeps its default."""

FIGURES = {"loss", "accuracy", "grad_norm", "counted", "tokens", "learning_rate", "perplexity"}
"""Metrics of a run without its times."""


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Reviews, each with a word of its own: its split, kind and number. Longer ones than `--max-length` among them.

    A word nearly always has the same successor, so that a model learns something in each of two epochs.
    """
    rng = fresh_rng()
    folder = make_reviews(tmp_path_factory.mktemp("reviews"), rng, EACH)
    unsup = folder / "train" / "unsup"
    unsup.mkdir()
    for number in range(4 * EACH):
        (unsup / f"{number}_0.txt").touch()
    cycle = ["film", "plot", "the", "a", "was", "loved", "dull"]
    for path in folder.rglob("*_*.txt"):
        if path.name.startswith("urls"):
            continue
        first, count = rng.integers(len(cycle)), rng.integers(1, 40)
        words = [cycle[(first + n) % len(cycle)] for n in range(count)]
        path.write_text(" ".join([*words, own_word(path)]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", EACH)
        yield folder


def own_word(path: Path) -> str:
    return f"{path.parent.parent.name}{path.parent.name}{path.stem.partition('_')[0]}"


def train(reviews: Path, root: Path, *argv: object):
    fixed = ("--data", reviews, "--cache-dir", root / "cache", "--device", "cpu")
    return run_main(tasks.pretrain.main, *fixed, *SMALL, *argv)


@pytest.fixture(scope="module")
def runs(reviews, tmp_path_factory):
    """A finished run per backend, with its output. No test changes them."""
    root, found = tmp_path_factory.mktemp("pretrain"), {}
    for name in INSTALLED:
        done = train(reviews, root, "--backend", name, "--out", root / name)
        assert done.code == 0, done.err
        found[name] = (root / name, done.out)
    return found


@pytest.fixture
def any_run(runs):
    return runs[INSTALLED[0]][0]


def check_same_steps(run: Path, other: Path) -> None:
    """Check that the metrics of two runs agree but for their times."""
    one, two = (RunFolder.open(own).read_metrics() for own in (run, other))
    assert len(one) == len(two) > 8
    for own, expected in zip(one, two, strict=True):
        assert (own["split"], own["step"]) == (expected["split"], expected["step"])
        for figure in FIGURES & expected.keys():
            assert own[figure] == pytest.approx(expected[figure], rel=1e-9), (own["step"], figure)


@each_backend
def test_run_folder_and_output(runs, name):
    path, out = runs[name]
    result = json.loads((path / "result.json").read_text())
    test, dev = result["test"], result["dev"]
    assert 1.0 < test["perplexity"] < 31 and test["loss"] == pytest.approx(np.log(test["perplexity"]))
    assert f"test perplexity {test['perplexity']:.2f} of {test['predictions']:,} predictions" in " ".join(out.split())
    perplexities = [own["perplexity"] for own in RunFolder.open(path).read_metrics() if own["split"] == "dev"]
    assert len(perplexities) == 2 and perplexities[1] < perplexities[0]
    assert dev["perplexity"] == min(perplexities)


@needs_both
def test_both_frameworks_train_the_same_model(runs):
    one, other = (RunFolder.open(runs[name][0]) for name in INSTALLED[:2])
    model = one.read_record()[0].model
    for name, array in one.read_best(model).items():
        np.testing.assert_allclose(array, other.read_best(model)[name], rtol=0, atol=1e-9)
    check_same_steps(runs[INSTALLED[0]][0], runs[INSTALLED[1]][0])


@needs_both
@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("torch", "paddle"), ("paddle", "torch")])
def test_resume_in_the_other_framework(reviews, runs, first, second, tmp_path):
    """A run that is stopped and resumed elsewhere has the steps of an uninterrupted one, with the same noise words."""
    path = tmp_path / "run"
    with stop_at(5):
        assert train(reviews, tmp_path, "--backend", first, "--out", path).code != 0
    assert not (path / "result.json").exists()
    cache = ("--cache-dir", tmp_path / "cache")
    done = run_main(tasks.pretrain.main, "--resume", path, "--backend", second, *cache)
    assert done.code == 0, done.err
    check_same_steps(path, runs[first][0])


@each_backend
def test_evaluate_with_any_backend(runs, name):
    for path, _ in runs.values():
        expected = json.loads((path / "result.json").read_text())["test"]["perplexity"]
        done = run_main(tasks.pretrain.main, "evaluate", path, "--backend", name, "--cache-dir", path.parent / "cache")
        assert done.code == 0 and f"perplexity {expected:.2f}" in done.out, done.out + done.err


def test_predict_is_refused(any_run):
    check_refused(tasks.pretrain.main, "predict", any_run, "A text", says="use evaluate", folder=any_run)


def test_the_spec_of_a_language_model_is_refused_by_other_programs(any_run, tmp_path):
    argv = ("--config", any_run / "experiment.json", "--out", tmp_path / "run")
    check_refused(tasks.imdb.main, *argv, says="use python -m tasks.pretrain", folder=tmp_path)


@pytest.mark.slow
@each_backend
def test_a_classifier_starts_from_a_run(reviews, any_run, name, tmp_path):
    fixed = ("--data", reviews, "--cache-dir", tmp_path / "cache", "--device", "cpu", "--backend", name)
    model = ("--cell", "lstm", "--tokenizer", "words", "--epochs", 1)
    done = run_main(tasks.imdb.main, *fixed, *SIZES, *model, "--start", any_run, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["test"]["documents"] == 2 * EACH


def prepared(reviews: Path, cache: Path, **changes: object):
    data = PlainTexts(source=str(reviews), dev_share=0.25, eval_limit=3, **changes)
    return prepare_texts(data, Text(vocab_size=200, max_length=12, min_count=1), cache)


def words_of(found, split: str) -> set[str]:
    """Return the words of a split; UNK replaces those that train lacks."""
    return {found.vocabulary.tokens[number] for number in getattr(found, split).tokens}


def test_train_has_the_unlabeled_reviews_and_no_dev_or_test_text(reviews, tmp_path):
    found, record = prepared(reviews, tmp_path)
    assert "32 unlabeled reviews" in record["description"]
    unlabeled = {f"trainunsup{number}" for number in range(4 * EACH)}
    train = words_of(found, "train")
    assert unlabeled < train
    # Every text has its own word: those of dev and test are in no text of train, so the vocabulary lacks them.
    labeled = {word for word in found.vocabulary.tokens if word.startswith(("trainpos", "trainneg", "testpos"))}
    held_out = {own_word(reviews / f"{name.partition('#')[0]}.txt") for name in (*found.dev.names, *found.test.names)}
    assert len(held_out) == 6 and not held_out & set(found.vocabulary.tokens)
    assert len(labeled) == 12 and all(word.startswith("train") for word in labeled)


def test_a_text_is_divided_into_pieces(reviews, tmp_path):
    found, _ = prepared(reviews, tmp_path)
    assert found.train.lengths.max() <= 12 and any("#" in name for name in found.train.names)
    for data in (found.train, found.test):
        texts: dict[str, list[str]] = {}
        for row, name in enumerate(data.names):
            ids = data.tokens[data.offsets[row] : data.offsets[row + 1]]
            texts.setdefault(name.partition("#")[0], []).extend(found.vocabulary.tokens[number] for number in ids)
        for name, pieces in texts.items():
            words = (reviews / f"{name}.txt").read_text(encoding="utf-8").lower().split()
            known = set(found.vocabulary.tokens)
            assert pieces == [word if word in known else "<unk>" for word in words], name


def test_without_unlabeled_reviews(reviews, tmp_path):
    found, record = prepared(reviews, tmp_path, unlabeled=False)
    assert "unlabeled" not in record["description"] and not any("unsup" in name for name in found.train.names)
    few, _ = prepared(reviews, tmp_path, train_limit=5)
    names = {name.partition("#")[0] for name in few.train.names}
    assert sum("unsup" in name for name in names) == 5 == sum("unsup" not in name for name in names)


def test_unlabeled_reviews_are_tokenized_once(reviews, tmp_path, monkeypatch):
    first, record = prepared(reviews, tmp_path)
    monkeypatch.setattr(corpus, "build_corpus", lambda *argv: pytest.fail("tokenized again"))
    again, other = prepared(reviews, tmp_path)
    assert record == other and first.vocabulary == again.vocabulary
    np.testing.assert_array_equal(first.train.tokens, again.train.tokens)


def test_a_source_without_unlabeled_reviews(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    found, record = prepared(make_reviews(tmp_path / "data", rng, EACH), tmp_path / "cache")
    assert ", and 0 unlabeled reviews" in record["description"]
    assert {name.split("/")[1] for name in found.train.names} == {"pos", "neg"}
