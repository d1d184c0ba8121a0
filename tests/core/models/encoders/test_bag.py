"""The bag of word vectors: order and padding do not matter, in the reference and in both frameworks."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from core.batch import Batch, pad
from core.engine.executor import Executor
from core.errors import UserError
from core.models.encoders.bag import BagEncoder
from core.models.model import forward, parameter_table
from core.parity.instances import random_parameters
from core.spec.experiment import Experiment, replace
from tests.conftest import loaded, one_line

SIDES = [("reference", "")] + [(name, own) for name in backends.NAMES for own in BagEncoder().implementations]


def small(**changes: object) -> Experiment:
    base = {"model.encoder": {"kind": "none"}, "model.embedding.vocab_size": 9, "model.embedding.dim": 4}
    return replace(Experiment(), {**base, "model.head.hidden_size": 3, "training.dtype": "float64", **changes})


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
@pytest.mark.parametrize("pooling", BagEncoder.poolings)
def test_order_and_padding_change_nothing(side, pooling, rng):
    experiment = small(**{"model.head.pooling": pooling})
    parameters = random_parameters(experiment, rng)
    words = [rng.integers(1, 9, length) for length in (1, 3, 6)]
    narrow = pad(words, {})
    shuffled = pad([rng.permutation(own) for own in words], {})
    wide = Batch(np.pad(shuffled.ids, ((0, 0), (0, 5))), shuffled.lengths, {})
    name, implementation = side
    run = lambda batch: forward(experiment.model, parameters, batch)["logits"]  # noqa: E731
    if name != "reference":
        executor = Executor("cpu", implementation)
        run = loaded(name).Engine(experiment.model, experiment.training, parameters, executor).logits
    np.testing.assert_allclose(run(wide), run(narrow), atol=1e-15)


def test_model_is_a_multilayer_perceptron():
    """No parameter between the table and the head, whose hidden layer reads the vectors."""
    shapes = {row.name: row.shape for row in parameter_table(small().model)}
    assert shapes == {
        "embedding.weight": (9, 4),
        "head.hidden.weight": (3, 4),
        "head.hidden.bias": (3,),
        "head.weight": (2, 3),
        "head.bias": (2,),
    }
    assert small().model.describe() == "embedding 9 x 4, bag of word vectors, mean pooling, hidden layer 3 (relu)"


def test_pooling_of_a_state_is_refused():
    with pytest.raises(UserError) as error:
        small(**{"model.head.pooling": "last"})
    assert (
        "head.pooling last is not supported by encoder.kind none: use mean or max or max_mean or attention"
        in one_line(error)
    )
