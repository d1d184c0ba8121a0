"""`tasks.speed`: its arithmetic, its worker processes, and the program as a user runs it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import backends
import tasks.speed.__main__ as program
from backends import implementations
from core import spec
from core.benchmark import load
from core.benchmark.shapes import REVIEW_QUANTILES, SHAPES, Shape, parse_shape
from core.benchmark.step_profile import parts, timed_parts
from core.benchmark.timing import (
    LayerRow,
    StepRow,
    Stopwatch,
    Summary,
    calls_for,
    fastest,
    ratios,
    rounds_for,
    takes_part,
)
from core.data.sources import imdb
from core.engine import machine
from core.errors import UserError
from core.models.encoders.recurrent import FRAMEWORK_CELLS
from core.models.model import initial_parameters
from core.plots.speed import draw_speed
from core.spec.experiment import replace as changed
from tasks.cli.console import INTERRUPTED
from tasks.cli.recipes import recipe
from tasks.speed import environments
from tasks.speed.environments import ENVIRONMENTS, IMPLEMENTATIONS, Environment
from tasks.speed.measure import Measurement
from tasks.speed.results import compare, describe_disturbance, panels
from tasks.speed.table import percent, print_results, three_digits
from tasks.speed.worker import Worker
from tests.conftest import fresh_rng, make_dataset, make_reviews, one_line, run_main

ROOT = Path(__file__).parents[2]
INSTALLED = [name for name in backends.NAMES if backends.installed(name)]
needs_proc = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system tells no processor times")
TINY = "3x6,5/7,bi"


# Shapes


def test_flops_by_hand():
    """Tokens, gates, additions and multiplications, units, then what each unit reads, for directions and layers."""
    assert SHAPES["textbook-srn"].flops("srn", 10, False) == 10 * 1 * 2 * 10 * (10 + 10)
    assert SHAPES["small"].flops("gru", 5, True) == 3 * 5 * 3 * 2 * 128 * (128 + 128) * 2
    assert SHAPES["deep"].flops("lstm", 1, True) == 3 * 4 * 2 * 256 * ((100 + 256) + (512 + 256)) * 2


def test_lengths_as_reviews_have_them():
    lengths = Shape("", 4000, 256, 1, 1).draw_lengths("imdb", 0)
    # What was measured on the reviews themselves, truncated to 256 tokens.
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
    assert parse_shape("imdb") is SHAPES["imdb"] and str(SHAPES["deep"]) == "32 x 256, 100/256, bi, 2 layers"
    shape = parse_shape("64x256,256/128,bi,2")
    assert asdict(shape) == asdict(Shape("64x256,256/128,bi,2", 64, 256, 256, 128, True, 2))
    assert parse_shape("2x5,10/10") == SHAPES["textbook-srn"] and parse_shape("2x5,10/10,3").layers == 3
    for text in ("typo", "2x5", "2x5,10", "0x5,1/1", "2x5,10/10,bi,0", "2x5,10/10,17", "2x5,10/10,uni"):
        with pytest.raises(UserError) as error:
            parse_shape(text)
        assert f"`shapes` {text}: " in one_line(error)


def test_arrays_are_zero_past_the_lengths():
    lengths = np.array([9, 1, 4, 2])
    arrays = Shape("", 4, 9, 3, 5, True, 2).arrays("gru", lengths, "float64", 0)
    assert arrays["x"].shape == (4, 9, 3) and arrays["d_output"].shape == (4, 9, 10)
    assert arrays["encoder.weight_ih_l1_reverse"].shape == (15, 10) and len(arrays) == 2 + 16
    assert {array.dtype for array in arrays.values()} == {np.dtype("float64")}
    for name in ("x", "d_output"):
        for row, length in enumerate(lengths):
            assert arrays[name][row, :length].all() and not arrays[name][row, length:].any()


# Arithmetic


def row_of(seconds: dict[int, float], implementation="fast", backend="torch", environment="torch", **more) -> LayerRow:
    timings = [
        {"round": round, "seconds": value, "peak_before": 1e9, "peak_after": 3e9} for round, value in seconds.items()
    ]
    where = {"environment": environment, "backend": backend, "implementation": implementation, "timings": timings}
    return LayerRow(**{"shape": TINY, "cell": "lstm", "training": True, "flops": 1e9, **where, **more})


ROWS = [
    row_of({0: 1.0, 1: 2.0, 2: 3.0}),
    row_of({0: 2.0, 1: 4.0, 2: 6.0}, "padded"),
    row_of({0: 1.5, 1: 6.0, 2: 4.5}, "padded", environment="torch, memory kept"),
    row_of({0: 9.0, 2: 9.0}, "loop"),
    row_of({0: 7.0, 1: 7.0, 2: 7.0}, "builtin", "paddle", "paddle, as installed"),
    row_of({0: 1.5, 1: 1.5, 2: 1.5}, "packed", "paddle", "paddle"),
]


def test_medians_quartiles_and_shares():
    row = row_of({0: 1.0, 1: 2.0, 2: 10.0, 3: 3.0, 4: 4.0})
    assert row.seconds == Summary(3.0, 2.0, 4.0, 5) and row.flops_per_second == 1e9 / 3
    # Of the mean of the peaks beside each timing, then the median: not of the median of peaks.
    row = row_of({0: 1.0, 1: 2.0, 2: 1.0})
    row.timings[1].update(peak_before=0.5e9, peak_after=1.5e9)
    assert row.share == Summary(0.5, 0.5, 0.5, 3)
    with pytest.raises(ValueError, match="median"):
        Summary.of([])
    fast, slow = row_of({0: 1.0, 1: 2.0, 2: 4.0}), row_of({0: 3.0, 2: 4.0, 5: 9.0}, "loop")
    assert ratios(slow, fast) == Summary(2.0, 1.5, 2.5, 2)  # of the rounds that both were in
    assert fastest([slow, fast]) is fast and fastest([]) is None


def test_calls_and_rounds():
    assert [calls_for(seconds, 0.005) for seconds in (1.0, 0.005, 0.002, 1e-5, 0.0)] == [1, 1, 3, 500, 10_000]
    assert [rounds_for(seconds, 7, 15.0) for seconds in (0.01, 2.0, 4.0, 60.0)] == [7, 7, 3, 2]
    assert rounds_for(60.0, 1, 15.0) == 1
    for rounds, own in itertools.combinations_with_replacement(range(1, 12), 2):
        own, rounds = sorted((own, rounds))
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
            watch.part("outer")(wait)(4)
        wait(8)
        with contextlib.suppress(KeyError), watch.part("inner"):
            wait(16)
            raise KeyError
    wait(100)
    watch.part("inner")(wait)(32)
    assert watch.seconds == {"outer": 13.0, "inner": 50.0}


def test_each_framework_has_its_best_setting(tmp_path):
    found = {entry["against"]: entry for entry in compare(ROWS)}
    assert {name: entry["ratio"]["median"] for name, entry in found.items()} == {
        "torch padded": 2.0, "Paddle installed": 3.5, "Paddle best": 0.75, "loop": 6.0
    }  # fmt: skip
    assert found["torch padded"]["environment"] == "torch" and compare(ROWS[1:]) == []
    grouped, unit = panels(ROWS)
    assert unit == "times as long as torch fast" and [*grouped] == ["LSTM, training"]
    assert [*grouped["LSTM, training"]] == ["torch padded", "Paddle installed", "Paddle best", "torch loop"]
    # Without ours there is still a picture.
    grouped, unit = panels(ROWS[1:])
    assert unit == "times as long as the fastest" and grouped["LSTM, training"]["Paddle best"][TINY].median == 1.0
    draw_speed({**grouped, "another": {"series": {"a": Summary(2.0, 1.5, 3.0, 5)}}}, "title", unit, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_disturbed_run_is_told():
    quiet, busy, silent = ({"others": others, "disturbed": others == 0.5} for others in (0.02, 0.5, None))
    assert "1 of 3 rounds, by up to 0.5 cores" in describe_disturbance([quiet, busy, quiet])
    assert describe_disturbance([quiet]) is None and "does not tell" in describe_disturbance([quiet, silent])


def test_tables(capsys):
    """Every cell, from figures that were made up."""
    shown = [three_digits(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.1234, 0.01234)]
    assert shown == ["12,346", "123", "12.3", "1.23", "0.123", "0.0123"]
    shown = [percent(share) for share in (0.854, 0.0996, 0.0854, 0.00854, 0.0)]
    assert shown == ["85%", "10%", "8.5%", "0.85%", "0.00%"]
    seconds = [{"round": round, "seconds": one, "tokens": 60, "parts": {"batch": one / 4, "convolution": one / 2}}
               for round, one in enumerate((0.01, 0.02, 0.09))]  # fmt: skip
    step = StepRow(environment="torch", backend="torch", implementation="builtin", recipe="textcnn", timings=seconds)
    rows = [*ROWS, row_of({0: 0.5}, cell="gru"), row_of({0: 0.5}, "loop", training=False)]
    measured = Measurement(plan("--shapes", TINY, "--cells", "lstm", "gru", "--lengths", "equal"), {}, rows, [step])
    print_results(measured)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line and "─" not in line][2:] == [
        "3 x 6, 5/7, bi; training, float32, 18 of 18 tokens real",
        "framework layer LSTM ms ± GFLOP/s peak GRU ms ± GFLOP/s peak rounds",
        "torch fast 2,000 25% 0.500 25% 500 0% 2.00 100% 1-3",
        "torch padded 4,000 25% 0.250 12% 3",
        "torch loop 9,000 0% 0.111 5.6% 2",
        "torch, memory kept padded 4,500 25% 0.222 11% 3",
        "paddle, as installed builtin 7,000 0% 0.143 7.1% 3",
        "paddle packed 1,500 0% 0.667 33% 3",
        "3 x 6, 5/7, bi; inference, float32, 18 of 18 tokens real",
        "framework layer LSTM ms ± GFLOP/s peak GRU ms ± GFLOP/s peak rounds",
        "torch loop 500 0% 2.00 100% 1",
    ]
    print(*lines, sep="\n")


# Parts of a step


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("of", ["default", "textcnn"])
def test_parts_of_a_step_are_the_step(name, of, rng, monkeypatch):
    """Every name that is wrapped is there, every part takes time, and afterwards all is as it was."""
    side = backends.load(name)
    experiment = changed(recipe(of), {"training.batch_size": 8}).with_vocab_size(20)
    encoder, training = experiment.model.encoder, experiment.training
    parameters = initial_parameters(experiment.model, 0, "float32")
    engine = side.Engine(experiment.model, training, parameters, "cpu", "builtin")
    watch, batch, clip = Stopwatch(), make_dataset(rng, 8).batch(np.arange(8)), side.engine.clip
    with timed_parts(side, engine, encoder, watch), watch.part("rest"):
        engine.train_step(batch, 0, 1e-3)
    assert set(watch.seconds) == set(parts(encoder)) and min(watch.seconds.values()) > 0
    assert parts(encoder)[2] == {"default": "recurrent", "textcnn": "convolution"}[of]
    before = dict(watch.seconds)
    engine.train_step(batch, 1, 1e-3)
    assert watch.seconds == before and side.engine.clip is clip
    with pytest.raises(RuntimeError, match=f"never entered: .*{parts(encoder)[2]}"):
        with timed_parts(side, engine, encoder, Stopwatch()):
            pass
    monkeypatch.delattr(side.engine, "clip")
    with pytest.raises(AttributeError, match="clip"), timed_parts(side, engine, encoder, watch):
        pass


# Rounds


class RecordedWorker:
    """Stands in for a worker: notes what it is asked, and answers at once."""

    pid = os.getpid()

    def __init__(self, environment: Environment, log: list) -> None:
        self.environment, self.log = environment, log

    def ask(self, do: str, **arguments) -> dict:
        self.log.append((do, self.environment.name, arguments))
        seconds = 1e-3 if arguments.get("implementation") == "fast" else 20.0
        return {"seconds": seconds, "ran": "it", "flops_per_second": 1e9 * len(self.log), "tokens": 3, "parts": {}}


def test_rounds_are_interleaved():
    log = []
    ready = {one.name: RecordedWorker(one, log) for one in (environments.peak_environment(), *ENVIRONMENTS[:2])}
    chosen = plan("--shapes", "2x5,1/1", TINY, "--cells", "srn", "--passes", "inference", "--rounds", "4")
    measured = Measurement(chosen, ready)
    stages = [*measured.time_layers(), *measured.time_steps(changed(recipe("textcnn"), {}), "file")]
    assert len(stages) == replace(chosen, recipes=("textcnn",)).count == 2 * (1 + 4) + 1 + 4
    case = log[: 1 + [do for do, *_ in log].index("forget")]
    prepared, timed = [[entry for entry in case if entry[0] == do] for do in ("prepare", "time")]
    names = [(name, arguments["implementation"]) for _, name, arguments in prepared]
    assert len(names) == len({*names}) == 7 and not any(arguments["training"] for _, _, arguments in (*prepared, *timed))
    turns = [(name, arguments["implementation"]) for _, name, arguments in timed]
    # The slow ones sit two rounds out: no row has its second turn before all had their first, nor in the same place.
    assert sorted(turns[:7]) == sorted(names) and turns[7] == ("torch", "fast") and len(turns) == 7 + 1 + 7 + 1
    assert sorted(turns[8:15]) == sorted(names) and turns[8:15] != turns[:7]
    dos = "".join(do[0] for do, *_ in case)
    assert dos == "p" * 7 + "p" + "tp" * 7 + "p" + "tp" + "p" + "tp" * 7 + "p" + "tp" + "f"  # prepare, peak, time
    for _, _, arguments in timed:
        calls = {"fast": 5}.get(arguments["implementation"], 1)
        assert (arguments["calls"], arguments["discard"]) == (calls, calls if calls > 1 else 0)
    # Both workers forget a case before the next begins.
    assert [name for do, name, _ in log if do == "forget"].count("torch") == 3
    row = measured.rows[0]
    assert (row.ran, row.calls, row.discard, row.rounds) == ("it", 5, 5, 4) and len(row.timings) == 4
    assert [timing["round"] for timing in measured.rows[1].timings] == [0, 2]
    for timing in itertools.chain.from_iterable(row.timings for row in measured.rows):
        assert timing["peak_after"] == timing["peak_before"] + 2e9  # the log is longer by one timing and one peak
    (step,) = measured.steps
    steps = [arguments for do, _, arguments in log if do == "step"]
    assert (step.implementation, step.environment, len(step.timings)) == ("builtin", "torch", 4)
    assert [arguments["number"] for arguments in steps] == [0, 1, 2, 3, 4]
    assert [entry["of"] for entry in measured.rounds[-5:]] == [f"{TINY}, srn, inference", *["steps, textcnn"] * 4]


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


# Workers

BARE = Environment("bare", None, "NumPy alone")


def state_of(pid: int) -> str:
    """`T` of a stopped process, `Z` of a dead one that nobody waited for, empty if there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def reaches(pid: int, *states: str) -> bool:
    return any(state_of(pid) in states or time.sleep(0.01) for _ in range(1000))


