"""`--start` from a language model: what a classifier takes from it, in the other framework, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.imdb
import tasks.pretrain
from core.models.embedding import TABLE
from core.spec.experiment import replace
from core.train.run_folder import RunFolder
from tasks.classify import preset
from tasks.cli.recipes import TASK_RECIPES, recipe
from tasks.cli.start_options import with_settings_of_start
from tests.conftest import Done, check_refused, needs_both, run_main

pytestmark = [pytest.mark.slow, needs_both]

PRETRAIN = (
    *("--hidden", 6, "--cell", "gru", "--embedding-dim", 5, "--vocab-size", 17, "--max-length", 20),
    *("--no-unlabeled", "--train-limit", 30, "--eval-limit", 4, "--negatives", 8, "--batch-size", 8),
)


@pytest.fixture(scope="module")
def language_models(finished_runs, tmp_path_factory) -> dict[str, Path]:
    """A small language model of each framework."""
    found = {}
    for name in backends.NAMES:
        found[name] = tmp_path_factory.mktemp("pretrain") / name
        done = train(tasks.pretrain, finished_runs, "--backend", name, *PRETRAIN, "--out", found[name])
        assert done.code == 0, done.err
    return found


def train(program, finished_runs, *argv: object) -> Done:
    fixed = ("--data", finished_runs.archive, "--cache-dir", finished_runs.cache, "--device", "cpu")
    return run_main(program.main, *fixed, *argv)


def test_a_classifier_starts_from_a_language_model_of_the_other_framework(language_models, finished_runs, backend):
    """Without its sizes: they are taken from its specification. Frozen parts keep its values."""
    other = next(path for name, path in language_models.items() if name != backend.NAME)
    path, frozen = other.parent / f"from-{backend.NAME}", ("--freeze-embedding", 999, "--freeze-encoder", 999)
    argv = ("--start", other, "--backend", backend.NAME, "--epochs", 1, "--vocab-size", 20, *frozen, "--out", path)
    done = train(tasks.imdb, finished_runs, *argv)
    assert done.code == 0, done.err
    taken = f"inferred from {other}: embedding 5, 1 x bidirectional GRU 6, tokenizer words, vocabulary up to 17"
    assert done.out.splitlines()[0] == taken
    theirs, new = RunFolder.open(other), RunFolder.open(path)
    (given_spec, _), (own, execution) = theirs.read_record(), new.read_record()
    assert (own.recipe, own.words, own.text.vocab_size) == ("default", None, 20)
    given, found = theirs.read_best(given_spec.model), new.read_best(own.model)
    words = new.read_vocabulary(own.model).tokens
    rows = theirs.read_vocabulary(given_spec.model).encode(words)
    known = rows[2:] > 1
    record = execution["start"]
    assert record["source"] == str(other) and record["task"] == "pretrain"
    assert (record["found"], record["missing"]) == (known.sum(), (~known).sum())
    assert known.any() and not known.all()
    line = next(line for line in done.out.splitlines() if line.startswith("start"))
    assert f"{other} (task pretrain): vectors of {known.sum()} of {len(known)} words" in line
    np.testing.assert_array_equal(found[TABLE][2:][known], given[TABLE][rows[2:][known]])
    encoder = [name for name in given if name.startswith("encoder.")]
    assert len(encoder) == 8 and all(np.array_equal(found[name], given[name]) for name in encoder)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--hidden", 7), "has --hidden 6, this model 7: use equal ones, or start elsewhere"),
        (("--embedding-dim", 8), "has --embedding-dim 5, this model 8"),
        (("--cell", "lstm"), "has --cell gru, this model lstm"),
        (("--no-bidirectional",), "has --bidirectional True, this model False"),
        (("--encoder", "textcnn"), "has --encoder recurrent, this model textcnn"),
        (("--static-copy",), "its encoder.weight_ih_l0 has shape [18, 5], expected [18, 10]"),
        (("--vectors", "glove-6b-50d"), "start and model.embedding.vectors both give word vectors"),
    ],
    ids=lambda own: own[0] if isinstance(own, tuple) else "",
)
def test_flags_that_differ_are_refused(argv, says, language_models, finished_runs, tmp_path):
    fixed = ("--data", finished_runs.archive, "--cache-dir", finished_runs.cache, "--device", "cpu")
    own = ("--start", next(iter(language_models.values())), *argv, "--out", tmp_path / "new")
    check_refused(tasks.imdb.main, *fixed, *own, says=says, folder=tmp_path)


@pytest.mark.parametrize("task", ["imdb", "tag", "pretrain"])
def test_settings_are_those_of_the_run_but_for_drawing_and_dropout(task, language_models):
    path = next(iter(language_models.values()))
    own, (other, _) = recipe(next(iter(TASK_RECIPES[task])), task), RunFolder.open(path).read_record()
    own = replace(own, {"model.encoder.dropout": 0.4, "model.encoder.init": {"scheme": "xavier_uniform"}})
    found = with_settings_of_start(own, Namespace(set=[f"start={path}"]))
    kept = {"dropout": 0.4, "init": own.model.encoder.init, "forget_bias": own.model.encoder.forget_bias}
    assert found.model.encoder == other.model.encoder.model_copy(update=kept)
    assert (found.model.embedding.dim, found.text.vocab_size, found.text.max_length) == (5, 17, own.text.max_length)
    assert found.model.embedding.init == own.model.embedding.init
    assert found.text.tokenizer == (own if task == "tag" else other).text.tokenizer
    if task == "pretrain":
        assert (found.model.head.dim, found.model.head.num_words) == (5, 17)


def test_a_classifier_of_own_texts_has_no_ngrams_with_a_start():
    """They would change what the encoder reads."""
    given = {"encoder": None, "ngrams": None, "multi_label": None, "label_separator": None}
    chosen = [preset(Namespace(**given, start=start)) for start in (None, "run")]
    assert chosen == ["hybrid", "default"]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    check_refused(
        tasks.imdb.main, "--start", tmp_path / "no", says="no such run folder: check the path", folder=tmp_path
    )
