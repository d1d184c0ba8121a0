"""`tasks.speed`: what it makes of timings, and the program as a user runs it; `test_speed_workers.py` has the rest."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.speed.__main__ as program
from backends import implementations
from core.benchmark.step_profile import parts
from core.benchmark.timing import LayerRow, StepRow, Summary, ratios
from core.data.sources import imdb
from core.engine import machine
from core.plots.speed import draw_speed
from tasks.cli.recipes import recipe
from tasks.speed.environments import ENVIRONMENTS, peak_environment
from tasks.speed.measure import Measurement
from tasks.speed.results import describe_disturbance, panels, tree
from tasks.speed.series import contenders
from tasks.speed.table import percent, print_results, three_digits
from tests.conftest import INSTALLED, fresh_rng, make_reviews, run_main

FAST = () if implementations.why_not_fast("cpu") else ("fast",)
TINY = "3x6,5/7,bi"


def plan_of(argv: str):
    return program._plan(program._parser().parse_args(argv.split()))


def row_of(seconds: list[float], implementation="fast", backend="torch", environment="torch", **more) -> LayerRow:
    """A row of rounds that the machine's peak was 1 GFLOP/s before, 3 after; 0 seconds where it sat one out."""
    timings = [{"round": n, "seconds": s, "peak_before": 1e9, "peak_after": 3e9} for n, s in enumerate(seconds) if s]
    where = {"environment": environment, "backend": backend, "implementation": implementation, "timings": timings}
    return LayerRow(**{"shape": TINY, "cell": "lstm", "training": True, "flops": 1e9, **where, **more})


ROWS = [
    row_of([1.0, 2.0, 3.0]),
    row_of([2.0, 4.0, 6.0], "padded"),
    row_of([1.5, 6.0, 4.5], "padded", environment="torch, memory kept"),
    row_of([9.0, 0, 9.0], "loop"),
    row_of([7.0, 7.0, 7.0], "builtin", "paddle", "paddle, as installed"),
    row_of([1.5, 1.5, 1.5], "packed", "paddle", "paddle"),
]
TABLES = """\
3 x 6, 5/7, bi; training, float32, 18 real tokens of 18
framework layer LSTM ms ± GFLOP/s peak GRU ms ± GFLOP/s peak rounds
torch fast 2,000 25% 0.500 25% 500 0% 2.00 100% 1-3
torch padded 4,000 25% 0.250 12% 3
torch, memory kept padded 4,500 25% 0.222 11% 3
torch loop 9,000 0% 0.111 5.6% 2
paddle, as installed builtin 7,000 0% 0.143 7.1% 3
paddle packed 1,500 0% 0.667 33% 3
3 x 6, 5/7, bi; inference, float32, 18 real tokens of 18
torch loop 500 0% 2.00 100% 1
speedup of fast in torch over
shape pass cell torch padded Paddle installed Paddle best loop
3x6,5/7,bi training LSTM 2.00 3.50 0.75 6.00
training step of recipe textcnn: median ms of 3 steps, and share
part torch, builtin
batch 10.0 25%
convolution 10.0 50%
whole step 20.0
tokens/s 3,000
GFLOP/s 1.50
peak 75%""".splitlines()


def test_long_rows_that_are_the_fastest_of_no_series_are_not_timed():
    def row(cost, *where) -> LayerRow:
        return row_of([], *where, cost=cost)

    slow_setting, exact = row(2.0, "padded", "torch", "torch, memory kept"), row(4.0, "builtin")
    own = [row(0.4), row(1.0, "padded"), slow_setting, exact, row(9.0, "loop")]
    installed = [row(cost, name, "paddle", "paddle, as installed") for name, cost in (("padded", 6.0), ("packed", 7.0))]
    slow_installed = row(9.5, "builtin", "paddle", "paddle, as installed")
    best, slow_best = row(1.0, "builtin", "paddle", "paddle"), row(1.6, "padded", "paddle", "paddle")
    rows = [*own, *installed, slow_installed, best, slow_best]
    assert [one for one in rows if one not in contenders(rows)] == [slow_setting, slow_installed, slow_best]
    short = [replace(one, cost=one.cost / 100) for one in rows]
    assert contenders(short) == short


