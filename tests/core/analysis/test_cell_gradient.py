"""The four terms of dc_t/dc_{t-1} of an LSTM, against the complex step and both frameworks; and the program."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import backends
import tasks.gates
from backends import implementations
from core.analysis.cell_gradient import TERMS, TOTAL, term_norms, terms
from core.analysis.gates import Place, trace
from core.batch import pad
from core.engine.executor import Executor
from core.errors import UserError
from core.models.encoders.recurrent import DirectionWeights, RecurrentEncoder, layer_weights, lstm_step
from core.models.model import forward
from core.schema import of_kind
from core.train.run_folder import RunFolder
from tests.conftest import loaded, run_main
from tests.core.analysis.test_gates import DIGITS, instance, make_run

STEP = 1e-40
BLOCKS = {"input_gate": 0, "forget_gate": 1, "candidate": 2}
LENGTH = 6


@pytest.fixture(params=[(0, False), (1, True)], ids=["layer 0, forward", "layer 1, reverse"])
def case(request, rng):
    """A place of a random bidirectional LSTM of two layers: weights, inputs x [L, I] and traced values."""
    place = Place(*request.param)
    experiment, parameters = instance(rng, "lstm", 2, True)
    parameters = {name: 2.0 * array for name, array in parameters.items()}
    ids = rng.integers(1, 11, LENGTH)
    values = trace(experiment.model, parameters, ids, place)
    encoder = of_kind(experiment.model.encoder, RecurrentEncoder)
    weights = layer_weights(encoder, parameters, place.layer)[int(place.reverse)]
    return experiment, parameters, ids, place, values, weights


def inputs_of(experiment, parameters, ids, place) -> np.ndarray:
    """The inputs [L, I] of the place's layer."""
    found = forward(experiment.model, parameters, pad([ids], {}))
    return found["embedding" if place.layer == 0 else f"encoder.l{place.layer - 1}"][0]


def steps_of(place: Place) -> list[tuple[int, int]]:
    order = list(range(LENGTH))[:: -1 if place.reverse else 1]
    return list(itertools.pairwise(order))


