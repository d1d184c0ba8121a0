"""Rungs 3 to 5, the faults that the ladder must catch, and `tasks.parity` as a user runs it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.parity.__main__
import tasks.parity.words
from core.batch import Ragged
from core.data.dataset import Dataset
from core.data.sources import imdb
from core.errors import UserError
from core.models.model import initial_parameters
from core.parity.check import compare_predictions, run_parity_check
from core.parity.faults import FAMILIES, FAULTS, fault, planted
from core.parity.findings import Finding, first_failure, pairs, ratio, widest
from core.parity.instances import margin, random_batch, random_parameters
from core.parity.layers import engine_of
from core.parity.routes import compare_routes
from core.parity.training import EARLY, MOVED, Comparison, compare_training, comparison_steps, curve_finding
from core.spec.experiment import Experiment, replace
from core.train.prepare_data import fitted, read_data
from tasks.cli.console import run_program
from tasks.parity.cases import GRID, TEXTCNN, VARIANTS
from tasks.parity.features import not_exercised
from tasks.parity.table import grouped, worst
from tasks.parity.training_cases import PARITY_SPEC, SMALLER, TRAINING, every_feature, with_unequal_weights
from tasks.parity.words import WORD_CASES, WORD_RUNS
from tests.conftest import INSTALLED, each_backend, make_dataset, make_reviews, needs_both, one_line
from tests.ngram_texts import prepared_of, with_ngrams_of
from tests.pairwise import SAMPLE
from tests.parity.recorded import hold

VOCAB = 20

SMALL = {
    "model.embedding.vocab_size": VOCAB,
    "model.embedding.dim": 6,
    "model.encoder.hidden_size": 5,
    "training.batch_size": 8,
    "training.bucket_batches": 2,
    "training.epochs": 4,
    "training.optimizer.learning_rate": 0.02,
    "training.dtype": "float64",
}
"""On 60 rows: 8 steps an epoch, the last of 4 rows, 32 in all."""


def experiment_of(changes: dict[str, object]) -> Experiment:
    """A run of `TRAINING`, small."""
    kept = {path: value for path, value in changes.items() if path not in SMALLER}
    small = dict(SMALL)
    if "training.optimizer" in kept:
        del small["training.optimizer.learning_rate"]
    if "model.encoder" in kept or "model" in kept:
        del small["model.encoder.hidden_size"]
    if kept.get("data", {}).get("kind") == "texts":  # the output words have the sizes of the embedding
        del small["model.embedding.vocab_size"], small["model.embedding.dim"]
    if kept.get("training.shuffle") is False:
        small["training.bucket_batches"] = 0
    if kept.get("model.embedding.lookup") == "scalar":
        small["model.embedding.dim"] = 1
    return replace(PARITY_SPEC, {**kept, **small})


@pytest.fixture
def data(rng):
    return with_tags(make_dataset(rng, 60, VOCAB), rng), with_tags(make_dataset(rng, 40, VOCAB), rng)


def with_tags(dataset: Dataset, rng) -> Dataset:
    """The same texts with a tag of three for each token, mostly a function of the token before it, the tokens, and with
    any of two labels: that of its class, mostly, and that of the token 5."""
    before = np.concatenate(([0], dataset.tokens[:-1])) % 3
    tags = np.where(rng.random(len(before)) < 0.8, before, rng.integers(0, 3, len(before)))
    classes = np.where(rng.random(len(dataset)) < 0.9, dataset.labels, 1 - dataset.labels)
    fives = [(dataset.tokens[start:end] == 5).any() for start, end in itertools.pairwise(dataset.offsets)]
    targets = {
        **dataset.targets,
        "labels": np.stack([classes, np.array(fives)], axis=1).astype(np.int64),
        "tags": Ragged(tags.astype(np.int64), dataset.offsets),
        "tokens": Ragged(dataset.tokens.astype(np.int64), dataset.offsets),
    }
    return dataclasses.replace(dataset, targets=targets)


def on_its_data(experiment: Experiment, data) -> tuple:
    """Return the spec and its data sets: small texts, or the pairs that an encoder-decoder generates."""
    if experiment.model.ngrams is not None:
        _, with_ngrams = with_ngrams_of(experiment, prepared_of(*data))
        return experiment, with_ngrams.train, with_ngrams.dev
    if experiment.data.kind == "texts":
        sizes = {"model.embedding.vocab_size": VOCAB, "model.head.num_words": VOCAB}
        return replace(experiment, sizes), *data
    if experiment.data.kind != "pairs":
        return experiment, *data
    prepared, _ = read_data(experiment, Path("unused"))
    return fitted(experiment, prepared), prepared.train, prepared.dev


def sides():
    return {name: backends.load(name) for name in INSTALLED}


def ignore(*_) -> None:
    pass


# The rungs on what is sound


@pytest.mark.slow
@needs_both
@pytest.mark.parametrize("name", TRAINING)
def test_training_passes_all_rungs(name, data, tmp_path, rng):
    experiment, *sets = on_its_data(experiment_of(TRAINING[name]), data)
    findings, trained = run_parity_check(
        Comparison(experiment, *sets, sides(), 25), int(rng.integers(1 << 30)), tmp_path, ignore
    )
    hold(findings)
    assert {finding.rung for finding in findings} == {1, 2, 3, 4, 5}
    for losses in trained.losses.values():
        assert len(losses) == 25 and np.ptp(losses) > 1e-3, "nothing was learned: the comparison says nothing"
    if experiment.training.clip_mode == "global":
        assert trained.clipped > 20, "clipping did not act: the comparison says nothing of it"


@needs_both
def test_float32_is_recorded_and_not_judged(data, tmp_path):
    experiment = replace(experiment_of({}), {"training.dtype": "float32"})
    findings, trained = run_parity_check(Comparison(experiment, *data, sides(), 12), 0, tmp_path, ignore)
    hold(findings)
    for finding in findings:
        assert (finding.limit is None) == (finding.rung in (3, 4) and finding.quantity not in (EARLY, MOVED)), finding
    one, other = trained.losses.values()
    assert 0 < np.abs(one - other).max() < 1e-4


@each_backend
def test_single_framework_is_compared_with_the_reference(name, data, tmp_path):
    experiment = experiment_of({})
    findings, trained = run_parity_check(
        Comparison(experiment, *data, {name: backends.load(name)}, 5), 0, tmp_path, ignore
    )
    assert [(finding.rung, finding.compared) for finding in findings] == [
        (1, f"{name} ~ reference"),
        (2, f"{name} ~ reference"),
        (2, f"{name} ~ reference"),
    ]
    hold(findings)
    assert trained is None and not list(tmp_path.iterdir())


@needs_both
def test_native_masks_are_replaced(data, tmp_path):
    """Each framework draws its own: under them the two cannot be the same."""
    experiment = replace(experiment_of({}), {"training.dropout_masks": "native"})
    comparison = Comparison(experiment, *data, sides(), 3)
    findings, _ = compare_training(comparison)
    assert not findings[0].passed
    hold(run_parity_check(comparison, 0, tmp_path, ignore)[0])


@needs_both
@pytest.mark.parametrize("steps", [1, 2, 3, 31, 90])
def test_routes_of_any_length(steps, data, tmp_path):
    """Shorter than its legs, past an epoch, to the very end, and more than there are."""
    findings = compare_routes(Comparison(experiment_of({}), *data, sides(), steps), tmp_path)
    hold(findings)
    assert {finding.compared for finding in findings} == {
        "paddle > torch > paddle ~ paddle",
        "torch > paddle > torch ~ paddle",
    }
    assert findings[0].quantity == f"loss of {min(steps, 32)} steps"


# What the figures mean


def test_the_largest_difference_and_its_place():
    wanted = {"a": np.array([[1.0, -4.0], [2.0, 3.0]]), "b": np.array([10.0, 20.0])}
    found = {"a": np.array([[1.0, -4.5], [2.0, 3.0]]), "b": np.array([10.0, 20.6])}
    figures = widest(found, wanted, 0.04)
    assert figures["where"] == "a[0, 1]" and figures["absolute"] == 0.5 and figures["relative"] == 0.125
    assert figures["value"] == 0.125 and figures["first"] == "a"
    figures = widest(found, wanted, 0.02)
    assert figures["first"] == "a, b"
    # Above one, outputs are held relative to their size; below, absolute.
    assert widest(found, wanted, 0.04, least_scale=100.0)["where"] == "b[1]"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_fail(bad):
    for one, other in ((bad, 1.0), (1.0, bad), (bad, bad), (bad, 0.0)):
        figures = widest({"a": np.array([0.5, one])}, {"a": np.array([0.5, other])}, 1e3)
        assert figures["value"] == np.inf and figures["first"] == "a" and figures["where"] == "a[1]"
    finding = curve_finding(3, "a ~ b", "float64", np.array([1.0, bad]), np.array([1.0, bad]))
    assert not finding.passed and finding.step == 2


def test_nothing_over_nothing():
    zeros = {"a": np.zeros(3)}
    assert widest(zeros, zeros, 0.0)["value"] == 0.0 == ratio(0.0, 0.0)
    assert widest({"a": np.array([0.0, 1e-300, 0.0])}, zeros, 1e3)["value"] == np.inf


def test_names_and_shapes_must_agree():
    with pytest.raises(ValueError, match="b"):
        widest({"a": np.zeros(2)}, {"a": np.zeros(2), "b": np.zeros(2)}, None)
    with pytest.raises(ValueError, match="shape"):
        widest({"a": np.zeros((2, 1))}, {"a": np.zeros(2)}, None)


def test_a_curve_beyond_its_limit():
    one = np.array([0.5, 0.5, 0.5, 0.5])
    finding = curve_finding(3, "a ~ b", "float64", one, one + np.array([0, 1e-10, 2e-9, 1e-9]))
    assert not finding.passed and finding.where == finding.first == "step 3" and finding.step == 3
    assert curve_finding(3, "a ~ b", "float32", one, one + 0.5).passed


def finding(rung: int, value: float, limit: float | None = 1.0, step: int = 0, **more) -> Finding:
    return Finding(rung, "a ~ b", "q", "float64", value, value, "w", value, limit, step=step, **more)


def test_the_first_failure():
    fine, late, early = finding(1, 0.5), finding(3, 2.0, step=5), finding(3, 2.0, step=2)
    recorded = finding(2, 9.0, None)
    assert first_failure([fine, recorded]) is None
    assert first_failure([late, fine, early, finding(4, 3.0)]) is early


def test_the_worst_of_several():
    found = {"x": [finding(1, 0.5), finding(2, 0.2)], "y": [finding(1, 0.7), finding(2, 0.1)]}
    assert [(row.rung, row.value, row.where) for row in worst(found)] == [(1, 0.7, "y: w"), (2, 0.2, "x: w")]
    # What failed is worse than anything that passed.
    found["z"] = [finding(1, 0.6, 0.1)]
    assert worst(found)[0].where == "z: w"
    assert [row.rung for row in grouped([finding(2, 1.0), finding(1, 1.0), finding(2, 0.5)])] == [1, 2, 2]


def test_pairs_put_the_judge_first():
    assert pairs(["torch", "reference", "paddle"]) == [
        ("paddle", "reference"), ("torch", "reference"), ("paddle", "torch")
    ]  # fmt: skip


def test_looks():
    assert comparison_steps(200) == {1, 2, 5, 10, 20, 50, 100, 200}
    assert comparison_steps(7) == {1, 2, 5, 7} and comparison_steps(1) == {1}


def test_margins(rng):
    """The distance to a kink is what a small move of one weight shows it to be."""
    case = next(case for case in GRID if case.pooling == "max" and case.cell == "lstm" and not case.bidirectional)
    experiment = case.experiment("float64")
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    assert 0 < margin(experiment, parameters, batch) < 1
    smooth = VARIANTS[1].experiment("float64")
    assert margin(smooth, random_parameters(smooth, rng), batch) == np.inf
    hidden = VARIANTS[0].experiment("float64")
    parameters = random_parameters(hidden, rng)
    distance = margin(hidden, parameters, batch)
    parameters["head.hidden.weight"] *= 0.0
    parameters["head.hidden.bias"][:] = [3.0, -2.0, 0.25, 1.0]
    assert 0 < distance < 2 and margin(hidden, parameters, batch) == 0.25


@needs_both
def test_an_infinite_difference_fails_without_a_limit():
    finding = curve_finding(3, "one ~ other", "float32", np.array([1.0, np.nan]), np.array([1.0, 1.0]))
    assert finding.limit is None and not finding.passed
    assert curve_finding(3, "one ~ other", "float32", np.array([1.0, 9.0]), np.array([1.0, 1.0])).passed


@needs_both
def test_parameters_that_no_side_trains_are_named(data):
    """A learning rate of 0 fails nothing, but nothing was compared."""
    experiment = replace(experiment_of({}), {"training.optimizer.learning_rate": 1e-300})
    findings, trained = compare_training(Comparison(experiment, *data, sides(), 3))
    hold(findings)
    assert "head.weight" in trained.unmoved
    assert compare_training(Comparison(experiment_of({}), *data, sides(), 3))[1].unmoved == []


def test_features_that_a_spec_does_not_use():
    every = with_unequal_weights(every_feature(PARITY_SPEC))
    left = {
        "one logit",
        "one-hot lookup",
        "frozen embedding",
        "SGD with momentum",
        "clipping by value",
        "residual layers",
        "scalar lookup",
        "bigrams",
        "virtual adversarial training",
        "unlabeled texts",
    }
    assert set(not_exercised([PARITY_SPEC, every])) == left
    assert {"weight decay", "class weights", "hidden layer of the head"} <= set(not_exercised([PARITY_SPEC]))
    assert not_exercised([PARITY_SPEC, every, *(replace(PARITY_SPEC, own) for own in TRAINING.values())]) == []


@needs_both
def test_a_prediction_that_differs_is_counted(data):
    """Rung 5 fails when one side answers with other weights."""
    experiment = experiment_of({})
    parameters = initial_parameters(experiment.model, 0, "float64")
    assert all(row.passed for row in compare_predictions(experiment, {"torch": parameters}, data[1], sides()))
    with planted(backends.load("paddle"), "swapped-gates"):
        parameters["head.weight"] *= 1e3
        (row,) = compare_predictions(experiment, {"torch": parameters}, data[1], sides())
    assert row.compared == "trained in torch, evaluated in paddle"
    assert row.passed == (row.relative == 0.0) and row.absolute > 1e-3
    assert row.where.startswith(f"{round(row.relative * 40)} differ")


# Faults


def ladder_with(name: str, where: str, data, path) -> list[Finding]:
    """With few steps for a fault of the layers, whose training shows nothing more."""
    experiment, *sets = on_its_data(replace(experiment_of({}), fault(name).needs), data)
    with planted(backends.load(where), name):
        steps = 12 if fault(name).rung >= 3 else 3
        return run_parity_check(Comparison(experiment, *sets, sides(), steps), 0, path, ignore)[0]


FAULTY = [(fault, random.Random(f"{SAMPLE} {fault}").choice(backends.NAMES)) for fault in FAULTS]
"""Faults with the framework that has it, drawn anew in every session (`tests/pairwise.py`)."""
AGAIN = 0.25
"""Share of the faults after which everything is compared again."""


@pytest.mark.slow
@needs_both
@pytest.mark.parametrize(("planted_fault", "name"), FAULTY)
def test_planted_fault_is_caught_on_its_rung(planted_fault, name, data, tmp_path):
    """On its rung and no lower one, and by name; then, when it is gone, everything holds again (of a sample)."""
    findings = ladder_with(planted_fault, name, data, tmp_path)
    expected = fault(planted_fault)
    failed = first_failure(findings)
    assert failed is not None, "not caught"
    assert failed.rung == expected.rung
    assert failed.first.startswith(expected.named), failed
    other = next(side for side in INSTALLED if side != name)
    if failed.rung < 3:
        assert failed.compared == f"{name} ~ reference"
        assert all(row.passed for row in findings if row.compared == f"{other} ~ reference")
    assert all(row.passed for row in findings if row.rung < expected.rung)
    if random.Random(f"{SAMPLE} again {planted_fault}").random() > AGAIN:
        return
    (tmp_path / "again").mkdir()
    experiment, *sets = on_its_data(replace(experiment_of({}), expected.needs), data)
    hold(run_parity_check(Comparison(experiment, *sets, sides(), 3), 0, tmp_path / "again", ignore)[0])


@each_backend
def test_fault_is_removed_after_an_error(name):
    side = backends.load(name)
    before = side.heads.pooled.PooledHead.pool
    with pytest.raises(RuntimeError), planted(side, "mean-over-padded-length"):
        assert side.heads.pooled.PooledHead.pool is not before
        raise RuntimeError
    assert side.heads.pooled.PooledHead.pool is before


def test_an_unknown_fault():
    with pytest.raises(UserError) as error:
        fault("typo")
    assert "'typo'" in one_line(error) and "clip-epsilon" in one_line(error)


def test_faults_cover_all_rungs():
    assert {entry.rung for entry in FAULTS.values()} == {1, 2, 3, 4}
    assert len(FAULTS) == sum(len(family.FAULTS) for family in FAMILIES)  # no name twice
    assert len(FAULTS) >= 13 and all(entry.description for entry in FAULTS.values())


# The program

TINY = ("--hidden", 4, "--embedding-dim", 4, "--max-length", 12, "--batch-size", 8, "--steps", 12)


@pytest.fixture
def call(tmp_path, monkeypatch, rng):
    """The program in this process on small reviews, in a folder of its own: exit code, standard output and error."""
    monkeypatch.setattr(imdb, "PER_CLASS", 24)
    monkeypatch.chdir(tmp_path)
    reviews = make_reviews(tmp_path / "data", rng, 24)

    def run(*argv: object):
        out, err = io.StringIO(), io.StringIO()
        fixed = ("--data", reviews, "--cache-dir", tmp_path / "cache", "--out", "out")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_program(tasks.parity.__main__.main, [str(part) for part in (*fixed, *argv)])
        return code, out.getvalue(), err.getvalue()

    return run


@pytest.mark.slow
@needs_both
def test_program_passes_all_rungs(call, tmp_path):
    code, out, err = call(*TINY, "--json", "found.json")
    assert code == 0, out + err
    assert err == "" and "all rungs passed: 80 comparisons" in out
    for rung in range(1, 6):
        assert f"rung {rung}  " in out
    assert "FAIL" not in out and re.search("^not used .*one logit", out, re.M) and "shared   tokens, batches" in out
    assert (tmp_path / "out" / "differences.png").read_bytes().startswith(b"\x89PNG")
    tree = json.loads((tmp_path / "found.json").read_text())
    assert tree == json.loads((tmp_path / "out" / "parity.json").read_text())
    assert tree["passed"] and tree["planted"] is None and set(tree["versions"]) == {"paddle", "torch"}
    compared, every = tree["compared"]
    assert every["name"] == "every feature" and every["experiment"]["training"]["class_weights"] == [0.5, 1.75]
    assert len(compared["findings"]) == len(every["findings"]) == 40
    for row in compared["findings"]:
        assert row["passed"] and row["where"] and row["absolute"] >= 0
        assert row["limit"] is None or row["value"] <= row["limit"]
    for dtype in ("float64", "float32"):
        curves = compared["losses"][dtype]
        assert len(curves["torch"]) == len(curves["paddle"]) == 12
        largest = max(abs(one - two) for one, two in zip(curves["torch"], curves["paddle"], strict=True))
        (row,) = (
            row for row in compared["findings"]
            if (row["rung"], row["dtype"], row["quantity"]) == (3, dtype, "loss of 12 steps")
        )  # fmt: skip
        assert row["absolute"] == largest


@needs_both
@pytest.mark.parametrize("implementation", ["auto", "packed"])
def test_all_uses_the_implementations_of_each_encoder(call, tmp_path, monkeypatch, implementation):
    """A recurrent model, a convolution and word2vec, small and trained; only the first has `packed`."""
    program = tasks.parity.__main__
    monkeypatch.setattr(program, "GRID", GRID[:1])
    monkeypatch.setattr(program, "VARIANTS", TEXTCNN[1:2])
    monkeypatch.setattr(program, "TRAINING", {"bilstm": TRAINING["bilstm"], "textcnn": TRAINING["textcnn"]})
    monkeypatch.setattr(tasks.parity.words, "WORD_CASES", WORD_CASES[-1:])
    monkeypatch.setattr(tasks.parity.words, "WORD_RUNS", {"word2vec cbow": WORD_RUNS["word2vec cbow"]})
    code, out, err = call("--all", "--impl", implementation, "--dtype", "float64", "--steps", 3, "--json", "found.json")
    assert code == 0, out + err
    found = {
        model["name"]: model["findings"] for model in json.loads((tmp_path / "found.json").read_text())["compared"]
    }
    rungs = {name: {row["rung"] for row in rows} for name, rows in found.items()}
    every = {1, 2, 3, 4, 5}
    recurrent = {str(GRID[0]): {1, 2}, "bilstm": every, "every feature": every}
    if implementation == "auto":
        others = {str(TEXTCNN[1]): {1, 2}, "textcnn": every}
        words = {str(WORD_CASES[-1]): {1, 2}, "word2vec cbow": {0, *every}}
        assert rungs == {**recurrent, **others, **words} and "skipped" not in out
    else:
        assert rungs == recurrent and f"first: {TEXTCNN[1]}" in out


@pytest.mark.slow
@needs_both
def test_program_repeats_a_draw(call, tmp_path):
    found = []
    for name in ("a", "b"):
        code, _, _ = call(*TINY, "--draw", 7, "--dtype", "float64", "--json", f"{name}.json", "--out", name)
        assert code == 0
        tree = json.loads((tmp_path / f"{name}.json").read_text())
        found.append(tree["compared"])
    assert found[0] == found[1] and {row["dtype"] for row in found[0][0]["findings"]} == {"float64"}


@pytest.mark.slow
@needs_both
@pytest.mark.parametrize("chosen", ["clip-epsilon", "reverse-from-padding"])
@each_backend
def test_program_catches_a_fault(call, chosen, name):
    code, out, err = call(*TINY, "--plant", chosen, "--plant-in", name, "--dtype", "float64")
    assert code == 1 and err == ""
    expected = fault(chosen)
    last = out.splitlines()[-1]
    assert last.startswith(f"detected: {chosen} in {name}, on rung {expected.rung} ")
    assert expected.named in last
    assert f"planted  {chosen} in {name}: {expected.description}" in out and " FAIL " in out
    for path in expected.needs:
        assert f"requires {path} = " in out


@pytest.mark.slow
@needs_both
def test_program_on_the_spec_of_a_run(call, tmp_path):
    experiment = replace(PARITY_SPEC, {**SMALL, "model.encoder.cell": "gru", "training.dropout_masks": "native"})
    (tmp_path / "experiment.json").write_text(json.dumps({"format": 1, "experiment": experiment.model_dump()}))
    code, out, _ = call("--config", "experiment.json", "--max-length", 20, "--steps", 5)
    assert code == 0 and "bidirectional GRU 5" in out and "native" in out


@pytest.mark.slow
@pytest.mark.parametrize("name", random.Random(SAMPLE).sample(INSTALLED, k=min(1, len(INSTALLED))))
def test_program_with_one_framework(call, tmp_path, name):
    code, out, _ = call(*TINY, "--backends", name)
    assert code == 0 and f"{name} ~ reference" in out and "rung 3" not in out
    assert "all rungs of a single backend passed" in out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"parity.json"}


@needs_both
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--plant", "typo"), ("typo", "swapped-gates")),
        (("--plant", "clip-epsilon", "--all"), ("--plant and --all",)),
        (("--plant-in", "torch"), ("--plant-in torch", "--plant")),
        (("--plant", "clip-epsilon", "--plant-in", "jax"), ("--plant-in jax", "torch")),
        (("--steps", "2"), ("--steps 2", "3")),
        (("--backends", "jax"), ("jax", "torch")),
        (("--config", "none.json"), ("none.json",)),
        (("--config", "none.json", "--recipe", "textbook"), ("--config and --recipe",)),
        (("--recipe", "typo"), ("typo",)),
        (("--cell", "rnn"), ("--cell rnn",)),
        (("--out", "data"), ("data: exists",)),
    ],
    ids=str,
)
def test_program_refuses(call, tmp_path, argv, says):
    code, _out, err = call(*argv)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    for part in says:
        assert part in err
    assert not (tmp_path / "out").exists()


def test_a_framework_that_is_missing(call, monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda name: name != "torch")
    code, out, err = call(*TINY)
    assert code == 2 and "torch is not installed" in err and "--backends paddle" in err and out == ""


def test_grid_contains_every_choice():
    assert len(GRID) == len(set(map(str, GRID))) == 72
    assert len({case.cell for case in GRID}) == 3 and {case.layers for case in GRID} == {1, 2}
    for name, changes in TRAINING.items():
        assert replace(PARITY_SPEC, changes, name)


@each_backend
def test_engines_with_faults_train(name, data):
    """A planted engine still trains: the fault is in what it computes, not in whether it runs."""
    experiment = experiment_of({})
    for chosen in FAULTS:
        spec, train, _ = on_its_data(replace(experiment, FAULTS[chosen].needs), data)
        parameters = initial_parameters(spec.model, 0, spec.training.array_dtype)
        with planted(backends.load(name), chosen):
            engine = engine_of(backends.load(name), spec, parameters)
            engine.train_step(train.batch(np.arange(6)), 0, 0.01)
            assert np.isfinite(engine.collect()[0].loss)
