"""Training steps in PyTorch on a device that does not exist: tensors that have a shape and a place, and no numbers.

What mixes the host's tensors with the device's fails here as it would on a GPU, and so does what asks the device for a
number. Run as a program (for the device is registered for a whole process) with a JSON list of cases, each changes to a
spec with an implementation; it prints what became of each.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import backends
from core.batch import Batch
from core.data.prefetch import with_masks
from core.engine import tf32
from core.engine.executor import Executor
from core.models.model import initial_parameters
from core.spec.experiment import Experiment, replace

NAME = "madeup"
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
BASE = {
    "model.embedding.vocab_size": 20,
    "model.embedding.dim": 5,
    "model.encoder.hidden_size": 4,
    "model.encoder.num_layers": 2,
    "model.embedding.dropout": 0.3,
    "model.head.dropout": 0.3,
}
BATCH = Batch(
    np.array([[3, 4, 5], [6, 7, 0], [8, 0, 0], [9, 2, 0]]), np.array([3, 2, 1, 2]), {"label": np.array([0, 1, 1, 0])}
)


class Silent:
    """A process group of two whose other member adds nothing."""

    rank = local_rank = 1
    size = 2

    def all_reduce(self, tensor: torch.Tensor) -> None:
        assert tensor.device.type == NAME


def on_the_device(package, device: torch.device) -> None:
    """Make the engine's model there. (`Module.to` cannot move tensors of this kind.)"""
    original = package.engine.Model

    def made(*arguments):
        with device:
            model = original(*arguments)
        model.to = lambda where: model
        return model

    for module in (package.engine, package.ensemble):
        module.native_device = lambda name: device
        module.Model = made


def as_cudnn_reads(layer, x, start=None):
    """In place of a built-in layer, padded or packed, which has no code for such a device: what goes in is where cuDNN
    wants it; what comes out has the right shape, and depends on the input and on every weight."""
    packed = isinstance(x, torch.nn.utils.rnn.PackedSequence)
    tokens = x.data if packed else x
    assert tokens.device.type == NAME and start is None
    assert not packed or x.batch_sizes.device.type == "cpu"
    sides = []
    for suffix in ("", "_reverse")[: 1 + layer.bidirectional]:
        of_input, of_state, *biases = (getattr(layer, f"{kind}_l0{suffix}") for kind in KINDS)
        rows = torch.tanh(tokens @ of_input.T + sum(biases) + of_state.sum())
        sides.append(rows[..., : layer.hidden_size])
    output = torch.cat(sides, -1)
    return (torch.nn.utils.rnn.PackedSequence(output, x.batch_sizes) if packed else output), None


def asks(clip):
    def wrong(*arguments):
        norm = clip(*arguments)
        norm.item()
        return norm

    return wrong


def mixes(clip):
    return lambda *arguments: clip(*arguments) + torch.ones(3)


FAULTS = {"asks": asks, "mixes": mixes}
"""In the place of the engine's `clip`: one that asks the device for a number, and one that adds what the host has."""


def taken(package, changes: dict, implementation: str, seeds=None, several=False) -> str:
    """Two steps and an answer; an empty text, or what went wrong."""
    experiment = replace(Experiment(), {**BASE, **changes})
    model, training = experiment.model, experiment.training
    parameters = initial_parameters(model, 0, training.array_dtype)
    sent = []
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def pin_memory(tensor):
            sent.append(tensor.shape)
            return mode.from_tensor(tensor)

        torch.Tensor.pin_memory = pin_memory
        if seeds:
            stacked = {name: np.stack([array] * seeds) for name, array in parameters.items()}
            engine = package.Ensemble(model, training, list(range(seeds)), stacked, Executor("gpu:0", implementation))
        else:
            group = [Silent()] if several else []
            engine = package.Engine(model, training, parameters, Executor("gpu:0", implementation, *group))
            engine._clock._mark = lambda: 0.0
        before = len(sent)
        assert before >= len(parameters), "parameters were not sent"
        for step in range(2):
            engine.train_step(BATCH if seeds else with_masks(BATCH, experiment, step), step, 0.1)
        assert len(sent) > before, "the batch was not sent"
        with torch.no_grad():
            found = engine._model(engine._place(BATCH), lambda x, place, rate: x)
        places = {
            tensor.device.type
            for tensor in (*found.values(), *(figures for figures, _ in engine._pending), *engine._model.parameters())
        }
        assert places == {NAME}, places
    return ""


def main() -> None:
    _setup_privateuseone_for_python_backend(NAME)
    package = backends.load("torch")
    on_the_device(package, torch.device(NAME, 0))
    for layer in (torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM):
        layer.forward = as_cudnn_reads
    answers, clip = [], package.engine.clip
    for case in json.loads(sys.argv[1]):
        fault = case.pop("fault", None)
        package.engine.clip = FAULTS[fault](clip) if fault else clip
        tf32._tf32 = None  # as in a process of its own
        try:
            answers.append(taken(package, **case))
        except Exception as error:
            answers.append(f"{type(error).__name__}: {str(error)[:300]}")
    print(json.dumps(answers), flush=True)
    # The thread that torch has for the device aborts at times at the interpreter's end.
    os._exit(0)


if __name__ == "__main__":
    main()
