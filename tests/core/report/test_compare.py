"""`tasks.compare` and `--backend both`: what the page says, that it needs nothing else, and how the programs refuse."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.compare
import tasks.digit_sum
import tasks.imdb
import tasks.run.both_frameworks
import tasks.run.child
import tasks.run.train
from core.data.sources import imdb
from core.data.sources.lookup import LONGEST, shorten
from core.report.compare import Pair, differences
from core.report.runs import read_run
from core.train.run_folder import RunFolder
from tasks.cli.console import run_program
from tests.conftest import ROOT, Done, check_refused, run_main, stop_at
from tests.core.report.pages import Page, fits, read, stands_alone
from tests.finished_runs import EACH, HOSTILE, TINY, FinishedRuns
from tests.run_files import edited

CHILD = (
    "import runpy, sys; from core.data.sources import imdb; imdb.PER_CLASS = int(sys.argv.pop(1));"
    " runpy.run_module('tasks.imdb', run_name='__main__', alter_sys=True)"
)


def compare(*argv: object) -> Done:
    return run_main(tasks.compare.main, *argv)


def child_command(program: str, argv: list[str]) -> list[str]:
    """The training program on the small data."""
    return [sys.executable, "-c", CHILD, str(EACH), *argv]


@dataclass(frozen=True)
class Place:
    """The finished runs, and one of another spec."""

    shared: FinishedRuns
    other: Path

    @property
    def runs(self) -> dict[str, Path]:
        return {**self.shared.runs, "other": self.other}

    @property
    def pair(self) -> list[Path]:
        return [self.shared.any_run, self.other]

    def report(self, out: Path, *runs: object) -> Page:
        done = compare(*runs, "--out", out, "--cache-dir", self.shared.cache)
        assert done.code == 0, done.err
        return read(out)


@pytest.fixture(scope="module", autouse=True)
def small_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", EACH)
        patch.setattr(tasks.run.child, "command", child_command)
        yield


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory, finished_runs, small_data) -> Place:
    other = tmp_path_factory.mktemp("compare") / "other"
    options = ("--backend", finished_runs.backend, "--epochs", 2, "--seed", 1, "--cell", "gru", "--hidden", 6)
    assert finished_runs.train(*options, "--out", other).code == 0
    return Place(finished_runs, other)


@pytest.fixture
def copies(place, tmp_path) -> list[Path]:
    """Two runs to be changed."""
    return [Path(shutil.copytree(path, tmp_path / "copies" / path.name)) for path in place.pair]


@pytest.fixture
def both_frameworks(place):
    if len(place.runs) < 1 + len(backends.NAMES):
        pytest.skip("needs both frameworks")


def rewrite_predictions(run: Path, change) -> None:
    path = run / "predictions.csv"
    with edited(run / "result.json") as result:
        del result["files"]
    with path.open(newline="") as stream:
        header, *rows = list(csv.reader(stream))
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *filter(None, map(change, rows))])


# The page


def test_table_shows_the_results_of_the_runs(place, tmp_path):
    page = place.report(tmp_path / "page.html", *place.runs.values())
    rows = {row.pop("run"): row for row in page.table("runs")}
    assert rows.keys() == place.runs.keys()
    for name, path in place.runs.items():
        result = json.loads((path / "result.json").read_text())
        record = json.loads((path / "experiment.json").read_text())
        test, training, execution = result["test"], result["training"], record["execution"]
        seconds = float(np.mean(training["epoch_seconds"]))
        row, backend = rows[name], execution["backend"]
        for column, value, places in (
            ("test accuracy", test["accuracy"], 4),
            ("dev accuracy", result["dev"]["accuracy"], 4),
            ("macro F1", test["macro_f1"], 4),
            ("test loss", test["loss"], 4),
            ("s per epoch", seconds, 3 if seconds < 1 else 1),
        ):
            assert row[column] == f"{value:.{places}f}", column
        assert row["tokens/s"] == f"{training['tokens_per_second']:,.0f}"
        assert row["peak memory"] == f"{result['peak_memory_mb']:,} MB"
        assert row["device busy"] == f"{training['device_share']:.0%}" and 0 < training["device_share"] <= 1
        assert row["framework"] == f"{backend} {execution['versions'][backend]}"
        assert row["model"] == ("BiGRU 6" if name == "other" else "BiLSTM 8")
        assert (row["recipe"], row["seed"]) == ("lstm", "1" if name == "other" else "0")
        assert (row["device"], row["implementation"]) == ("cpu", execution["implementation"])
    figures = [(float(row["test accuracy"]), float(row["dev accuracy"])) for row in page.table("runs")]
    assert figures == sorted(figures, reverse=True)
    accuracies = [row["test accuracy"] for row in page.table("runs")]
    assert page.content.count('class="n best"') == accuracies.count(accuracies[0])


def test_runs_without_device_times(place, tmp_path):
    """And those of a framework that cannot tell."""
    copies = [Path(shutil.copytree(place.shared.any_run, tmp_path / name)) for name in ("before", "untold")]
    for path in copies:
        with edited(path / "result.json") as result:
            assert result["training"].pop("device_share") > 0
            if path.name == "untold":
                result["training"]["device_share"] = None
    page = place.report(tmp_path / "page.html", *copies)
    assert [row["device busy"] for row in page.table("runs")] == ["\u2013"] * 2


def test_differing_fields_of_specs(place, tmp_path):
    """Only the fields that differ, a column for each run."""
    page = place.report(tmp_path / "page.html", *place.pair)
    first, second = (row["run"] for row in page.table("runs"))
    own = {"other": ("gru", "6", "2", "1"), place.pair[0].name: ("lstm", "8", "6", "0")}
    fields = {row.pop(""): row for row in page.table("fields")}
    assert list(fields) == ["model.encoder.cell", "model.encoder.hidden_size", "training.epochs", "training.seed"]
    for name in (first, second):
        assert tuple(fields[path][name] for path in fields) == own[name]
    assert "Their specs differ in 4 fields." in page.text
    assert page.text.count('"bucket_batches"') == 2  # the whole specs, folded away


def test_same_spec_in_both_frameworks(place, tmp_path, both_frameworks):
    page = place.report(tmp_path / "page.html", *(place.runs[name] for name in backends.NAMES))
    assert "None: the specs are identical." in page.text
    assert page.text.count('"bucket_batches"') == 1
    assert not differences([read_run(place.runs[name], name).experiment for name in backends.NAMES])


def test_texts_with_different_predictions(place, copies, tmp_path):
    """Planted: the second run turns three answers, with known probabilities."""
    shutil.copy(copies[0] / "predictions.csv", copies[1] / "predictions.csv")
    with (copies[0] / "predictions.csv").open(newline="") as stream:
        before = {row["id"]: row for row in csv.DictReader(stream)}
    turned = {"test/neg/3_2": 0.91, "test/neg/1_2": 0.83, "test/pos/0_9": 0.77}

    def turn(row):
        if row[0] not in turned:
            return row
        answer, share = ("negative" if row[2] == "positive" else "positive"), turned[row[0]]
        shares = [share, 1 - share] if answer == "negative" else [1 - share, share]
        return [row[0], row[1], answer, *(f"{value:.6f}" for value in shares)]

    rewrite_predictions(copies[1], turn)
    page = place.report(tmp_path / "page.html", *copies)
    (row,) = page.table("pairs")
    assert (row["agree"], row["differ"]) == (str(2 * EACH - 3), "3")
    right = sum(before[name]["label"] == before[name]["predicted"] for name in turned)
    names = [row["run"] for row in page.table("runs")]
    counts = [row["only first right"], row["only second right"]]
    if names[0] == copies[1].name:
        counts.reverse()
    assert counts == [str(right), str(3 - right)]
    articles = re.findall(r"<article>.*?</article>", page.content, re.DOTALL)
    assert len(articles) == 3
    for article in articles:
        shown = " ".join(Page(article).words)
        name = next(name for name in turned if name in shown)
        old = before[name]
        answers = {copies[0].name: (old["predicted"], float(old[f"p_{old['predicted']}"]))}
        other = "negative" if old["predicted"] == "positive" else "positive"
        answers[copies[1].name] = (other, turned[name])
        text = " ".join(shown.split())
        for run, (answer, share) in answers.items():
            verdict = "right" if answer == old["label"] else "wrong"
            assert f"{run}: {answer}, {verdict} ({share:.3f})" in text
        assert f"{name} true: {old['label']}" in text
    assert all(name in page.text for name in turned) and HOSTILE in page.text


def test_markup_in_texts_and_names_is_escaped(place, copies, tmp_path):
    """In reviews, in names of runs, and in what a damaged folder says."""
    rewrite_predictions(copies[1], lambda row: [*row[:2], {"negative": "positive"}.get(row[2], "negative"), *row[3:]])
    with edited(copies[0] / "experiment.json") as tree:
        tree["execution"]["machine"]["system"] = "<b>Linux</b>"
    label = '<script>alert("a")</script>'
    done = compare(*copies, "--labels", label, "b&b", "--out", "page.html", "--cache-dir", place.shared.cache)
    assert done.code == 0, done.err
    page = read(tmp_path / "page.html")
    assert label in page.text and "b&b" in page.text and "<b>Linux</b>" in page.text
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "b", "iframe", "object", "link"})
    assert "<!--" not in page.content


def test_page_is_self_contained(place, tmp_path):
    """No script, no reference to the network or to another file, and it says so to the browser."""
    page = place.report(tmp_path / "page.html", *place.pair)
    stands_alone(page)
    assert [tag for tag, _ in page.tags].count("svg") == 2


def test_confusion_and_records(place, tmp_path):
    page = place.report(tmp_path / "page.html", *place.pair)
    matrices = [rows for _, rows in page.tables if rows[0][0] == "true \\ predicted"]
    found = sorted([[int(cell) for cell in row[1:]] for row in rows[1:]] for rows in matrices)
    assert found == sorted(RunFolder.open(path).read_result()["test"]["confusion"] for path in place.pair)
    _, execution = RunFolder.open(place.pair[0]).read_record()
    for part in ("description", "fingerprint"):
        assert execution["data"][part][:24] in page.text
    assert execution["started"].replace("T", " ") in page.text
    assert execution["machine"]["python"] in page.text and execution["machine"]["system"] in page.text


@pytest.mark.parametrize("name", ["metrics.jsonl", "predictions.csv"])
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage"])
def test_missing_or_damaged_files_are_named(place, copies, tmp_path, name, damage):
    """The rest of the page is as it would be."""
    file = copies[0] / name
    file.unlink() if damage == "missing" else file.write_bytes(b"" if damage == "empty" else b"\xff\x00,,\n1,2\n")
    page = place.report(tmp_path / "page.html", *copies)
    assert f"{copies[0].name}: {name}" in page.text
    assert len(page.table("runs")) == 2
    assert ("not compared" in page.text) == (name == "predictions.csv")
    assert [tag for tag, _ in page.tags].count("svg") == 2


def test_missing_texts_leave_their_ids(place, copies, tmp_path):
    rewrite_predictions(copies[1], lambda row: [*row[:2], {"negative": "positive"}.get(row[2], "negative"), *row[3:]])
    for copy in copies:
        with edited(copy / "experiment.json") as tree:
            assert tree["experiment"]["data"]["source"] == str(place.shared.archive)
            tree["experiment"]["data"]["source"] = str(tmp_path / "gone.tar.gz")
    page = place.report(tmp_path / "page.html", *copies)
    assert "The texts cannot be shown" in page.text and "gone.tar.gz" in page.text
    assert 1 <= page.content.count("<article>") <= 20 and 'class="text"' not in page.content


def test_other_texts_and_other_data_are_not_compared(place, copies, tmp_path):
    rewrite_predictions(copies[1], lambda row: None if row[0] == "test/pos/0_9" else row)
    page = place.report(tmp_path / "a.html", *copies)
    assert f"not compared, tested on different texts ({2 * EACH - 1} in common)" in page.text
    with edited(copies[1] / "experiment.json") as tree:
        tree["execution"]["data"]["fingerprint"] = "sha256:other"
    page = place.report(tmp_path / "b.html", *copies)
    assert "not compared, trained and tested on different data" in page.text
    assert "their figures are not comparable" in page.text and 'class="n best"' not in page.content


def test_digit_sum_models_and_other_tasks(place, tmp_path):
    name = place.shared.backend
    options = ("--cell", "lstm", "--lengths", 5, "--seeds", 0, 1, "--epochs", 6, "--hidden", 6, "--embedding-dim", 6)
    done = run_main(tasks.digit_sum.main, "--backend", name, "--device", "cpu", *options, "--out", "sums")
    assert done.code == 0, done.err
    models = [tmp_path / "sums" / "lstm" / f"L5-seed{seed}" for seed in (0, 1)]
    page = place.report(tmp_path / "page.html", *models)
    (row,) = page.table("pairs")
    assert int(row["agree"]) + int(row["differ"]) == 100
    assert "one of 2" in page.text and [tag for tag, _ in page.tags].count("svg") == 2
    for article in re.findall(r'<p class="text"[^>]*>([^<]*)</p>', page.content):
        assert re.fullmatch(r"(\d ){4}\d", article)
    page = place.report(tmp_path / "mixed.html", models[0], place.pair[0])
    assert "have different tasks" in page.text and "not compared, different tasks" in page.text
    done = compare("sums", models[0])
    assert done.code == 2 and "choose them, such as sums/lstm/L5-seed0" in done.err


def test_chance_is_that_of_mcnemar():
    """By hand: 2 of 10 to one side or fewer, twice, is 112 / 1024."""
    assert Pair(None, None, only_first_right=2, only_second_right=8).chance == pytest.approx(112 / 1024)
    assert Pair(None, None, only_first_right=0, only_second_right=0).chance == 1
    assert 0 <= Pair(None, None, only_first_right=4000, only_second_right=1).chance < 1e-300


def test_long_texts_are_shortened():
    words = "a wonderful film <br /><br />of   many words " * 40
    short = shorten(words)
    assert len(short) <= LONGEST + 2 and short.endswith(" \u2026") and "<br" not in short and "  " not in short
    assert shorten("short\ntext") == "short text"
    assert len(shorten("x" * 1000)) == LONGEST + 2


# The program


def test_terminal_output(place, tmp_path):
    done = compare(*place.pair, "--cache-dir", place.shared.cache)
    assert done.code == 0 and done.err == ""
    (report,) = tmp_path.glob("runs/compare-*/report.html")
    assert str(report.relative_to(tmp_path)) in done.out
    for path in place.pair:
        assert f"{RunFolder.open(path).read_result()['test']['accuracy']:.4f}" in done.out
        assert path.name in done.out
    assert "predictions agree" in done.out


@pytest.fixture
def refused(tmp_path):
    """Call a program and check its refusal: one line, and nothing changed in the test's folder."""

    def check(*argv: object, says: tuple[str, ...], main=tasks.compare.main) -> None:
        check_refused(main, *argv, says=says, folder=tmp_path)

    return check


