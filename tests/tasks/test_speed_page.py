"""The page that `tasks.speed --write` fills, from timings that were made up; and the time limit of a measurement."""

from __future__ import annotations

import json

import pytest

import tasks.speed.__main__ as program
from core.benchmark.timing import StepRow, fit_rounds
from core.errors import UserError
from tasks.speed import page
from tasks.speed.measure import Measurement
from tasks.speed.results import tree
from tests.conftest import run_main
from tests.tasks.test_speed import ROWS, TINY, plan_of, row_of

ABOUT = {
    "when": "2026-11-28T10:00:00+00:00",
    "seconds": 840.0,
    "machine": {"processor": "a processor"},
    "threads": 2,
    "dtype": "float32",
    "versions": {"numpy": "2.0", "cuda": "none"},
    "peak_by": "numpy",
}
EXPECTED = f"""\
| cell | shape | PyTorch, ms | PyTorch, share of the product | Paddle, ms | Paddle, share of the product |
| LSTM | `{TINY}`* | 2,000 | 25% | 2,000 | 25% |
| GRU | `{TINY}` | 500 | 100% | - | - |
| cell | shape | exact | padded, a different result | loop |
| LSTM | `{TINY}`* | **0.700** | 2.00 | 6.00 |
| cell | shape | the best of its settings | as installed |
| LSTM | `{TINY}`* | **0.750** | 3.50 |
| part | PyTorch `builtin` |
| batch | 10.0 |
| **whole step** | **20.0** |
| tokens/s | 3,000 |
| GFLOP/s | 1.50 |
| share of the product | 75% |"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a record, and a page with text around the generated part."""
    step = StepRow(environment="torch", backend="torch", implementation="builtin", recipe="textcnn")
    timed = {"seconds": 0.02, "tokens": 60, "parts": {"batch": 0.01}, "flops": 3e7}
    timed |= {"peak_before": 1e9, "peak_after": 3e9}
    step.timings.append({"round": 0, **timed})
    fast_in_paddle = row_of([2.0, 2.0, 2.0], "fast", "paddle", "paddle")
    exact = row_of([0.7, 1.4, 2.1], "builtin")
    rows = [*ROWS, exact, row_of([0.5], cell="gru"), fast_in_paddle]
    rounds = [{"of": f"{TINY}, lstm, training", "round": n, "others": 0.5 * n, "disturbed": n > 0} for n in range(3)]
    rounds.append({"of": f"{TINY}, gru, training", "round": 0, "others": 0.0, "disturbed": False})
    measured = Measurement(plan_of(f"--shapes {TINY}")[0], {}, rows, [step], rounds)
    (tmp_path / page.RECORD).write_text(json.dumps(tree(measured, ABOUT)))
    (tmp_path / page.PLOT).write_bytes(b"picture")
    (tmp_path / "page.md").write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    return tmp_path


def test_tables_of_a_record(folder):
    done = run_main(program.main, "--read", str(folder), "--write", str(folder / "page.md"))
    text = (folder / "page.md").read_text()
    assert done.code == 0 and text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert (folder / "page.png").read_bytes() == b"picture"
    assert [line for line in text.splitlines() if line in EXPECTED.splitlines()] == EXPECTED.splitlines()
    assert "in 14 minutes: a processor, 2 threads, float32" in text and "numpy 2.0." in text and "cuda" not in text
    assert "disturbed 2 of 4 rounds, by up to 1.0 cores. * marks a case" in text
    again = run_main(program.main, "--read", str(folder), "--write", str(folder / "page.md"))
    assert again.code == 0 and (folder / "page.md").read_text() == text


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("--write none.md", "none.md: cannot be read"),
        ("--write bare.md", "bare.md: a marker is missing"),
        ("--read . --write page.md", "speed.json: cannot be read"),
        ("--read x", "--read needs --write"),
    ],
)
def test_what_is_missing_is_told_before_the_measurement(tmp_path, monkeypatch, argv, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare.md").write_text("no markers")
    (tmp_path / "page.md").write_text(f"{page.BEGIN}\n{page.END}\n")
    done = run_main(program.main, *argv.split())
    assert done.code == 2 and says in done.err and done.err.count("\n") == 1


def test_a_record_of_something_else_is_refused(tmp_path):
    (tmp_path / page.RECORD).write_text('{"rows": []}')
    with pytest.raises(UserError, match="not the record of a measurement"):
        page.read_record(tmp_path)


def test_a_record_of_an_older_version_is_refused(folder):
    path = folder / page.RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    with pytest.raises(UserError, match="got format 1, expected 2: measure again"):
        page.read_record(folder)


def test_rounds_fit_the_time(rng):
    """The most expensive rows lose rounds first, and none has fewer than two."""
    costs = rng.uniform(0.1, 3.0, 6)
    rows = [row_of([1.0], rounds=7, cost=float(cost)) for cost in costs]
    least = 2 * costs.sum()
    limit = float(rng.uniform(least, 7 * costs.sum()))
    fit_rounds(rows, limit)
    spent = sum(row.rounds * row.cost for row in rows)
    assert spent <= limit and min(row.rounds for row in rows) >= 2
    assert spent + max(costs) > limit or all(row.rounds == 7 for row in rows)
    most = max((row.rounds * row.cost for row in rows if row.rounds > 2), default=0.0)
    assert all(row.rounds == 7 or (row.rounds + 1) * row.cost >= most for row in rows)
    fit_rounds(rows, 0.0)
    assert [row.rounds for row in rows] == [2] * 6
