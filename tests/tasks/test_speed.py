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
from core.benchmark import load
from core.benchmark.shapes import REVIEW_QUANTILES, SHAPES, Shape, parse_shape
from core.benchmark.step_profile import parts, timed_parts
from core.benchmark.timing import LayerRow, StepRow, Stopwatch, Summary, calls_for, ratios, rounds_for, takes_part
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
    for length, mean in ((256, 180.7), (128, 90.35)):  # measured on the reviews themselves, truncated to 256 tokens
        lengths = Shape("", 4000, length, 1, 1).draw_lengths("imdb", 0)
        assert abs(lengths.mean() - mean) < 0.7 and abs((lengths == length).mean() - 0.3) < 0.01
        assert lengths.min() >= REVIEW_QUANTILES[0] // 2 and lengths.max() == length and lengths.dtype == np.int64
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
    # Of the rounds that both were in.
    assert ratios(row_of({0: 3.0, 2: 4.0, 5: 9.0}), row_of({0: 1.0, 1: 2.0, 2: 4.0})) == Summary(2.0, 1.5, 2.5, 2)


def test_calls_and_rounds():
    assert [calls_for(seconds, 0.005) for seconds in (1.0, 0.005, 0.002, 1e-5, 0.0)] == [1, 1, 3, 500, 10_000]
    assert [rounds_for(seconds, 7, 15.0) for seconds in (0.01, 2.0, 4.0, 60.0)] == [7, 7, 3, 2]
    assert rounds_for(60.0, 1, 15.0) == 1
    for own, rounds in itertools.combinations_with_replacement(range(1, 12), 2):
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


def test_the_picture(tmp_path):
    grouped, unit = panels(ROWS)
    assert unit == "times as long as torch fast" and [*grouped] == ["LSTM, training"]
    assert [*grouped["LSTM, training"]] == ["torch padded", "Paddle installed", "Paddle best", "torch loop"]
    # Without ours there is still a picture.
    grouped, unit = panels(ROWS[1:])
    assert unit == "times as long as the fastest" and grouped["LSTM, training"]["torch loop"][TINY].median == 6.0
    draw_speed({**grouped, "another": {"series": {"a": Summary(2.0, 1.5, 3.0, 5)}}}, "title", unit, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_disturbed_run_is_told():
    quiet, busy, silent = ({"others": others, "disturbed": others == 0.5} for others in (0.02, 0.5, None))
    assert "1 of 3 rounds, by up to 0.5 cores" in describe_disturbance([quiet, busy, quiet])
    assert describe_disturbance([quiet]) is None and "does not tell" in describe_disturbance([quiet, silent])


def test_figures_are_short():
    shown = [three_digits(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.1234, 0.01234)]
    assert shown == ["12,346", "123", "12.3", "1.23", "0.123", "0.0123"]
    assert [percent(share) for share in (0.854, 0.0996, 0.0854, 0.0)] == ["85%", "10%", "8.5%", "0.00%"]


TABLES = """\
3 x 6, 5/7, bi; training, float32, 18 of 18 tokens real
framework layer LSTM ms ± GFLOP/s peak GRU ms ± GFLOP/s peak rounds
torch fast 2,000 25% 0.500 25% 500 0% 2.00 100% 1-3
torch padded 4,000 25% 0.250 12% 3
torch, memory kept padded 4,500 25% 0.222 11% 3
torch loop 9,000 0% 0.111 5.6% 2
paddle, as installed builtin 7,000 0% 0.143 7.1% 3
paddle packed 1,500 0% 0.667 33% 3
3 x 6, 5/7, bi; inference, float32, 18 of 18 tokens real
torch loop 500 0% 2.00 100% 1
fast in torch is so many times as fast as
shape pass cell torch padded Paddle installed Paddle best loop
3x6,5/7,bi training LSTM 2.00 3.50 0.75 6.00
a training step of the recipe textcnn: median ms of 3 steps, and share
part torch, builtin
batch 10.0 25%
convolution 10.0 50%
whole step 20.0
tokens/s 3,000""".splitlines()


def test_tables(capsys):
    """From timings that were made up."""
    seconds = enumerate((0.01, 0.02, 0.09))
    timings = [{"round": round, "seconds": one, "tokens": 60} for round, one in seconds]
    for timing, batch in zip(timings, (0.0025, 0.01, 0.01), strict=True):
        timing["parts"] = {"batch": batch, "convolution": timing["seconds"] / 2}
    step = StepRow(environment="torch", backend="torch", implementation="builtin", recipe="textcnn", timings=timings)
    rows = [*ROWS, row_of({0: 0.5}, cell="gru"), row_of({0: 0.5}, "loop", training=False)]
    print_results(Measurement(plan("--shapes", TINY, "--cells", "lstm", "gru", "--lengths", "equal"), {}, rows, [step]))
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for number, line in enumerate(shown) if line in TABLES and line not in shown[:number]] == TABLES


