"""`tasks.speed`: its arithmetic, its worker processes, and the program as a user runs it."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.speed.__main__
import tasks.speed.environments as processes
from backends import implementations
from core.benchmark import load
from core.benchmark.shapes import REVIEW_QUANTILES, SHAPES, Shape, parse_shape
from core.benchmark.step_profile import NAMES, PARTS, timed_parts
from core.benchmark.timing import Row, Stopwatch, Summary, Timing, calls_for, fastest, ratios, rounds_for, takes_part
from core.data.dataset import Dataset
from core.data.sources import imdb
from core.engine import machine
from core.errors import UserError
from core.models.encoders.recurrent import FRAMEWORK_CELLS, GATES
from core.models.model import initial_parameters
from core.plots.speed import draw_speed
from core.spec.experiment import replace
from tasks.cli.console import INTERRUPTED, run_program
from tasks.cli.recipes import recipe
from tasks.speed.measure import Results, Round, write_batches
from tasks.speed.results import compare, describe_disturbance, panels
from tasks.speed.table import percent, three_digits
from tests.conftest import make_dataset, make_reviews, one_line

ROOT = Path(__file__).parents[2]
INSTALLED = [name for name in backends.NAMES if backends.installed(name)]
each_installed = pytest.mark.parametrize("name", INSTALLED)
needs_proc = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system tells no processor times")
TINY = "3x6,5/7,bi"


# Shapes


@pytest.mark.parametrize("cell", FRAMEWORK_CELLS)
@pytest.mark.parametrize("name", SHAPES)
def test_flops_are_those_of_every_product(cell, name):
    """Counted product by product: each token, layer, direction and gate."""
    shape = SHAPES[name]
    lengths = shape.draw_lengths("imdb", 0)
    forward, inputs = 0, shape.inputs
    for _ in range(shape.layers):
        directions = 2 if shape.bidirectional else 1
        for _, _ in itertools.product(range(directions), range(GATES[cell])):
            # One gate of one token: H numbers, each a sum of I and one of H products.
            forward += int(lengths.sum()) * shape.hidden * (inputs + shape.hidden) * 2
        inputs = directions * shape.hidden
    assert shape.flops(cell, int(lengths.sum()), False) == forward
    assert shape.flops(cell, int(lengths.sum()), True) == 3 * forward


def test_flops_by_hand():
    assert SHAPES["textbook-srn"].flops("srn", 10, False) == 10 * 2 * 10 * 20
    assert SHAPES["deep"].flops("lstm", 1, True) == 3 * 2 * 2 * 4 * 256 * ((100 + 256) + (512 + 256))


def test_lengths_as_reviews_have_them():
    shape = Shape("", 4000, 256, 1, 1)
    lengths = shape.draw_lengths("imdb", 0)
    # What was measured on the reviews themselves, cut to 256 tokens.
    assert abs(lengths.mean() - 180.7) < 0.7 and abs((lengths == 256).mean() - 0.3) < 0.01
    assert lengths.min() >= REVIEW_QUANTILES[0] and lengths.dtype == np.int64
    half = Shape("", 4000, 128, 1, 1).draw_lengths("imdb", 0)
    assert abs(half.mean() - 90.35) < 0.7 and half.max() == 128
    assert (Shape("", 5, 7, 1, 1).draw_lengths("equal", 0) == 7).all()
    for shape in (*SHAPES.values(), Shape("", 1, 1, 1, 1)):
        lengths = shape.draw_lengths("imdb", 3)
        assert lengths.shape == (shape.batch,) and lengths.min() >= 1 and lengths.max() <= shape.length
        assert (lengths == shape.draw_lengths("imdb", 3)).all()


def test_shapes_by_name_and_as_numbers():
    assert parse_shape("imdb") is SHAPES["imdb"]
    assert parse_shape("64x256,256/128,bi,2") == Shape("64x256,256/128,bi,2", 64, 256, 256, 128, True, 2)
    assert parse_shape("2x5,10/10") == Shape("2x5,10/10", 2, 5, 10, 10)
    assert parse_shape("2x5,10/10,3").layers == 3
    assert str(SHAPES["deep"]) == "32 x 256, 100/256, bi, 2 layers"
    assert Shape(**SHAPES["deep"].tree()) == SHAPES["deep"]


@pytest.mark.parametrize(
    "text", ["typo", "2x5", "2x5,10", "0x5,1/1", "2x5,10/10,bi,0", "2x5,10/10,17", "2x5,10/10,uni"]
)
def test_shapes_that_are_none(text):
    with pytest.raises(UserError) as error:
        parse_shape(text)
    assert f"`shapes` {text}: " in one_line(error)


def test_arrays_are_zero_past_the_lengths():
    shape = Shape("", 4, 9, 3, 5, True, 2)
    lengths = np.array([9, 1, 4, 2])
    arrays = shape.arrays("gru", lengths, "float64", 0)
    assert arrays["x"].shape == (4, 9, 3) and arrays["d_output"].shape == (4, 9, 10)
    assert arrays["encoder.weight_ih_l1_reverse"].shape == (15, 10) and len(arrays) == 2 + 16
    assert {array.dtype for array in arrays.values()} == {np.dtype("float64")}
    for name in ("x", "d_output"):
        for row, length in enumerate(lengths):
            assert arrays[name][row, :length].all() and not arrays[name][row, length:].any()


# Arithmetic


def row_of(seconds: dict[int, float], implementation="fast", backend="torch", environment="torch", peak=1e9) -> Row:
    timings = [Timing(round, value, peak, 3 * peak) for round, value in seconds.items()]
    return Row("s", "lstm", True, environment, backend, implementation, 1e9, timings=timings)


def test_medians_quartiles_and_shares():
    row = row_of({0: 1.0, 1: 2.0, 2: 10.0, 3: 3.0, 4: 4.0})
    assert row.seconds == Summary(3.0, 2.0, 4.0, 5)
    assert row.flops_per_second == 1e9 / 3
    # Of the mean of the peaks beside each timing, then the median: not of the median of peaks.
    row.timings = [Timing(0, 1.0, 2e9, 2e9), Timing(1, 2.0, 1e9, 1e9), Timing(2, 1.0, 1e9, 3e9)]
    assert row.share.median == 0.5
    with pytest.raises(ValueError, match="median"):
        Summary.of([])


def test_ratios_are_of_rounds_that_both_were_in():
    fast, slow = row_of({0: 1.0, 1: 2.0, 2: 4.0}), row_of({0: 3.0, 2: 4.0, 5: 9.0}, "loop")
    assert ratios(slow, fast) == [3.0, 1.0]
    assert fastest([fast, slow]) is fast and fastest([]) is None


def test_calls_and_rounds():
    assert [calls_for(seconds, 0.005) for seconds in (1.0, 0.005, 0.002, 1e-5, 0.0)] == [1, 1, 3, 500, 10_000]
    assert [rounds_for(seconds, 7, 15.0) for seconds in (0.01, 2.0, 4.0, 60.0)] == [7, 7, 3, 2]
    assert rounds_for(60.0, 1, 15.0) == 1
    for rounds in range(1, 12):
        for own in range(1, rounds + 1):
            taken = [round for round in range(rounds) if takes_part(round, own, rounds)]
            assert len(taken) == own and taken[0] == 0


def test_a_stopwatch_counts_every_moment_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    watch = Stopwatch()

    def wait(seconds):
        now[0] += seconds

    wait(100)
    with watch.part("outer"):
        wait(1)
        with watch.part("inner"):
            wait(2)
            with watch.part("outer"):
                wait(4)
        wait(8)
        with contextlib.suppress(KeyError), watch.part("inner"):
            wait(16)
            raise KeyError
    wait(100)
    with watch.part("inner"):
        wait(32)
    assert watch.seconds == {"outer": 13.0, "inner": 50.0}


def test_figures_are_short():
    shown = [three_digits(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.1234, 0.01234)]
    assert shown == ["12,346", "123", "12.3", "1.23", "0.123", "0.0123"]
    assert [percent(share) for share in (0.854, 0.0996, 0.0854, 0.00854, 0.0)] == [
        "85%",
        "10%",
        "8.5%",
        "0.85%",
        "0.00%",
    ]


def test_each_framework_has_its_best_setting():
    rows = [
        row_of({0: 1.0, 1: 2.0, 2: 3.0}),
        row_of({0: 2.0, 1: 4.0, 2: 6.0}, "padded"),
        row_of({0: 1.5, 1: 6.0, 2: 4.5}, "padded", environment="torch, memory kept"),
        row_of({0: 9.0, 2: 9.0}, "loop"),
        row_of({0: 7.0, 1: 7.0, 2: 7.0}, "builtin", "paddle", "paddle, as installed"),
        row_of({0: 3.0, 1: 3.0, 2: 3.0}, "packed", "paddle", "paddle"),
    ]
    found = {comparison.rival: comparison for comparison in compare(rows)}
    assert {name: comparison.ratio.median for name, comparison in found.items()} == {
        "torch padded": 2.0, "Paddle installed": 3.5, "Paddle best": 1.5, "loop": 6.0
    }  # fmt: skip
    assert found["torch padded"].row.environment == "torch"
    grouped, unit = panels(rows)
    assert unit == "times as long as torch fast" and [*grouped] == ["LSTM, training"]
    assert [*grouped["LSTM, training"]] == ["torch padded", "Paddle installed", "Paddle best", "torch loop"]
    # Without ours there is still a picture.
    grouped, unit = panels(rows[1:])
    assert unit == "times as long as the fastest" and grouped["LSTM, training"]["Paddle best"]["s"].median == 1.0
    assert compare(rows[1:]) == []


def test_a_disturbed_run_is_told():
    results = Results(rounds=[Round("a", 0, 0.02), Round("a", 1, 0.5), Round("a", 2, 0.0)])
    assert "1 of 3 rounds, by up to 0.5 cores" in describe_disturbance(results)
    assert describe_disturbance(Results(rounds=results.rounds[:1])) is None
    assert "does not tell" in describe_disturbance(Results(rounds=[Round("a", 0, None)]))


@needs_proc
def test_the_work_of_others_is_seen():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        # Others may be at work beside it: what it does is the difference.
        everyone, without_it = load.OtherWork([]), load.OtherWork([busy.pid])
        time.sleep(1.0)
        seen, unseen = everyone.cores(), without_it.cores()
    finally:
        busy.kill()
        busy.wait()
    assert seen > 0.1 and seen - unseen > 0.1


def test_where_the_system_tells_nothing(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert load.OtherWork([]).cores() is None
    monkeypatch.setattr(machine, "Path", lambda *_: Path("/nowhere"))
    assert machine.processor() and machine.processor_vendor() == ""


def test_the_picture(tmp_path):
    summary = Summary(2.0, 1.5, 3.0, 5)
    grouped = {f"panel {n}": {f"series {m}": {"a": summary, "b": summary} for m in range(n + 1)} for n in range(3)}
    draw_speed(grouped, "title", "unit", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# Parts of a step


@each_installed
def test_parts_of_a_step_are_the_step(name, rng):
    """Every name that is wrapped is there, every part takes time, and afterwards all is as it was."""
    side = backends.load(name)
    experiment = replace(recipe("default"), {"model.encoder.hidden_size": 9, "training.batch_size": 8})
    experiment = experiment.with_vocab_size(20)
    parameters = initial_parameters(experiment.model, 0, "float32")
    engine = side.Engine(experiment.model, experiment.training, parameters, "cpu", "builtin")
    owners = {}
    for _, *path, last in NAMES:
        owner = side
        for step in path:
            owner = getattr(owner, step)
        owners[owner, last] = getattr(owner, last)
    watch, batch = Stopwatch(), make_dataset(rng, 8).batch(np.arange(8))
    with timed_parts(side, engine, watch), watch.part("rest"):
        engine.train_step(batch, 0, 1e-3)
    assert set(watch.seconds) == set(PARTS) and min(watch.seconds.values()) > 0
    for (owner, last), original in owners.items():
        assert getattr(owner, last) is original
    before = dict(watch.seconds)
    engine.train_step(batch, 1, 1e-3)
    assert watch.seconds == before


def test_batches_for_the_workers(rng, tmp_path):
    dataset = make_dataset(rng, 20)
    experiment = replace(recipe("default"), {"training.batch_size": 8})
    write_batches(experiment, dataset, 5, str(tmp_path / "b.npz"))
    with np.load(tmp_path / "b.npz") as file:
        again = Dataset(file["tokens"], file["offsets"], {"label": file["labels"]}, [""] * len(file["labels"]))
        rows = np.split(np.arange(len(again)), file["ends"])
    assert sorted(map(len, rows[:3])) == [4, 8, 8] and len(rows) == 5
    texts = {tuple(dataset.tokens[one:end]) for one, end in itertools.pairwise(dataset.offsets)}
    batch = again.batch(rows[0])
    assert {tuple(ids[:length]) for ids, length in zip(batch.ids, batch.lengths, strict=True)} <= texts


# Workers

BARE = processes.Environment("bare", None, "NumPy alone")


def test_a_worker_sleeps_between_its_turns():
    with processes.workers([BARE], 1) as (worker,):
        assert worker.hello["threads"] == 1 and "numpy" in worker.hello["versions"]
        assert worker.ask("peak", dtype="float32")["flops_per_second"] > 1e8
        if Path("/proc").exists():
            for _ in range(100):
                state = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0]
                if state == "T":
                    break
                time.sleep(0.01)
            assert state == "T"
        pid = worker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_dies_is_named():
    with processes.workers([BARE], 1) as (worker,):
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(UserError) as error:
            worker.ask("peak", dtype="float32")
        assert "worker of bare ended by signal 9 (SIGKILL)" in one_line(error)


def test_what_goes_wrong_in_a_worker_is_told():
    with processes.workers([BARE], 1) as (worker,):
        with pytest.raises(UserError) as error:
            worker.ask("peak", dtype="float31")
        assert "bare: " in one_line(error) and "float31" in one_line(error)
        worker.ask("peak", dtype="float32")  # and it goes on


PARENT = """
import os, sys
from tasks.speed.environments import Environment, Worker
worker = Worker(Environment("bare", None, "NumPy alone"), 1)
worker.greet()
print(worker.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@needs_proc
def test_no_worker_outlives_its_parent():
    """Stopped as it is, it cannot see that its parent is gone."""
    done = subprocess.run([sys.executable, "-c", PARENT], cwd=ROOT, capture_output=True, text=True)
    pid = int(done.stdout)
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("it is still there")


# The program


@pytest.fixture
def call(tmp_path, monkeypatch, rng):
    """The program in this process on small reviews, in a folder of its own: exit code, standard output and error."""
    monkeypatch.setattr(imdb, "PER_CLASS", 24)
    monkeypatch.chdir(tmp_path)
    reviews = make_reviews(tmp_path / "data", rng, 24)

    def run(*argv: object):
        out, err = io.StringIO(), io.StringIO()
        fixed = ("--data", reviews, "--cache-dir", tmp_path / "cache", "--out", "out", "--threads", 1)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_program(tasks.speed.__main__.main, [str(part) for part in (*fixed, *argv)])
        return code, out.getvalue(), err.getvalue()

    return run


def check_summary(tree: dict, values: list[float]) -> None:
    low, median, high = np.percentile(values, [25, 50, 75])
    found = [tree["low"], tree["median"], tree["high"]]
    assert np.allclose(found, [low, median, high], rtol=1e-12) and tree["count"] == len(values)


def test_the_program(call, tmp_path):
    code, out, err = call("--shapes", TINY, "--cells", "gru", "--rounds", 2, "--recipe", "default")
    assert code == 0, out + err
    assert err == "" or err.startswith("warning: ")
    assert (tmp_path / "out" / "speed.png").read_bytes().startswith(b"\x89PNG")
    tree = json.loads((tmp_path / "out" / "speed.json").read_text())
    assert tree["threads"] == 1 and tree["kernels"] in (None, "portable", "avx2", "avx512")
    assert tree["machine"]["processor"] and set(INSTALLED) <= set(tree["versions"])
    (shape,) = tree["shapes"]
    lengths = np.array(shape["lengths"])
    assert len(lengths) == 3 and lengths.max() <= 6 and shape["drawn"] == "imdb"
    fast = () if implementations.why_not_fast("cpu") else ("fast",)
    expected = {
        (entry.name, implementation, training)
        for entry in processes.ENVIRONMENTS
        if entry.backend in INSTALLED and entry.obstacle() is None
        for implementation in entry.implementations
        if implementation in ("builtin", "packed", "padded", "loop", *fast)
        for training in (True, False)
    }
    assert {(row["environment"], row["implementation"], row["training"]) for row in tree["rows"]} == expected
    assert {entry["name"]: entry["threads"] for entry in tree["environments"]} == {name: 1 for name, _, _ in expected}
    peaks = []
    for row in tree["rows"]:
        assert row["ran"] == row["implementation"] and row["backend"] in INSTALLED and row["calls"] >= 1
        assert row["flops"] == (3 if row["training"] else 1) * lengths.sum() * 2 * 3 * 7 * (5 + 7) * 2
        assert [timing["round"] for timing in row["timings"]] == [0, 1]
        seconds = [timing["seconds"] for timing in row["timings"]]
        check_summary(row["seconds"], seconds)
        beside = [(timing["peak_before"] + timing["peak_after"]) / 2 for timing in row["timings"]]
        shares = [row["flops"] / one / peak for one, peak in zip(seconds, beside, strict=True)]
        check_summary(row["share_of_peak"], shares)
        assert row["flops_per_second"] == row["flops"] / row["seconds"]["median"]
        peaks += [timing[name] for timing in row["timings"] for name in ("peak_before", "peak_after")]
    check_summary(tree["peak"]["flops_per_second"], peaks)
    seconds = {
        (row["environment"], row["implementation"], row["training"]): [timing["seconds"] for timing in row["timings"]]
        for row in tree["rows"]
    }
    for entry in tree["ratios"]:
        base = seconds[entry["fast_in"], "fast", entry["training"]]
        other = seconds[entry["environment"], entry["implementation"], entry["training"]]
        check_summary(entry["ratio"], [one / two for one, two in zip(other, base, strict=True)])
    against = {(entry["fast_in"], entry["against"]) for entry in tree["ratios"]}
    torch, paddle = {"torch padded", "torch packed", "torch builtin"}, {"Paddle installed", "Paddle best"}
    rivals = {"loop", *(torch if "torch" in INSTALLED else ()), *(paddle if "paddle" in INSTALLED else ())}
    assert against == (set(itertools.product(INSTALLED, rivals)) if fast else set())
    assert len(tree["steps"]) == len(INSTALLED) * (1 + len(fast))
    for row in tree["steps"]:
        assert row["recipe"] == "default" and row["ran"] == row["implementation"] and len(row["timings"]) == 2
        check_summary(row["seconds"], [timing["seconds"] for timing in row["timings"]])
        for timing in row["timings"]:
            assert sum(timing["parts"].values()) == pytest.approx(timing["seconds"], rel=0.02)
        for part in PARTS:
            check_summary(row["parts"][part]["seconds"], [timing["parts"][part] for timing in row["timings"]])
    assert len(tree["rounds"]) == 2 * 2 + 2
    for shown in (f"3 x 6, 5/7, bi; training, float32, {lengths.sum()} of 18", "GRU  ms", "whole step", "peak     "):
        assert shown in out
    assert ("warning" in err) == (tree["warning"] is not None)


def test_the_program_with_one_framework(call, tmp_path):
    name = INSTALLED[0]
    chosen = ("loop",) if implementations.why_not_fast("cpu") else ("fast", "loop")
    argv = ("--shapes", TINY, "--cells", "srn", "--passes", "training", "--rounds", 1, "--layers", "--impl", *chosen)
    code, out, err = call("--backends", name, "--dtype", "float64", "--lengths", "equal", *argv)
    assert code == 0, out + err
    tree = json.loads((tmp_path / "out" / "speed.json").read_text())
    assert {row["backend"] for row in tree["rows"]} == {name} and tree["steps"] == [] and tree["dtype"] == "float64"
    assert {row["implementation"] for row in tree["rows"]} == set(chosen)
    assert tree["shapes"][0]["lengths"] == [6, 6, 6]
    # A run is never overwritten.
    code, _, err = call("--backends", name, *argv)
    assert code == 2 and "out: exists" in err
    assert tree == json.loads((tmp_path / "out" / "speed.json").read_text())


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--shapes", "typo"), ("--shapes typo", "textbook-srn", "64x256")),
        (("--shapes", "imdb", "imdb"), ("--shapes imdb imdb",)),
        (("--cells", "rnn"), ("--cells rnn", "lstm")),
        (("--impl", "auto"), ("--impl auto", "padded")),
        (("--passes", "both"), ("--passes both", "inference")),
        (("--backends", "jax"), ("--backends jax", "torch")),
        (("--recipe", "typo"), ("--recipe typo", "default")),
        (("--lengths", "long"), ("--lengths long", "equal")),
        (("--dtype", "float16"), ("--dtype float16",)),
        (("--rounds", "0"), ("--rounds 0",)),
        (("--threads", "0"), ("--threads 0",)),
        (("--threads", "x"), ("--threads",)),
        (("--layers", "--steps"), ("--layers and --steps",)),
        (("--out", "data"), ("data: exists",)),
        (("--data", "none", "--steps"), ("none",)),
    ],
    ids=str,
)
def test_the_program_refuses(call, tmp_path, argv, says):
    code, _, err = call(*argv)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    for part in says:
        assert part in err
    assert not (tmp_path / "out").exists()


