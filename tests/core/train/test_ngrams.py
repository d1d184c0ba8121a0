"""The linear model of n-grams in a run folder: equal after reading, and hostile files in one line each."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

from core.data.ngrams.texts import LabeledTexts, Texts
from core.errors import UserError
from core.spec.experiment import Experiment, replace
from core.train.ngrams import DTYPES, NGRAMS, fit_ngrams, read_ngrams, with_ngrams, write_ngrams
from core.weights.array_file import read_arrays, write_arrays
from tests.conftest import make_dataset, one_line
from tests.ngram_texts import prepared_of, with_ngrams_of

EXPERIMENT = replace(Experiment(), {"model.ngrams": {"orders": 3, "characters": 2, "passes": 2, "folds": 2}})


def fitted_of(rng: np.random.Generator, experiment: Experiment = EXPERIMENT):
    """Return a fitted model of random texts, and their data."""
    sets = []
    for size in (40, 12):
        labels = rng.permutation(np.arange(size) % experiment.model.head.classes)
        sets.append(dataclasses.replace(make_dataset(rng, size), targets={"label": labels}))
    return with_ngrams_of(experiment, prepared_of(*sets))


@pytest.mark.parametrize(("characters", "inputs", "classes"), [(2, True, 2), (0, True, 3), (0, False, 2)])
def test_reads_what_it_wrote(characters, inputs, classes, rng, tmp_path):
    """Tables, weights and training logits, of which the data sets have the same numbers."""
    own = {"orders": 3, "characters": characters, "inputs": inputs, "passes": 1}
    experiment = replace(EXPERIMENT, {"model.ngrams": own, "model.head.classes": classes})
    fitted, data = fitted_of(rng, experiment)
    write_ngrams(tmp_path, fitted)
    found = read_ngrams(tmp_path, experiment.model)
    assert found is not None and np.array_equal(found.train_logits, fitted.train_logits)
    for name in ("ratios", "weights", "bias", "counts", "per_class"):
        assert np.array_equal(getattr(found.model, name), getattr(fitted.model, name)), name
    for name in ("tokens", "characters"):
        one, two = getattr(found.model, name), getattr(fitted.model, name)
        assert (one is None) == (two is None)
        assert one is None or one.units == two.units
        assert one is None or all(np.array_equal(a, b) for a, b in zip(one.keys, two.keys, strict=True))
    again = with_ngrams(experiment, data, found)
    for part in ("train", "dev"):
        rows = rng.permutation(len(data.split(part)))[:9]
        one, two = (prepared.split(part).batch(rows).ngrams for prepared in (data, again))
        assert np.array_equal(one.values, two.values) and np.array_equal(one.logits, two.logits)
    labels, values = data.train.ngrams.labels, data.dev.ngrams.labels
    assert values is None and np.array_equal(labels, data.train.labels)


def test_a_model_without_ngrams_has_no_file(rng, tmp_path):
    assert read_ngrams(tmp_path, Experiment().model) is None
    data = prepared_of(make_dataset(rng, 8), make_dataset(rng, 4))
    assert fit_ngrams(Experiment(), data) is None and with_ngrams(Experiment(), data, None) is data


def test_any_flipped_bit_is_noticed(rng, tmp_path):
    fitted, _ = fitted_of(rng)
    write_ngrams(tmp_path, fitted)
    path = tmp_path / NGRAMS
    sound = path.read_bytes()
    for place in rng.integers(0, 8 * len(sound), size=60).tolist():
        damaged = bytearray(sound)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(UserError) as error:
            read_ngrams(tmp_path, EXPERIMENT.model)
        assert NGRAMS in one_line(error), place


def first(value: object):
    """Put a value in the place of the first entry of an array."""

    def change(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        changed.reshape(-1)[0] = value
        return changed

    return change


ARRAYS = {
    "NaN": ("weights", first(np.nan)),
    "infinite": ("train_logits", first(-np.inf)),
    "double": ("bias", lambda array: array.view(np.int32).astype(np.int64)),
    "missing": ("per_class", lambda array: None),
    "missing table": ("tokens/3", lambda array: None),
    "short": ("ratios", lambda array: array[1:]),
    "columns": ("train_logits", lambda array: np.repeat(array, 2, axis=1)),
    "scalar": ("train_logits", lambda array: np.float32(1).reshape(())),
    "classes": ("counts", lambda array: array[:, :1]),
    "negative count": ("counts", first(-1.0)),
    "count above all": ("counts", first(1e6)),
    "class without texts": ("per_class", first(0.0)),
    "unsorted": ("tokens/2", lambda array: array[::-1]),
    "twice": ("characters/2", lambda array: np.repeat(array[:1], len(array))),
    "negative key": ("tokens/2", first(-1)),
    "key above all": ("tokens/3", lambda array: array + (1 << 40)),
    "matrix of keys": ("tokens/2", lambda array: array[None]),
    "float keys": ("tokens/2", lambda array: array.astype(np.float32)),
    "overflowing keys": ("tokens/2", lambda array: np.array([0, 1 << 62, -(1 << 63) + 1, 1], np.int64)),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_hostile_arrays(what, rng, tmp_path):
    """With a digest that fits: each is refused in one line that names the array."""
    name, change = ARRAYS[what]
    fitted, _ = fitted_of(rng)
    write_ngrams(tmp_path, fitted)
    arrays, state = read_arrays(tmp_path / NGRAMS, DTYPES)
    arrays[name] = change(arrays[name])
    write_arrays(tmp_path / NGRAMS, {key: array for key, array in arrays.items() if array is not None}, state)
    with pytest.raises(UserError) as error:
        read_ngrams(tmp_path, EXPERIMENT.model)
    named = "counts" if what == "class without texts" else name
    assert named in one_line(error) and NGRAMS in one_line(error)


STATES = {
    "list": lambda state: [],
    "null": lambda state: None,
    "no spec": lambda state: {"units": state["units"]},
    "other spec": lambda state: {**state, "spec": {**state["spec"], "cost": 3.0}},
    "no units": lambda state: {"spec": state["spec"]},
    "units as list": lambda state: {**state, "units": []},
    "no table": lambda state: {**state, "units": {"tokens": state["units"]["tokens"]}},
    "a number": lambda state: _with_unit(state, 3),
    "twice": lambda state: _with_unit(state, state["units"]["tokens"][1]),
    "one more": lambda state: {
        **state,
        "units": {**state["units"], "tokens": [*state["units"]["tokens"], "one more"]},
    },
    "an object": lambda state: {**state, "units": {**state["units"], "tokens": {"a": 1}}},
}


def _with_unit(state: dict, unit: object) -> dict:
    changed = copy.deepcopy(state)
    changed["units"]["tokens"][0] = unit
    return changed


@pytest.mark.parametrize("what", STATES)
def test_hostile_states(what, rng, tmp_path):
    fitted, _ = fitted_of(rng)
    write_ngrams(tmp_path, fitted)
    arrays, state = read_arrays(tmp_path / NGRAMS, DTYPES)
    write_arrays(tmp_path / NGRAMS, arrays, STATES[what](state))
    with pytest.raises(UserError) as error:
        read_ngrams(tmp_path, EXPERIMENT.model)
    assert NGRAMS in one_line(error)


def test_an_unknown_array_and_a_missing_file(rng, tmp_path):
    fitted, _ = fitted_of(rng)
    with pytest.raises(UserError) as error:
        read_ngrams(tmp_path, EXPERIMENT.model)
    assert "missing" in one_line(error)
    write_ngrams(tmp_path, fitted)
    arrays, state = read_arrays(tmp_path / NGRAMS, DTYPES)
    write_arrays(tmp_path / NGRAMS, {**arrays, "more": arrays["bias"]}, state)
    with pytest.raises(UserError) as error:
        read_ngrams(tmp_path, EXPERIMENT.model)
    assert "more" in one_line(error)


def test_logits_of_other_training_texts(rng):
    """A file of another run with the same spec: its numbers of texts differ."""
    fitted, data = fitted_of(rng)
    other = dataclasses.replace(fitted, train_logits=fitted.train_logits[:-1])
    with pytest.raises(UserError) as error:
        with_ngrams(EXPERIMENT, data, other)
    assert "train_logits" in one_line(error) and "39" in one_line(error) and "40" in one_line(error)


@pytest.mark.parametrize("kind", ["digits", "tagged", "pairs"])
def test_ngrams_need_texts(kind):
    """Other data has no labeled texts."""
    head = {"tagged": {"kind": "tokens"}, "pairs": {"kind": "decoder"}}.get(kind, {"kind": "pooled"})
    with pytest.raises(UserError) as error:
        replace(Experiment(), {"data": {"kind": kind}, "model.head": head, "model.ngrams": {}})
    assert "ngrams" in one_line(error)


def test_labels_are_those_of_the_texts(rng):
    """The texts that n-grams are formed of and the encoded ones are in one order."""
    fitted, data = fitted_of(rng)
    own = data.whole("train")
    assert isinstance(own, LabeledTexts) and np.array_equal(own.labels, data.train.labels)
    assert own.texts.offsets.tolist() == data.train.offsets.tolist()
    alone = fitted.model.logits(fitted.model.rows(Texts.of([["w2", "w3"]])))
    assert alone.shape == (1, 1)
