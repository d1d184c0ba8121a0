"""Run folders: what was written comes back, and whatever is missing, damaged, newer or strange is said in one line."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.spec.experiment import FORMAT_VERSION, replace
from core.spec.training import SGD, Adam
from core.train.optimizer_state import check_moments, moment_kinds
from core.train.predictions_file import Predictions
from core.train.run_folder import RunFolder
from core.train.state import TrainingState
from tests.conftest import one_line
from tests.core.train.complete_run import (
    EXECUTION,
    EXPERIMENT,
    MODEL,
    PREDICTIONS,
    READERS,
    RESULT,
    STATE,
    line_of,
    names_in,
    random_arrays,
    random_moments,
    same,
)
from tests.run_files import edited

ROOT = Path(__file__).parents[3]
# What was written


def test_predictions_are_read_with_and_without_a_mark(folder):
    """They are raw, since programs read them; a spreadsheet saves them with a mark."""
    classes = ["=x", "-1"]
    folder.write_predictions(Predictions(["a", "b"], classes, classes[::-1], np.array([[0.25, 0.75]] * 2), classes))
    (folder.path / "result.json").unlink()
    path = folder.path / "predictions.csv"
    content = path.read_bytes()
    assert content == b"id,label,predicted,p_=x,p_-1\na,=x,-1,0.250000,0.750000\nb,-1,=x,0.250000,0.750000\n"
    for start in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(start + content)
        found = folder.read_predictions()
        assert found.by_name == {"a": "-1", "b": "=x"} and (found.labels, found.classes) == (classes, classes)


def test_misclassified_texts_are_for_spreadsheets(folder):
    folder.write_mistakes([("test/1", "-1", "=x", "0.500000", "=1+1")])
    content = (folder.path / "mistakes.csv").read_bytes()
    assert content == b"\xef\xbb\xbfid,label,predicted,probability,text\ntest/1,-1,'=x,0.500000,'=1+1\n"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_checkpoints_come_back(folder, rng, dtype):
    parameters, moments = random_arrays(rng, dtype), random_moments(rng, dtype)
    folder.write_best(parameters, 4)
    folder.write_last(parameters, moments, dataclasses.replace(STATE))
    assert same(folder.read_best(MODEL), parameters)
    found, found_moments, state = folder.read_last(MODEL)
    assert same(found, parameters) and same(found_moments, moments)
    assert state == dataclasses.replace(STATE, metrics=folder.metrics.mark()) and state.metrics.startswith("3")
    check_moments(found_moments, MODEL, Adam(), "here")


def test_a_checkpoint_before_the_first_evaluation_comes_back(folder, rng):
    state = TrainingState()
    folder.write_last(random_arrays(rng), {}, state)
    assert folder.read_last(MODEL)[1:] == ({}, state)


def test_arrays_that_are_not_contiguous_come_back(folder, rng):
    """As a transposed weight of Paddle's Linear would be: safetensors' own writer would store its memory's order."""
    parameters = random_arrays(rng, "float64")
    twisted = {name: np.asfortranarray(array) for name, array in parameters.items()}
    twisted["head.bias"] = np.repeat(parameters["head.bias"], 3)[::3]
    assert not twisted["head.weight"].flags.c_contiguous and not twisted["head.bias"].flags.c_contiguous
    moments = {f"velocity/{name}": array for name, array in twisted.items()}
    folder.write_best(twisted, 1)
    folder.write_last(twisted, moments, dataclasses.replace(STATE))
    assert same(folder.read_best(MODEL), parameters)
    found, found_moments, _ = folder.read_last(MODEL)
    assert same(found, parameters)
    assert same(found_moments, {f"velocity/{name}": array for name, array in parameters.items()})


