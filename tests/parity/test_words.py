"""All rungs of word2vec, the faults that they must catch, and `tasks.parity --words` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.parity.__main__
from backends import kernels
from core.data.sources import imdb
from core.parity.faults import FAULTS, WORD_FAULTS, fault, planted
from core.parity.findings import first_failure
from core.parity.layers import Side, Sides
from core.parity.words.check import check_case, compare_neighbors, run_word_check
from core.parity.words.instances import with_values
from core.parity.words.training import WordComparison, pieces
from core.spec.words import WordExperiment
from core.words.corpus import WordCorpus, build_corpus
from core.words.engine import IMPLEMENTATIONS
from tasks.parity.words import WORD_CASES
from tests.conftest import INSTALLED, check_refused, each_backend, make_reviews, needs_both, run_main
from tests.parity.recorded import hold

SMALL = with_values(
    WordExperiment(),
    {
        "model.dim": 7,
        "model.window": 3,
        "model.negatives": 4,
        "text.min_count": 1,
        "training.batch_size": 50,
        "training.chunk_words": 300,
        "training.epochs": 2,
        "training.subsample": 0.05,
        "training.learning_rate": 0.1,
        "training.dtype": "float64",
    },
)
"""On `corpus`: 8 to 10 chunks an epoch."""


@pytest.fixture
def corpus(rng) -> WordCorpus:
    share = 1.0 / np.arange(1, 61)
    texts = [[f"w{n:02d}" for n in rng.choice(60, int(rng.integers(1, 40)), p=share / share.sum())] for _ in range(120)]
    return build_corpus(texts, SMALL.text, SMALL.training)


def all_sides(*chosen: str) -> Sides:
    own = [name for name in chosen or IMPLEMENTATIONS if name == "loop" or kernels.failure() is None]
    return {f"{name}/{entry}": Side(backends.load(name), entry) for name in INSTALLED for entry in own}


def loops() -> Sides:
    return {name: Side(backends.load(name), "loop") for name in INSTALLED}


def ignore(*_) -> None:
    pass


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", WORD_CASES, ids=str)
def test_small_models_pass(case, dtype, rng):
    hold(check_case(case, dtype, all_sides(), rng))


@pytest.mark.slow
@needs_both
@pytest.mark.parametrize(("kind", "dtype"), [("skip_gram", "float64"), ("cbow", "float64"), ("cbow", "float32")])
def test_training_passes_all_rungs(kind, dtype, corpus, tmp_path, rng):
    experiment = with_values(SMALL, {"model.kind": kind, "training.dtype": dtype})
    comparison = WordComparison(experiment, corpus, all_sides(), 25)
    findings, trained = run_word_check(comparison, int(rng.integers(1 << 30)), tmp_path, ignore)
    assert {finding.rung for finding in findings} == set(range(6))
    hold(findings)
    for losses in trained.losses.values():
        assert len(losses) == 25 and losses[:5].mean() - losses[-5:].mean() > 0.05, "nothing was learned"
    assert trained.unmoved == []
    limits = {finding.limit for finding in findings if finding.rung == 3}
    assert limits == ({1e-9, 0.0} if dtype == "float64" else {None, 1e-3, 0.0})
    routes = {finding.compared for finding in findings if finding.rung == 4}
    assert "paddle/loop > torch/fast > paddle/loop ~ paddle/fast" in routes or len(comparison.sides) < 4


def test_pieces_are_the_steps_of_the_run(corpus):
    comparison = WordComparison(SMALL, corpus, {}, 0)
    sampler = comparison.sampler()
    whole = [sampler.draw(0, place) for place in range(len(sampler))]
    steps = sum(len(examples.rates) for examples in whole)
    for end in (steps, steps - 1, len(whole[0].rates)):
        found = list(pieces(sampler, end, {1, 2, 5, end}))
        assert sum(len(piece.rates) for piece in found) == end
        ends = np.cumsum([len(piece.rates) for piece in found])
        assert {1, 2, 5, end} <= set(ends.tolist())
        rates = np.concatenate([examples.rates for examples in whole])[:end]
        assert np.concatenate([piece.rates for piece in found]).tolist() == rates.tolist()
    assert sum(len(piece.rates) for piece in pieces(sampler, 10**9, set())) > 1.5 * steps  # two epochs


def test_neighbors_that_differ_are_counted(corpus, rng):
    vectors = rng.normal(size=(len(corpus.words), 8))
    assert all(row.passed for row in compare_neighbors({"a": vectors, "b": 2.0 * vectors}, corpus, "float64"))
    changed = vectors.copy()
    changed[0] *= -1.0
    (row,) = compare_neighbors({"a": vectors, "b": changed}, corpus, "float64")
    assert not row.passed and row.relative > 0 and row.first.startswith(corpus.words[0])
    # Equal vectors are a tie, in either order.
    vectors[5] = vectors[4]
    swapped = vectors.copy()
    swapped[5] *= 1.0 + 1e-15
    assert all(row.passed for row in compare_neighbors({"a": vectors, "b": swapped}, corpus, "float64"))


# Faults


@pytest.mark.slow
@needs_both
@each_backend
@pytest.mark.parametrize("planted_fault", WORD_FAULTS)
def test_planted_fault_is_caught_on_its_rung(planted_fault, name, corpus, tmp_path, rng):
    """On its rung and no lower one, and by name."""
    expected = fault(planted_fault)
    experiment = with_values(SMALL, {**expected.needs, "training.chunk_words": 90})
    comparison = WordComparison(experiment, corpus, loops(), 6)
    seed = int(rng.integers(1 << 30))
    with planted(backends.load(name), planted_fault):
        findings, _ = run_word_check(comparison, seed, tmp_path, ignore)
    failed = first_failure(findings)
    assert failed is not None, f"not caught, seed {seed}"
    assert failed.rung == expected.rung and failed.first.startswith(expected.named), failed
    assert all(row.passed for row in findings if row.rung < expected.rung)
    if expected.rung:
        other = next(side for side in INSTALLED if side != name)
        assert failed.compared == f"{name} ~ reference"
        assert all(row.passed for row in findings if row.compared == f"{other} ~ reference")


@needs_both
def test_nothing_is_left_of_a_fault(corpus, tmp_path):
    before = backends.load("paddle").words.WordEngine.train
    for name in WORD_FAULTS:
        with pytest.raises(RuntimeError), planted(backends.load("paddle"), name):
            raise RuntimeError
    assert backends.load("paddle").words.WordEngine.train is before
    hold(run_word_check(WordComparison(SMALL, corpus, loops(), 3), 0, tmp_path, ignore)[0])


def test_faults_are_complete():
    assert {entry.rung for entry in WORD_FAULTS.values()} == {0, 1, 2, 3}
    assert not WORD_FAULTS.keys() & FAULTS.keys() and len(WORD_FAULTS) >= 11


# The program


@pytest.fixture
def call(tmp_path, monkeypatch, rng):
    """The program in this process on small reviews, in a folder of its own."""
    monkeypatch.setattr(imdb, "PER_CLASS", 60)
    monkeypatch.chdir(tmp_path)
    reviews = make_reviews(tmp_path / "data", rng, 60)
    fixed = ("--data", reviews, "--cache-dir", tmp_path / "cache")
    return lambda *argv: run_main(tasks.parity.__main__.main, *fixed, *argv)


@pytest.mark.slow
@needs_both
def test_program_passes_all_rungs(call, tmp_path):
    done = call("--words", "--steps", 8, "--out", "out", "--impl", "loop", "auto")
    assert done.code == 0, done.out + done.err
    assert "all rungs passed" in done.out and "FAIL" not in done.out
    assert all(f"rung {rung}  " in done.out for rung in range(6))
    assert "rung 0 compares them with their definition" in done.out and "not used" not in done.out
    tree = json.loads((tmp_path / "out" / "parity.json").read_text())
    names = [entry["name"] for entry in tree["compared"]]
    assert {"word2vec skip-gram", "word2vec cbow"} <= set(names) and len(names) == len(WORD_CASES) + 2
    assert tree["passed"]
    (run,) = (entry for entry in tree["compared"] if entry["name"] == "word2vec cbow")
    assert run["experiment"]["model"]["kind"] == "cbow" and set(run["losses"]) == {"float64", "float32"}
    assert (tmp_path / "out" / "differences.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@needs_both
@pytest.mark.parametrize("chosen", ["noise-without-power", "cbow-summed"])
def test_program_catches_a_fault(call, chosen):
    done = call("--words", "--plant", chosen, "--plant-in", "paddle", "--dtype", "float64", "--steps", 3)
    assert done.code == 1 and done.err == ""
    expected = fault(chosen)
    assert done.out.splitlines()[-1].startswith(f"detected: {chosen} in paddle, on rung {expected.rung} ")
    assert f"planted  {chosen} in paddle: {expected.description}" in done.out
    assert ("requires model.kind" in done.out) == bool(expected.needs)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--words", "--all"), "--words is part of --all"),
        (("--plant", "cbow-summed"), "add --words"),
        (("--words", "--plant", "clip-epsilon"), "give it without --words"),
        (("--words", "--plant", "cbow-summed", "--impl", "fast"), "use --impl loop"),
        (("--words", "--recipe", "textbook"), "--words excludes --config and --recipe"),
        (("--words", "--hidden", 3), "options of a sequence model"),
        (("--words", "--lr", 3), "options of a sequence model"),
        (("--words", "--vocab-size", 99), "options of a sequence model"),
        (("--words", "--dtype", "bfloat16"), "word2vec supports float64 and float32"),
        (("--words", "--impl", "packed"), "choose one of auto, fast, loop"),
        (("--words", "--impl", "loop", "--plant", "typo"), "unknown fault 'typo'"),
    ],
)
def test_wrong_arguments(call, argv, says, tmp_path: Path):
    call_main = tasks.parity.__main__.main
    check_refused(call_main, "--data", tmp_path / "data" / "aclImdb", *argv, says=says, folder=tmp_path)


@needs_both
def test_too_few_words(call, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks.parity.words, "LEAST_WORDS", 10**6)
    done = call("--words", "--out", "out")
    assert done.code == 2 and "words remain of 240 texts" in done.err and not (tmp_path / "out").exists()
