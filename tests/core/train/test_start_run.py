"""Initial values from another run: word vectors by word, the encoder as it is, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.data.vocabulary import SOURCE_TOKENS, Vocabulary
from core.errors import UserError
from core.models.embedding import BIGRAM_TABLE, STATIC_TABLE, TABLE
from core.models.model import initial_parameters
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from core.train.start_run import StartRun, check_models, take_values
from tests.conftest import one_line
from tests.core.train.test_loop import SMALL


def vocabulary(words: str) -> Vocabulary:
    tokens = [*SOURCE_TOKENS, *words.split()]
    return Vocabulary(tokens, [0, 1, *range(len(tokens) - 2, 0, -1)])


def drawn(experiment: Experiment, words: str, seed: int) -> tuple[Vocabulary, dict[str, np.ndarray]]:
    known = vocabulary(words)
    sized = experiment.with_vocab_size(len(known))
    return known, initial_parameters(sized.model, seed, "float64")


BIGRAMS = {"model.embedding.bigrams": 7, "model.embedding.bigram_dim": 2}


@pytest.mark.parametrize("change", [{}, {"model.embedding.static_copy": True}, BIGRAMS], ids=str)
def test_words_are_matched_and_the_encoder_is_copied(change):
    experiment = replace(SMALL, change)
    theirs, other = drawn(experiment, "good film bad the", 1)
    known, parameters = drawn(experiment, "the new film <unk>", 2)
    before = {name: values.copy() for name, values in parameters.items()}
    record = take_values(parameters, StartRun("run", "tag", other, theirs, "sha256:0"), known)
    table, given = parameters[TABLE], other[TABLE]
    for row, expected in enumerate([np.zeros(5), given[1], given[5], before[TABLE][3], given[3], before[TABLE][5]]):
        np.testing.assert_array_equal(table[row], expected, err_msg=known.tokens[row])
    for name, values in parameters.items():
        if name.startswith("encoder."):
            np.testing.assert_array_equal(values, other[name])
        elif name.startswith("head.") or name == BIGRAM_TABLE:
            np.testing.assert_array_equal(values, before[name])
    if STATIC_TABLE in parameters:
        np.testing.assert_array_equal(parameters[STATIC_TABLE], table)
    assert (record["found"], record["missing"], record["digest"]) == (2, 2, "sha256:0")
    assert {*record["parameters"], *record["drawn"]} == parameters.keys() - {STATIC_TABLE}


def test_bigrams_of_equal_vocabularies_are_taken():
    experiment = replace(SMALL, BIGRAMS)
    (known, other), (_, parameters) = drawn(experiment, "a b c", 1), drawn(experiment, "a b c", 2)
    take_values(parameters, StartRun("run", "tag", other, known, ""), known)
    np.testing.assert_array_equal(parameters[BIGRAM_TABLE], other[BIGRAM_TABLE])


def test_no_common_word_is_refused():
    (theirs, other), (known, parameters) = drawn(SMALL, "a b", 1), drawn(SMALL, "c d", 2)
    with pytest.raises(UserError) as error:
        take_values(parameters, StartRun("run", "tag", other, theirs, ""), known)
    assert one_line(error) == "run: knows no word of this vocabulary: use the tokenizer of that run"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model.embedding.dim": 6}, "`model.embedding.dim` 5, this model 6"),
        ({"model.encoder.cell": "gru"}, "`model.encoder.cell` lstm, this model gru"),
        ({"model.encoder.bidirectional": False}, "`model.encoder.bidirectional` True, this model False"),
        ({"model.encoder": {"kind": "none"}, "model.head.pooling": "mean"}, "`model.encoder.kind` recurrent"),
        ({"model.embedding.static_copy": True}, "encoder.weight_ih_l0 has shape [16, 5], expected [16, 10]"),
    ],
    ids=str,
)
def test_other_models_are_refused(change, field):
    with pytest.raises(UserError) as error:
        check_models(SMALL.model, replace(SMALL, change).model, "run")
    assert field in one_line(error)


def test_dropout_and_pooling_may_differ():
    other = replace(SMALL, {"model.encoder.dropout": 0.5, "model.head.pooling": "max_mean", "model.head.classes": 7})
    check_models(other.model, SMALL.model, "run")


def test_a_run_and_word_vectors_exclude_each_other():
    with pytest.raises(UserError) as error:
        replace(SMALL, {"start": "run", "model.embedding.vectors": "glove-6b-50d"})
    assert "start and model.embedding.vectors both give word vectors" in one_line(error)


@pytest.mark.slow
def test_a_run_starts_from_another_and_keeps_what_is_frozen(finished_runs, backend, tmp_path):
    """With another vocabulary; frozen parts of its best checkpoint are those of the other run."""
    other, path = RunFolder.open(finished_runs.any_run), tmp_path / "new"
    frozen = ("--freeze-embedding", 9999, "--freeze-encoder", 9999)
    argv = ("--start", other.path, "--vocab-size", 12, "--backend", backend.NAME, *frozen, "--out", path)
    done = finished_runs.train(*argv)
    assert done.code == 0, done.err
    assert "start" in done.out and "encoder; drawn: 2 parameters" in done.out
    new = RunFolder.open(path)
    (theirs, _), (own, execution) = other.read_record(), new.read_record()
    assert execution["start"]["found"] == 10 and Path(own.start or "").is_absolute()
    given, found = other.read_best(theirs.model), new.read_best(own.model)
    rows = other.read_vocabulary(theirs.model).encode(new.read_vocabulary(own.model).tokens)
    np.testing.assert_array_equal(found[TABLE][2:], given[TABLE][rows[2:]])
    assert all(np.array_equal(found[name], given[name]) for name in found if name.startswith("encoder."))
    assert not np.array_equal(found["head.weight"], given["head.weight"])


@pytest.mark.slow
def test_a_resume_needs_the_same_checkpoint(finished_runs, tmp_path):
    """Before its first checkpoint a run reads the other one again."""
    other, path = tmp_path / "other", tmp_path / "new"
    shutil.copytree(finished_runs.any_run, other)
    name = finished_runs.backend
    assert finished_runs.train("--start", other, "--backend", name, "--epochs", 1, "--out", path).code == 0
    for file in ("last.safetensors", "best.safetensors", "metrics.jsonl", "result.json"):
        (path / file).unlink()
    folder = RunFolder.open(other)
    model = folder.read_record()[0].model
    folder.write_best({key: values * 1.5 for key, values in folder.read_best(model).items()}, 1)
    import tasks.imdb
    from tests.conftest import run_main

    done = run_main(tasks.imdb.main, "--resume", path, "--cache-dir", finished_runs.cache, "--device", "cpu")
    assert done.code and "not the checkpoint that this run started from" in done.err
