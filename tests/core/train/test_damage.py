"""Files of a run that were damaged: whatever the change, it is noticed, or it is none."""

from __future__ import annotations

import dataclasses
import json
import math
from contextlib import nullcontext

import numpy as np
import pytest

from core.checked_json import digest_of
from core.errors import Note, UserError
from core.spec.experiment import ADDED, FORMAT_VERSION, replace
from core.train.metrics_file import MetricsFile, metrics_text, parse_metrics
from core.train.run_folder import RunFolder
from core.train.state import TrainingState
from core.weights.array_file import read_arrays, write_arrays
from tests.conftest import fresh_rng, one_line
from tests.core.train.complete_run import (
    EXPERIMENT,
    MODEL,
    READERS,
    STATE,
    line_of,
    random_arrays,
    random_moments,
)
from tests.run_files import edited

# Single bits


@pytest.mark.parametrize("name", READERS)
def test_any_flipped_bit_is_noticed(folder, name):
    """Or gives the same content, as another kind of white space does."""
    path, read, rng = folder.path / name, READERS[name], fresh_rng()
    sound, content = path.read_bytes(), read(folder)
    for place in rng.integers(0, 8 * len(sound), size=60):
        damaged = bytearray(sound)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            found = read(folder)
        except UserError as error:
            assert "\n" not in str(error) and name in str(error), (place, str(error))
        else:
            np.testing.assert_equal(_plain(found), _plain(content), err_msg=str(place))
    path.write_bytes(sound)


def _plain(found):
    return (
        [dataclasses.asdict(own) if dataclasses.is_dataclass(own) else own for own in found]
        if isinstance(found, tuple)
        else getattr(found, "__dict__", found)
    )


def test_a_digest_is_of_the_content(folder):
    """Neither order nor layout of the keys matter; null is an edited file; without one the file is damaged."""
    path = folder.path / "experiment.json"
    before = folder.read_record()
    tree = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(tree.items())), indent=7))
    assert folder.read_record() == before
    with edited(path, checked=True) as tree:
        tree["experiment"]["text"]["max_length"] = 99
    with pytest.raises(UserError) as error:
        folder.read_record()
    assert "changed since it was written" in one_line(error) and '"digest" to null' in one_line(error)
    with edited(path):
        pass
    assert folder.read_record()[0].text.max_length == 99
    with edited(path) as tree:
        del tree["digest"]
    with pytest.raises(UserError, match="its digest is missing"):
        folder.read_record()


def test_equal_content_gives_equal_bytes(tmp_path, rng):
    parameters, moments = random_arrays(rng), random_moments(rng)
    contents = []
    for name in ("one", "two", "three"):
        folder = RunFolder.create(tmp_path / name)
        folder.write_best(dict(reversed(parameters.items())), 5)
        folder.write_last(parameters, moments, dataclasses.replace(STATE))
        contents.append([path.read_bytes() for path in sorted(folder.path.iterdir())])
    assert contents[0] == contents[1] == contents[2]


# Values that no run has


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(folder, rng, value):
    parameters = random_arrays(rng)
    parameters["head.weight"][1, 2] = value
    folder.write_best(parameters, 5)
    folder.write_last(parameters, {}, dataclasses.replace(STATE))
    for name in ("best.safetensors", "last.safetensors"):
        with pytest.raises(UserError) as error:
            READERS[name](folder)
        assert f"{folder.path / name}: parameter head.weight has NaN or infinite values" in one_line(error)


@pytest.mark.parametrize(("dtype", "name"), [("float16", "F16"), ("int32", "I32")])
def test_types_that_no_run_has(folder, rng, dtype, name):
    folder.write_best({key: array.astype(dtype) for key, array in random_arrays(rng).items()}, 5)
    with pytest.raises(UserError, match=f"got type {name}, expected F32 or F64"):
        folder.read_best(MODEL)


