"""What a GPU gets, as far as that can be seen without one: batches made ahead, nothing waited for, the time told."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import backends
from backends import implementations
from core.batch import packing
from core.data.prefetch import prefetch, with_masks
from core.engine.executor import Executor
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.encoders.textcnn import TextCNNEncoder
from core.models.model import dropout_places
from core.parity.instances import random_batch, random_parameters
from core.spec.experiment import replace
from core.train import trainer
from core.train.metrics import device_share
from core.train.run_folder import RunFolder
from core.train.state import TrainingState
from core.train.trainer import Session, train
from tasks.parity.cases import Case
from tests.conftest import loaded, make_dataset
from tests.core.train.test_loop import DROPPING, SMALL, Watcher, new_engine, timeless
from tests.pairwise import SAMPLE, pairwise

DEEP = {**DROPPING, "model.encoder.num_layers": 3, "model.head.hidden_size": 6}


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


# One after the other, and no more than asked for


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
def test_items_keep_their_order(depth):
    assert list(prefetch(iter(range(20)), depth)) == list(range(20))
    assert list(prefetch([], depth)) == [] and not threads()


def test_prefetch_depth_is_respected():
    made = []
    items = prefetch((made.append(number) or number for number in range(100)), 3)
    assert made == []
    for taken in range(5):
        assert next(items) == taken
        deadline = time.monotonic() + 10
        while len(made) < taken + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        assert len(made) == taken + 4
    items.close()
    assert not threads()
    time.sleep(0.01)
    assert len(made) == 8


def test_items_are_made_by_a_thread():
    names = list(prefetch(threading.current_thread().name for _ in range(5)))
    assert len(set(names)) == 1 and names[0].startswith("prefetch")


def test_errors_are_raised_when_their_item_is_due():
    def source():
        yield 1
        yield 2
        raise ValueError("the third")

    items = prefetch(source(), 8)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(items)
    assert not threads()


# Masks drawn before are those drawn on the spot


@pytest.mark.parametrize("head", [None, 5])
@pytest.mark.parametrize("layers", [1, 3])
def test_prefetched_masks_equal_those_of_the_engine(backend, rng, head, layers):
    """The same bits, and they are the ones that are used."""
    # Of rectified units all may be shut, and then it does not matter which are dropped.
    changes = {"model.head.hidden_size": head, "model.encoder.num_layers": layers, **DROPPING}
    changes["model.head.activation"] = "tanh"
    experiment = Case("lstm", layers, True, "mean", "index").experiment("float64", **changes)
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    engine = backend.Engine(experiment.model, experiment.training, parameters, Executor("cpu", "builtin"))
    drawn = with_masks(batch, experiment, 3)
    assert batch.masks is None and drawn.masks.keys() == dropout_places(experiment.model, *batch.ids.shape).keys()
    assert len(drawn.masks) == layers + 1 + (head is not None)
    plain = engine.activations(batch, 3)
    for name, found in engine.activations(drawn, 3).items():
        assert np.array_equal(found, plain[name]), name
    loss, gradients = engine.gradients(batch, 3)
    again, others = engine.gradients(drawn, 3)
    assert again == loss and all(np.array_equal(others[name], gradients[name]) for name in gradients)
    for place in drawn.masks:
        turned = {**drawn.masks, place: ~drawn.masks[place]}
        assert (
            engine.gradients(type(batch)(batch.ids, batch.lengths, {"label": batch.labels}, None, turned), 3)[0] != loss
        ), place


def test_native_masks_are_not_prefetched(rng):
    experiment = replace(SMALL, {**DEEP, "training.dropout_masks": "native"})
    batch = make_dataset(rng, 5).batch(np.arange(5))
    assert with_masks(batch, experiment, 0) is batch
    assert dropout_places(replace(SMALL, {"model.head.hidden_size": 3}).model, 5, 9) == {}


@pytest.mark.parametrize("size", [2, 3])
def test_shards_have_their_rows_of_the_masks(backend, rng, size):
    from tests.core.engine.test_processes import Silent

    experiment = replace(SMALL, DEEP)
    batch = make_dataset(rng, 7).batch(np.arange(7))
    parameters = random_parameters(experiment, rng)
    for rank in range(size):
        engine = backend.Engine(
            experiment.model, experiment.training, parameters, Executor("cpu", "builtin", Silent(rank, size))
        )
        loss, gradients = engine.gradients(batch, 2)
        again, others = engine.gradients(with_masks(batch, experiment, 2), 2)
        assert again == loss and all(np.array_equal(others[name], gradients[name]) for name in gradients)


# A run


def trained(backend, experiment, data, path, device: str, stop_after: int | None = None):
    """A run, and one that goes on where it was stopped; the engine says that it is on `device`."""
    folder = RunFolder.create(path)
    state, parts = TrainingState(), [stop_after] if stop_after else []
    for stop in [*parts, None]:
        engine = new_engine(backend, experiment)
        if state.step:
            parameters, moments, state = folder.read_last(experiment.model)
            engine.load(parameters, moments, state.step)
        engine.device = device
        should_stop = partial(lambda state, stop: stop and state.step >= stop, state, stop)
        state = train(engine, Session(experiment, *data, folder, state), Watcher(), should_stop)
    return engine, folder


@pytest.mark.parametrize("masks", ["shared", "native"])
def test_for_a_gpu_batches_are_made_ahead_and_the_run_is_the_same(backend, rng, tmp_path, monkeypatch, masks):
    data = make_dataset(rng, 44), make_dataset(rng, 30)
    experiment = replace(SMALL, {**DEEP, "training.dropout_masks": masks})
    makers = []

    def noted(batch, experiment, step):
        makers.append((step, threading.current_thread().name.startswith("prefetch")))
        return with_masks(batch, experiment, step)

    monkeypatch.setattr(trainer, "with_masks", noted)
    plain, folder = trained(backend, experiment, data, tmp_path / "cpu", "cpu")
    assert makers == []
    for name, stop in (("gpu", None), ("gpu stopped", 5)):
        makers.clear()
        engine, other = trained(backend, experiment, data, tmp_path / name, "gpu:0", stop)
        assert all(by_thread for _, by_thread in makers) and {step for step, _ in makers} == set(range(18))
        assert timeless(other) == timeless(folder) and not threads()
        for parameter, array in plain.parameters().items():
            assert np.array_equal(engine.parameters()[parameter], array)


# The device is not waited for


@pairwise(cell=["srn", "gru", "lstm"], implementation=["builtin", "packed", "loop"], pooling=["last", "mean", "max"])
def test_no_operation_of_a_step_synchronizes_the_device(rng, cell, implementation, pooling):
    """On a GPU the host would stand still for each. Seen by PyTorch's dispatcher, below Python; Paddle has no such."""
    backend = loaded("torch")
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    called = []

    class Noting(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            # How many sequences are how long is told on the host; packed layers look it up there.
            told = function.overloadpacket.__name__ == "_local_scalar_dense" and arguments[0].dtype == torch.int64
            if not (told and implementation == "packed"):
                called.append(function.overloadpacket.__name__)
            return function(*arguments, **(options or {}))

    changes = {**DEEP, "model.encoder.cell": cell, "model.head.pooling": pooling, "training.class_weights": (0.5, 2.0)}
    engine = new_engine(backend, replace(SMALL, changes), implementation)
    data = make_dataset(rng, 24)
    with Noting():
        for step in range(2):
            engine.train_step(data.batch(np.arange(12 * step, 12 * step + 12)), step, 0.01)
    asking = ("_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "_unique2", "equal", "is_nonzero")
    assert len(called) > 50 and not set(asking) & set(called)
    with Noting():
        torch.zeros(2).nonzero(), torch.zeros(1).item()
    assert {"nonzero", "_local_scalar_dense"} <= set(called)


SPECS = {
    "plain": {},
    "momentum, one way": {"training.optimizer": {"kind": "sgd", "momentum": 0.5}, "model.encoder.bidirectional": False},
    "float64, tensor by tensor": {
        "training.dtype": "float64",
        "training.clip_mode": "tensor",
        "model.head.hidden_size": 3,
        "training.class_weights": [1.0, 2.0],
    },
    "bfloat16, decay, one logit": {
        "training.dtype": "bfloat16",
        "training.optimizer.weight_decay": 0.1,
        "model.head.one_logit": True,
        "model.embedding.lookup": "one_hot",
    },
    "frozen, native masks": {"model.embedding.trainable": False, "training.dropout_masks": "native"},
}


def made_up(cases: list[dict]) -> list[str]:
    """What became of training steps on a device that does not exist (`tests/backends/meta_device.py`)."""
    loaded("torch")
    import torch.utils.backend_registration as registration

    if not hasattr(registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch cannot make up a device")
    file = Path(__file__).parents[2] / "backends" / "meta_device.py"
    done = subprocess.run([sys.executable, file, json.dumps(cases)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_step_keeps_to_the_device():
    """Nothing of the host's is mixed with what is there, and nothing is asked of it: on tensors without numbers.

    One that does either is seen. Every cell with every implementation, and every spec with one of them in turn.
    """
    implementations = ("builtin", "packed", "loop")
    turn = itertools.islice(itertools.cycle(implementations), SAMPLE % 3, None)
    cases = {
        f"{implementation} {cell} {pooling} {name}": {
            "changes": {"model.encoder.cell": cell, "model.head.pooling": pooling, **changes},
            "implementation": implementation,
        }
        for (name, changes), pooling in zip(SPECS.items(), itertools.cycle(["max", "mean", "last"]), strict=False)
        for cell in (("srn", "gru", "lstm") if name == "plain" else ("lstm",))
        for implementation in (implementations if name == "plain" else [next(turn)])
    }
    plain = {"changes": {}, "implementation": "packed"}
    cases["max, mean"] = {**plain, "changes": {"model.head.pooling": "max", "model.encoder.num_layers": 1}}
    cases["two processes"] = {**plain, "several": True}
    cases["side by side"] = {**plain, "implementation": "loop", "seeds": 2, "changes": {"model.embedding.dropout": 0.5}}
    faulty = [{"changes": {}, "implementation": "loop", "fault": fault} for fault in ("asks", "mixes")]
    *found, asked, mixed = made_up([*cases.values(), *faulty])
    assert {name: why for name, why in zip(cases, found, strict=True) if why} == {}
    assert "DataDependentOutputException" in asked and "DeviceMismatch" in mixed


def test_packing_is_what_pytorch_packs(rng):
    loaded("torch")
    import torch

    batch = make_dataset(rng, 17, longest=8).batch(rng.permutation(17))
    x = torch.randn(17, batch.ids.shape[1], 3)
    lengths = torch.from_numpy(batch.lengths)
    wanted = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    order, sizes, place = packing(batch)
    assert np.array_equal(sizes, wanted.batch_sizes) and sorted(order) == list(range(17))
    assert np.array_equal(batch.lengths[order], batch.lengths[wanted.sorted_indices])
    mine = x.reshape(-1, 3)[place].numpy()
    # Of equally long sequences either may come first.
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        ours, theirs = mine[start : start + size], wanted.data[start : start + size].numpy()
        assert np.array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))


# How much of the time it works


def test_the_device_s_share_of_the_time(backend, rng, tmp_path, monkeypatch):
    """What is not spent in a step is waiting: here for batches that take 20 ms each."""
    data, experiment = (make_dataset(rng, 44), make_dataset(rng, 30)), replace(SMALL, {"training.epochs": 2})
    engine = new_engine(backend, experiment)
    engine.train_step(data[0].batch(np.arange(8)), 0, 0.0)
    taken = engine.device_seconds()
    assert taken > 0 and engine.device_seconds() == 0
    slow = trainer.steps_from

    def dawdling(*arguments):
        for step in slow(*arguments):
            time.sleep(0.02)
            yield step

    shares = []
    for name, source in (("usual", slow), ("slow", dawdling)):
        monkeypatch.setattr(trainer, "steps_from", source)
        folder = RunFolder.create(tmp_path / name)
        train(new_engine(backend, experiment), Session(experiment, *data, folder, TrainingState()), Watcher())
        lines = folder.read_metrics()
        assert all(0 < line["device_share"] <= 1 for line in lines if line["split"] == "train")
        shares.append(device_share(lines))
    assert 0 < shares[1] < 0.8 * shares[0] <= 0.8


def test_the_share_of_a_run_is_weighted_by_time():
    lines = [
        {"split": "train", "tokens": 100, "tokens_per_second": 100.0, "device_share": 0.5},
        {"split": "dev", "loss": 1.0},
        {"split": "train", "tokens": 300, "tokens_per_second": 100.0, "device_share": 0.9},
        {"split": "train", "tokens": 999, "tokens_per_second": 1.0, "device_share": None},
        {"split": "train", "tokens": 999, "tokens_per_second": 1.0},
    ]
    assert device_share(lines) == pytest.approx((0.5 + 3 * 0.9) / 4)
    assert device_share(lines[3:]) is None and device_share([]) is None


def test_the_share_of_a_run_that_was_halted(backend, rng, tmp_path, monkeypatch):
    """Ctrl-Z for hours within a step: its tokens per second are rounded to 0."""
    data = make_dataset(rng, 44), make_dataset(rng, 30)
    engine = new_engine(backend, SMALL)
    now, step = time.perf_counter, engine.train_step

    def halting(batch, number, rate):
        step(batch, number, rate)
        if number == 10:
            monkeypatch.setattr(time, "perf_counter", lambda: now() + 1e5)

    monkeypatch.setattr(engine, "train_step", halting)
    folder = RunFolder.create(tmp_path / "run")
    train(engine, Session(SMALL, *data, folder, TrainingState()), Watcher())
    lines = folder.read_metrics()
    assert 0.0 in [line.get("tokens_per_second") for line in lines]
    assert 0 <= device_share(lines) < 0.1


def test_a_framework_that_cannot_tell(backend, rng, tmp_path, monkeypatch):
    data = make_dataset(rng, 44), make_dataset(rng, 30)
    engine = new_engine(backend, SMALL)
    monkeypatch.setattr(engine, "device_seconds", lambda: None)
    folder = RunFolder.create(tmp_path / "run")
    train(engine, Session(SMALL, *data, folder, TrainingState()), Watcher())
    lines = [line for line in folder.read_metrics() if line["split"] == "train"]
    assert len(lines) == 18 and {line["device_share"] for line in lines} == {None} and device_share(lines) is None


def chosen(backend, device, among=implementations.IMPLEMENTATIONS, dtype="float32", **encoder) -> str:
    encoder = RecurrentEncoder(**encoder)
    order = implementations.preferred(backend, device, encoder, dtype)
    return implementations.resolve_implementation("auto", device, encoder, order, among)


def test_which_implementation_a_device_gets(backend):
    for cell in ("srn", "gru", "lstm"):
        assert chosen(backend, "gpu:0", cell=cell, hidden_size=257) == "packed"
    assert chosen(backend, "gpu:0", cell="residual_srn") == "loop"
    assert chosen(None, "cpu", ("builtin", "packed")) == "builtin"
    order = implementations.preferred(backend, "gpu:0", TextCNNEncoder())
    assert implementations.resolve_implementation("auto", "gpu:0", TextCNNEncoder(), order) == "builtin"
    with pytest.raises(
        backends.UserError, match="`implementation` packed: .*RESIDUAL_SRN 128 supports only fast, loop"
    ):
        implementations.resolve_implementation("packed", "cpu", RecurrentEncoder(cell="residual_srn"))
    with pytest.raises(
        backends.UserError,
        match="`implementation` fast: TextCNN 3 x 100.* supports only builtin, loop: use `implementation`",
    ):
        implementations.resolve_implementation("fast", "cpu", TextCNNEncoder())


def test_torch_takes_one_kernel_over_the_padding_where_cudnn_has_one():
    torch = loaded("torch")
    for cell, largest in (("srn", 256), ("gru", 128), ("lstm", 128)):
        assert chosen(torch, "gpu:0", cell=cell, hidden_size=largest) == "builtin"
        assert chosen(torch, "gpu:0", cell=cell, hidden_size=largest + 1) == "packed"
        assert chosen(torch, "gpu:0", cell=cell, hidden_size=largest, dtype="float64") == "packed"