# Parts of a step


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize(("of", "part"), [("default", "recurrent"), ("textcnn", "convolution")])
def test_parts_of_a_step_are_the_step(name, of, part, rng, monkeypatch):
    """Every name that is wrapped is there, every part takes time, and afterwards all is as it was."""
    side = backends.load(name)
    experiment = changed(recipe(of), {"training.batch_size": 8}).with_vocab_size(20)
    encoder, parameters = experiment.model.encoder, initial_parameters(experiment.model, 0, "float32")
    engine = side.Engine(experiment.model, experiment.training, parameters, "cpu", "builtin")
    watch, batch = Stopwatch(), make_dataset(rng, 8).batch(np.arange(8))
    with timed_parts(side, engine, encoder, watch), watch.part("rest"):
        engine.train_step(batch, 0, 1e-3)
    assert set(watch.seconds) == set(parts(encoder)) and min(watch.seconds.values()) > 0 and part in watch.seconds
    before = dict(watch.seconds)
    engine.train_step(batch, 1, 1e-3)
    assert watch.seconds == before
    with pytest.raises(RuntimeError, match=f"never entered: .*{part}"), timed_parts(side, engine, encoder, Stopwatch()):
        pass
    monkeypatch.delattr(side.engine, "clip")
    with pytest.raises(AttributeError, match="clip"), timed_parts(side, engine, encoder, watch):
        pass


# Rounds


class RecordedWorker:
    """Stands in for a worker: notes what it is asked, and answers at once."""

    pid, log = os.getpid(), []

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def ask(self, do: str, **arguments) -> dict:
        self.log.append(SimpleNamespace(do=do, row=(self.environment.name, arguments.get("implementation")), **arguments))
        seconds = 1e-3 if self.log[-1].row[1] == "fast" else 20.0
        return {"seconds": seconds, "ran": "it", "flops_per_second": len(self.log), "tokens": 3, "parts": {}}