def test_tables_and_record(capsys):
    """From timings that were made up."""
    step = StepRow(environment="torch", backend="torch", implementation="builtin", recipe="textcnn")
    for round, (seconds, batch) in enumerate(((0.01, 0.0025), (0.02, 0.01), (0.09, 0.01))):
        timed = {"batch": batch, "convolution": seconds / 2}
        flops = {"flops": 3e7, "peak_before": 1e9, "peak_after": 3e9}
        step.timings.append({"round": round, "seconds": seconds, "tokens": 60, "parts": timed, **flops})
    rows = [*ROWS, row_of([0.5], cell="gru"), row_of([0.5], "loop", training=False)]
    measured = Measurement(plan_of(f"--shapes {TINY} --cells lstm gru --lengths equal")[0], {}, rows, [step])
    print_results(measured)
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for number, line in enumerate(shown) if line in TABLES and line not in shown[:number]] == TABLES
    record = tree(measured, {"peak_by": "numpy"})
    assert record["peak"] == {"flops_per_second": asdict(Summary(2e9, 1e9, 3e9, 44)), "by": "numpy"}
    fast, packed = record["rows"][0], record["rows"][5]
    assert fast["seconds"] == asdict(Summary(2.0, 1.5, 2.5, 3)) and fast["flops_per_second"] == 0.5e9
    assert fast["share_of_peak"]["median"] == 0.25 and packed["share_of_peak"]["median"] == pytest.approx(1 / 3)
    assert fast["timings"] == ROWS[0].timings
    assert [(one["against"], one["environment"], one["ratio"]["median"]) for one in record["ratios"]] == [
        ("torch padded", "torch", 2.0), ("Paddle installed", "paddle, as installed", 3.5),
        ("Paddle best", "paddle", 0.75), ("loop", "torch", 6.0),
    ]  # fmt: skip
    (steps,) = record["steps"]
    assert steps["tokens_per_second"]["median"] == 3000 and steps["parts"]["batch"]["share"]["median"] == 0.25
    assert steps["flops_per_second"]["median"] == 1.5e9 and steps["share_of_peak"]["median"] == 0.75
    # Of the mean of the peaks beside each timing, then the median; ratios of the rounds that both were in.
    row = row_of([1.0, 2.0, 1.0])
    row.timings[1].update(peak_before=0.5e9, peak_after=1.5e9)
    assert row.share == Summary(0.5, 0.5, 0.5, 3)
    assert ratios(row_of([3.0, 0, 4.0, 9.0]), row_of([1.0, 2.0, 4.0])) == Summary(2.0, 1.5, 2.5, 2)
    shown = [three_digits(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.1234, 0.01234)]
    assert shown == ["12,346", "123", "12.3", "1.23", "0.123", "0.0123"]
    assert [percent(share) for share in (0.854, 0.0996, 0.0854, 0.0)] == ["85%", "10%", "8.5%", "0.00%"]