def test_a_worker_times_what_it_is_asked():
    calls, worker = [], Worker()

    def call(name: str, seconds: float):
        calls.append(name)
        time.sleep(seconds if len(calls) <= 2 else 0.0)

    worker.probes["loop"] = SimpleNamespace(train=lambda: call("train", 0.1), infer=lambda: call("infer", 0.1))
    assert worker.time("loop", False, calls=3, discard=2)["seconds"] < 0.03 and calls == ["infer"] * 5
    worker.time("loop", True, calls=1, discard=0)
    assert calls[5:] == ["train"] and worker.forget() == {} and not worker.probes


@needs_proc
def test_a_worker_process():
    with environments.workers([BARE], 1) as ready:
        worker = ready["bare"]
        assert worker.hello == {"versions": {"numpy": np.__version__}, "threads": 1}
        assert worker.ask("peak", dtype="float32")["flops_per_second"] > 1e8
        assert reaches(worker.pid, "T")  # it sleeps between its turns
        os.kill(worker.pid, signal.SIGINT)  # Ctrl-C is for the parent
        with pytest.raises(UserError) as error:
            worker.ask("peak", dtype="float31")
        assert "bare: TypeError: " in one_line(error) and "float31" in one_line(error)
        worker.ask("peak", dtype="float32")  # a worker survives its mistakes
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(UserError) as error:
            worker.ask("peak", dtype="float32")
        assert "worker of bare ended by signal 9 (SIGKILL): it said nothing" in one_line(error)
    assert state_of(worker.pid) == ""