STATES = {
    "step": (-5, "step is -5"),
    "seconds": (-1.0, "seconds is -1"),
    "epoch_seconds": ([1.0, -2.0], r"epoch_seconds\[1\] is -2"),
    "best_step": (8, "best_step is 8, expected 0 to 7"),
    "best_score": (1.5, "best_score is 1.5"),
    "evaluations_since_best": (3, "expected 0 to 2"),
    "tokens": ([900], "tokens"),
    "finished": (1, "finished"),
    "evaluations": ("2", "evaluations"),
    "metrics": ("x", "metrics is 'x'"),
}


@pytest.mark.parametrize("name", STATES)
def test_states_that_no_run_has(name):
    value, says = STATES[name]
    tree = {**dataclasses.asdict(STATE), name: value}
    with pytest.raises(UserError, match=f"here: damaged training state .*{says}"):
        TrainingState.read(tree, "here")


def test_a_state_with_nan(folder, rng):
    path = folder.path / "last.safetensors"
    arrays, state = read_arrays(path)
    write_arrays(path, arrays, {**state, "seconds": math.nan})
    with pytest.raises(UserError, match="NaN"):
        folder.read_last(MODEL)


def _paths(tree: dict, above: str = ""):
    for key, value in tree.items():
        yield above + key
        if isinstance(value, dict):
            yield from _paths(value, f"{above}{key}.")


@pytest.mark.parametrize("part", _paths(EXPERIMENT.model_dump(mode="json")))
def test_no_default_fills_a_record(folder, part):
    """A spec that a user writes may leave fields out; the record of a run holds them all."""
    with edited(folder.path / "experiment.json") as tree:
        *above, name = ["experiment", *part.split(".")]
        for key in above:
            tree = tree[key]
        del tree[name]
    with pytest.raises(UserError) as error:
        folder.read_record()
    # A union whose kind is missing is read as its usual kind.
    assert str(folder.path) in one_line(error) and part.split(".")[0] in one_line(error)


@pytest.mark.parametrize("version", range(3, FORMAT_VERSION))
def test_a_record_lacks_only_fields_that_were_added_later(folder, version):
    """They have their defaults: what the version that wrote the record did."""
    path, own = folder.path / "experiment.json", EXPERIMENT.model_dump(mode="json")
    later = [name for added, names in ADDED.items() if added > version for name in names]
    with edited(path) as tree:
        tree["format"] = tree["experiment"]["format"] = version
        removed = [name for name in later if _remove(tree["experiment"], name)]
    experiment, _ = folder.read_record()
    assert experiment.model_dump(mode="json") == own
    with edited(path) as tree:
        tree["format"] = tree["experiment"]["format"] = FORMAT_VERSION
    with pytest.raises(UserError, match="is missing") if removed else nullcontext():
        folder.read_record()


def _remove(tree: dict, path: str) -> bool:
    """Remove a field, and return whether it was there."""
    *above, name = path.split(".")
    for key in above:
        tree = tree.get(key, {})
    return tree.pop(name, tree) is not tree


@pytest.mark.parametrize("section", ["model", "model.head", "training.schedule", "text"])
def test_an_old_record_without_a_section(folder, section):
    with edited(folder.path / "experiment.json") as tree:
        tree["format"] = tree["experiment"]["format"] = 2
        del tree["digest"]
        *above, name = ["experiment", *section.split(".")]
        for key in above:
            tree = tree[key]
        del tree[name]
    with pytest.raises(UserError, match=f"experiment.{section} is missing"):
        folder.read_record()


def test_an_old_record_without_a_newer_field(folder):
    with edited(folder.path / "experiment.json") as tree:
        tree["format"] = tree["experiment"]["format"] = 2
        del tree["digest"], tree["experiment"]["text"]["signs"], tree["experiment"]["training"]["dropout_masks"]
    assert folder.read_record()[0] == replace(EXPERIMENT, {"text.signs": False})


