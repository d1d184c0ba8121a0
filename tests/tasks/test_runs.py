"""`tasks.runs` and the name `latest`, in the programs that read a run."""

from __future__ import annotations

import json
import shutil

import pytest
from rich.cells import cell_len

import tasks.compare
import tasks.imdb
import tasks.reviews_zh
import tasks.runs
from seqtwin.command.main import main as seqtwin
from tasks.runs import COLUMNS, _show, age_of
from tests.conftest import run_main
from tests.run_files import edited


@pytest.fixture
def folder(finished_runs, tmp_path, monkeypatch):
    """A folder with `runs/a` and the newer `runs/b`, which is the current one."""
    for name, started in (("b", "2026-03-01T00:00:00+00:00"), ("a", "2026-02-01T00:00:00+00:00")):
        shutil.copytree(finished_runs.any_run, tmp_path / "runs" / name)
        with edited(tmp_path / "runs" / name / "experiment.json") as tree:
            tree["execution"]["started"] = started
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_and_json_list_all_runs_and_notes_name_damaged_ones(folder, finished_runs):
    (folder / "runs" / "c").mkdir()
    (folder / "runs" / "c" / "experiment.json").write_text("{}")
    done = run_main(tasks.runs.main)
    assert done.code == 0 and done.err.count("note: runs/c/experiment.json: ") == 1 and done.err.count("\n") == 1
    head, *rows = [line.split() for line in done.out.splitlines()]
    assert head == list(COLUMNS) and sorted(row[0] for row in rows) == ["a", "b", "c"]
    result = json.loads((finished_runs.any_run / "result.json").read_text(encoding="utf-8"))
    figures = [f"{result[split]['accuracy']:.4f}" for split in ("dev", "test")]
    first = next(row for row in rows if row[0] == "b")
    assert first[1:8] == ["imdb", "lstm", finished_runs.backend, "finished", *figures, "accuracy"]
    trees = json.loads(run_main(tasks.runs.main, "runs", "--json").out)
    assert [own["path"] for own in trees if own["state"] == "finished"] == ["runs/b", "runs/a"]
    assert {own["test"] for own in trees} == {result["test"]["accuracy"], None}


def test_a_folder_without_runs_and_a_missing_one(tmp_path):
    done = run_main(tasks.runs.main, tmp_path)
    assert (done.code, done.out) == (0, f"no runs in {tmp_path}\n")
    done = run_main(tasks.runs.main, tmp_path / "missing")
    assert done.code == 2 and "missing: cannot be read" in done.err


@pytest.mark.parametrize("width", [30, 45, 60, 79, 100, 140])
def test_the_table_fits_the_terminal(width, capsys):
    names = ("imdb-torch-20260101-000000", "评论-torch-20260101-000000-这个名字很长很长很长", "x" * 90)
    rows = [dict(zip(COLUMNS, (name, *"0" * 8), strict=True)) for name in names]
    rows[0] |= {"state": "stopped at step 1,234", "figure": "exact match", "task": "reviews_zh", "recipe": "textcnn"}
    _show(rows, width)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and max(map(cell_len, lines)) <= width
    assert {"run", "state"} <= set(lines[0].split()) and ("test" in lines[0]) == (width > 30)
    assert ("recipe" in lines[0]) == (width == 140) and "\u2026" in lines[3]


def test_ages_have_one_unit():
    times = (0, 1.9, 119, 121, 2 * 3600, 86400, 2 * 86400, 729 * 86400, 3 * 365 * 86400, -5)
    assert [age_of(own) for own in times] == [
        *("0 s", "1 s", "119 s", "2 min", "2 h", "24 h", "2 days", "729 days", "3 years", "0 s"),
    ]


def test_latest_is_the_newest_finished_run(folder, finished_runs):
    wanted = run_main(tasks.imdb.main, "predict", finished_runs.any_run, "fine film")
    for program, argv in ((tasks.imdb.main, ("predict",)), (seqtwin, ("predict",)), (seqtwin, ("imdb", "predict"))):
        done = run_main(program, *argv, "latest", "fine film")
        assert (done.code, done.out, done.err) == (0, wanted.out, "note: latest is runs/b\n")
    (folder / "runs" / "b" / "result.json").unlink()
    assert run_main(seqtwin, "predict", "latest", "fine film").err == "note: latest is runs/a\n"
    done = run_main(tasks.compare.main, "latest", "runs/a")
    assert done.code == 2 and "duplicate run" in done.err
    done = run_main(seqtwin, "resume", "latest")
    assert "note: latest is runs/b\n" in done.err


def test_latest_of_another_task_is_none_of_this_program(folder):
    done = run_main(tasks.reviews_zh.main, "predict", "latest", "x")
    says = "error: latest: no finished run of reviews_zh in the folder runs: give the path of a run\n"
    assert (done.code, done.out, done.err) == (2, "", says)


def test_a_folder_named_latest_comes_first(folder):
    (folder / "runs" / "a").rename(folder / "latest")
    done = run_main(tasks.imdb.main, "predict", "latest", "fine film")
    assert (done.code, done.err) == (0, "")