def test_refusals(place, copies, refused, tmp_path):
    one, other = copies
    refused(one, says=(str(one), "at least two runs"))
    refused(says=("RUN",))
    refused(one, other, one / "..", says=("not a run folder",))
    refused(one, other, other / ".." / other.name, says=("duplicate run",))
    refused(one, tmp_path / "none", says=("none: no such run folder",))
    (tmp_path / "empty").mkdir()
    refused(one, "empty", says=("empty", "experiment.json is missing"))
    refused(one, other, "--labels", "a", says=("--labels", "expected 2 labels, got 1"))
    refused(one, other, "--labels", "a", "a", says=("--labels", "labels must be unique"))
    (tmp_path / "page.html").write_text("mine")
    refused(one, other, "--out", "page.html", says=("page.html", "exists"))
    refused(one, other, "--out", "page.html/in/it.html", "--cache-dir", place.shared.cache, says=("page.html",))
    assert (tmp_path / "page.html").read_text() == "mine"
    with edited(other / "result.json") as result:
        del result["test"]["loss"]
    refused(one, other, says=("result.json", "test.loss"))
    (other / "result.json").unlink()
    refused(one, other, says=("not finished", f"python -m tasks.imdb --resume {other}"))


# Both frameworks by one command


@pytest.mark.slow
def test_both_trains_each_backend_in_a_process(place, tmp_path, both_frameworks, refused):
    """The same start and the same batches, each in a process of its own; nothing is trained twice."""
    argv = ("--backend", "both", "--impl", "builtin", "--seed", 3, "--dtype", "float64", "--out", "both")
    done = place.shared.train(*argv)
    assert done.code == 0, done.err
    folder = tmp_path / "both"
    assert {path.name for path in folder.iterdir()} == {"plan.json", "report.html", *backends.NAMES}
    runs = [read_run(folder / name, name) for name in backends.NAMES]
    assert not differences([run.experiment for run in runs]) and runs[0].experiment.training.seed == 3
    for run in runs:
        assert run.execution["backend"] == run.label and run.execution["implementation"] == "builtin"
    one, two = ([line["loss"] for line in run.metrics] for run in runs)
    assert one == pytest.approx(two, abs=1e-9)
    page = read(folder / "report.html")
    assert {row["run"] for row in page.table("runs")} == set(backends.NAMES)
    assert "None: the specs are identical" in page.text and "both/report.html" in done.out
    refused("--resume", "both", main=tasks.imdb.main, says=("already finished", "both/report.html"))
    refused(*("--resume", "both", "--backend", "torch"), main=tasks.imdb.main, says=("got --backend torch: omit it",))
    resumed = ("--resume", folder / backends.NAMES[0], "--backend", "both")
    refused(*resumed, main=tasks.imdb.main, says=("run of a single backend",))
    refused("--backend", "both", "--out", "both", main=tasks.imdb.main, says=("both: exists",))


