"""The training loop in every installed framework: what it records, what it keeps, and that a resume changes nothing."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

import backends
from backends import implementations
from core.data.dataset import Dataset, epoch_order
from core.engine.executor import Executor
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.heads.scores import summarize
from core.models.model import initial_parameters, parameter_table
from core.plots.gradients import draw_gradients, norms_by_layer
from core.rng import dropout_mask, native_seed
from core.spec.experiment import Experiment, replace
from core.spec.training import Schedule, Training, learning_rate
from core.train import loop
from core.train.metrics import evaluate
from core.train.run_folder import RunFolder
from core.train.state import TrainingState
from core.train.trainer import Session, train
from tests.conftest import loaded, make_dataset, one_line
from tests.pairwise import pairwise

VOCAB = 20

SMALL = replace(
    Experiment(),
    {
        "model.embedding.vocab_size": VOCAB,
        "model.embedding.dim": 5,
        "model.encoder.hidden_size": 4,
        "training.optimizer.learning_rate": 0.02,
        "training.batch_size": 8,
        "training.bucket_batches": 2,
        "training.epochs": 3,
        "training.dtype": "float64",
    },
)
"""On 44 rows: 6 steps an epoch, the last of 4 rows."""

ROWS = 44
STEPS = 18

DROPPING = {"model.embedding.dropout": 0.3, "model.encoder.dropout": 0.3, "model.head.dropout": 0.3}


@dataclass
class Watcher:
    """An observer that remembers."""

    intervals: list = field(default_factory=list)
    evaluations: list = field(default_factory=list)

    def on_interval(self, interval) -> None:
        self.intervals.append(interval)

    def on_evaluating(self, done, total) -> None:
        assert 0 < done <= total

    def on_evaluation(self, epoch, step, evaluation, is_best) -> None:
        self.evaluations.append((epoch, step, evaluation, is_best))


@pytest.fixture
def data(rng) -> tuple[Dataset, Dataset]:
    return make_dataset(rng, ROWS, VOCAB), make_dataset(rng, 30, VOCAB)


def new_engine(backend, experiment: Experiment, implementation: str = "auto"):
    training = experiment.training
    parameters = initial_parameters(experiment.model, training.seed, training.dtype)
    chosen = implementations.resolve_implementation(implementation, "cpu", experiment.model)
    return backend.Engine(experiment.model, training, parameters, Executor("cpu", chosen))


def run(backend, experiment, data, path, should_stop=lambda: False):
    """A run from its beginning: engine, folder, state, watcher."""
    folder, engine, watcher = RunFolder.create(path), new_engine(backend, experiment), Watcher()
    state = train(engine, Session(experiment, *data, folder, TrainingState()), watcher, should_stop)
    return engine, folder, state, watcher


def go_on(backend, experiment, data, folder, should_stop=lambda: False):
    """As `run`, with a new engine and nothing but what the folder holds."""
    parameters, moments, state = folder.read_last(experiment.model)
    engine, watcher = new_engine(backend, experiment), Watcher()
    engine.load(parameters, moments, state.step)
    folder.recover(state.step, state.metrics)
    state = train(engine, Session(experiment, *data, folder, state), watcher, should_stop)
    return engine, folder, state, watcher


def stop_after(steps: int):
    """`should_stop` that asks for it when it is called for the `steps`-th time, once per step."""
    calls = itertools.count(1)
    return lambda: next(calls) >= steps


def lines_of(folder: RunFolder, split: str) -> list[dict]:
    return [line for line in folder.read_metrics() if line["split"] == split]


def timeless(folder: RunFolder) -> list[dict]:
    """Metrics without those figures that are not a function of the spec."""
    clocks = ("tokens_per_second", "device_share")
    return [{key: value for key, value in line.items() if key not in clocks} for line in folder.read_metrics()]


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


# What a run does and records


@pairwise(backend=backends.NAMES, cell=["srn", "gru", "lstm"], dtype=["float32", "float64"], indirect=["backend"])
def test_loss_falls(backend, data, tmp_path, cell, dtype):
    changes = {"model.encoder.cell": cell, "training.dtype": dtype, "training.epochs": 12}
    _, folder, state, watcher = run(backend, replace(SMALL, changes), data, tmp_path / "run")
    losses, accuracies = ([line[name] for line in lines_of(folder, "train")] for name in ("loss", "accuracy"))
    assert state.finished and len(losses) == 72
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])
    assert np.mean(accuracies[-6:]) > np.mean(accuracies[:6])
    assert len(watcher.evaluations) == 12


def test_metrics_have_one_line_per_step(backend, data, tmp_path):
    _, folder, state, watcher = run(backend, SMALL, data, tmp_path / "run")
    lines = lines_of(folder, "train")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1)) and state.step == STEPS
    orders = [epoch_order(data[0].lengths, SMALL.training, epoch) for epoch in range(3)]
    for line, rows in zip(lines, itertools.chain(*orders), strict=True):
        assert line["counted"] == len(rows) and line["tokens"] == data[0].lengths[rows].sum()
        assert line["epoch"] == pytest.approx(line["step"] / 6, abs=1e-6) and line["learning_rate"] == 0.02
        assert math.isfinite(line["loss"]) and line["grad_norm"] > 0 and line["tokens_per_second"] > 0
        assert (line["accuracy"] * line["counted"]) == pytest.approx(round(line["accuracy"] * line["counted"]))
    assert state.tokens == 3 * data[0].lengths.sum() and len(state.epoch_seconds) == 3
    assert state.seconds == pytest.approx(sum(state.epoch_seconds))
    assert [(line["step"], line["epoch"]) for line in lines_of(folder, "dev")] == [(6, 1), (12, 2), (18, 3)]
    assert [interval.epoch for interval in watcher.intervals] == [1, 2, 3]
    epochs = [lines[start : start + 6] for start in (0, 6, 12)]
    expected = [sum(line["loss"] * line["counted"] for line in epoch) / ROWS for epoch in epochs]
    assert [interval.loss for interval in watcher.intervals] == pytest.approx(expected)


def test_statistics_of_a_step(backend, data):
    """Loss, right answers and norm against the reference and the engine's own gradients, before any update."""
    engine = new_engine(backend, SMALL)
    batch = data[0].batch(np.arange(3, 14))
    loss, gradients = engine.gradients(batch, 0)
    right = (engine.logits(batch).argmax(axis=1) == batch.labels).sum()
    engine.train_step(batch, 0, 0.01)
    (stats,) = engine.collect()
    assert stats.loss == pytest.approx(loss, rel=1e-12) and stats.right == right
    assert stats.grad_norm == pytest.approx(math.sqrt(sum((g**2).sum() for g in gradients.values())), rel=1e-12)


