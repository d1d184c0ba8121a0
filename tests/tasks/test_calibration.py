"""Calibrated predictions of a run, as a user asks for them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import tasks.classify
from core.calibration import with_temperature
from core.train.run_folder import RunFolder
from tests.conftest import INSTALLED, check_refused, fresh_rng, run_main

SIZES = ("--hidden", 4, "--embedding-dim", 4, "--epochs", 3, "--batch-size", 8, "--lr", 0.05, "--no-baseline")


@pytest.fixture(scope="module", params=[*INSTALLED, "ngrams"])
def run(request, tmp_path_factory):
    """A finished run of three classes that single words tell, most of the time. No test changes it."""
    root, rng = tmp_path_factory.mktemp("calibration"), fresh_rng()
    words = {"bad": ["dull", "awful"], "fair": ["so-so", "plain"], "good": ["fine", "lovely"]}
    rows = []
    for number in range(150):
        label = rng.choice(list(words))
        told = rng.choice(words[label] if rng.random() < 0.8 else words[rng.choice(list(words))])
        rows.append((f"film {told} {rng.choice(['a', 'the', 'it'])} own{number}", label))
    with (root / "train.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    which = (
        ("--encoder", "ngrams") if request.param == "ngrams" else ("--backend", request.param, *SIZES, "--no-ngrams")
    )
    path = root / "run"
    argv = (root / "train.csv", "--cache-dir", root / "cache", "--device", "cpu", "--dev-share", 0.3, *which)
    done = run_main(tasks.classify.main, *argv, "--out", path)
    assert done.code == 0, done.err
    return path, done.out


def predicted(path, out, *argv) -> list[dict[str, str]]:
    done = run_main(tasks.classify.main, "predict", path, "--file", path.parent / "train.csv", "--out", out, *argv)
    assert done.code == 0, done.err
    with out.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def shares(rows) -> np.ndarray:
    return np.array([[float(row[f"p_{name}"]) for name in ("bad", "fair", "good")] for row in rows])


def test_the_result_and_the_picture(run):
    path, out = run
    own = json.loads((path / "result.json").read_text())["calibration"]
    dev = own["dev"]
    assert sum(dev["before"]["counts"]) == sum(dev["after"]["counts"]) > 20
    assert (path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    error = 100 * own["test"]["after"]["error"]
    assert f"with --calibrate {error:.1f} %" in " ".join(out.split())
    assert len(own["coverage"]) == 100 and own["coverage"][0][0] == 1.0


def test_calibrated_probabilities(run, tmp_path):
    path, _ = run
    temperature = RunFolder.open(path).read_result()["calibration"]["temperature"]
    plain, own = (predicted(path, tmp_path / name, *more) for name, more in (("a", ()), ("b", ("--calibrate",))))
    assert [row["predicted"] for row in plain] == [row["predicted"] for row in own]
    np.testing.assert_allclose(shares(own), with_temperature(shares(plain), temperature), atol=2e-5)


def test_least_probability(run, tmp_path):
    path, _ = run
    own = predicted(path, tmp_path / "a", "--calibrate")
    minimum = float(np.median(shares(own).max(axis=1)).round(4))
    sure = predicted(path, tmp_path / "b", "--min-probability", minimum)
    for row, other, most in zip(own, sure, shares(own).max(axis=1), strict=True):
        if abs(most - minimum) > 1e-4:
            assert other["predicted"] == (row["predicted"] if most > minimum else "?")
    assert {row["predicted"] for row in sure} > {"?"}
    done = run_main(tasks.classify.main, "predict", path, "--min-probability", 0.999, "film", "dull film")
    lines = done.out.splitlines()
    assert done.code == 0 and all(line.startswith("?\t") for line in lines) and len(lines) == 2
    assert "answered 0 of 2 texts (0.0%), the others ?; on dev" in " ".join(done.err.split())


@pytest.mark.parametrize(("minimum", "reached"), [("0.29", "0.29"), ("0.835", "0.83"), ("0.58", "0.58")])
def test_the_figures_on_dev_are_those_of_the_probability_that_is_named(run, minimum, reached):
    path, _ = run
    share, accuracy = RunFolder.open(path).read_result()["calibration"]["coverage"][int(reached[2:])]
    done = run_main(tasks.classify.main, "predict", path, "--min-probability", minimum, "dull film")
    told = f"{share:.1%} reach {reached}, accuracy {accuracy:.4f} on these" if share else f"no text reaches {reached}"
    assert done.code == 0 and f"on dev {told}" in " ".join(done.err.split())


def test_refused(run, tmp_path):
    path, _ = run
    main, fixed = tasks.classify.main, ("predict", path, "film")
    check_refused(main, *fixed, "--min-probability", 80, says="give a number between 0 and 1", folder=path)
    check_refused(main, *fixed, "--calibrate", "--explain", says="omit --calibrate and", folder=path)