def test_record_and_vocabulary_come_back(folder):
    assert folder.read_record() == (EXPERIMENT, EXECUTION)
    assert folder.read_vocabulary(MODEL).tokens[2] == "caf\u00e9"
    result = folder.read_result()
    assert result.pop("files").keys() == {"predictions.csv", "metrics.jsonl"} and result == {
        "format": FORMAT_VERSION,
        **RESULT,
    }


def test_predictions(folder):
    assert (folder.path / "predictions.csv").read_text().splitlines() == [
        "id,label,predicted,p_negative,p_positive",
        "a,negative,negative,0.900000,0.100000",
        '"b,c",positive,negative,0.600000,0.400000',
        "d,positive,positive,0.250000,0.750000",
    ]
    found = folder.read_predictions()
    assert found.by_name == {"a": "negative", "b,c": "negative", "d": "positive"}
    assert found.labels == PREDICTIONS.labels and np.array_equal(found.probabilities, PREDICTIONS.probabilities)


# Which folder


def test_an_existing_path_is_refused(folder):
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    with pytest.raises(UserError, match="exists.*`resume`"):
        RunFolder.create(folder.path)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_an_empty_folder_and_a_file_are_refused_too(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("empty", "file"):
        with pytest.raises(UserError) as error:
            RunFolder.create(tmp_path / name)
        assert str(tmp_path / name) in one_line(error) and "exists" in one_line(error)
    with pytest.raises(UserError) as error:
        RunFolder.create(tmp_path / "file" / "below")
    assert "cannot be created" in one_line(error)
    assert (tmp_path / "file").read_text() == "mine"


def test_no_such_folder(tmp_path):
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(UserError) as error:
            RunFolder.open(tmp_path / name)
        assert str(tmp_path / name) in one_line(error)


# Files that are not there, or not right


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_is_named(folder, name):
    READERS[name](folder)
    (folder.path / name).unlink()
    with pytest.raises(UserError) as error:
        READERS[name](folder)
    assert name in one_line(error) and "missing" in one_line(error)


@pytest.mark.parametrize("name", ["experiment.json", "vocab.json", "result.json"])
@pytest.mark.parametrize("content", [b"", b'{"format": 1, "exp', b"\xff\xfe", b"[1, 2]", b"null"])
def test_damaged_json(folder, name, content):
    (folder.path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        READERS[name](folder)
    assert str(folder.path / name) in one_line(error)


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 99, "2", None])
@pytest.mark.parametrize("inner", [False, True])
def test_a_newer_record(folder, version, inner):
    """The spec inside the record carries a version of its own."""
    path = folder.path / "experiment.json"
    with edited(path) as tree:
        (tree["experiment"] if inner else tree)["format"] = version
    with pytest.raises(UserError) as error:
        folder.read_record()
    assert str(path) in one_line(error) and "update seqtwin" in one_line(error)


@pytest.mark.parametrize("part", ["experiment", "execution", *(f"execution.{name}" for name in EXECUTION)])
def test_a_record_without_a_part(folder, part):
    path = folder.path / "experiment.json"
    holder, _, name = part.rpartition(".")
    with edited(path) as tree:
        del (tree[holder] if holder else tree)[name]
    with pytest.raises(UserError) as error:
        folder.read_record()
    assert str(path) in one_line(error) and part in one_line(error)


def test_a_record_with_an_impossible_value(folder):
    with edited(folder.path / "experiment.json") as tree:
        tree["experiment"]["model"]["encoder"]["hidden_size"] = 0
    with pytest.raises(UserError) as error:
        folder.read_record()
    assert "model.encoder.hidden_size" in one_line(error) and "greater than or equal to 1" in one_line(error)