@pytest.mark.parametrize("implementation", ["builtin", "fast"])
def test_gradient_norms_of_every_parameter(backend, data, tmp_path, implementation):
    """Before clipping, by name, as the engine's gradients have them; `fast` holds the embedding's by rows."""
    changes = {"training.watch_gradients": True, "training.clip_norm": 1e-3, "training.epochs": 1}
    experiment = replace(SMALL, changes)
    engine, batch = new_engine(backend, experiment, implementation), data[0].batch(np.arange(3, 14))
    _, gradients = engine.gradients(batch, 0)
    engine.train_step(batch, 0, 0.01)
    (stats,) = engine.collect()
    wanted = {name: math.sqrt((gradient**2).sum()) for name, gradient in gradients.items()}
    assert stats.norms.keys() == wanted.keys() == {row.name for row in parameter_table(SMALL.model)}
    assert stats.norms == pytest.approx(wanted, rel=1e-12)
    assert math.hypot(*stats.norms.values()) == pytest.approx(stats.grad_norm, rel=1e-12)
    _, folder, _, watcher = run(backend, experiment, data, tmp_path / "run")
    lines = lines_of(folder, "train")
    for line in lines:
        assert math.hypot(*line["grad_norms"].values()) == pytest.approx(line["grad_norm"], rel=1e-5)
    mean = np.mean([line["grad_norms"]["head.bias"] for line in lines])
    assert watcher.intervals[0].grad_norms["head.bias"] == pytest.approx(mean, rel=1e-5)
    steps, layers = norms_by_layer(folder.read_metrics())
    assert steps == list(range(1, 7)) and set(layers) == {"embedding", "encoder.l0", "head"}
    assert layers["head"][0] == pytest.approx(
        math.hypot(lines[0]["grad_norms"]["head.weight"], lines[0]["grad_norms"]["head.bias"]), rel=1e-5
    )
    draw_gradients(folder.read_metrics(), "title", tmp_path / "gradients.png")
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")


