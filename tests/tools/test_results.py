"""The table of recipes: docs/results.md shows the stored figures, and the runner trains what is missing."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from core.errors import UserError
from core.train.run_folder import RunFolder
from tasks.cli.recipes import TASK_RECIPES
from tests.conftest import ROOT, check_refused, fresh_rng, run_main
from tools.results import __main__ as SCRIPT
from tools.results import page, picture, runner, stored

PAGE, STORED = ROOT / "docs" / "results.md", ROOT / "docs" / "results.json"


def row(recipe: str, framework: str, seed: int, test: float, **more: object) -> dict:
    sizes = {"train_texts": 100, "dev_texts": 10, "test_texts": 25000}
    ngrams = {"test": 0.9, "dev": 0.91, "seconds": 2.0}
    fixed = {"task": "imdb", "data": "official", "dev": test + 0.01, "seconds": 10.0 + seed, "parameters": 1234}
    own = {"recipe": recipe, "framework": framework, "seed": seed, "test": test, "date": "2026-01-02"}
    return {**fixed, **sizes, **own, "ngrams": ngrams, **more}


def test_page_shows_the_stored_figures():
    text = PAGE.read_text(encoding="utf-8")
    assert page.replaced(text, stored.read(STORED), str(PAGE)) == text, "run python -m tools.results --write"


def test_table_has_mean_deviation_and_range_of_the_seeds():
    rng = fresh_rng()
    seeds = [3, 10, 11, 12]
    values = (0.8 + rng.random(4) / 10).tolist()
    rows = [row("one", "torch", seed, value) for seed, value in zip(seeds, values, strict=True)]
    (line,) = [own for own in page.tables(rows).splitlines() if own.startswith("| one")]
    cells = [own.strip() for own in line.strip("|").split("|")]
    assert cells[:3] == ["one", "PyTorch", "3, 10-12 (2026-01-02)"]
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    assert cells[3] == f"**{mean:.4f}** \u00b1 {deviation:.4f} ({min(values):.4f} to {max(values):.4f})"
    assert cells[5:] == ["19", "1,234", "0.9000"]


def test_recipes_are_sorted_by_accuracy_and_data_sets_have_tables_of_their_own():
    rows = [
        row("worse", "torch", 0, 0.8),
        row("better", "paddle", 0, 0.9),
        row("better", "torch", 0, 0.7),
        row("better", "torch", 0, 0.99, data="packaged", ngrams=None),
    ]
    lines = [own for own in page.tables(rows).splitlines() if own.startswith(("**", "| better", "| worse"))]
    assert [own.split(" | ")[0:2] for own in lines[1:4]] == [
        ["| better", "PyTorch"],
        ["| better", "Paddle"],
        ["| worse", "PyTorch"],
    ]
    assert lines[4] == "**imdb, packaged data**: 100 train, 10 dev, 25,000 test." and lines[5].endswith("| - |")


def test_new_runs_replace_those_of_the_same_seed_alone():
    old = [row("one", "torch", 0, 0.8), row("one", "torch", 1, 0.81)]
    found = stored.merged(old, [row("one", "torch", 1, 0.9), row("one", "paddle", 1, 0.7)])
    assert [(own["framework"], own["seed"], own["test"]) for own in found] == [
        ("paddle", 1, 0.7),
        ("torch", 0, 0.8),
        ("torch", 1, 0.9),
    ]


def test_pages_without_markers_are_refused():
    with pytest.raises(UserError, match="a marker is missing"):
        page.replaced("# Results", [], "page.md")


def test_published_accuracies_have_a_source_and_are_in_the_table():
    text = page.ladder()
    for own in page.published():
        assert 0.5 < own["low"] <= own["high"] < 1 and own["source"]
        assert f"| {own['model']} | {own['low']:g}" in text


def test_writes_page_figures_and_picture_from_run_folders(finished_runs, tmp_path):
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    older = row("old", "torch", 0, 0.5)
    stored.write(tmp_path / SCRIPT.JSON, [older])
    folder = finished_runs.any_run.parent
    done = run_main(SCRIPT.main, folder, "--write", tmp_path / "page.md")
    assert done.code == 0, done.err
    rows = stored.read(tmp_path / SCRIPT.JSON)
    assert older in rows and len(rows) == 1 + len(finished_runs.runs)
    result = RunFolder(finished_runs.any_run).read_result()
    own = next(row for row in rows if row["framework"] == finished_runs.backend and row is not older)
    assert own["test"] == result["test"]["accuracy"] and own["seconds"] == result["training"]["seconds"]
    assert own["ngrams"]["test"] == result["baseline"]["test"]["accuracy"]
    written = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "| old |" in written
    assert written == page.replaced(text, rows, "page.md")
    assert (tmp_path / SCRIPT.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_runner_skips_finished_runs_and_resumes_stopped_ones(tmp_path, monkeypatch):
    calls = []

    def train(program: str, argv: list[str]) -> tuple[int, bool]:
        calls.append((program, argv))
        path = Path(argv[argv.index("--out") + 1]) if "--out" in argv else Path(argv[argv.index("--resume") + 1])
        path.mkdir(exist_ok=True)
        (path / "result.json").write_text("{}")
        return 0, False

    monkeypatch.setattr(runner, "run_child", train)
    done, stopped = tmp_path / "imdb-bow-torch-4", tmp_path / "imdb-bow-torch-5"
    for path, name in ((done, "result.json"), (stopped, "experiment.json")):
        path.mkdir()
        (path / name).write_text("{}")
    plan = runner.Plan("imdb", ["bow"], [4, 5], ["torch", "paddle"], tmp_path, ["--epochs", "1"])
    assert runner.run_missing(plan) == 0
    options = ["--recipe", "bow", "--seed", "4", "--backend", "paddle", "--epochs", "1"]
    assert [argv for _, argv in calls] == [
        [*options, "--out", str(tmp_path / "imdb-bow-paddle-4")],
        ["--resume", str(stopped)],
        [*(own if own != "4" else "5" for own in options), "--out", str(tmp_path / "imdb-bow-paddle-5")],
    ]
    assert runner.run_missing(plan) == 0 and len(calls) == 3


def test_runner_ends_with_the_code_of_a_run_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "run_child", lambda program, argv: (2, False))
    assert runner.run_missing(runner.Plan("imdb", ["bow"], [0, 1], ["torch"], tmp_path, [])) == 2
    (tmp_path / "imdb-bow-torch-0").mkdir()
    with pytest.raises(UserError, match="ended before its spec was written"):
        runner.run_missing(runner.Plan("imdb", ["bow"], [0], ["torch"], tmp_path, []))


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,1", "1-", "-2", "1.5"])
def test_invalid_seeds_are_refused(text):
    with pytest.raises(UserError, match="--seeds"):
        runner.parse_seeds(text)


def test_seeds_are_numbers_and_ranges():
    assert runner.parse_seeds("10-12,3") == [10, 11, 12, 3]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "nothing to read"),
        (["empty"], "no finished runs"),
        (["run", "--recipes", "none"], "--recipes none: unknown none"),
        (["run", "--task", "none"], "--task none: choose one of"),
        (["run", "--backends", "jax"], "--backends jax: unknown jax"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(argv, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_refused(SCRIPT.main, *argv, says=says, folder=tmp_path)


def test_picture_shows_official_runs_alone(tmp_path):
    rows = [row("one", name, seed, 0.89) for name in ("torch", "paddle") for seed in (0, 1)]
    picture.draw([*rows, row("small", "torch", 0, 0.7, data="packaged")], tmp_path / "both.png")
    picture.draw(rows, tmp_path / "official.png")
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "official.png").read_bytes()


def test_every_recipe_has_a_color():
    assert len(set(picture.COLORS)) == len(picture.COLORS) >= len(TASK_RECIPES["imdb"])


def test_stored_rows_are_complete():
    for own in json.loads(STORED.read_text(encoding="utf-8"))["runs"]:
        assert own.keys() >= set(stored.IDENTITY) | {"test", "dev", "seconds", "parameters", "ngrams", "date"}