def test_a_vocabulary_of_another_run(folder):
    Vocabulary(["<pad>", "<unk>", "a"], [0, 0, 1]).save(folder.path / "vocab.json")
    with pytest.raises(UserError) as error:
        folder.read_vocabulary(MODEL)
    assert "3 entries" in one_line(error) and "5" in one_line(error)


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "header", "half", "last byte", "zeros"])
def test_a_damaged_checkpoint(folder, name, damage):
    path = folder.path / name
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"not a checkpoint at all\n" * 50,
            "header": content[:5],
            "half": content[: len(content) // 2],
            "last byte": content[:-1],
            "zeros": bytes(len(content)),
        }[damage]
    )
    with pytest.raises(UserError) as error:
        READERS[name](folder)
    assert str(path) in one_line(error) and "damaged" in one_line(error)


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
@pytest.mark.parametrize(("version", "hint"), [(str(FORMAT_VERSION + 1), "update"), ("10", "update"), ("x", "damaged")])
def test_a_newer_checkpoint(folder, rng, name, version, hint):
    """Even where its arrays would fit."""
    metadata = {"format": version, "state": "{}"}
    safetensors.numpy.save_file(random_arrays(rng), folder.path / name, metadata=metadata)
    with pytest.raises(UserError) as error:
        READERS[name](folder)
    assert str(folder.path / name) in one_line(error) and hint in one_line(error)


@pytest.mark.parametrize("state", ["[]", "null", '{"steps": 3}', "{", '"a"'])
def test_a_training_state_that_is_not_one(folder, rng, state):
    metadata = {"format": "1", "state": state}
    safetensors.numpy.save_file(random_arrays(rng), folder.path / "last.safetensors", metadata=metadata)
    with pytest.raises(UserError) as error:
        folder.read_last(MODEL)
    assert "last.safetensors" in one_line(error)


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
@pytest.mark.parametrize("change", ["transposed", "smaller", "missing", "unknown"])
def test_a_checkpoint_of_another_model(folder, rng, name, change):
    parameters, changed = random_arrays(rng), "encoder.weight_ih_l1_reverse"
    if change == "transposed":
        parameters[changed] = np.ascontiguousarray(parameters[changed].T)
    elif change == "smaller":
        parameters[changed] = parameters[changed][:-1]
    elif change == "missing":
        del parameters[changed]
    else:
        changed = "encoder.weight_ih_l2"
        parameters[changed] = parameters["encoder.weight_ih_l1"]
    if name.startswith("best"):
        folder.write_best(parameters, 1)
    else:
        folder.write_last(parameters, {}, dataclasses.replace(STATE))
    with pytest.raises(UserError) as error:
        READERS[name](folder)
    message = one_line(error)
    assert str(folder.path / name) in message and f"parameter {changed}" in message
    if change == "transposed":
        assert "[4, 8]" in message and "[8, 4]" in message


@pytest.mark.parametrize("kind", ["moment1", "moment2", "velocity"])
@pytest.mark.parametrize("change", ["missing", "smaller"])
def test_optimiser_state_that_is_missing_or_of_another_shape(rng, kind, change):
    optimizer = SGD(momentum=0.9) if kind == "velocity" else Adam()
    moments = {f"{k}/{name}": a for k in moment_kinds(optimizer) for name, a in random_arrays(rng).items()}
    check_moments(moments, MODEL, optimizer, "here")
    name = f"{kind}/encoder.bias_hh_l1"
    if change == "missing":
        del moments[name]
    else:
        moments[name] = moments[name][1:]
    with pytest.raises(UserError) as error:
        check_moments(moments, MODEL, optimizer, "here")
    assert one_line(error).startswith("here:") and name in one_line(error)


def test_a_frozen_embedding_needs_no_optimiser_state(rng):
    frozen = replace(EXPERIMENT, {"model.embedding.trainable": False}).model
    moments = {f"velocity/{name}": a for name, a in random_arrays(rng).items() if not name.startswith("embedding")}
    check_moments(moments, frozen, SGD(momentum=0.5), "here")
    with pytest.raises(UserError, match="velocity/embedding.weight"):
        check_moments(moments, MODEL, SGD(momentum=0.5), "here")
    check_moments({}, MODEL, SGD(), "here")


# Metrics