def test_summed_loss_is_shown_per_text(backend, data, tmp_path):
    experiment = replace(SMALL, {"training.loss_reduction": "sum", "training.epochs": 1})
    _, folder, _, watcher = run(backend, experiment, data, tmp_path / "run")
    total = sum(line["loss"] for line in lines_of(folder, "train"))
    assert watcher.intervals[0].loss == pytest.approx(total / ROWS) and 0.2 < watcher.intervals[0].loss < 3


def test_best_checkpoint_on_dev_is_kept(backend, data, tmp_path):
    changes = {"training.eval_interval": 2, "training.epochs": 6, "training.optimizer.learning_rate": 0.1}
    experiment = replace(SMALL, changes)
    engine, folder, state, watcher = run(backend, experiment, data, tmp_path / "run")
    lines = lines_of(folder, "dev")
    assert [line["step"] for line in lines] == list(range(2, 37, 2))
    best = max(lines, key=lambda line: (line["accuracy"], -line["loss"]))
    assert (state.best_step, state.best_score, state.best_loss) == (best["step"], best["accuracy"], best["loss"])
    assert state.evaluations == len(watcher.evaluations) == 18
    assert [step for _, step, _, is_best in watcher.evaluations if is_best][-1] == best["step"]
    kept = folder.read_best(experiment.model)
    found = evaluate(ReferenceEngine(experiment.model, kept), experiment.model.head, data[1])
    assert found.accuracy == best["accuracy"] and found.loss == pytest.approx(best["loss"], rel=1e-9)
    last, _, _ = folder.read_last(experiment.model)
    assert largest_difference(last, engine.parameters()) == 0


@pytest.mark.parametrize("interval", [1, 4, 6, 100])
def test_evaluation_interval(backend, data, tmp_path, interval):
    """Every so many steps, and at the end of each epoch, once where the two meet."""
    _, folder, _, _ = run(backend, replace(SMALL, {"training.eval_interval": interval}), data, tmp_path / "run")
    due = [step for step in range(1, STEPS + 1) if step % interval == 0 or step % 6 == 0]
    assert [line["step"] for line in lines_of(folder, "dev")] == due
    assert [line["step"] for line in lines_of(folder, "train")] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("patience", [1, 3])
def test_patience(backend, data, tmp_path, patience):
    """At a rate too small to change one answer, the first look at dev stays the best."""
    changes = {
        "training.patience": patience,
        "training.epochs": 9,
        "training.optimizer": {"kind": "sgd", "learning_rate": 1e-300},
    }
    _, folder, state, _ = run(backend, replace(SMALL, changes), data, tmp_path / "run")
    assert state.finished and state.step == 6 * (1 + patience) and state.best_step == 6
    assert len(lines_of(folder, "dev")) == 1 + patience
    assert folder.read_last(SMALL.model)[2] == state


def test_evaluation_before_the_first_step(backend, data, tmp_path):
    """A line at step 0, no best checkpoint and no patience spent; a resume does not repeat it."""
    experiment = replace(SMALL, {"training.eval_start": True, "training.patience": 2, "training.epochs": 2})
    start = initial_parameters(SMALL.model, SMALL.training.seed, "float64")
    wanted = evaluate(ReferenceEngine(SMALL.model, start), SMALL.model.head, data[1])
    _, folder, state, watcher = run(backend, experiment, data, tmp_path / "run")
    lines = lines_of(folder, "dev")
    assert [line["step"] for line in lines] == [0, 6, 12] and lines[0]["epoch"] == 0
    assert lines[0]["accuracy"] == wanted.accuracy and lines[0]["loss"] == pytest.approx(wanted.loss, rel=1e-12)
    assert [is_best for _, _, _, is_best in watcher.evaluations][:2] == [False, True] and state.evaluations == 3
    plain = RunFolder.create(tmp_path / "plain")
    without = replace(experiment, {"training.eval_start": False})
    train(new_engine(backend, without), Session(without, *data, plain, TrainingState()), Watcher())
    assert [line for line in timeless(folder) if line["step"]] == timeless(plain)
    _, stopped, _, _ = run(backend, experiment, data, tmp_path / "stopped", stop_after(1))
    _, _, _, watcher = go_on(backend, experiment, data, stopped)
    assert timeless(stopped) == timeless(folder) and [step for _, step, _, _ in watcher.evaluations] == [6, 12]