def test_rounds_are_interleaved():
    log = RecordedWorker.log
    ready = {one.name: RecordedWorker(one) for one in (environments.peak_environment(), *ENVIRONMENTS[:2])}
    chosen = plan("--shapes", "2x5,1/1", TINY, "--cells", "srn", "--passes", "inference", "--rounds", "4")
    measured = Measurement(replace(chosen, recipes=("textcnn",)), ready)
    stages = [*measured.time_layers(), *measured.time_steps(recipe("textcnn"), "file")]
    assert len(stages) == measured.plan.count == 2 * (1 + 4) + (1 + 4)
    names = [entry.row for entry in log if entry.do == "prepare"][:7]
    case = log[: 1 + [entry.do for entry in log].index("forget")]
    # Set up and warm all; a peak before and after every timing; slow rows sit two rounds out; then forget.
    one, all_seven = "p" + "tp", "p" + "tp" * 7
    assert "".join(entry.do[0] for entry in case) == "p" * 7 + all_seven + one + all_seven + one + "f"
    turns = [entry for entry in case if entry.do == "time"]
    order = [entry.row for entry in turns]
    assert sorted(order[:7]) == sorted(order[8:15]) == sorted(set(names)) and order[:7] != order[8:15]
    assert order[7] == order[15] == ("torch", "fast") and not any(entry.training for entry in turns)
    assert {(entry.row[1] == "fast", entry.calls, entry.discard) for entry in turns} == {(True, 5, 5), (False, 1, 0)}
    assert sum(entry.do == "forget" for entry in log) == 2 * 2 + 1
    row, slow = measured.rows[:2]
    assert (row.ran, row.calls, row.discard, row.rounds, row.seconds.count) == ("it", 5, 5, 4, 4)
    assert [timing["round"] for timing in slow.timings] == [0, 2]
    assert all(timing["peak_after"] == timing["peak_before"] + 2 for timing in (*row.timings, *slow.timings))
    assert [(step.environment, step.implementation, step.seconds.count) for step in measured.steps] == [
        ("torch", "builtin", 4)
    ]
    assert [entry.number for entry in log if entry.do == "step"] == [0, 1, 2, 3, 4]
    assert [entry["of"] for entry in measured.rounds] == [
        *["2x5,1/1, srn, inference"] * 4, *[f"{TINY}, srn, inference"] * 4, *["steps, textcnn"] * 4
    ]  # fmt: skip


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
ROW = {"environment", "backend", "implementation", "ran", "discard", "timings", "seconds"}
KEYS = {
    "environments": {"name", "backend", "about", "variables", "threads"},
    "shapes": {"name", "batch", "length", "inputs", "hidden", "bidirectional", "layers", "lengths", "drawn"},
    "rows": ROW | {"shape", "cell", "training", "flops", "calls", "rounds", "share_of_peak", "flops_per_second"},
    "ratios": {"shape", "cell", "training", "fast_in", "against", "environment", "implementation", "ratio"},
    "steps": ROW | {"recipe", "tokens_per_second", "parts"},
    "rounds": {"of", "round", "others", "disturbed"},
}
OTHER_KEYS = "format when machine threads versions dtype rounds_at_most peak_by left_out seconds peak kernels warning"


def check_summary(tree: dict, values: list[float]) -> None:
    low, median, high = np.percentile(values, [25, 50, 75])
    assert tree == pytest.approx({"low": low, "median": median, "high": high, "count": len(values)}, rel=1e-12)


def test_the_record_of_a_run(finished):
    done, tree = finished
    assert tree.keys() == KEYS.keys() | OTHER_KEYS.split()
    for name, keys in KEYS.items():
        assert all(keys <= entry.keys() for entry in tree[name]) and len(tree[name]) > 0 or name == "ratios" and not FAST
    assert tree["threads"] == 1 and tree["kernels"] in (None, "portable", "avx2", "avx512")
    assert tree["machine"] == {**machine.description(), "processor": machine.processor()}
    assert tree["machine"]["python"] == platform.python_version() and {"numpy", *INSTALLED} <= tree["versions"].keys()
    entries = [entry for entry in ENVIRONMENTS if entry.backend in INSTALLED and not entry.obstacle]
    assert [(one["name"], one["variables"], one["threads"]) for one in tree["environments"]] == [
        (entry.name, entry.variables, 1) for entry in entries
    ]
    (shape,) = tree["shapes"]
    lengths = np.array(shape["lengths"])
    assert len(lengths) == 3 and lengths.max() <= 6 and shape["drawn"] == "imdb" and shape["name"] == TINY
    assert len(tree["rounds"]) == 2 * 2 + 2 * 2
    expected = {(entry.name, one) for entry in entries for one in entry.implementations if one != "fast" or FAST}
    rows = {(row["environment"], row["implementation"], row["training"]): row for row in tree["rows"]}
    assert len(tree["rows"]) == len(rows) and rows.keys() == {(*one, training) for one in expected for training in (0, 1)}
    for row in rows.values():
        assert row["ran"] == row["implementation"] and [timing["round"] for timing in row["timings"]] == [0, 1]
        assert row["flops"] == (3 if row["training"] else 1) * lengths.sum() * 2 * 3 * 7 * (5 + 7) * 2
        check_summary(row["seconds"], [timing["seconds"] for timing in row["timings"]])
        assert 0 < row["share_of_peak"]["median"] < 1 and row["flops_per_second"] == row["flops"] / row["seconds"]["median"]
    check_summary(tree["peak"]["flops_per_second"], [
        timing[peak] for row in tree["rows"] for timing in row["timings"] for peak in ("peak_before", "peak_after")
    ])  # fmt: skip
    for entry in tree["ratios"]:
        row = rows[entry["environment"], entry["implementation"], entry["training"]]
        pairs = zip(row["timings"], rows[entry["fast_in"], "fast", entry["training"]]["timings"], strict=True)
        check_summary(entry["ratio"], [one["seconds"] / other["seconds"] for one, other in pairs])
    rivals = {"torch": ["torch padded", "torch packed", "torch builtin"], "paddle": ["Paddle installed", "Paddle best"]}
    against = [*itertools.chain.from_iterable(rivals[name] for name in INSTALLED), "loop"]
    found = [(entry["fast_in"], entry["against"]) for entry in tree["ratios"] if entry["training"]]
    assert sorted(found) == sorted(pair for pair in itertools.product(INSTALLED, against) if FAST)