def test_what_is_missing(call, monkeypatch):
    monkeypatch.setattr(implementations, "why_not_fast", lambda device: "it was not compiled")
    code, _, err = call("--impl", "fast", "--layers")
    assert code == 2 and "--impl fast: it was not compiled" in err
    found, left_out = tasks.speed.__main__._environments(plan("--quick"), backends.NAMES, True, True)
    assert left_out["fast"] == "it was not compiled" and "fast" not in plan("--quick").implementations
    monkeypatch.setattr(backends, "installed", lambda name: name != "torch")
    code, _, err = call("--backends", "torch")
    assert code == 2 and "--backends torch: it is not installed" in err
    assert processes.peak_environment().backend is None
    monkeypatch.setattr(backends, "installed", lambda name: False)
    code, _, err = call()
    assert code == 2 and "no framework is installed" in err


def plan(*argv: str):
    return tasks.speed.__main__._plan(tasks.speed.__main__._parser().parse_args(list(argv)))


def test_plans():
    full, quick = plan(), plan("--quick")
    assert full.shapes == quick.shapes == tuple(SHAPES.values())
    assert full.cells == FRAMEWORK_CELLS and quick.cells == ("lstm",)
    assert full.passes == (True, False) and quick.passes == (True,)
    assert full.recipes == ("default", "textbook") and quick.recipes == ("default",)
    assert plan("--steps").shapes == () and plan("--layers").recipes == ()
    installed = processes.ENVIRONMENTS[3]
    assert (
        installed.plain and full.of(installed) == ("builtin", "packed", "padded") and quick.of(installed) == ("packed",)
    )
    # What is asked for by name is timed.
    assert plan("--quick", "--impl", "padded").of(installed) == ("padded",)


@each_installed
def test_implementations_are_those_of_the_backends(name):
    assert {*implementations.IMPLEMENTATIONS, *backends.load(name).NATIVE} == set(processes.IMPLEMENTATIONS)


@needs_proc
def test_ctrl_c(tmp_path):
    """Exit code 130, one line, no process and no folder left."""
    argv = [
        "--backends",
        INSTALLED[0],
        "--shapes",
        TINY,
        "--rounds",
        "10000",
        "--layers",
        "--out",
        str(tmp_path / "out"),
    ]
    run = subprocess.Popen(
        [sys.executable, "-m", "tasks.speed", *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in run.stdout:
            if line.startswith("timing"):
                break
        children = [
            int(path.name)
            for path in Path("/proc").iterdir()
            if path.name.isdigit() and parent_of(path) == run.pid
        ]  # fmt: skip
        assert len(children) >= 2
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=30)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == INTERRUPTED and err == "interrupted\n"
    assert not (tmp_path / "out").exists()
    for child in children:
        assert not Path(f"/proc/{child}").exists()


def parent_of(path: Path) -> int | None:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return None
