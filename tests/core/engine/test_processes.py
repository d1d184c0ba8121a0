"""Several processes train what one trains, speak and write once, and end together: with gloo, on a CPU."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.classify
import tasks.cli.console
import tasks.compare
import tasks.derive
import tasks.digit_sum
import tasks.exploding
import tasks.gates
import tasks.parity.__main__
import tasks.port.__main__
import tasks.speed.__main__
from backends import implementations, launchers
from core.batch import Batch, BatchShard
from core.engine.executor import Executor
from core.engine.processes import SINGLE_PROCESS, local_rank_0_first, peer_lost
from core.errors import UserError
from core.parity.instances import random_batch, random_parameters
from core.train import metrics
from core.train.metrics import collected
from core.train.run_folder import RunFolder
from tasks.parity.cases import BIGRAMS, Case
from tests.conftest import INSTALLED, fresh_rng, loaded, make_dataset, run_main

ROOT = Path(__file__).parents[3]
LIMIT = 1e-9
"""Of differences in float64 between runs that had other numbers of processes."""
SECONDS = 90.0
"""That a launched run may take, on a core that others use too."""
TAG = "SEQTWIN_TEST_LAUNCH"


# Parts of a batch, without any process


class Silent:
    """A process group whose other members add nothing: what comes back is one process's share."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = self.local_rank = rank
        self.size = size

    def sum(self, array: np.ndarray) -> np.ndarray:
        return array

    def all_reduce(self, tensor: object) -> None:
        pass


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shards_contain_each_row_once(rng, size):
    for rows in range(1, 10):
        parts = [BatchShard(rank, size, rows) for rank in range(size)]
        chosen = np.concatenate([part.chosen for part in parts if part.counts])
        assert sorted(chosen) == list(range(rows))
        assert all(part.chosen.tolist() == [0] for part in parts if not part.counts)
        lengths = rng.integers(1, 6, rows)
        whole = Batch(rng.integers(1, 9, (rows, 5)), lengths, {"label": rng.integers(0, 2, rows)})
        for part in parts:
            share = whole.sharded(part.rank, size)
            if size > 1:
                assert share.shard == part and share.ids.shape == (len(part.chosen), 5)
                assert np.array_equal(share.lengths, lengths[part.chosen])
            else:
                assert share is whole