def test_a_crash_around_the_evaluation_before_the_first_step(backend, data, tmp_path):
    """Before and after its line was written: a resume writes it exactly once."""
    experiment = replace(SMALL, {"training.eval_start": True, "training.epochs": 1})
    _, whole, _, _ = run(backend, experiment, data, tmp_path / "whole")
    for crash in ("on_evaluating", "on_evaluation"):
        watcher, folder = Watcher(), RunFolder.create(tmp_path / crash)

        def fail(*_):
            raise KeyboardInterrupt

        setattr(watcher, crash, fail)
        with pytest.raises(KeyboardInterrupt):
            train(new_engine(backend, experiment), Session(experiment, *data, folder, TrainingState()), watcher)
        go_on(backend, experiment, data, folder)
        assert timeless(folder) == timeless(whole), crash


def test_patience_continues_after_a_resume(backend, data, tmp_path):
    changes = {
        "training.patience": 3,
        "training.epochs": 9,
        "training.optimizer": {"kind": "sgd", "learning_rate": 1e-300},
    }
    experiment = replace(SMALL, changes)
    _, folder, state, _ = run(backend, experiment, data, tmp_path / "run", stop_after(15))
    assert not state.finished and state.evaluations_since_best == 1
    _, _, state, _ = go_on(backend, experiment, data, folder)
    assert state.finished and state.step == 24


def test_finished_run_does_not_train(backend, data, tmp_path):
    engine, folder, _, _ = run(backend, SMALL, data, tmp_path / "run")
    before = timeless(folder)
    again, _, state, watcher = go_on(backend, SMALL, data, folder)
    assert state.step == STEPS and watcher.evaluations == [] and timeless(folder) == before
    assert largest_difference(again.parameters(), engine.parameters()) == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [("empty", "empty"), ("id", "1..19"), ("padding", "1..19"), ("label", "0..1"), ("length", "d/0")],
)
def test_data_that_do_not_fit_the_model(backend, data, tmp_path, fault, said):
    tokens, labels, offsets = data[1].tokens.copy(), data[1].labels.copy(), data[1].offsets.copy()
    if fault == "id":
        tokens[3] = VOCAB
    elif fault == "padding":
        tokens[3] = 0
    elif fault == "label":
        labels[4] = 2
    elif fault == "length":
        offsets[1] = 0
    wrong = Dataset(tokens, offsets, {"label": labels}, data[1].names)
    if fault == "empty":
        wrong = Dataset(tokens[:0], offsets[:1], {"label": labels[:0]}, [])
    with pytest.raises(UserError) as error:
        run(backend, SMALL, (data[0], wrong), tmp_path / "run")
    assert said in one_line(error)


# Stopping and going on


OPTIMISERS = {
    "adam": {"training.optimizer": {"kind": "adam", "learning_rate": 0.02, "weight_decay": 0.1}},
    "adam, tensor clip": {
        "training.optimizer.weight_decay": 0.05,
        "training.clip_mode": "tensor",
        "training.clip_norm": 0.05,
    },
    "momentum": {
        "training.optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        "training.clip_mode": "tensor",
        "training.clip_norm": 0.1,
        "training.average_share": 0.8,
        "training.average_interval": 3,
        "training.adversarial": 0.2,
    },
    "sgd": {"training.optimizer": {"kind": "sgd", "learning_rate": 0.3}, "training.clip_mode": "none"},
}


@pairwise(backend=backends.NAMES, optimiser=OPTIMISERS, masks=["shared", "native"], indirect=["backend"])
def test_resumed_run_equals_uninterrupted_run(backend, data, tmp_path, rng, optimiser, masks):
    """Stopped twice after any number of steps, with dropout and a changing rate: every bit as if never stopped."""
    changes = {
        **OPTIMISERS[optimiser],
        **DROPPING,
        "training.word_dropout": 0.2,
        "training.dropout_masks": masks,
        "training.schedule.kind": "one_cycle",
        "training.eval_interval": 4,
        "training.seed": int(rng.integers(1 << 40)),
        "model.encoder.num_layers": 2,
        "model.head.hidden_size": 3,
    }
    experiment = replace(SMALL, changes)
    whole, whole_folder, whole_state, _ = run(backend, experiment, data, tmp_path / "whole")
    first, second = (int(step) for step in sorted(rng.choice(np.arange(1, STEPS), size=2, replace=False)))
    _, folder, state, _ = run(backend, experiment, data, tmp_path / "parts", stop_after(first))
    assert state.step == first and not state.finished
    _, _, state, _ = go_on(backend, experiment, data, folder, stop_after(second - first))
    assert state.step == second and not state.finished
    engine, _, state, _ = go_on(backend, experiment, data, folder)
    assert state.finished and state.step == STEPS
    assert timeless(folder) == timeless(whole_folder)
    assert largest_difference(engine.parameters(), whole.parameters()) == 0
    if whole.moments():
        assert largest_difference(engine.moments(), whole.moments()) == 0
    assert largest_difference(folder.read_best(experiment.model), whole_folder.read_best(experiment.model)) == 0
    for name in ("best_step", "best_score", "best_loss", "evaluations", "evaluations_since_best", "tokens"):
        assert getattr(state, name) == getattr(whole_state, name), name


