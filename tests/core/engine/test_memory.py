"""Memory of a run: the estimate equals what a small model allocates, and a refusal names the fields to lower."""

from __future__ import annotations

import numpy as np
import pytest

from core import spec
from core.engine import memory
from core.engine.devices import Gpu
from core.engine.executor import Executor
from core.engine.memory import (
    Limit,
    amount,
    check_memory,
    check_ngram_memory,
    device_limit,
    host_limit,
    training_need,
)
from core.errors import UserError
from core.models.model import initial_parameters
from core.spec.data import DigitSums
from core.spec.experiment import Experiment, replace
from core.train.optimizer_state import moment_kinds
from tests.conftest import each_backend, loaded, make_dataset, one_line

MACHINE = Limit(16 << 30, "this machine")
FEW = np.full(40, 10)
"""Lengths of 40 short texts."""


@each_backend
@pytest.mark.parametrize(
    ("optimizer", "encoder", "dtype"),
    [
        (spec.Adam(), spec.RecurrentEncoder(cell="gru", hidden_size=6, biases="one"), "float32"),
        (spec.SGD(momentum=0.9), spec.TextCNNEncoder(kernels=(2, 3), channels=(4, 5)), "float64"),
        (spec.SGD(), spec.RecurrentEncoder(cell="srn", hidden_size=5, num_layers=2), "float32"),
    ],
)
def test_need_is_the_size_of_an_engines_arrays(name, optimizer, encoder, dtype, rng):
    head = spec.PooledHead(pooling="max")
    model = spec.Model(embedding=spec.Embedding(vocab_size=20, dim=7, static_copy=True), encoder=encoder, head=head)
    training = spec.Training(optimizer=optimizer, dtype=dtype)
    implementation = encoder.implementations[-1]
    engine = loaded(name).Engine(model, training, initial_parameters(model, 0, dtype), Executor("cpu", implementation))
    engine.train_step(make_dataset(rng, 6).batch(np.arange(6)), 0, 0.01)
    need = training_need(model, training)
    assert need.parameters == sum(array.nbytes for array in engine.parameters().values())
    assert need.moments == sum(array.nbytes for array in engine.moments().values())
    assert need.moments == len(moment_kinds(optimizer)) * need.gradients
    assert need.gradients < need.parameters  # the static copy has none


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"model.encoder.hidden_size": 1_000_000},
            ("`model.encoder.hidden_size` 1000000", "203.8 TiB", "8,001,044,000,258 parameters"),
        ),
        ({"model.embedding.dim": 10**9}, ("`model.embedding.dim` 1000000000", "TiB")),
        ({"model.head.hidden_size": 10**11}, ("`model.head.hidden_size`",)),
        (
            {"model.encoder": {"kind": "textcnn", "channels": [100, 10**9, 100]}, "model.head.pooling": "max"},
            ("`model.encoder.channels` 100,1000000000,100",),
        ),
        ({"model.encoder.hidden_size": 20_000, "model.embedding.dim": 30_000}, ("`model.encoder.hidden_size` 20000",)),
        ({"model.encoder.hidden_size": 2**63, "model.embedding.dim": 2**63}, ("EiB",)),
    ],
)
def test_refusal_names_the_fields_and_both_sizes(changes, named):
    with pytest.raises(UserError) as error:
        check_memory(replace(Experiment(), changes), MACHINE)
    message = one_line(error)
    assert "this machine has 16.0 GiB: lower `model." in message and len(message) < 400
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    ("changes", "lengths", "refused"),
    [
        ({}, None, ""),
        ({}, FEW, ""),
        ({"text.vocab_size": 10**15, "model.embedding.vocab_size": 10**15}, None, ""),  # the texts limit it
        ({"training.batch_size": 10**15, "text.max_length": 10**15}, FEW, ""),
        ({"model.embedding.vocab_size": 10**9}, FEW, "`model.embedding.vocab_size` 1000000000"),
        (
            {"training.batch_size": 10**6, "text.max_length": 10**5},
            np.full(10**6, 10**5),
            "`training.batch_size` 1000000, `text.max_length` 100000: a batch of 100,000,000,000 tokens",
        ),
    ],
)
def test_texts_limit_vocabulary_and_batches(changes, lengths, refused):
    experiment = replace(Experiment(), changes)
    if not refused:
        check_memory(experiment, MACHINE, lengths=lengths)
        return
    with pytest.raises(UserError) as error:
        check_memory(experiment, MACHINE, lengths=lengths)
    assert refused in one_line(error)


def test_models_side_by_side_and_digits_count():
    experiment = replace(Experiment(), {"model.encoder.hidden_size": 2000})
    check_memory(experiment, MACHINE)
    with pytest.raises(UserError, match="of 24 models"):
        check_memory(experiment, MACHINE, models=24)
    for field in ("length", "copies"):
        own = experiment.model_copy(update={"data": DigitSums(**{field: 10**10})})
        with pytest.raises(UserError, match=f"data.{field} 10000000000: the data takes at least"):
            check_memory(own, MACHINE)


def test_limits_of_control_groups(tmp_path, monkeypatch):
    """Version 2 in the group of the process or above it; version 1 in a container, where its path does not exist."""
    here = tmp_path / "sys/fs/cgroup"
    (here / "memory").mkdir(parents=True)
    (here / "a/b").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:cpu,memory:/on/the/host\n1:name=x:/\n0::/a/b\nodd\n")
    whole = host_limit(tmp_path)
    assert whole == host_limit() or whole.owner == "this machine"
    (here / "a/b/memory.max").write_text("max\n")
    assert host_limit(tmp_path) == whole
    (here / "a/memory.max").write_text("5000000\n")
    assert host_limit(tmp_path) == Limit(5_000_000, "this container")
    (here / "memory/memory.limit_in_bytes").write_text("3000000\n")
    assert host_limit(tmp_path) == Limit(3_000_000, "this container")


def test_limit_of_a_gpu_counts_no_checkpoint():
    need, gpus = training_need(spec.Model(), spec.Training()), lambda: [Gpu(3, "H", 1 << 30, (9, 0))]
    limit = device_limit("gpu:3", gpus)
    assert (limit.size, limit.owner) == (1 << 30, "GPU 3") and need.on(limit) < need.on(device_limit("cpu", gpus))
    assert device_limit("gpu:0", gpus) is None
    check_memory(Experiment(), None)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (16 << 30, "16.0 GiB"), (10**40, "8.674e+21 EiB")],
)
def test_amount(size, text):
    assert amount(size) == text and memory.UNITS[0] == "bytes"


def test_ngrams_of_a_large_data_set():
    """Four bytes for each n of a token, beside the model."""
    experiment = replace(Experiment(), {"model.ngrams": {"orders": 5}})
    size = 4 * 5 * 10**9
    rest = training_need(experiment.model, experiment.training).total
    check_ngram_memory(experiment, Limit(size + rest, "this machine"), 10**9)
    check_ngram_memory(experiment, None, 10**9)
    with pytest.raises(UserError) as error:
        check_ngram_memory(experiment, Limit(size + rest - 1, "this machine"), 10**9)
    message = one_line(error)
    assert "`model.ngrams.orders` 5" in message and "1,000,000,000 tokens" in message and amount(size) in message
    check_ngram_memory(replace(experiment, {"model.ngrams.inputs": False}), Limit(1, "this machine"), 10**9)