def test_each_term_is_the_complex_step_s(case):
    """Of `lstm_step`: only c moves, or only one gate's sum; and all of them at once through c_{t-1}."""
    experiment, parameters, ids, place, values, weights = case
    x = inputs_of(experiment, parameters, ids, place)
    hidden = len(values["cell_state"][0])
    for before, now in steps_of(place):
        found = terms(values, now, before, weights.weight_hh)
        h, c, o = (values[name][before] for name in ("hidden_state", "cell_state", "output_gate"))
        for unit in range(hidden):
            moved = c + 1j * STEP * (np.arange(hidden) == unit)
            slope = np.imag(o * np.tanh(moved))  # of h_{t-1}, times STEP
            _, cell = lstm_step(x[now], o * np.tanh(moved), moved, weights)
            total = np.sum(list(found.values()), axis=0)
            np.testing.assert_allclose(np.imag(cell) / STEP, total[:, unit], rtol=0, atol=1e-14)
            _, cell = lstm_step(x[now], h, moved, weights)
            np.testing.assert_allclose(np.imag(cell) / STEP, found["direct"][:, unit], rtol=0, atol=1e-14)
            for name, block in BLOCKS.items():
                own = np.zeros(4 * hidden)
                rows = slice(block * hidden, (block + 1) * hidden)
                own[rows] = weights.weight_hh[rows] @ slope
                _, cell = lstm_step(x[now], h, c, weights._replace(bias_hh=weights.bias_hh + 1j * own))
                np.testing.assert_allclose(np.imag(cell) / STEP, found[name][:, unit], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", backends.NAMES)
def test_the_sum_is_that_of_both_frameworks(name, case):
    """From their gradients of c_0 and h_0 in a layer of one step, by every implementation."""
    experiment, parameters, ids, place, values, weights = case
    x = inputs_of(experiment, parameters, ids, place)
    before, now = steps_of(place)[-1]
    hidden = len(values["cell_state"][0])
    total = np.sum(list(terms(values, now, before, weights.weight_hh).values()), axis=0)
    given = {
        "x": np.tile(x[now], (hidden, 1, 1)),
        **{f"encoder.{kind}_l0": array for kind, array in zip(DirectionWeights._fields, weights, strict=True)},
        "h_0": np.tile(values["hidden_state"][before], (1, hidden, 1)),
        "c_0": np.tile(values["cell_state"][before], (1, hidden, 1)),
        "d_h_n": np.zeros((1, hidden, hidden)),
        "d_c_n": np.eye(hidden)[None],
    }
    given["d_output"] = np.zeros((hidden, 1, hidden))
    encoder = RecurrentEncoder(cell="lstm", hidden_size=hidden, bidirectional=False)
    state = values["output_gate"][before] * (1 - np.tanh(values["cell_state"][before]) ** 2)
    for implementation in encoder.implementations:
        if implementation == "fast" and implementations.why_not_fast("cpu"):
            continue
        lengths = np.ones(hidden, np.int64)
        found = loaded(name).LayerProbe(encoder, given, lengths, Executor("cpu", implementation)).gradients()
        np.testing.assert_allclose(found["c_0"][0] + found["h_0"][0] * state, total, rtol=0, atol=1e-12)


def test_norms_are_those_of_the_steps(case):
    experiment, parameters, _, place, values, weights = case
    found = term_norms(experiment.model, parameters, values, place)
    assert list(found) == [*TERMS, TOTAL]
    for number, (before, now) in enumerate(steps_of(place)):
        own = terms(values, now, before, weights.weight_hh)
        assert found["direct"][number] == pytest.approx(values["forget_gate"][now].max(), rel=1e-14)
        total = np.sum(list(own.values()), axis=0)
        largest = np.sqrt(np.linalg.eigvalsh(total.T @ total).max())
        assert found[TOTAL][number] == pytest.approx(largest, rel=1e-9)
        assert found[TOTAL][number] <= sum(found[name][number] for name in TERMS) + 1e-12


def test_other_cells_and_single_tokens_are_refused(rng):
    for cell, length, said in (("gru", 3, "the cell is gru"), ("lstm", 1, "got 1")):
        experiment, parameters = instance(rng, cell, 1, False)
        values = trace(experiment.model, parameters, np.full(length, 2))
        if cell == "gru":
            values["cell_state"] = values["hidden_state"]
        with pytest.raises(UserError, match=said):
            term_norms(experiment.model, parameters, values, Place())


def test_the_program_draws_and_writes_them(tmp_path, rng):
    run = make_run(tmp_path / "run", rng, two_way=True)
    digits = [DIGITS[number] for number in rng.integers(0, 10, 7)]
    for direction in ("forward", "reverse"):
        done = run_main(tasks.gates.main, run, "--sequence", *digits, "--gradient", "--direction", direction)
        assert done.code == 0 and not done.err, done.err
        png = run / f"gates-{'-'.join(digits)}-l0-{direction}.png"
        drawn = png.with_name(f"{png.stem}-gradient.png")
        assert drawn.stat().st_size > 10_000 and f"gradient {drawn}" in done.out
        folder = RunFolder.open(run)
        model = folder.read_record()[0].model
        parameters, place = folder.read_best(model), Place(0, direction == "reverse")
        ids = np.array([2 + int(digit) for digit in digits])
        wanted = term_norms(model, parameters, trace(model, parameters, ids, place), place)
        kept = json.loads(png.with_suffix(".json").read_text())["cell_gradient_norms"]
        assert kept == {name: norms.tolist() for name, norms in wanted.items()}
        assert f"directly, f {np.median(wanted['direct']):.3g}" in done.out
    assert wanted[TOTAL].tolist() != wanted["direct"].tolist()


def test_the_program_refuses_what_has_no_cell_state(tmp_path, rng):
    run = make_run(tmp_path / "run", rng, "gru")
    done = run_main(tasks.gates.main, run, "--sequence", "1", "2", "--gradient")
    assert done.code == 2 and done.err.startswith("error: --gradient: ") and done.err.count("\n") == 1
    assert not list(run.glob("gates-*"))
