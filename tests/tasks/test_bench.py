"""`tasks.bench`: the table of several models and seeds, stopped and resumed, in both frameworks, refused."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

import tasks.bench.__main__ as bench
import tasks.bench.training
import tasks.classify
from core.report.runs import read_run
from core.spec.experiment import Experiment, replace
from tasks.bench.models import MODELS, experiment_of
from tasks.bench.plan import Job
from tasks.bench.training import Times
from tasks.cli.console import run_program
from tasks.cli.recipes import recipe
from tests.conftest import INSTALLED, fresh_rng, run_main, snapshot, stop_at
from tests.core.report.pages import read, stands_alone

ROOT = Path(__file__).parents[2]
SMALL = ("--embedding-dim", 6, "--epochs", 2, "--batch-size", 8, "--lr", 0.03, "--dtype", "float64", "--device", "cpu")
SMALL += ("--set", "model.encoder.hidden_size=5", "--tokenizer", "words")
MODELS_OF_TEST, SEEDS = ("gru", "bilstm"), (3, 11)
CHOICE = ("--models", *MODELS_OF_TEST, "--seeds", *SEEDS)
CLOCKS = ("train_seconds", "tokens_per_second", "peak_memory_mb")


def make_table(path: Path, rng, each: int = 20) -> Path:
    """A table of texts of unequal length, one word included, whose words tell the label, with exceptions."""
    words = np.array(["film", "plot", "actor", "scene", "the", "a", "of", "and", "was", "it", "very"])
    told = {"good": ["wonderful", "loved", "fine"], "bad": ["awful", "hated", "dull"]}
    rows = []
    for label, own in told.items():
        for number in range(each):
            said = rng.choice(own, 1 if rng.random() < 0.8 else 0)
            rows.append(
                (" ".join([*rng.choice(words, 0 if number == 0 else rng.integers(1, 15)), *said]) or label, label)
            )
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def in_this_process(monkeypatch):
    """Train without a process per run, which is cheaper; a run ends as a process would."""

    def train(program: str, argv: list[str]) -> tuple[int, bool]:
        assert program == "tasks.classify"
        code = run_program(tasks.classify.main, argv)
        return code, code == 130

    monkeypatch.setattr(tasks.bench.training, "run_child", train)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return make_table(tmp_path_factory.mktemp("texts") / "train.csv", fresh_rng())


def call(*argv: object):
    return run_main(bench.main, *argv)


def figures(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV, without what a clock or the memory decides."""
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]


def test_stopped_and_resumed_gives_the_table_of_an_undisturbed_one(table, in_this_process, tmp_path, rng):
    name = INSTALLED[int(rng.integers(len(INSTALLED)))]
    argv = (table, *SMALL, *CHOICE, "--backend", name, "--cache-dir", tmp_path / "cache")
    done = call(*argv, "--out", "whole")
    assert done.code == 0, done.out + done.err
    assert f"model 3 of 4: {name}, gru, seed 11; about " in done.out
    with stop_at(int(rng.integers(2, 8))):
        stopped = call(*argv, "--out", "run")
    assert stopped.code == 130 and "--resume run" in stopped.out and not (tmp_path / "run" / "report.html").exists()
    # Between a run's folder and its spec: nothing to resume, and nothing in the way.
    (tmp_path / "run" / name / "bilstm-seed3").mkdir()
    with stop_at(int(rng.integers(2, 8))):
        assert call("--resume", "run", "--cache-dir", "cache").code == 130
    resumed = call("--resume", "run", "--cache-dir", "cache")
    assert resumed.code == 0, resumed.out + resumed.err
    for file in ("table.csv", "runs.csv"):
        assert figures(tmp_path / "run" / file) == figures(tmp_path / "whole" / file)
    assert len(figures(tmp_path / "run" / "runs.csv")) == 4
    parts = [(tmp_path / out / name / "gru-seed11" / "best.safetensors").read_bytes() for out in ("run", "whole")]
    assert parts[0] == parts[1]
    check_results(tmp_path / "whole", name)
    assert call("--resume", "run").code == 2