def test_dropout_is_on(backend, data):
    """Else the test above would say nothing of it."""
    batch = data[0].batch(np.arange(8))
    for masks in ("shared", "native"):
        engine = new_engine(backend, replace(SMALL, {**DROPPING, "training.dropout_masks": masks}))
        losses = [engine.gradients(batch, step)[0] for step in (0, 1, 0)]
        assert losses[0] != losses[1] and losses[0] == losses[2]


def test_resume_before_the_first_step(backend, data, tmp_path):
    """A run that is killed before its first step has left a checkpoint too."""
    _, whole, _, _ = run(backend, SMALL, data, tmp_path / "whole")

    class Killed(Exception):
        pass

    class Refusing:
        def __getattr__(self, name):
            return getattr(engine, name)

        def train_step(self, *_):
            raise Killed

    engine, folder = new_engine(backend, SMALL), RunFolder.create(tmp_path / "run")
    with pytest.raises(Killed):
        train(Refusing(), Session(SMALL, *data, folder, TrainingState()), Watcher())
    _, _, state, _ = go_on(backend, SMALL, data, folder)
    assert state.finished and timeless(folder) == timeless(whole)


def test_resume_after_a_kill_between_metrics_and_checkpoint(backend, data, tmp_path):
    """Lines of steps that the checkpoint does not know are dropped and come again, once."""
    experiment = replace(SMALL, {**DROPPING, "training.eval_interval": 4})
    whole, whole_folder, _, _ = run(backend, experiment, data, tmp_path / "whole")
    _, folder, _, _ = run(backend, experiment, data, tmp_path / "parts", stop_after(5))
    older = (folder.path / "last.safetensors").read_bytes()
    go_on(backend, experiment, data, folder, stop_after(6))
    (folder.path / "last.safetensors").write_bytes(older)
    assert lines_of(folder, "train")[-1]["step"] == 11
    engine, _, _, _ = go_on(backend, experiment, data, folder)
    assert timeless(folder) == timeless(whole_folder)
    assert largest_difference(engine.parameters(), whole.parameters()) == 0