@pytest.mark.slow
def test_both_resumes_unfinished_runs(place, tmp_path, both_frameworks, refused, monkeypatch):
    """One finished, the other stopped on the way; then one that was never begun, which trains in this process."""
    first, second = (place.runs[name] for name in backends.NAMES)
    folder = tmp_path / "both"
    folder.mkdir()
    shutil.copytree(first, folder / first.name)
    with stop_at(3):
        assert place.shared.train("--backend", second.name, "--out", folder / second.name).code == 130
    experiment, _ = RunFolder.open(first).read_record()
    plan = {"format": 1, "kind": "both", "device": "cpu", "implementation": "auto"}
    (folder / "plan.json").write_text(json.dumps({**plan, "experiment": experiment.model_dump(mode="json")}))
    before = (folder / first.name / "result.json").stat().st_mtime_ns
    done = run_main(tasks.imdb.main, "--resume", folder, "--cache-dir", place.shared.cache)
    assert done.code == 0, done.err
    assert (folder / first.name / "result.json").stat().st_mtime_ns == before and "finished" in done.out
    resumed = read_run(folder / second.name, "resumed")
    assert [own["from_step"] for own in resumed.execution["segments"]] == [0, 3]
    assert "was stopped and resumed" in read(folder / "report.html").text
    shutil.rmtree(folder / second.name)
    refused("--resume", folder, main=tasks.imdb.main, says=("first remove", "report.html"))
    (folder / "report.html").unlink()
    train = lambda task, argv: (run_program(tasks.imdb.main, argv), False)  # noqa: E731
    monkeypatch.setattr(tasks.run.both_frameworks, "_run_child", train)
    done = run_main(tasks.imdb.main, "--resume", folder, "--cache-dir", place.shared.cache)
    assert done.code == 0, done.err
    assert read_run(folder / second.name, "again").result["test"] == read_run(second, "before").result["test"]
    assert (folder / "report.html").is_file()