def check_results(folder: Path, name: str) -> None:
    """The table, Markdown and page hold the figures of the runs."""
    rows = {row["model"]: row for row in figures(folder / "table.csv")}
    assert list(rows) == list(MODELS_OF_TEST)
    page = read(folder / "report.html")
    stands_alone(page, images=True)
    shown = {row["model"]: row for row in page.table("runs") if "framework" not in row}
    markdown = (folder / "table.md").read_text(encoding="utf-8")
    for model in MODELS_OF_TEST:
        runs = [read_run(folder / name / f"{model}-seed{seed}", "") for seed in SEEDS]
        scores = [run.figure("test.accuracy") for run in runs]
        row = rows[model]
        assert float(row["test_accuracy"]) == mean(scores) and float(row["test_accuracy_std"]) == stdev(scores)
        assert float(row["dev_accuracy"]) == mean(run.figure("dev.accuracy") for run in runs)
        assert float(row["macro_f1"]) == mean(run.figure("test.macro_f1") for run in runs)
        assert int(row["parameters"]) == runs[0].parameters and row["seeds"] == "2"
        assert {run.experiment.training.seed for run in runs} == set(SEEDS)
        text = f"{mean(scores):.4f} ± {stdev(scores):.4f}"
        assert shown[MODELS[model].title]["test accuracy"] == text and f"| {MODELS[model].title} | {text} |" in markdown
        assert {run.execution["data"]["fingerprint"] for run in runs} == {runs[0].execution["data"]["fingerprint"]}
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(len(INSTALLED) < 2, reason="compares two frameworks, and one is not installed")
def test_both_frameworks_are_compared(table, in_this_process, tmp_path):
    done = call(
        table, *SMALL, "--models", "srn", "--seeds", 5, "--backend", "both", "--out", "run", "--cache-dir", "cache"
    )
    assert done.code == 0, done.out + done.err
    first, second = figures(tmp_path / "run" / "table.csv")
    assert [first.pop("framework"), second.pop("framework")] == INSTALLED
    assert first == second  # in float64, after two epochs
    (row,) = read(tmp_path / "run" / "report.html").table("agreement")
    assert row["differ"] == "0" and row["model"] == "SRN"
    assert float(row["largest difference"]) < 1e-6


def test_models_differ_in_encoder_and_pooling_only():
    for task in ("imdb", "reviews_zh"):
        base = recipe("default", task)
        specs = {name: experiment_of(name, base) for name in MODELS}
        assert len({own.model.encoder.label for own in specs.values()}) == len(specs)
        for name, own in specs.items():
            head = own.model.head.model_copy(update={"pooling": base.model.head.pooling})
            model = base.model.model_copy(update={"encoder": own.model.encoder, "head": own.model.head})
            assert own == base.model_copy(update={"model": model, "recipe": f"bench {name}"})
            assert head == base.model.head
        assert specs["bilstm"].model == base.model
    assert experiment_of("textcnn", recipe("default", "imdb")).model.encoder != (
        experiment_of("textcnn", recipe("default", "reviews_zh")).model.encoder
    )


def test_a_changed_width_reaches_the_recurrent_models():
    base = replace(Experiment(), {"model.encoder.hidden_size": 7})
    assert all(
        experiment_of(name, base).model.encoder.label.endswith(" 7") for name in ("srn", "gru", "lstm", "bilstm")
    )


def test_remaining_time_is_that_of_the_same_model(tmp_path, rng):
    jobs = [
        Job("torch", model, seed, tmp_path / f"{model}{seed}") for seed in (0, 1) for model in ("gru", "srn", "bow")
    ]
    times = Times(jobs)
    assert times.remaining(jobs) is None
    gru, srn = rng.random(2)
    times.add(jobs[0], gru)
    times.add(jobs[1], srn)
    # bow was never trained: the mean of the others stands for it.
    assert times.remaining(jobs[2:]) == pytest.approx((gru + srn) / 2 + gru + srn + (gru + srn) / 2)