def test_checkpoint_between_evaluations(backend, data, tmp_path, monkeypatch):
    """After SAVE_SECONDS, so that a power cut does not cost an epoch."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    saved = []
    monkeypatch.setattr(RunFolder, "write_last", lambda self, *values: saved.append(values[2].step))
    run(backend, SMALL, data, tmp_path / "run")
    assert saved[0] == 0 and set(saved) == set(range(STEPS + 1))


def test_resume_in_the_other_framework(data, tmp_path, rng):
    """Rung 4: begun in one, ended in the other, the curve of never having stopped."""
    engines = [loaded(name) for name in ("paddle", "torch")]
    experiment = replace(SMALL, {**DROPPING, "training.optimizer.weight_decay": 0.1, "model.encoder.num_layers": 2})
    _, whole, _, _ = run(engines[0], experiment, data, tmp_path / "whole")
    expected = [line["loss"] for line in whole.read_metrics()]
    for number, (first, second) in enumerate((engines, engines[::-1])):
        _, folder, _, _ = run(first, experiment, data, tmp_path / str(number), stop_after(int(rng.integers(1, STEPS))))
        go_on(second, experiment, data, folder)
        assert [line["loss"] for line in folder.read_metrics()] == pytest.approx(expected, abs=1e-9, rel=0)


# Divergence


def diverging(optimizer: dict, **changes) -> Experiment:
    fixed = {"training.clip_mode": "none", "training.dtype": "float32", "model.encoder.cell": "srn"}
    return replace(SMALL, {"training.optimizer": optimizer, **fixed, **changes})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_diverging_loss_names_its_step(backend, data, tmp_path):
    """Decay at such a rate multiplies the weights by 1e20 a step."""
    with pytest.raises(UserError) as error:
        experiment = diverging({"kind": "sgd", "learning_rate": 1e20, "weight_decay": 1.0})
        run(backend, experiment, data, tmp_path / "run")
    lines = lines_of(RunFolder.open(tmp_path / "run"), "train")
    first = next(line["step"] for line in lines if line["loss"] is None)  # JSON has no NaN
    assert (
        f"step {first}:" in one_line(error)
        and "diverged" in one_line(error)
        and "`training.optimizer.learning_rate`" in one_line(error)
    )
    assert 1 < first <= 6


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_diverging_evaluation_is_not_kept(backend, data, tmp_path):
    """The step's own loss was fine; the parameters that it left are not, and must not be kept as best or as last."""
    changes = {"training.epochs": 1, "training.batch_size": ROWS}
    experiment = diverging({"kind": "adam", "learning_rate": 1e38}, **changes)
    with pytest.raises(UserError) as error:
        run(backend, experiment, data, tmp_path / "run")
    assert "step 1" in one_line(error) and "diverged" in one_line(error)
    folder = RunFolder.open(tmp_path / "run")
    assert math.isfinite(lines_of(folder, "train")[0]["loss"])
    assert not (folder.path / "best.safetensors").exists() and folder.read_last(experiment.model)[2].step == 0


# The device is not waited for


@pytest.fixture
def reads(backend, monkeypatch) -> list[str]:
    """Names of every call that copies a tensor to the host, as they happen."""
    if backend.NAME == "torch":
        import torch as framework
    else:
        import paddle as framework
    found: list[str] = []

    def counting(name, method):
        def call(*arguments, **options):
            found.append(name)
            return method(*arguments, **options)

        return call

    names = ["item", "numpy", "cpu", "tolist", "__bool__", "__float__", "__int__", "__index__", "__array__"]
    for name in names:
        if hasattr(framework.Tensor, name):
            monkeypatch.setattr(framework.Tensor, name, counting(name, getattr(framework.Tensor, name)))
    return found


@pairwise(
    backend=backends.NAMES,
    cell=["srn", "gru", "lstm"],
    implementation=["builtin", "packed"],
    optimiser=OPTIMISERS,
    indirect=["backend"],
)
def test_step_does_not_wait_for_the_device(backend, data, reads, cell, optimiser, implementation):
    """With the layers that run on a device; our own are on the CPU, where there is nothing to wait for."""
    changes = {**OPTIMISERS[optimiser], **DROPPING, "model.encoder.cell": cell, "model.encoder.num_layers": 2}
    changes["training.class_weights"] = (0.5, 2.0)
    engine = new_engine(backend, replace(SMALL, changes), implementation)
    batches = [data[0].batch(rows) for rows in epoch_order(data[0].lengths, SMALL.training, 0)]
    for step, batch in enumerate(batches):
        assert engine.train_step(batch, step, 0.01) is None
    # How many sequences are how long stands on the host, where torch's own layers look it up.
    of_the_host = {"__int__", "__index__"} if implementation == "packed" and backend.NAME == "torch" else set()
    assert set(reads) <= of_the_host
    reads.clear()
    assert len(engine.collect()) == len(batches) and reads != []


def test_collect_returns_the_steps_since(backend, data):
    one, other = new_engine(backend, SMALL), new_engine(backend, SMALL)
    assert one.collect() == []
    batches = [data[0].batch(rows) for rows in epoch_order(data[0].lengths, SMALL.training, 0)]
    singly = []
    for step, batch in enumerate(batches):
        one.train_step(batch, step, 0.01)
        other.train_step(batch, step, 0.01)
        found = one.collect()
        assert len(found) == 1 and one.collect() == []
        singly += found
    assert other.collect() == singly and len({stats.loss for stats in singly}) == len(batches)


