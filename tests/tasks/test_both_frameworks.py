"""`--backend both` of the textbook's experiments: both frameworks by one command, stopped, gone on with, refused, and
the pages about them. That of tasks on texts is in test_compare.py.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backends
from core.report.exploding import PICTURES, Figures
from core.report.runs import read_run
from tasks import digit_sum, exploding, imdb
from tasks.cli.console import run_program
from tasks.run import both_frameworks
from tests.conftest import snapshot
from tests.core.report.pages import fits, read, stands_alone

ROOT = Path(__file__).parents[2]
SUMS = ("--cell", "lstm", "residual_srn", "--lengths", 5, 8, "--seeds", 3, 11, "--epochs", 6, "--eval-interval", 40)
GRADIENTS = ("--length", 6, "--seeds", 1, 4, "--epochs", 3, "--vanishing-epochs", 2)
PROGRAMS = {"digit_sum": (digit_sum, SUMS), "exploding": (exploding, GRADIENTS)}
each_program = pytest.mark.parametrize("name", PROGRAMS)

pytestmark = pytest.mark.skipif(
    not all(map(backends.installed, backends.NAMES)), reason="trains in both frameworks, and one is not installed"
)


def call(program, *argv: object) -> int:
    return run_program(program.main, [str(part) for part in argv])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train_here(patch: pytest.MonkeyPatch, program) -> None:
    """Let `--backend both` of a program train in this process, which is cheaper."""
    train = lambda task, argv: (run_program(program.main, argv), False)  # noqa: E731
    patch.setattr(both_frameworks, "_run_child", train)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> dict[str, Path]:
    """Train with both backends; no test changes the folders."""
    root = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        for name, (program, options) in PROGRAMS.items():
            train_here(patch, program)
            fresh = ("--data-seed", "fresh") if program is digit_sum else ()
            assert call(program, "--backend", "both", *options, *fresh, "--out", root / name) == 0
    return {name: root / name for name in PROGRAMS}


@pytest.fixture
def refused(tmp_path, capfd):
    """Calls the program and expects one line, exit code 2, and nothing created or changed."""

    def check(program, *argv: object, says: str) -> None:
        before = snapshot(tmp_path)
        capfd.readouterr()  # of calls before
        code, shown = call(program, *argv), capfd.readouterr()
        assert code == 2 and shown.out == "" and shown.err.count("\n") == 1, shown
        assert says in shown.err, shown.err
        assert snapshot(tmp_path) == before

    return check


def results(folder: Path) -> list[dict]:
    """Those of each framework."""
    return [json.loads((folder / name / "results.json").read_text()) for name in backends.NAMES]


def answers(run: Path) -> list[list[str]]:
    """Label and predicted class by row."""
    with (run / "predictions.csv").open(newline="") as stream:
        return [row[1:3] for row in list(csv.reader(stream))[1:]]


# ---- the pages


@pytest.mark.slow
@each_program
def test_page_is_self_contained_and_small(name, finished):
    folder = finished[name]
    assert {path.name for path in folder.iterdir()} == {"plan.json", "report.html", *backends.NAMES}
    assert (folder / "report.html").stat().st_size < 1_500_000
    page = read(folder / "report.html")
    stands_alone(page, images=name == "exploding")
    for own, found in zip(backends.NAMES, results(folder), strict=True):
        assert found["backend"] == own and found["versions"][own] in page.text
    same = {"digit_sum": "spec is identical in both frameworks.", "exploding": "Both frameworks use the same spec."}
    assert same[name] in page.text


def test_page_shows_the_accuracies_of_the_results(finished):
    folder = finished["digit_sum"]
    page = read(folder / "report.html")
    one, two = results(folder)
    table = page.table("accuracy")
    assert len(table) == len(one["rows"]) == 4
    for row, first, second in zip(table, one["rows"], two["rows"], strict=True):
        assert row["cell and length"] == f"{first['cell']}, length {first['length']}"
        for part in ("test", "dev"):
            means = [float(np.mean(own[part])) for own in (first, second)]
            assert [row[f"{part}, {name}"] for name in backends.NAMES] == [f"{mean:.4f}" for mean in means]
            assert float(row[f"{part} difference"]) == pytest.approx(means[0] - means[1], abs=6e-5)
    # Of each cell accuracy over length, and of each cell and length the losses.
    assert [tag for tag, _ in page.tags].count("svg") == 2 + 4


def test_page_compares_each_model_with_its_own_pair(finished):
    folder = finished["digit_sum"]
    page = read(folder / "report.html")
    models = {row["model"]: row for row in page.table("models")}
    assert len(models) == 8
    for row in page.table("agreement"):
        cell, length = row["cell and length"].split(", length ")
        summed = np.zeros(3, dtype=int)
        for seed in (3, 11):
            pair = [folder / name / cell / f"L{length}-seed{seed}" for name in backends.NAMES]
            specs = [read_run(path, "").experiment for path in pair]
            assert specs[0] == specs[1] and specs[0].data.seed == specs[1].data.seed
            rows = [(a == la, b == lb, a == b) for (la, a), (lb, b) in zip(*map(answers, pair), strict=True)]
            counts = [sum(own[2] for own in rows), rows.count((True, False, False)), rows.count((False, True, False))]
            own = models[f"{row['cell and length']}, seed {seed}"]
            right = [own[f"only {name} right"] for name in backends.NAMES]
            assert [own["agree"], *right] == list(map(str, counts))
            for path, name in zip(pair, backends.NAMES, strict=True):
                accuracy = json.loads((path / "result.json").read_text())["test"]["accuracy"]
                assert own[f"test, {name}"] == f"{accuracy:.4f}"
            summed += counts
        right = [row[f"only {name} right"] for name in backends.NAMES]
        assert [row["agree"], *right, row["differ"]] == [*map(str, summed), str(200 - summed[0])]
    for row in page.table("time"):
        assert (row["models"], row["steps"]) == ("4", "228")
        for name in backends.NAMES:
            assert row[f"training, {name}"].endswith(" s") and row[f"peak memory, {name}"].endswith(" MB")


def test_page_shows_the_figures_of_exploding(finished):
    folder = finished["exploding"]
    page = read(folder / "report.html")
    rows = {row[""]: row for row in page.table("fields")}
    for name, tree in zip(backends.NAMES, results(folder), strict=True):
        norms = np.array(tree["training"]["not clipped"]["norms"]["W"])
        peak = rows[f"not clipped: peak in {len(norms)} steps"][name]
        assert float(peak.split()[0].replace(",", "")) == pytest.approx(np.median(norms.max(axis=0)), rel=6e-3)
        for way in ("not clipped", "clipped"):
            tests = tree["training"][way]["test_accuracy"]
            assert rows[f"{way}: test accuracy"][name] == f"{np.mean(tests):.4f}"
            assert rows[f"{way}: test, by seed"][name] == " ".join(f"{value:.2f}" for value in tests)
        states = {part: np.array(own) for part, own in tree["state_gradients"]["trained"].items()}
        share = np.median(states["lstm c"][0] / states["lstm h"][-1])
        assert Figures.of(tree).reach["trained"]["lstm c"] == share
        assert rows["trained lstm c: gradient at the first state"][name] == f"{share:.2g}"
        power = tree["powers"]["trained"]
        assert rows["trained srn: spectral radius of U"][name].startswith(f"{np.median(power['radius']):.3f} (")
        assert tree["seconds"] > 0 and f"{tree['peak_memory_mb']:,} MB" in page.text
    shown = [own["src"].partition(",")[2] for tag, own in page.tags if tag == "img"]
    files = [(folder / name / f"{picture}.png").read_bytes() for picture in PICTURES for name in backends.NAMES]
    assert [base64.b64decode(own) for own in shown] == files


@pytest.mark.slow
@each_program
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_in_a_browser(name, width, finished, tmp_path):
    fits(read(finished[name] / "report.html"), width, tmp_path)


def test_page_names_missing_files(finished, tmp_path):
    for name in PROGRAMS:
        shutil.copytree(finished[name], tmp_path / name)
        (tmp_path / name / "report.html").unlink()
    (tmp_path / "digit_sum" / "torch" / "lstm" / "L5-seed3" / "predictions.csv").unlink()
    (tmp_path / "exploding" / "torch" / "norms.png").unlink()
    for name, (program, _) in PROGRAMS.items():
        assert call(program, "--resume", name) == 0
    page = read(tmp_path / "digit_sum" / "report.html")
    assert "torch/lstm/L5-seed3: predictions.csv is missing" in page.text and len(page.table("models")) == 7
    assert sum(int(page.table("agreement")[0][name]) for name in ("agree", "differ")) == 100
    page = read(tmp_path / "exploding" / "report.html")
    assert "torch: norms.png is missing" in page.text
    assert [tag for tag, _ in page.tags].count("img") == 2 * len(PICTURES) - 1
    (tmp_path / "exploding" / "report.html").unlink()
    (tmp_path / "exploding" / "torch" / "results.json").write_text(json.dumps({"experiment": {}, "training": {}}))
    assert call(exploding, "--resume", "exploding") == 2
    assert not (tmp_path / "exploding" / "report.html").exists()


# ---- stopping and going on


@pytest.mark.slow
@each_program
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_stops_training_and_resume_finishes(name, tmp_path, monkeypatch):
    """It reaches the training once; the program says how to go on, and does, one of them in processes."""
    program, options = PROGRAMS[name]
    argv = [sys.executable, "-u", "-m", f"tasks.{name}", "--backend", "both", *map(str, options), "--out", "run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*argv, "--dtype", "float64"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job would have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    said = ""
    for line in process.stdout:
        said += line
        if " step " in line:
            process.send_signal(signal.SIGINT)
            break
    said += process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "Traceback" not in said, said
    assert "Resume with:" in said and "--resume run" in said and f"2 of 2: {backends.NAMES[1]}" not in said
    assert not (tmp_path / "run" / "report.html").exists()
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == ({"plan.json", backends.NAMES[0]} if name == "digit_sum" else {"plan.json"})
    if name == "exploding":
        train_here(monkeypatch, program)
    assert call(program, "--resume", "run") == 0
    page = read(tmp_path / "run" / "report.html")
    assert '"dtype": "float64"' in page.text
    if name == "digit_sum":
        assert f"lstm in {backends.NAMES[0]}/lstm/L5-seed3 was stopped and resumed" in page.text


@pytest.mark.slow
@each_program
def test_resume_does_not_retrain_finished_runs(name, finished, tmp_path, refused, monkeypatch):
    program, _ = PROGRAMS[name]
    train_here(monkeypatch, program)
    run = shutil.copytree(finished[name], tmp_path / "run")
    first, second = backends.NAMES
    refused(program, "--resume", "run", says="run is already finished; see the report run/report.html")
    before = (run / first / "results.json").stat().st_mtime_ns
    shutil.rmtree(run / second)
    refused(program, "--resume", "run", says="a run is unfinished; first remove run/report.html")
    (run / "report.html").unlink()
    assert call(program, "--resume", "run") == 0
    assert (run / first / "results.json").stat().st_mtime_ns == before
    again, then = results(run)[1], results(finished[name])[1]
    same = "rows" if name == "digit_sum" else "training"
    assert again[same] == then[same]
    # Begun, and nothing in it to go on with.
    (run / "report.html").unlink()
    shutil.rmtree(run / second)
    (run / second).mkdir()
    refused(program, "--resume", "run", says=f"run/{second}: {'ended before' if name == 'digit_sum' else 'cannot be'}")


# ---- mistakes


@pytest.mark.slow
@each_program
def test_errors_leave_nothing_behind(name, refused, tmp_path, capfd):
    program, options = PROGRAMS[name]
    both = ("--backend", "both", *options)
    refused(program, *both, "--seeds", "-1", says="--seeds")
    refused(program, *both, "--epochs", "0", says="epochs")
    refused(program, *both, "--set", "data.copies=0", says="copies")
    (tmp_path / "there").mkdir()
    refused(program, *both, "--out", "there", says="there: exists")
    # What only the training process sees.
    out = {"digit_sum": (), "exploding": ("--out", "new/run")}[name]
    assert call(program, *both, "--impl", "builtin", *out) == 2
    assert "do not support ensemble training" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@each_program
def test_resume_refuses_runs_of_other_programs(name, finished, refused, tmp_path):
    program, _ = PROGRAMS[name]
    run = shutil.copytree(finished[name], tmp_path / "run")
    (run / "report.html").unlink()
    other = next(own for key, (own, _) in PROGRAMS.items() if key != name)
    message = f"run: run of program {program.__name__}, expected {other.__name__}: use python -m {program.__name__}"
    refused(other, "--resume", "run", says=message)
    refused(imdb, "--resume", "run", says=f"use python -m tasks.{name}")
    refused(program, "--resume", "run", "--backend", "torch", says="got --backend torch: omit it")
    refused(program, "--resume", "run", "--seeds", 5, says="omit --seeds")
    refused(program, "--resume", "run/torch", "--backend", "both", says="run/torch: ")
    refused(program, "--resume", "nowhere", says="nowhere: no such run folder")
    plan = {**json.loads((run / "plan.json").read_text()), "digest": None}
    (run / "plan.json").write_text(json.dumps({**plan, "options": "--seeds 1"}))
    refused(program, "--resume", "run", says="plan.json: no valid options, the file is damaged")
    (run / "plan.json").write_text(json.dumps({**plan, "program": None, "experiment": {"task": "imdb"}}))
    refused(program, "--resume", "run", says="use python -m tasks.imdb")


@each_program
def test_both_needs_every_framework(name, refused, monkeypatch):
    program, options = PROGRAMS[name]
    missing = backends.NAMES[-1]
    monkeypatch.setattr(backends, "installed", lambda own: own != missing)
    refused(program, "--backend", "both", *options, says="not installed")


def test_make_installs_both_frameworks():
    make = shutil.which("make")
    if not make:
        pytest.skip("make is not installed")
    done = subprocess.run([make, "-n", "imdb", "BACKEND=both", "VENV=none"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'.[all]'" in done.stdout and "[both]" not in done.stdout
    assert "-m tasks.imdb --backend both" in done.stdout