def test_the_picture(tmp_path):
    grouped, unit = panels(ROWS)
    assert unit == "time relative to torch fast" and [*grouped] == ["LSTM, training"]
    assert [*grouped["LSTM, training"]] == ["torch padded", "Paddle installed", "Paddle best", "torch loop"]
    # Without ours there is still a picture.
    grouped, unit = panels(ROWS[1:])
    assert unit == "time relative to the fastest" and grouped["LSTM, training"]["torch loop"][TINY].median == 6.0
    draw_speed({**grouped, "another": {"series": {"a": Summary(2.0, 1.5, 3.0, 5)}}}, "title", unit, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_disturbed_rounds_are_reported():
    quiet, busy, silent = ({"others": others, "disturbed": others == 0.5} for others in (0.02, 0.5, None))
    assert "1 of 3 rounds, by up to 0.5 cores" in describe_disturbance([quiet, busy, quiet])
    assert describe_disturbance([quiet]) is None and "does not report" in describe_disturbance([quiet, silent])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with small reviews."""
    folder = tmp_path_factory.mktemp("speed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", 24)
        patch.chdir(folder)
        make_reviews(folder / "data", fresh_rng(), 24)
        yield folder


def run(argv: str = ""):
    return run_main(program.main, *["--data", "data/aclImdb", "--cache-dir", "cache", "--threads", "1"], *argv.split())


ROW = {"environment", "backend", "implementation", "ran", "timings", "seconds"}
KEYS = {
    "environments": {"name", "backend", "about", "variables", "threads"},
    "shapes": {"name", "batch", "length", "inputs", "hidden", "bidirectional", "layers", "lengths", "drawn"},
    "rows": ROW | {"shape", "cell", "training", "flops", "calls", "discard", "rounds", "share_of_peak"},
    "ratios": {"shape", "cell", "training", "fast_in", "against", "environment", "implementation", "ratio"},
    "steps": ROW | {"recipe", "tokens_per_second", "flops_per_second", "share_of_peak", "parts"},
    "rounds": {"of", "round", "others", "disturbed"},
}
OTHER_KEYS = (
    "untimed format when machine threads versions dtype rounds_at_most peak_by left_out seconds peak kernels warning"
)


@pytest.mark.slow
def test_complete_run(folder):
    """Every value is given twice and measured once; a recipe's steps are timed with what its encoder has."""
    twice = f"--shapes {TINY} {TINY},1 --cells gru gru --recipe textcnn default default --passes training inference"
    done = run(f"{twice} training --backends {' '.join(INSTALLED)} {INSTALLED[0]} --rounds 2 --out out")
    assert done.code == 0, done
    record = json.loads(Path("out/speed.json").read_text())
    assert record.keys() == KEYS.keys() | OTHER_KEYS.split()
    for name, keys in KEYS.items():
        assert all(keys <= entry.keys() for entry in record[name]) and (record[name] or not FAST), name
    assert record["threads"] == 1 and record["kernels"] in (None, "portable", "avx2", "avx512")
    own = {"python": platform.python_version(), "system": platform.platform(), "cores": machine.usable_cores()}
    assert record["machine"] == {**own, "processor": machine.processor()}
    assert {"numpy": np.__version__}.items() <= record["versions"].items() and {*INSTALLED} <= {*record["versions"]}
    there = [entry for entry in ENVIRONMENTS if entry.backend in INSTALLED and not entry.unavailable]
    assert [(entry["name"], entry["variables"], entry["threads"]) for entry in record["environments"]] == [
        (entry.name, entry.variables, 1) for entry in there
    ]
    (shape,) = record["shapes"]
    assert shape["name"] == TINY and shape["drawn"] == "imdb" and len(shape["lengths"]) == 3
    # On a busy machine a row may seem slow.
    every = [*record["rows"], *record["untimed"]]
    rows = [(row["environment"], row["implementation"], row["training"]) for row in every]
    timed = {(entry.name, one) for entry in there for one in entry.implementations if one in FAST or one != "fast"}
    assert sorted(rows) == sorted((*one, training) for one in timed for training in (True, False))
    for row in record["rows"]:
        assert row["flops"] == (3 if row["training"] else 1) * sum(shape["lengths"]) * 2 * 3 * 7 * (5 + 7) * 2
        assert 0 < row["share_of_peak"]["median"] < 1
    steps = {(row["recipe"], row["backend"], row["implementation"]): row for row in record["steps"]}
    assert len(record["steps"]) == len(steps)
    assert {*steps} == {*product(["default", "textcnn"], INSTALLED, (*FAST, "builtin"))}
    for (name, _, _), row in steps.items():
        assert [*row["parts"]] == [*parts(recipe(name).model.encoder)]
        for timing in row["timings"]:
            assert min(timing["parts"].values()) > 0 and timing["tokens"] > 32
            assert sum(timing["parts"].values()) == pytest.approx(timing["seconds"], rel=0.02)
        assert 0 < row["share_of_peak"]["median"] < 1
    for row in (*record["rows"], *record["steps"]):
        assert row["ran"] == row["implementation"] and [timing["round"] for timing in row["timings"]] == [0, 1]
    assert len(record["rounds"]) == 2 * 2 + 2 * 2
    for shown in (f"layers   {TINY}; gru; training and inference; float32; lengths as in", "GRU  ms", "process  torch",
                  "recipes textcnn, default; 2 rounds", "convolution", "recurrent", "peak     "):  # fmt: skip
        assert shown in done.out
    assert done.err == ("" if record["warning"] is None else f"warning: {record['warning']}\n")
    assert Path("out/speed.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_small_run_is_not_overwritten(folder):
    chosen = (*FAST, "loop")
    argv = f"--backends {INSTALLED[0]} --dtype float64 --lengths equal --shapes {TINY} --cells srn --passes training"
    argv += f" --rounds 1 --layers --out small --impl {' '.join(chosen)}"
    done = run(argv)
    text = Path("small/speed.json").read_text()
    record = json.loads(text)
    assert {(row["backend"], row["implementation"]) for row in record["rows"]} == {*product(INSTALLED[:1], chosen)}
    assert record["steps"] == [] and record["dtype"] == "float64" and record["shapes"][0]["lengths"] == [6, 6, 6]
    done = run(argv)
    assert done.code == 2 and "small: exists" in done.err and Path("small/speed.json").read_text() == text


REFUSED = """\
--shapes typo | --shapes typo textbook-srn 64x256
--cells rnn | --cells: 'rnn' lstm
--impl auto | --impl: 'auto' padded
--passes both | --passes: 'both' inference
--backends jax | --backends: 'jax' torch
--recipe typo | --recipe: 'typo' default
--lengths long | --lengths: 'long' equal
--dtype float16 | --dtype: 'float16'
--rounds 0 | --rounds: at least 1
--threads 0 | --threads: at least 1
--threads x | --threads: 'x'
--layers --steps | --layers --steps
--steps --impl loop | nothing to time
--out data | data: exists
--data none --steps | none"""


@pytest.mark.parametrize("case", REFUSED.splitlines())
def test_program_refuses(folder, case):
    argv, says = case.split(" | ")
    done = run(f"--out refused {argv}")
    assert done.code == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1, done
    assert all(word in done.err for word in says.split()) and not Path("refused").exists(), done


def test_missing_backends_and_layers(folder, monkeypatch):
    monkeypatch.setattr(implementations, "why_not_fast", lambda device: "it was not compiled")
    assert "--impl fast: it was not compiled" in run("--impl fast --layers").err
    chosen, skipped = plan_of("--quick")
    assert skipped == {"fast": "it was not compiled"} and "fast" not in chosen.implementations
    monkeypatch.setattr(program, "ENVIRONMENTS", (replace(ENVIRONMENTS[0], unavailable="why"), *ENVIRONMENTS[1:]))
    found = program._environments(chosen, ["torch", "paddle"], skipped)
    assert skipped["torch"] == "why" and "torch" not in [entry.name for entry in found]
    monkeypatch.setattr(backends, "installed", lambda name: name != "torch")
    assert "--backends torch: not installed" in run("--backends torch").err
    assert peak_environment().backend is None
    monkeypatch.setattr(backends, "installed", lambda name: False)
    done = run()
    assert done.code == 2 and "no framework is installed" in done.err