def test_evaluation_changes_no_training_state(backend, data):
    """Evaluation, gradients and copies between steps leave the curve as it is."""
    experiment = replace(SMALL, {**DROPPING, "training.dropout_masks": "native"})
    one, other = new_engine(backend, experiment), new_engine(backend, experiment)
    for step in range(6):
        batch = data[0].batch(np.arange(step, step + 9))
        one.train_step(batch, step, 0.05)
        other.logits(data[1].batch(np.arange(5)))
        other.activations(batch)
        other.gradients(batch, step + 3)
        for array in (*other.parameters().values(), *other.moments().values()):
            array += 1.0  # copies
        other.train_step(batch, step, 0.05)
    assert one.collect() == other.collect()
    assert largest_difference(one.parameters(), other.parameters()) == 0


def test_padding_row_is_not_trained(backend, data):
    experiment = replace(SMALL, {"training.optimizer.weight_decay": 0.1, **DROPPING})
    engine = new_engine(backend, experiment)
    for step in range(5):
        engine.train_step(data[0].batch(np.arange(20)), step, 0.1)
    assert not engine.parameters()["embedding.weight"][0].any()
    assert engine.parameters()["embedding.weight"][1:].all()
    for name, array in engine.moments().items():
        assert array.any() and (not name.endswith("embedding.weight") or not array[0].any())


# The order of examples


def order_of(batch_size: int, bucket_batches: int, seed: int) -> Training:
    return Training(batch_size=batch_size, bucket_batches=bucket_batches, seed=seed)


def test_epoch_contains_each_row_once(rng):
    for rows, bucket_batches in itertools.product((1, 7, 40, 83), (0, 1, 3, 50)):
        lengths = rng.integers(1, 30, rows)
        batches = epoch_order(lengths, order_of(8, bucket_batches, seed=3), 2)
        assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
        assert len(batches) == math.ceil(rows / 8) and sorted(map(len, batches))[1:] == [8] * (len(batches) - 1)


@pytest.mark.parametrize("bucket_batches", [0, 5])
def test_order_depends_on_seed_and_epoch_only(rng, bucket_batches):
    lengths = rng.integers(1, 30, 200)

    def order(seed, epoch):
        return [batch.tolist() for batch in epoch_order(lengths, order_of(8, bucket_batches, seed), epoch)]

    first = order(1, 0)
    np.random.seed(int(rng.integers(99)))
    assert order(1, 0) == first
    others = [order(1, 1), order(2, 0), order(0, 1), order(11, 0)]
    assert all(other != first for other in others) and len({str(other) for other in others}) == 4