def test_the_steps_of_a_run(finished):
    """A recipe's are timed with what its encoder has."""
    done, tree = finished
    timed = [(row["recipe"], row["backend"], row["implementation"]) for row in tree["steps"]]
    textcnn = itertools.product(["textcnn"], INSTALLED, ["builtin"])
    assert sorted(timed) == sorted([*textcnn, *itertools.product(["default"], INSTALLED, (*FAST, "builtin"))])
    for row in tree["steps"]:
        assert row["ran"] == row["implementation"] and [timing["round"] for timing in row["timings"]] == [0, 1]
        assert [*row["parts"]] == [*parts(recipe(row["recipe"]).model.encoder)]
        check_summary(row["seconds"], [timing["seconds"] for timing in row["timings"]])
        check_summary(row["tokens_per_second"], [timing["tokens"] / timing["seconds"] for timing in row["timings"]])
        for timing in row["timings"]:
            assert timing["tokens"] > 32 and min(timing["parts"].values()) > 0
            assert sum(timing["parts"].values()) == pytest.approx(timing["seconds"], rel=0.02)
        for part, found in row["parts"].items():
            check_summary(found["seconds"], [timing["parts"][part] for timing in row["timings"]])
            check_summary(found["share"], [timing["parts"][part] / timing["seconds"] for timing in row["timings"]])


def test_what_a_run_prints(finished):
    done, tree = finished
    for shown in (f"layers   {TINY}; gru; training and inference; float32; lengths as in", "GRU  ms", "process  torch",
                  "of the recipes textcnn, default; 2 rounds", "convolution", "peak     "):  # fmt: skip
        assert shown in done.out
    assert done.err == ("" if tree["warning"] is None else f"warning: {tree['warning']}\n")
    assert Path("out/speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_smaller_run_and_none_over_it(folder):
    chosen = (*FAST, "loop")
    argv = ("--backends", INSTALLED[0], "--dtype", "float64", "--lengths", "equal", "--shapes", TINY, "--cells", "srn")
    argv = (*argv, "--passes", "training", "--rounds", 1, "--layers", "--out", "small", "--impl", *chosen)
    done = run(*argv)
    text = Path("small/speed.json").read_text()
    tree = json.loads(text)
    assert {(row["backend"], row["implementation"]) for row in tree["rows"]} == {(INSTALLED[0], one) for one in chosen}
    assert tree["steps"] == [] and tree["dtype"] == "float64" and tree["shapes"][0]["lengths"] == [6, 6, 6]
    done = run(*argv)
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
def test_the_program_refuses(folder, case):
    argv, says = case.split(" | ")
    done = run("--out", "refused", *argv.split())
    assert done.code == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1, done
    assert all(word in done.err for word in says.split()), done
    assert not Path("refused").exists()


def test_what_is_missing(folder, monkeypatch):
    monkeypatch.setattr(implementations, "why_not_fast", lambda device: "it was not compiled")
    assert "--impl fast: it was not compiled" in run("--impl", "fast", "--layers").err
    chosen, left_out = program._plan(program._parser().parse_args(["--quick"]))
    assert left_out == {"fast": "it was not compiled"} and "fast" not in chosen.implementations
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