CASES = {
    "mean": Case("lstm", 1, True, "max", "index"),
    "sum": Case("gru", 2, False, "last", "one_hot"),
    "builtin": Case("lstm", 2, True, "mean", "index"),
    "one logit": Case("residual_srn", 1, True, "mean", "index"),
    "bigrams": Case("lstm", 1, True, "mean", "one_hot", BIGRAMS),
    "both tables by rows": Case("gru", 1, True, "max", "index", BIGRAMS),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_shards_add_up(backend, rng, case):
    """The loss too; with dropout of units and words, class weights, and parts of no row."""
    reduction = "sum" if case == "sum" else "mean"
    changes = {
        "training.loss_reduction": reduction,
        "model.head.classes": 2,
        "model.head.one_logit": case == "one logit",
    }
    changes["training.class_weights"] = (0.3, 1.9)
    changes["training.word_dropout"] = 0.3
    changes["training.adversarial"] = 0.4 if case in ("mean", "builtin", "both tables by rows") else 0.0
    experiment = CASES[case].experiment("float64", **changes)
    arrays = random_parameters(experiment, rng)
    implementation = {"builtin": "builtin", "one logit": "loop"}.get(case) or (
        "loop" if implementations.why_not_fast("cpu") else "fast"
    )

    def engine(group):
        return backend.Engine(experiment.model, experiment.training, arrays, Executor("cpu", implementation, group))

    alone = engine(SINGLE_PROCESS)
    for size, rows in ((2, 5), (3, 7), (4, 2), (2, 1)):
        drawn = random_batch(experiment, rng, max(rows, 2))
        batch = Batch(drawn.ids[:rows], drawn.lengths[:rows], {"label": drawn.labels[:rows]})
        loss, gradients = alone.gradients(batch, 3)
        parts = [engine(Silent(rank, size)).gradients(batch, 3) for rank in range(size)]
        assert sum(part[0] for part in parts) == pytest.approx(loss, abs=1e-12)
        for name, gradient in gradients.items():
            assert np.abs(sum(part[1][name] for part in parts) - gradient).max() < 1e-12, name


def test_logits_of_shards_add_up(rng, monkeypatch):
    monkeypatch.setattr(metrics, "EVALUATION_BATCH", 4)
    dataset = make_dataset(rng, 10)
    answers, ones = [], np.ones(10, np.int64)

    def logits_of(batch: Batch) -> np.ndarray:
        answers.append(len(batch.labels))
        return np.stack([batch.ids.sum(1), batch.lengths], 1) / 7.0

    whole = collected(logits_of, ones, dataset)
    for size in (2, 3, 5):
        answers.clear()
        parts = [collected(logits_of, ones, dataset, group=Silent(rank, size)) for rank in range(size)]
        assert np.array_equal(sum(parts), whole)
        assert len(answers) == max(size, 3)  # one more for who has none


class Threads:
    """A process group of threads that meet in `sum`."""

    def __init__(self, size: int) -> None:
        self.barrier, self.given = threading.Barrier(size, timeout=10), [np.zeros(1)] * size

    def member(self, rank: int) -> Silent:
        group = Silent(rank, len(self.given))
        group.sum = lambda array: self._sum(rank, array)
        return group

    def _sum(self, rank: int, array: np.ndarray) -> np.ndarray:
        self.given[rank] = array
        self.barrier.wait()
        total = sum(self.given)
        self.barrier.wait()
        return total


@pytest.mark.parametrize("fails", [None, 0, 1])
def test_rank_0_goes_first_and_reports_its_failure(fails):
    threads, done, ended = Threads(2), [], {}

    def body(rank: int) -> None:
        try:
            with local_rank_0_first(threads.member(rank)):
                time.sleep(0.05 * (1 - rank))
                done.append(rank)
                if rank == fails:
                    raise UserError("mine")
        except (UserError, SystemExit) as error:
            ended[rank] = error

    running = [threading.Thread(target=body, args=(rank,)) for rank in range(2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(20)
    assert done == ([0] if fails == 0 else [0, 1])
    assert {rank: type(error) for rank, error in ended.items()} == {
        None: {},
        0: {0: UserError, 1: SystemExit},  # who has no mistake of its own says nothing
        1: {1: UserError},
    }[fails]
    assert fails != 0 or ended[1].code == 2


# What is refused


PLACES = {"torch": {"RANK": "0", "WORLD_SIZE": "2"}, "paddle": {"PADDLE_TRAINER_ID": "0", "PADDLE_TRAINERS_NUM": "2"}}


ALONE_ONLY = (
    tasks.compare,
    tasks.derive,
    tasks.digit_sum,
    tasks.exploding,
    tasks.gates,
    tasks.parity.__main__,
    tasks.port.__main__,
)
ALONE_ONLY += (tasks.speed.__main__,)


@pytest.mark.parametrize("launcher", backends.NAMES)
def test_programs_without_distributed_launch_are_refused(launcher, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in PLACES[launcher].items():
        monkeypatch.setenv(name, value)
    Path("t.csv").write_text("text,label\n" + "".join(f"text {row},{row % 2}\n" for row in range(40)))
    for main, argv, what in (
        (tasks.classify.main, ("predict", "r", "text"), "predict"),
        (tasks.classify.main, ("evaluate", "r"), "evaluate"),
        (tasks.classify.main, ("t.csv", "--backend", "both"), "--backend both"),
        *((program.main, ("--quick",), program.__name__.removesuffix(".__main__")) for program in ALONE_ONLY),
    ):
        done = run_main(main, *argv)
        assert done.code == 2 and done.err.count("\n") == 1 and what in done.err, done
        assert done.err.startswith("error: ") and "without torchrun or paddle.distributed" in done.err, done
    other = next(name for name in backends.NAMES if name != launcher)
    done = run_main(tasks.classify.main, "t.csv", "--backend", other)
    assert done.code == 2 and done.err.splitlines()[-1].startswith("error: started by "), done
    assert f"the backend is {other}: use {launchers.LAUNCHERS[other].command} TASK" in done.err
    assert sorted(path.name for path in Path().iterdir()) == ["t.csv"]


def test_other_ranks_print_only_their_own_errors(monkeypatch):
    waited = []
    monkeypatch.setattr(tasks.cli.entry.time, "sleep", waited.append)
    monkeypatch.setattr(tasks.cli.console.console, "quiet", False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")

    def say(error: Exception):
        def main(argv):
            tasks.cli.console.console.print("on standard output")
            raise error

        done = run_main(main)
        assert done.out == ""
        return done.err

    assert say(UserError("as the first says")).startswith("process 1: error: as the first") and len(waited) == 1
    err = say(peer_lost(Silent(1, 2), RuntimeError("Connection\nclosed")))
    assert (
        "another of this run's 2 processes has ended (Connection closed)" in err
        and "--resume" in err
        and len(waited) == 1
    )
    assert say(KeyboardInterrupt()) == ""


# Processes


@dataclass
class Launch:
    """A launcher and all that it started, which make process groups of their own: a variable tells them."""

    backend: str
    process: subprocess.Popen
    tag: str
    folder: Path
    out: str = ""
    err: str = ""

    def pids(self) -> dict[int, int | None]:
        """Of every process of it that lives: its rank, None for the launcher's own."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pairs = [pair.partition(b"=") for pair in (entry / "environ").read_bytes().split(b"\0")]
                variables = {name: value.decode() for name, _, value in pairs}
                if variables.get(TAG.encode()) == self.tag:
                    rank = variables.get(launchers.LAUNCHERS[self.backend].rank.encode())
                    found[int(entry.name)] = None if rank is None else int(rank)
        return found

    def signal(self, rank: int | None, number: int) -> Launch:
        """To one of them, or to the launcher."""
        pid = next(pid for pid, found in self.pids().items() if found == rank) if rank is not None else self.process.pid
        os.kill(pid, number)
        return self

    def wait(self, seconds: float = SECONDS) -> Launch:
        """Until all have ended."""
        try:
            self.out, self.err = self.process.communicate(timeout=seconds)
            until = time.monotonic() + 5
            while self.pids() and time.monotonic() < until:
                time.sleep(0.05)
            assert not self.pids(), f"processes were left behind: {self}"
        finally:
            self.kill()
        return self

    def kill(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def until(self, run: Path, step: int) -> Launch:
        """Until its metrics have lines after `step`."""
        path, until = run / "metrics.jsonl", time.monotonic() + SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            if path.is_file() and any(line["step"] > step for line in whole_lines(path)):
                return self
            time.sleep(0.005)
        self.kill()
        raise AssertionError(f"never came to step {step}: {self.process.communicate()}")

    def said(self, rank: int) -> str:
        """All that a process of it said, on both streams, and what others did where the launcher mixes them."""
        log = self.folder / "log" / f"workerlog.{rank}"
        return log.read_text() if log.is_file() else self.out + self.err


def whole_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def start(folder: Path, backend: str, processes: int, task: str, *argv: object) -> Launch:
    """A task's program in so many processes, by a framework's own launcher, in a new folder."""
    folder.mkdir()
    if backend == "torch":
        # `standalone` takes a port that is free; Paddle's launcher looks for free ones by itself.
        command = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    else:
        command = ["paddle.distributed.launch", f"--nproc_per_node={processes}", f"--log_dir={folder / 'log'}"]
        command += [sys.executable, "-m"]
    tag = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", *command, f"tasks.{task}", *map(str, argv)],
        cwd=folder,
        env={**os.environ, TAG: tag, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return Launch(backend, process, tag, folder)


@pytest.fixture
def launch(tmp_path):
    """`start`; at the end none of the processes is left."""
    started = []

    def one(*arguments: object) -> Launch:
        started.append(start(tmp_path / f"launch-{len(started)}", *arguments))
        return started[-1]

    yield one
    for launched in started:
        launched.kill()


TELLING = {"bad": "awful hated dull", "good": "wonderful loved fine", "middling": "so-so average fair"}
EPOCHS, STEPS = 10, 13
"""Of the runs here; an epoch of 97 rows has a last batch of one."""
SHAPE = ("--hidden", 4, "--embedding-dim", 6, "--batch-size", 8, "--lr", 0.01, "--dtype", "float64", "--dropout", 0.3)
WEIGHED = ("--class-weights", "balanced", "--clip", "global", "--clip-norm", 0.5, "--set", "training.bucket_batches=1")


@dataclass(frozen=True)
class Place:
    """Tables, and what one process makes of them."""

    root: Path

    def argv(self, *more: object, out: Path, epochs: int = EPOCHS, reduction: str = "mean") -> tuple[object, ...]:
        files = (self.root / "train.csv", "--dev", self.root / "dev.csv", "--test", self.root / "test.csv")
        fixed = ("--duplicates", "keep", "--cache-dir", out.parent / f"{out.name}-cache", "--epochs", epochs)
        return *files, *fixed, *SHAPE, *WEIGHED, "--set", f"training.loss_reduction={reduction}", "--out", out, *more

    def alone(self, name: str, **form: object) -> Path:
        """The run of one process, made where it is not yet there."""
        out = self.root / "-".join([name, *map(str, form.values())])
        if not out.exists():
            done = run_main(tasks.classify.main, *self.argv("--backend", name, out=out, **form))
            assert done.code == 0, done.err
        return out


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    root, rng = tmp_path_factory.mktemp("place"), fresh_rng()
    common = np.array(["film", "plot", "actor", "scene", "the", "a", "of", "and", "was", "it", "very"])
    for name, rows in (("train", 97), ("dev", 30), ("test", 150)):
        with (root / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            for row in range(rows):
                label = list(TELLING)[min(row % 5, 2)]
                told = rng.choice(TELLING[label].split(), 2)
                writer.writerow([" ".join([*rng.choice(common, rng.integers(1, 25)), *told]), label])
    return Place(root)


CLOCKS = ("tokens_per_second", "device_share")


def difference(one: Path, other: Path, steps: int = EPOCHS * STEPS) -> float:
    """The largest between two finished runs, in anything that they measured or learned; the rest is equal."""
    largest = 0.0
    lines = [whole_lines(run / "metrics.jsonl") for run in (one, other)]
    assert [(line["step"], line["split"]) for line in lines[0]] == [(line["step"], line["split"]) for line in lines[1]]
    assert len([line for line in lines[0] if line["split"] == "train"]) == steps > 100
    for first, second in zip(*lines, strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() - set(CLOCKS) - {"split"}:
            largest = max(largest, abs(first[name] - second[name]))
    model = RunFolder.open(one).read_record()[0].model
    last = [RunFolder.open(run).read_last(model) for run in (one, other)]
    pairs = [(last[0][0], last[1][0]), (last[0][1], last[1][1])]
    pairs.append(tuple(RunFolder.open(run).read_best(model) for run in (one, other)))
    for first, second in pairs:
        assert first.keys() == second.keys()
        largest = max(largest, *(float(np.abs(first[name] - second[name]).max(initial=0.0)) for name in first))
    states = [(s.step, s.tokens, s.best_step, s.evaluations, s.finished) for _, _, s in last]
    assert states[0] == states[1]
    tables = [list(csv.reader((run / "predictions.csv").open(newline=""))) for run in (one, other)]
    for first, second in zip(*tables, strict=True):
        assert first[:3] == second[:3]
        if first[0] != "id":
            # Written with six decimals.
            assert np.abs(np.array(first[3:], float) - np.array(second[3:], float)).max() < 1.1e-6
    results = [RunFolder.open(run).read_result()["test"] for run in (one, other)]
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        if isinstance(value, float):
            largest = max(largest, abs(value - results[1][name]))
        else:
            assert value == results[1][name], name
    return largest


def held(one: Path, other: Path, **form: int) -> None:
    found = difference(one, other, **form)
    print(f"largest difference {found:.1e}")
    assert found <= LIMIT


def segments(run: Path) -> list[tuple[str, int]]:
    return [(part["backend"], part.get("processes", 1)) for part in RunFolder.open(run).read_record()[1]["segments"]]


def intact(run: Path) -> None:
    """What a resume needs can be read, whatever happened."""
    folder = RunFolder.open(run)
    experiment, _ = folder.read_record()
    folder.read_last(experiment.model)
    folder.read_metrics()


RUNS = [("paddle", 2, "mean"), ("torch", 3, "sum")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "processes", "reduction"), RUNS)
def test_run_equals_that_of_one_process(place, launch, tmp_path, name, processes, reduction):
    """In the other framework: with dropout, clipping, class weights, a batch of one row, and a dev set of one batch."""
    loaded(name)
    out = tmp_path / "run"
    done = launch(name, processes, "classify", *place.argv("--backend", name, out=out, reduction=reduction)).wait()
    assert done.process.returncode == 0, done
    one = place.alone(next((other for other in INSTALLED if other != name), name), reduction=reduction)
    held(one, out)
    assert segments(out) == [(name, processes)]
    assert RunFolder.open(out).read_record()[1]["processes"] == processes
    # The first alone speaks, and writes.
    for start in (
        "task ",
        "run ",
        "test accuracy",
        "trained in",
        f"epoch {EPOCHS}/{EPOCHS}  step {EPOCHS * STEPS}  dev",
    ):
        assert sum(line.startswith(start) for line in done.out.splitlines()) == 1, (start, done.out)
    assert "FLAGS" not in done.out + done.err and "Traceback" not in done.out + done.err
    assert "error:" not in done.out and "warning" not in done.out.lower()
    if name == "paddle":
        assert done.said(1) == ""
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in one.iterdir())
    caches = [sorted(path.name for path in Path(f"{run}-cache").rglob("*")) for run in (one, out)]
    assert caches[0] == caches[1]


@pytest.mark.slow
def test_chinese_reviews_and_native_masks(launch, tmp_path, rng):
    loaded("torch")
    for package in ("jieba", "rjieba"):
        pytest.importorskip(package)
    common = np.array(list("\u623f\u95f4\u9152\u5e97\u7535\u8111\u4e66\u5f88\u7684"))
    for name, told in (("pos", "\u597d\u68d2\u8d5e"), ("neg", "\u574f\u5dee\u70c2")):
        lines = ["".join([*rng.choice(common, 12), *rng.choice(list(told), 3)]) for _ in range(30)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    argv = ("--data", tmp_path, *SHAPE, "--epochs", 2, "--dropout-masks", "native", "--cache-dir", tmp_path / "cache")
    extra = ("--tensorboard",) if backends.importlib.util.find_spec("tensorboard") else ()
    done = launch("torch", 2, "reviews_zh", "--backend", "torch", *argv, *extra).wait()
    assert done.process.returncode == 0, done
    runs = list((done.folder / "runs").iterdir())
    assert len(runs) == 1 and (runs[0] / "result.json").is_file() and segments(runs[0]) == [("torch", 2)]
    assert len(list((tmp_path / "cache").rglob("*.npz"))) <= 1
    assert len(list(runs[0].rglob("events.*"))) == len(extra)


MISTAKES = [
    ("torch", "classify", ("gone.csv",), "gone.csv"),  # before they meet: all find it
    ("paddle", "reviews_zh", ("--data", "gone"), "gone"),  # after: the first alone does
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task", "argv", "says"), MISTAKES)
def test_error_is_one_line_and_ends_all_processes(launch, name, task, argv, says):
    loaded(name)
    done = launch(name, 2, task, "--backend", name, *argv).wait()
    assert done.process.returncode != 0
    said = done.said(0) if name == "torch" else done.said(0) + done.said(1)
    errors = [line for line in said.splitlines() if "error: " in line]
    assert len(errors) == 1 and errors[0].startswith("error: ") and says in errors[0], done
    assert not (done.folder / "runs").exists()


@pytest.mark.slow
def test_run_after_kills_and_signals_equals_uninterrupted_run(place, launch, tmp_path):
    """A process dies, then another, then Ctrl-C, then TERM; each time two others go on, in the other framework."""
    for name in backends.NAMES:
        loaded(name)
    out, epochs = tmp_path / "run", 24
    cache = ("--cache-dir", tmp_path / "run-cache")

    first = launch("torch", 2, "classify", *place.argv("--backend", "torch", out=out, epochs=epochs))
    first.until(out, 25).signal(1, signal.SIGKILL).wait(40)
    assert first.process.returncode != 0
    assert "\nerror: another of this run's 2 processes has ended" in f"\n{first.err}", first.err
    intact(out)

    second = launch("paddle", 2, "classify", "--resume", out, "--backend", "paddle", *cache)
    second.until(out, 60).signal(0, signal.SIGKILL).wait(40)
    assert second.process.returncode != 0
    assert second.said(1).startswith("process 1: error: another of this run's 2 processes has ended"), second
    intact(out)

    third = launch("torch", 2, "classify", "--resume", out, "--backend", "torch", *cache)
    third.until(out, 100).signal(None, signal.SIGINT).wait(40)
    assert third.process.returncode != 0 and third.out.count("stopped at step") == 1, third
    step = RunFolder.open(out).read_last(RunFolder.open(out).read_record()[0].model)[2].step
    assert f"stopped at step {step} of {epochs * STEPS}, checkpoint saved" in third.out

    fourth = launch("paddle", 2, "classify", "--resume", out, "--backend", "paddle", *cache)
    fourth.until(out, step + 25).signal(None, signal.SIGTERM).wait(40)
    # Paddle's launcher says TERM three times, and stops showing what the first one says.
    assert fourth.process.returncode != 0 and f"from step {step}" in fourth.said(0), fourth
    assert fourth.said(0).count("stopped at step") == 1 and fourth.said(1) == "", fourth.said(0)

    assert segments(out) == [("torch", 2), ("paddle", 2), ("torch", 2), ("paddle", 2)]
    done = run_main(tasks.classify.main, "--resume", out, "--backend", "torch", *cache)
    assert done.code == 0, done.err
    held(place.alone("torch", epochs=epochs), out, steps=epochs * STEPS)
    assert not list(out.glob(".*"))