PARENT = """
import os
from tasks.speed.environments import Environment, workers
with workers([Environment("bare", None, "NumPy alone")], 1) as ready:
    print(ready["bare"].pid, flush=True)
    os.kill(os.getpid(), 9)
"""


@needs_proc
def test_no_worker_outlives_its_parent():
    """Stopped as it is, it cannot see that its parent is gone."""
    done = subprocess.run([sys.executable, "-c", PARENT], cwd=ROOT, capture_output=True, text=True)
    assert reaches(int(done.stdout), "Z", "")


# The program


def plan(*argv: str):
    return program._plan(program._parser().parse_args(list(argv)))[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with small reviews."""
    folder = tmp_path_factory.mktemp("speed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", 24)
        patch.chdir(folder)
        make_reviews(folder / "data", fresh_rng(), 24)
        yield folder


def run(*argv: object):
    return run_main(program.main, "--data", "data/aclImdb", "--cache-dir", "cache", "--threads", 1, *argv)


@pytest.fixture(scope="module")
def finished(folder):
    """One run of everything, each value given twice, and its record."""
    twice = ("--shapes", TINY, f"{TINY},1", "--cells", "gru", "gru", "--recipe", "textcnn", "default", "default")
    done = run(*twice, "--backends", *INSTALLED, *INSTALLED, "--rounds", 2, "--out", "out")
    assert done.code == 0, done
    return done, json.loads(Path("out/speed.json").read_text())


FAST = () if implementations.why_not_fast("cpu") else ("fast",)
SUMMARY = {"low", "median", "high", "count"}
ROW = {"environment", "backend", "implementation", "ran", "discard", "timings", "seconds"}
KEYS = {
    "environments": {"name", "backend", "about", "variables", "threads"},
    "shapes": {"name", "batch", "length", "inputs", "hidden", "bidirectional", "layers", "lengths", "drawn"},
    "rows": ROW | {"shape", "cell", "training", "flops", "calls", "rounds", "share_of_peak", "flops_per_second"},
    "ratios": {"shape", "cell", "training", "fast_in", "against", "environment", "implementation", "ratio"},
    "steps": ROW | {"recipe", "tokens_per_second", "parts"},
    "rounds": {"of", "round", "others", "disturbed"},
}


def check_summary(tree: dict, values: list[float]) -> None:
    low, median, high = np.percentile(values, [25, 50, 75])
    assert tree == pytest.approx({"low": low, "median": median, "high": high, "count": len(values)}, rel=1e-12)


def test_the_record_of_a_run(finished):
    _, tree = finished
    assert {*tree} - {*KEYS} == {"format", "when", "machine", "threads", "versions", "dtype", "rounds_at_most", "peak_by",
                                 "left_out", "seconds", "peak", "kernels", "warning"}  # fmt: skip
    for name, keys in KEYS.items():
        assert all(entry.keys() == keys for entry in tree[name]) and tree[name] or name == "ratios" and not FAST
    assert tree["threads"] == 1 and tree["kernels"] in (None, "portable", "avx2", "avx512")
    assert tree["machine"] == {**machine.description(), "processor": machine.processor()}
    assert tree["machine"]["python"] == platform.python_version()
    assert tree["versions"].items() >= {"numpy": np.__version__}.items() and {*INSTALLED} <= {*tree["versions"]}
    entries = [entry for entry in ENVIRONMENTS if entry.backend in INSTALLED and not entry.obstacle]
    assert [(one["name"], one["variables"], one["threads"]) for one in tree["environments"]] == [
        (entry.name, entry.variables, 1) for entry in entries
    ]
    assert len(tree["rounds"]) == 2 * 2 + 2 * 2 and tree["rounds"][-1]["of"] == "steps, default"


def test_the_rows_of_a_run(finished):
    _, tree = finished
    (shape,) = tree["shapes"]
    lengths = np.array(shape["lengths"])
    assert len(lengths) == 3 and lengths.max() <= 6 and shape["drawn"] == "imdb" and shape["name"] == TINY
    entries = [entry for entry in ENVIRONMENTS if entry.backend in INSTALLED and not entry.obstacle]
    rows = {(row["environment"], row["implementation"], row["training"]): row for row in tree["rows"]}
    assert len(rows) == len(tree["rows"]) and {*rows} == {
        (entry.name, implementation, training)
        for entry in entries
        for implementation in {*entry.implementations} & {"builtin", "packed", "padded", "loop", *FAST}
        for training in (True, False)
    }
    peaks = []
    for row in rows.values():
        assert row["ran"] == row["implementation"] and row["backend"] in INSTALLED and row["calls"] >= 1
        assert row["flops"] == (3 if row["training"] else 1) * lengths.sum() * 2 * 3 * 7 * (5 + 7) * 2
        assert [timing["round"] for timing in row["timings"]] == [0, 1]
        seconds = [timing["seconds"] for timing in row["timings"]]
        check_summary(row["seconds"], seconds)
        beside = [(timing["peak_before"] + timing["peak_after"]) / 2 for timing in row["timings"]]
        check_summary(row["share_of_peak"], [row["flops"] / s / peak for s, peak in zip(seconds, beside, strict=True)])
        assert row["flops_per_second"] == row["flops"] / row["seconds"]["median"]
        peaks += [timing[name] for timing in row["timings"] for name in ("peak_before", "peak_after")]
    check_summary(tree["peak"]["flops_per_second"], peaks)
    for entry in tree["ratios"]:
        row = rows[entry["environment"], entry["implementation"], entry["training"]]
        base = rows[entry["fast_in"], "fast", entry["training"]]
        pairs = zip(row["timings"], base["timings"], strict=True)
        check_summary(entry["ratio"], [one["seconds"] / other["seconds"] for one, other in pairs])
    rivals = {"torch": {"torch padded", "torch packed", "torch builtin"}, "paddle": {"Paddle installed", "Paddle best"}}
    expected = {"loop"}.union(*(rivals[name] for name in INSTALLED))
    found = {(entry["fast_in"], entry["against"]) for entry in tree["ratios"]}
    assert found == {pair for pair in itertools.product(INSTALLED, expected) if FAST}


def test_the_steps_of_a_run(finished):
    """A recipe's are timed with what its encoder has."""
    _, tree = finished
    timed = [(row["recipe"], row["backend"], row["implementation"]) for row in tree["steps"]]
    textcnn = [("textcnn", name, "builtin") for name in INSTALLED]
    assert sorted(timed) == sorted([*textcnn, *itertools.product(["default"], INSTALLED, (*FAST, "builtin"))])
    for row in tree["steps"]:
        assert row["ran"] == row["implementation"] and [timing["round"] for timing in row["timings"]] == [0, 1]
        check_summary(row["seconds"], [timing["seconds"] for timing in row["timings"]])
        speeds = [timing["tokens"] / timing["seconds"] for timing in row["timings"]]
        check_summary(row["tokens_per_second"], speeds)
        assert [*row["parts"]] == [*parts(recipe(row["recipe"]).model.encoder)]
        for timing in row["timings"]:
            assert timing["tokens"] > 32 and min(timing["parts"].values()) > 0
            assert sum(timing["parts"].values()) == pytest.approx(timing["seconds"], rel=0.02)
        for part, found in row["parts"].items():
            check_summary(found["seconds"], [timing["parts"][part] for timing in row["timings"]])
            check_summary(found["share"], [timing["parts"][part] / timing["seconds"] for timing in row["timings"]])


def test_what_a_run_prints(finished):
    done, tree = finished
    for shown in (f"layers   {TINY}; gru; training and inference; float32; lengths as in", "GRU  ms", "whole step",
                  "of the recipes textcnn, default; 2 rounds", "process  torch", "convolution", "peak     "):  # fmt: skip
        assert shown in done.out
    assert done.err == ("" if tree["warning"] is None else f"warning: {tree['warning']}\n")
    assert Path("out/speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_smaller_run_and_none_over_it(folder):
    chosen = (*FAST, "loop")
    argv = ("--shapes", TINY, "--cells", "srn", "--passes", "training", "--rounds", 1, "--layers", "--impl", *chosen)
    argv = ("--backends", INSTALLED[0], "--dtype", "float64", "--lengths", "equal", *argv, "--out", "small")
    done = run(*argv)
    assert done.code == 0, done
    text = Path("small/speed.json").read_text()
    tree = json.loads(text)
    assert {(row["backend"], row["implementation"]) for row in tree["rows"]} == {(INSTALLED[0], one) for one in chosen}
    assert tree["steps"] == [] and tree["dtype"] == "float64" and tree["shapes"][0]["lengths"] == [6, 6, 6]
    done = run(*argv)
    assert done.code == 2 and "small: exists" in done.err and Path("small/speed.json").read_text() == text


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--shapes", "typo"), ("--shapes typo", "textbook-srn", "64x256")),
        (("--cells", "rnn"), ("--cells: ", "'rnn'", "lstm")),
        (("--impl", "auto"), ("--impl: ", "'auto'", "padded")),
        (("--passes", "both"), ("--passes: ", "'both'", "inference")),
        (("--backends", "jax"), ("--backends: ", "'jax'", "torch")),
        (("--recipe", "typo"), ("--recipe: ", "'typo'", "default")),
        (("--lengths", "long"), ("--lengths: ", "'long'", "equal")),
        (("--dtype", "float16"), ("--dtype: ", "'float16'")),
        (("--rounds", "0"), ("--rounds: 0: must be at least 1",)),
        (("--threads", "0"), ("--threads: 0: must be at least 1",)),
        (("--threads", "x"), ("--threads: ", "'x'")),
        (("--layers", "--steps"), ("--steps: not allowed with argument --layers",)),
        (("--steps", "--impl", "loop"), ("nothing to time",)),
        (("--out", "data"), ("data: exists",)),
        (("--data", "none", "--steps"), ("none",)),
    ],
    ids=str,
)
def test_the_program_refuses(folder, argv, says):
    done = run("--out", "refused", *argv)
    assert done.code == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1, done
    assert all(part in done.err for part in says), done
    assert not Path("refused").exists()