@pytest.mark.parametrize(
    "argv, says",
    [
        ((), "missing DATA"),
        (("nowhere.csv",), "nowhere.csv: no such file or task"),
        (("imdb", "--models", "gru", "grru"), "--models grru: choose from bow, textcnn"),
        (("imdb", "--models", "gru", "gru"), "--models gru: given twice"),
        (("imdb", "--seeds", 1, 1), "--seeds 1: expected integers >= 0, each once"),
        (("imdb", "--seeds", -1), "--seeds -1"),
        (("imdb", "--text-column", "a"), "--text-column: options of a file of texts"),
        (("imdb", "--backend", "tensorflow"), "tensorflow"),
        (("imdb", "--models", "gru", "--impl", "quick"), "--impl quick: the model gru has fast"),
        (("imdb", "--models", "gru", "--epochs", 0), "--epochs 0"),
        (("--resume", "nowhere"), "nowhere: no such run folder"),
        (("--resume", "nowhere", "--epochs", 3, "--models", "gru"), "omit --models, --epochs"),
    ],
)
def test_mistakes_are_one_line(argv, says, tmp_path):
    done = call(*argv)
    assert done.code == 2 and done.err.count("\n") == 1 and done.err.startswith("error: "), done.err
    assert says in done.err and not list(tmp_path.iterdir())


def test_missing_data_leaves_nothing_behind(in_this_process, monkeypatch, tmp_path):
    import tasks.imdb

    def train(program: str, argv: list[str]) -> tuple[int, bool]:
        return run_program(tasks.imdb.main, argv), False

    monkeypatch.setattr(tasks.bench.training, "run_child", train)
    for out in ((), ("--out", "new/run")):
        done = call("imdb", "--data", "gone", *CHOICE, *out)
        assert done.code == 2 and done.err.count("\n") == 1 and "gone" in done.err, done.err
        assert not list(tmp_path.iterdir())


def test_a_damaged_plan_is_refused(table, in_this_process, tmp_path):
    argv = (table, *SMALL, "--models", "srn", "--seeds", 0, "--out", "run", "--cache-dir", "cache")
    with stop_at(1):
        assert call(*argv).code == 130
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    for change in ({"models": ["transformer"]}, {"seeds": []}, {"seeds": ["1"]}, {"models": 3}, {"task": "digit_sum"}):
        (tmp_path / "run" / "plan.json").write_text(json.dumps({**plan, **change, "digest": None}))
        before = snapshot(tmp_path)
        done = call("--resume", "run")
        assert done.code == 2 and "plan.json: not a plan of tasks.bench" in done.err and done.err.count("\n") == 1
        assert snapshot(tmp_path) == before
    (tmp_path / "run" / "plan.json").write_text(json.dumps({**plan, "kind": "both", "digest": None}))
    assert "not a folder of tasks.bench" in call("--resume", "run").err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_reaches_the_run_and_resume_finishes(table, tmp_path):
    """In real processes: the first run stops after a step, and the bench says how to resume."""
    argv = [sys.executable, "-u", "-m", "tasks.bench", str(table), *map(str, SMALL), "--models", "gru", "--seeds", "0"]
    argv += ["--epochs", "400", "--backend", INSTALLED[0], "--out", "run", "--cache-dir", "cache"]
    process = subprocess.Popen(
        argv,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
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
    assert said.count("Resume with:") == 2 and "python -m tasks.bench --resume run" in said
    run = tmp_path / "run" / INSTALLED[0] / "gru-seed0"
    assert (run / "last.safetensors").is_file() and not (run / "result.json").exists()
    assert next(itertools.islice((tmp_path / "run" / "specs").iterdir(), 1)).name == "gru.json"