def test_half_a_last_line_is_dropped(folder):
    path = folder.path / "metrics.jsonl"
    whole = folder.read_metrics()
    assert [line["step"] for line in whole] == [1, 2, 2, 3]
    content = path.read_text()
    for cut in range(1, len(content.splitlines()[-1])):
        path.write_text(content[: len(content) - 1 - cut])
        assert folder.read_metrics() == whole[:3]


def test_lines_go_on_after_half_a_line_was_forgotten(folder):
    """A resume forgets, then appends: what follows must not be glued to the torn line."""
    with (folder.path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "spl')
    folder.recover(3)
    folder.append_metrics([line_of(4)])
    assert [line["step"] for line in folder.read_metrics()] == [1, 2, 2, 3, 4]


@pytest.mark.parametrize(("step", "left"), [(0, []), (1, [1]), (2, [1, 2, 2]), (3, [1, 2, 2, 3]), (9, [1, 2, 2, 3])])
def test_forgetting_what_comes_after_a_step(folder, step, left):
    before = folder.read_metrics()
    folder.recover(step)
    assert folder.read_metrics() == [line for line in before if line["step"] <= step]
    assert [line["step"] for line in folder.read_metrics()] == left


def test_forgetting_before_there_is_anything(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.recover(0)
    assert names_in(folder) == set()


# A disk that is full


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "experiment.json", "result.json"])
def test_a_disk_that_fills_up_leaves_the_previous_version(folder, rng, monkeypatch, call, name):
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    write = {
        "best.safetensors": lambda: folder.write_best(random_arrays(rng), 9),
        "last.safetensors": lambda: folder.write_last(random_arrays(rng), random_moments(rng), TrainingState(9)),
        "experiment.json": lambda: folder.write_record(replace(EXPERIMENT, {"recipe": "other"}), {}),
        "result.json": lambda: folder.write_result(RESULT),
    }[name]
    with pytest.raises(UserError) as error:
        write()
    message = one_line(error)
    assert str(folder.path / name) in message and "No space left" in message and "unchanged" in message
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_full_disk_of_the_system_itself(folder, rng):
    """A limit on file sizes refuses the write half-way, as a full disk does; in a process of its own."""
    program = textwrap.dedent("""
        import resource, signal, sys
        import numpy as np
        from core.errors import UserError
        from core.train.run_folder import RunFolder
        from core.train.state import TrainingState

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = RunFolder.open(sys.argv[1])
        size = (folder.path / "last.safetensors").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, size + 1000))
        arrays = {"head.bias": np.ones(size)}
        for write in (
            lambda: folder.write_last(arrays, {}, TrainingState(9)),
            lambda: folder.write_best(arrays, 9),
            lambda: folder.append_metrics([{"step": step} for step in range(size)]),
        ):
            try:
                write()
            except UserError as error:
                print(error)
    """)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    done = subprocess.run([sys.executable, "-c", program, folder.path], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "" and done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("last.safetensors", "best.safetensors", "metrics.jsonl"), strict=True):
        assert str(folder.path / name) in line and "File too large" in line
    after = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    assert after.pop("metrics.jsonl").startswith(before.pop("metrics.jsonl"))  # it may end in half a line
    assert after == before
    assert [line["step"] for line in folder.read_metrics()][:4] == [1, 2, 2, 3]
    assert dataclasses.replace(folder.read_last(MODEL)[2], metrics="") == STATE
    state = folder.read_last(MODEL)[2]
    folder.recover(state.step, state.metrics)
    folder.append_metrics([line_of(8)])
    assert [line["step"] for line in folder.read_metrics()] == [1, 2, 2, 3, 8]


def test_files_have_the_mode_of_any_other(folder):
    """A temporary file is private; a colleague must be able to read the run."""
    plain = folder.path / "plain"
    plain.touch()
    for name in (*READERS, "metrics.jsonl"):
        assert (folder.path / name).stat().st_mode == plain.stat().st_mode