def test_what_is_missing(folder, monkeypatch):
    monkeypatch.setattr(implementations, "why_not_fast", lambda device: "it was not compiled")
    assert "--impl fast: it was not compiled" in run("--impl", "fast", "--layers").err
    chosen, left_out = program._plan(program._parser().parse_args(["--quick"]))
    assert left_out == {"fast": "it was not compiled"} and "fast" not in chosen.implementations
    monkeypatch.setattr(environments, "ENVIRONMENTS", ENVIRONMENTS)
    monkeypatch.setattr(program, "ENVIRONMENTS", (replace(ENVIRONMENTS[0], obstacle="why"), *ENVIRONMENTS[1:]))
    assert "torch" not in [entry.name for entry in program._environments(chosen, ["torch", "paddle"], left_out)]
    assert left_out["torch"] == "why"
    monkeypatch.setattr(backends, "installed", lambda name: name != "torch")
    assert "--backends torch: it is not installed" in run("--backends", "torch").err
    assert environments.peak_environment().backend is None
    monkeypatch.setattr(backends, "installed", lambda name: False)
    done = run()
    assert done.code == 2 and "no framework is installed" in done.err


def test_plans():
    full, quick = plan(), plan("--quick")
    assert full.shapes == quick.shapes == tuple(SHAPES.values())
    assert full.cells == FRAMEWORK_CELLS and quick.cells == ("lstm",)
    assert full.passes == (True, False) and quick.passes == (True,)
    assert full.recipes == ("default", "textbook") and quick.recipes == ("default",)
    assert plan("--steps").shapes == () and plan("--layers").recipes == ()
    installed = ENVIRONMENTS[3]
    assert installed.plain and full.layers_in(installed) == ["builtin", "packed", "padded"]
    assert quick.layers_in(installed) == ["packed"] and plan("--steps").layers_in(installed) == []
    # What is asked for by name is timed.
    assert plan("--quick", "--impl", "padded").layers_in(installed) == ["padded"]
    for name in INSTALLED:
        assert {*implementations.IMPLEMENTATIONS, *backends.load(name).NATIVE} == {*IMPLEMENTATIONS}


@needs_proc
def test_ctrl_c(tmp_path):
    """Exit code 130, one line, no process and no folder left."""
    argv = ("--backends", INSTALLED[0], "--shapes", TINY, "--rounds", "10000", "--layers", "--out", tmp_path / "out")
    command = [sys.executable, "-m", "tasks.speed", *map(str, argv)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes) as process:
        try:
            assert any(line.startswith("timing") for line in process.stdout)
            children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
            assert len(children) >= 2
            time.sleep(0.5)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == INTERRUPTED and err == "interrupted\n"
    assert not (tmp_path / "out").exists() and not any(Path(f"/proc/{child}").exists() for child in children)