def test_buckets_contain_similar_lengths(rng):
    """Without looking sorted: batches of short and long texts are mixed, and so are rows of equal length."""
    lengths = rng.integers(1, 200, 1000)

    def spread(bucket_batches):
        return np.mean([np.ptp(lengths[rows]) for rows in epoch_order(lengths, order_of(10, bucket_batches, 5), 0)])

    plain, few, many = spread(0), spread(5), spread(50)
    assert plain == spread(1) and many < 0.05 * plain and many < few < 0.4 * plain
    means = [lengths[rows].mean() for rows in epoch_order(lengths, order_of(10, 50, 5), 0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5
    even = np.concatenate(epoch_order(np.full(1000, 7), order_of(10, 50, 5), 0))
    assert abs(np.corrcoef(even, np.arange(1000))[0, 1]) < 0.3


# The learning rate


def rates(total: int, peak: float = 0.5, **fields) -> np.ndarray:
    return np.array([learning_rate(Schedule(**fields), peak, step, total) for step in range(total)])


@pytest.mark.parametrize("kind", ["linear", "one_cycle"])
def test_schedule_at_its_ends(kind):
    shares = {"kind": kind, "warmup_share": 0.25, "start_share": 0.1, "final_share": 0.02}
    found = rates(101, **shares)
    assert found[0] == pytest.approx(0.05) and found[-1] == pytest.approx(0.01)
    top = int(found.argmax())
    assert top in (25, 26) and found[top] == pytest.approx(0.5, rel=0.02)
    assert (np.diff(found[: top + 1]) > 0).all() and (np.diff(found[top:]) < 0).all()
    steps = np.abs(np.diff(found[top + 1 :]))
    straight = np.ptp(steps) < 1e-12
    assert straight == (kind == "linear")
    middle = found[1:25][11]  # step 12 of 25.25: near half-way up on either curve
    assert middle == pytest.approx(0.05 + 0.45 * 12 / 25.25, rel=0.05)


def test_constant_schedule():
    assert (rates(10, kind="constant", start_share=0.3, final_share=0.1) == 0.5).all()


def test_short_schedules_stay_within_their_bounds():
    for kind, warmup, total in itertools.product(("constant", "linear", "one_cycle"), (0.0, 0.1, 1.0), (1, 2, 3, 10)):
        found = rates(total, kind=kind, warmup_share=warmup)
        assert np.isfinite(found).all() and (found >= 0).all() and (found <= 0.5).all() and found.max() > 0
        if warmup == 0.0:
            assert found[0] == 0.5


def test_schedule_reaches_the_engine(backend, data, tmp_path):
    experiment = replace(SMALL, {"training.schedule.kind": "linear", "training.schedule.warmup_share": 0.5})
    _, folder, _, _ = run(backend, experiment, data, tmp_path / "run")
    found = [line["learning_rate"] for line in lines_of(folder, "train")]
    assert found == pytest.approx(rates(STEPS, 0.02, kind="linear", warmup_share=0.5).tolist())
    assert found[0] == pytest.approx(0.04 * 0.02) and found[-1] == 0.0


# Dropout masks


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_share_of_dropped_units(rate, rng):
    size = 200_000
    mask = dropout_mask(int(rng.integers(1 << 60)), 3, "embedding", (size // 100, 4, 25), rate)
    assert mask.shape == (size // 100, 4, 25) and mask.dtype == bool
    deviation = math.sqrt(rate * (1 - rate) / size)
    assert abs((~mask).mean() - rate) <= 6 * deviation + 1 / 65536
    assert np.abs((~mask).mean(axis=(0, 1)) - rate).max() <= 6 * math.sqrt(rate * (1 - rate) / (size / 25)) + 1 / 65536


def test_masks_are_keyed_by_seed_step_and_place():
    def mask(seed=1, step=2, place="encoder.l0", shape=(7, 11)):
        return dropout_mask(seed, step, place, shape, 0.5)

    assert (mask() == mask()).all()
    others = [mask(seed=2), mask(step=3), mask(place="encoder.l1"), mask(seed=12, step=0), mask(step=22)]
    for other in others:
        assert 0.2 < (other == mask()).mean() < 0.8
    assert (mask(shape=(11, 7)).reshape(-1) == mask().reshape(-1)).all()


def test_masks_of_sizes_that_are_no_multiple_of_a_word():
    for shape in ((1,), (3,), (5, 1), (2, 3, 5)):
        assert dropout_mask(0, 0, "head.pooled", shape, 0.25).shape == shape


def test_seeds_of_native_masks():
    seeds = {native_seed(seed, step) for seed in range(20) for step in range(100)}
    assert len(seeds) > 1990 and all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("masks", ["shared", "native"])
def test_kept_units_are_scaled(backend, data, masks):
    """By 1 / (1 - rate). For one text, the gradient of the head's weight over that of its bias is what the head saw."""
    batch = data[0].batch(np.array([ROWS - 1]))
    experiment = replace(SMALL, {"model.head.dropout": 0.25, "training.dropout_masks": masks})
    engine = new_engine(backend, experiment)
    pooled, dropped = engine.activations(batch)["pooled"][0], []
    for step in range(40):
        gradients = engine.gradients(batch, step)[1]
        seen = gradients["head.weight"][0] / gradients["head.bias"][0]
        dropped.append(seen == 0)
        assert seen == pytest.approx(np.where(seen == 0, 0, pooled / 0.75), rel=1e-9)
    assert abs(np.mean(dropped) - 0.25) < 6 * math.sqrt(0.25 * 0.75 / np.size(dropped))


def test_summary_of_predictions_by_hand():
    """Three classes of four occur: the fourth, never there and never said, does not lower the mean of F1."""
    said = np.array([0, 0, 1, 1, 2, 0])
    labels = np.array([0, 1, 1, 1, 0, 0])
    logits = np.log(np.where(np.arange(4) == said[:, None], 0.7, 0.1))
    found = summarize(logits, labels)
    assert found.confusion.tolist() == [[2, 0, 1, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.accuracy == pytest.approx(4 / 6) and found.predicted.tolist() == said.tolist()
    # F1 = 2 hits / (true + said): 4/6, 4/5, 0/1.
    assert found.macro_f1 == pytest.approx((4 / 6 + 4 / 5 + 0) / 3)
    assert found.loss == pytest.approx(-(4 * np.log(0.7) + 2 * np.log(0.1)) / 6)
