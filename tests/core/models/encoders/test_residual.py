"""Residual connections of stacked recurrent layers, in the reference and in what reads a run's layers."""

from __future__ import annotations

import numpy as np

from core.analysis.gates import Place, trace
from core.batch import pad
from core.models.encoders.recurrent import layer_weights, recurrent_layer
from core.models.model import forward
from core.parity.instances import random_parameters
from core.spec.experiment import Experiment, replace

STACK = replace(
    Experiment(),
    {
        "model.embedding.vocab_size": 9,
        "model.embedding.dim": 3,
        "model.encoder": {"kind": "recurrent", "cell": "gru", "hidden_size": 2, "num_layers": 3, "residual": True},
        "training.dtype": "float64",
    },
)


def test_every_layer_but_the_first_adds_its_input(rng):
    parameters = random_parameters(STACK, rng)
    batch = pad([rng.integers(1, 9, length) for length in (1, 4, 7)], {})
    found = forward(STACK.model, parameters, batch)
    x = found["embedding"]
    for layer in range(3):
        weights = layer_weights(STACK.model.encoder, parameters, layer)
        inner = recurrent_layer("gru", weights, x, batch.lengths)
        x = inner + x if layer else inner
        np.testing.assert_array_equal(found[f"encoder.l{layer}"], x)
        assert not x[0, 1:].any(), "padding is zero"


def test_gates_read_the_layer_below_with_its_residual(rng):
    """The hidden state of the top layer is its output without the residual."""
    parameters = random_parameters(STACK, rng)
    ids = rng.integers(1, 9, 6)
    found = forward(STACK.model, parameters, pad([ids], {}))
    for reverse, columns in ((False, slice(0, 2)), (True, slice(2, 4))):
        inner = (found["encoder.l2"] - found["encoder.l1"])[0, :, columns]
        values = trace(STACK.model, parameters, ids, Place(2, reverse))
        assert any(np.allclose(array, inner, atol=1e-14) for array in values.values()), values.keys()
