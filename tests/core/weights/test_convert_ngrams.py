"""`tasks.port` of a model with n-grams: its network goes out, and what is left out is in the output."""

from __future__ import annotations

import numpy as np
import pytest

import backends
import tasks.port.__main__ as program
from backends import weight_files
from core.models.model import Model, forward, parameter_table
from core.models.ngrams import SCALE, spread
from core.parity.instances import random_batch, random_parameters
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from core.train.state import TrainingState
from tasks.port import verify
from tests.conftest import each_backend, run_main
from tests.core.weights.modules import OWN, Names

SMALL = {
    "model.embedding.vocab_size": 7,
    "model.embedding.dim": 3,
    "model.encoder": {"kind": "recurrent", "cell": "gru", "hidden_size": 4},
    "model.head.pooling": "mean",
    "training.dtype": "float64",
}


@pytest.fixture
def run_of(tmp_path, rng, monkeypatch):
    """Return the run folder of a spec, and its random parameters. Rung 2 is slow next to what these tests look at."""
    monkeypatch.setattr(verify, "compare_gradients", lambda *_: [])

    def create(changes: dict[str, object]):
        experiment = replace(Experiment(), {**SMALL, **changes})
        folder = RunFolder.create(tmp_path / "run")
        folder.write_record(experiment, {})
        parameters = random_parameters(experiment, rng)
        folder.write_last(parameters, {}, TrainingState())
        return experiment, folder.path, parameters

    return create


@each_backend
@pytest.mark.parametrize(
    "changes",
    [
        {"model.head.classes": 3, "model.ngrams": {"orders": 2}},
        {"model.head.one_logit": True, "model.ngrams": {"inputs": False}},
    ],
    ids=["inputs and logits", "logits"],
)
def test_own_layers_with_the_scaled_logits_are_the_model(name, changes, run_of, tmp_path, rng):
    """As the output says: add the factor times the logits of the linear model."""
    backends.load(name)
    experiment, folder, parameters = run_of(changes)
    model = experiment.model
    out = tmp_path / f"out{weight_files.SUFFIXES[name][0]}"
    done = run_main(program.main, folder / "last.safetensors", "--to", name, "--out", out)
    assert done.code == 0, done
    assert f"add {float(parameters[SCALE][0]):.6g} ({SCALE}) times" in done.out
    assert ("inputs of the encoder: 3 numbers" in done.out) == model.ngrams.inputs
    assert done.out.splitlines()[-1] == f"the network is that of {folder / 'experiment.json'}"
    own = OWN[name](model, "float64", names=Names("embedding", "encoder", head="head"))
    own.load(out)
    batch = random_batch(experiment, rng)
    logits = own.logits(batch) + parameters[SCALE] * spread(batch.ngrams.logits, model.outputs)
    wanted = forward(model, parameters, batch)["logits"]
    assert np.abs(logits - wanted).max() <= 1e-12 < np.abs(own.logits(batch) - wanted).max()


def test_textcnn_with_two_tables(run_of, tmp_path):
    """Each table has half of the inputs that are no values of n-grams."""
    encoder = {"kind": "textcnn", "kernels": (2, 3), "channels": (3, 2)}
    changes = {"model.encoder": encoder, "model.embedding.static_copy": True, "model.head.pooling": "max"}
    _, folder, parameters = run_of({**changes, "model.ngrams": {"orders": 3, "logits": False}})
    out = tmp_path / "out.safetensors"
    done = run_main(program.main, folder / "last.safetensors", "--to", "safetensors", "--out", out)
    assert done.code == 0, done
    assert "6 numbers of the word vector, then 3 values of n-grams, 9 in all" in done.out and SCALE not in done.out
    reader = weight_files.reader(weight_files.NEUTRAL)
    found = reader.read_state(out).arrays
    assert found.keys() == parameters.keys()
    assert all(np.array_equal(array, parameters[key]) for key, array in found.items())


def refused(*argv: object) -> str:
    done = run_main(program.main, *argv)
    assert done.code == 2 and done.err.count("\n") == 1, done
    return done.err


def test_refusals(run_of, tmp_path):
    """A file outside of its run folder, a witness without values of n-grams, and a linear model."""
    experiment, folder, _ = run_of({"model.ngrams": {"orders": 2}})
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((folder / "last.safetensors").read_bytes())
    assert SCALE in refused(alone, "--to", "torch", "--out", tmp_path / "a.pt")
    more = ("--logits", tmp_path / "none.npz", "--out", tmp_path / "b.pt")
    assert "omit them" in refused(folder / "last.safetensors", "--to", "torch", *more)
    linear = replace(experiment, {"model.encoder": {"kind": "ngrams"}, "model.ngrams": None})
    assert isinstance(linear.model, Model) and not parameter_table(linear.model)
    RunFolder(folder).write_record(linear, {})
    for more in ((), ("--layers",)):
        line = refused(folder / "last.safetensors", "--to", "torch", "--out", tmp_path / "c.pt", *more)
        assert "linear model of n-grams" in line
    assert not [path.name for path in tmp_path.iterdir() if path.suffix == ".pt"]
