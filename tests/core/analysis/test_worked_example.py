"""The worked example of nndl, chapter 6 (`core/analysis/worked_example.py`), and the program that shows it."""

from __future__ import annotations

import contextlib
import io
import math
import re

import numpy as np
import pytest

import backends
import tasks.derive
from backends import implementations
from core.analysis import worked_example
from core.analysis.worked_example import ANSWERS, INPUTS, derive
from core.models.encoders.recurrent import CELLS
from tasks.cli.console import run_program
from tests.conftest import loaded

SOME = next((["--backend", name] for name in backends.NAMES if backends.installed(name)), [])
"""Options for one framework: what is tested does not depend on how many there are."""

each_cell = pytest.mark.parametrize("cell", ANSWERS)


def call(*argv: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the program in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_program(tasks.derive.main, [str(part) for part in argv])
    return code, out.getvalue(), err.getvalue()


def verdicts(out: str) -> dict[str, str]:
    """`pass` or `FAIL` by what was compared with."""
    return {name.strip(): verdict for verdict, name in re.findall(r"^(pass|FAIL)  by hand ~ (.*?)  ", out, re.M)}


@each_cell
def test_it_arrives_at_the_books_answer(cell):
    hidden = derive(cell, INPUTS[cell]).hidden
    assert hidden.shape == INPUTS[cell].shape
    np.testing.assert_allclose(hidden[-1], ANSWERS[cell], rtol=0, atol=5e-6)


@each_cell
def test_it_is_the_reference_on_any_input(cell, rng):
    inputs = rng.normal(0, 2, (5, 2))
    derivation = derive(cell, inputs)
    hidden, last = tasks.derive.by_reference(cell, inputs)
    np.testing.assert_allclose(derivation.hidden, hidden, rtol=0, atol=1e-15)
    if cell == "lstm":
        np.testing.assert_allclose(derivation.cell[-1], last, rtol=0, atol=1e-15)


@each_cell
def test_every_equation_that_is_written_holds(cell, rng):
    """Read and computed again, to what five decimals can say; the last ones are the states."""
    inputs = rng.normal(0, 2, (4, 2))
    derivation = derive(cell, inputs)
    functions = {"tanh": math.tanh, "exp": math.exp, "__builtins__": {}}
    results = []
    for line in derivation.lines:
        if line.startswith("    unit "):
            values = [eval(part, functions) for part in line.split(":  ")[1].split(" = ")]
            assert len(values) >= 2 and np.ptp(values) < 3e-5, line
            results.append(values[-1])
    assert len(results) == len(inputs) * 2 * {"srn": 4, "lstm": 7}[cell]
    np.testing.assert_allclose(results[-2:], derivation.hidden[-1], rtol=0, atol=6e-6)


def test_what_is_shown():
    code, out, err = call(*SOME)
    assert code == 0 and err == "", out + err
    for answer in np.concatenate([*ANSWERS.values()]):
        assert f" = {answer:.5f}\n" in out
    for text in ("tanh(0.32913) = 0.31774", "1 / (1 + exp(-0.20000)) = 1 / (1 + 0.81873) = 0.54983", "bias_hh"):
        assert text in out
    assert "W = | 0.1  0.2 |" in out and out.count("the book's result") == 2


@pytest.mark.parametrize("name", backends.NAMES)
@each_cell
def test_both_frameworks_agree(name, cell):
    """In every implementation that can run here."""
    loaded(name)
    code, out, _ = call("--cell", cell, "--backend", name)
    wanted = {
        f"{name}, {kind}"
        for kind in implementations.IMPLEMENTATIONS
        if kind != "fast" or not implementations.why_not_fast("cpu")
    }
    assert code == 0 and verdicts(out) == dict.fromkeys({"the book's result", "core.models.model", *wanted}, "pass")


@pytest.mark.parametrize("name", backends.NAMES)
@pytest.mark.parametrize("wrong", ["encoder.weight_ih_l0", "encoder.weight_hh_l0", "encoder.bias_hh_l0"])
def test_a_wrong_weight_is_found(name, wrong, monkeypatch, rng):
    """In the reference and the framework alike; h_0 is zero, so U shows in the SRN's second step alone."""
    loaded(name)
    right = worked_example.arrays

    def planted(cell):
        found = right(cell)
        found[wrong] = found[wrong] + rng.uniform(1e-6, 1e-3, found[wrong].shape)
        return found

    monkeypatch.setattr(tasks.derive, "arrays", planted)
    code, out, _ = call("--cell", "srn", "--backend", name)
    found = verdicts(out)
    assert code == 1 and found.pop("the book's result") == "pass" and set(found.values()) == {"FAIL"}


@each_cell
def test_a_wrong_cell_is_found_where_it_is(cell, monkeypatch):
    """In the reference alone; NaN is no pass."""
    right = CELLS[cell]
    for fault in (1e-11, np.nan):
        monkeypatch.setitem(CELLS, cell, lambda *x, off=fault: tuple(part + off for part in right(*x)))
        code, out, _ = call("--cell", cell, *SOME)
        found = verdicts(out)
        assert code == 1 and found.pop("core.models.model") == "FAIL" and set(found.values()) == {"pass"}


def test_a_wrong_answer_is_found(monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda name: False)
    monkeypatch.setitem(worked_example.ANSWERS, "lstm", ANSWERS["lstm"] + [0, 1e-5])
    code, out, _ = call()
    assert code == 1 and out.count("FAIL") == 1 and "FAIL  by hand ~ the book's result" in out


def test_a_framework_that_is_not_there_is_said(monkeypatch):
    """Or refused, if it was asked for."""
    monkeypatch.setattr(backends, "installed", lambda name: False)
    code, out, _ = call("--cell", "srn")
    assert code == 0 and verdicts(out).keys() == {"the book's result", "core.models.model"}
    for name in backends.NAMES:
        assert f"not checked against {name}: its framework is not installed" in out
    code, out, err = call("--backend", "torch")
    assert code == 2 and out == "" and err.count("\n") == 1 and "not installed" in err


def test_without_the_compiled_layers_the_rest_is_checked(monkeypatch):
    if not SOME:
        pytest.skip("no framework is installed")
    monkeypatch.setattr(backends.kernels, "_load", lambda: "it was not compiled")
    code, out, _ = call("--cell", "srn", *SOME)
    found = verdicts(out)
    assert code == 0 and f"{SOME[1]}, loop" in found and f"{SOME[1]}, fast" not in found
    assert "not checked with implementation fast: it was not compiled" in " ".join(out.split())


def test_numbers_of_ones_own(rng):
    numbers = rng.normal(0, 3, (3, 2)).round(3)
    argv = [part for pair in numbers for part in ("--input", *pair)]
    code, out, err = call(*argv, *SOME)
    assert code == 0, out + err
    assert "not checked against the book" in out and "step 3:" in out and "the book's result" not in verdicts(out)
    assert f"x_3 = ({numbers[2, 0]:.5f}, {numbers[2, 1]:.5f})" in out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--cell", "gru"), "choose one of srn, lstm"),
        (("--backend", "jax"), "unknown backend 'jax'"),
        (("--input", "nan", "1"), "--input nan"),
        (("--input", "1", "1e9"), "--input 1e+09"),
        (("--input", "1"), "expected 2 arguments"),
        (("--input", "a", "b"), "invalid float"),
        (("more",), "unrecognized"),
    ],
)
def test_bad_input_is_one_line(argv, says):
    code, out, err = call(*argv)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1 and says in err