def test_both_needs_every_framework(place, refused, monkeypatch):
    missing = backends.NAMES[-1]
    monkeypatch.setattr(backends, "installed", lambda name: name != missing)
    refused("--backend", "both", main=tasks.imdb.main, says=(f"backend {missing}", "not installed", "pip install"))


def test_both_leaves_nothing_when_refused(place, tmp_path, both_frameworks, capfd):
    done = place.shared.train("--backend", "both", "--impl", "none", "--out", "both")
    assert done.code == 2 and not (tmp_path / "both").exists()
    assert "unknown implementation" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_both_stops_cleanly(place, tmp_path, both_frameworks):
    """Ctrl-C reaches the training once; it saves, and the program says how to go on."""
    start = (
        "import sys, tasks.run.child, tasks.imdb\nfrom tasks.cli.console import run_program\n"
        f"tasks.run.child.command = lambda program, argv: [sys.executable, '-c', {CHILD!r}, '{EACH}', *argv]\n"
        "sys.exit(run_program(tasks.imdb.main, sys.argv[1:]))"
    )
    options = (
        "--data",
        place.shared.archive,
        "--cache-dir",
        place.shared.cache,
        "--device",
        "cpu",
        *TINY,
        "--epochs",
        100000,
        "--backend",
        "both",
    )
    argv = [sys.executable, "-c", start, *map(str, options), "--out", str(tmp_path / "both")]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    run = tmp_path / "both" / backends.NAMES[0]
    deadline = time.monotonic() + 60
    while not (run / "best.safetensors").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert f"--resume {tmp_path / 'both'}" in out and "Traceback" not in out
    assert "finishing this step and saving" in out and out.count("finishing this step and saving") == 1
    experiment, _ = RunFolder.open(run).read_record()
    assert RunFolder.open(run).read_last(experiment.model)[2].step > 0
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"plan.json", backends.NAMES[0]}


# In a browser


@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_in_a_browser(place, copies, tmp_path, width):
    """No wider than the window, nothing fetched, nothing on the console."""
    rewrite_predictions(copies[1], lambda row: [*row[:2], {"negative": "positive"}.get(row[2], "negative"), *row[3:]])
    fits(place.report(tmp_path / "page.html", *copies), width, tmp_path)