# Metrics


def lines_of(*steps: int) -> list[dict]:
    return [line_of(step) for step in steps]


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"[1]", b'{"step": 3', b'{"step": 3, "epoch": 1, "loss": 1, "accuracy": 1}', b"9" * 5000]
    + [json.dumps({**line_of(3), key: value}).encode() for key, value in
       [("step", -1), ("step", "3"), ("split", "test"), ("loss", [1]), ("accuracy", None), ("counted", 0)]]
    + [metrics_text([line_of(3)]).replace("0.5", "NaN").encode().strip()],
)  # fmt: skip
def test_a_damaged_line_is_left_out_and_told(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    first, last = (metrics_text(lines_of(*steps)).encode() for steps in ((1, 2), (4, 5)))
    path.write_bytes(first + line + b"\n" + last)
    assert MetricsFile(path).read() == (lines_of(1, 2, 4, 5), "line 3 is damaged: left out")
    path.write_bytes(first + line)  # torn by a kill: no line yet
    assert MetricsFile(path).read() == (lines_of(1, 2), "")


def test_recovery_keeps_what_follows_a_damaged_line(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.append(lines_of(1, 2, 3, 4))
    mark, sound = metrics.mark(), metrics.path.read_bytes()
    metrics.append(lines_of(5, 6))
    damaged = metrics.path.read_bytes().replace(b'"step": 2', b'"stop": 2')
    metrics.path.write_bytes(damaged)
    with pytest.warns(Note, match="line 2 is damaged.*a copy of all as metrics-damaged-1.jsonl"):
        metrics.recover(4, mark)
    assert metrics.read() == (lines_of(1, 3, 4), "")
    assert (tmp_path / "metrics-damaged-1.jsonl").read_bytes() == damaged
    # A changed figure is noticed too, by the mark; and a missing file.
    metrics.path.write_bytes(sound.replace(b"0.575", b"0.375"))
    with pytest.warns(Note, match="changed since the checkpoint"):
        metrics.recover(4, mark)
    assert [line["loss"] for line in metrics.read()[0]][1] == 0.375
    assert (tmp_path / "metrics-damaged-2.jsonl").exists()
    metrics.path.unlink()
    with pytest.warns(Note, match="missing"):
        metrics.recover(4, mark)


def test_recovery_after_a_kill_says_nothing(tmp_path, recwarn):
    """Wherever the append after the checkpoint ended."""
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.recover(0, metrics.mark())
    metrics.append(lines_of(1, 2))
    mark, sound = metrics.mark(), metrics.path.read_bytes()
    more = metrics_text(lines_of(3, 4)).encode()
    for end in range(0, len(more), 7):
        metrics.path.write_bytes(sound + more[:end])
        metrics.recover(2, mark)
        assert metrics.path.read_bytes() == sound
    assert not recwarn.list and [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_changed_metrics_of_a_finished_run_are_told(folder):
    assert [line["loss"] for line in folder.read_metrics()] == [0.6375, 0.575, 0.575, 0.5125]
    path = folder.metrics.path
    path.write_bytes(path.read_bytes().replace(b"0.5125", b"0.3125"))
    with pytest.warns(Note, match="metrics.jsonl: changed since the run finished"):
        assert folder.read_metrics()[-1]["loss"] == 0.3125


def test_metrics_of_the_first_format():
    """Its keys have other names, and its lines fewer."""
    old = {"step": 1, "epoch": 0.5, "split": "train", "loss": 0.5, "accuracy": 0.5, "examples": 4}
    lines, damaged = parse_metrics(metrics_text([old]).encode())
    assert damaged == [] and lines == [{**line_of(4), "step": 1, "loss": 0.5, "counted": 4}]


def test_a_digest_does_not_depend_on_itself():
    assert digest_of({"a": 1, "digest": "x"}) == digest_of({"a": 1}) != digest_of({"a": 2})
