"""Random instances are drawn again until a comparison on them can be judged."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from core.batch import Batch, pad
from core.models.model import forward
from core.models.types import Arrays
from core.parity import instances
from core.parity.instances import (
    DRAWS,
    LEAST_SHARE,
    MOST_ROUNDING,
    random_batch,
    random_parameters,
    rounding_share,
    uncancelled_share,
    well_conditioned,
)
from core.spec.experiment import Experiment, replace
from tasks.parity.decoder_cases import DECODERS


def small(**fields: object) -> Experiment:
    sizes = {
        "model.embedding.dropout": 0.0,
        "model.head.dropout": 0.0,
        "model.embedding.vocab_size": 20,
        "model.embedding.dim": 3,
        "model.encoder.hidden_size": 4,
    }
    return replace(Experiment(), {**sizes, "training.dtype": "float64", **fields})


def healthy(experiment: Experiment, rng: np.random.Generator) -> tuple[Arrays, Batch]:
    while True:
        instance = random_parameters(experiment, rng), random_batch(experiment, rng)
        near = instances.margin(experiment, *instance) < instances.KINK
        if not near and uncancelled_share(experiment, *instance) >= LEAST_SHARE:
            return instance


def dead(experiment: Experiment, rng: np.random.Generator) -> tuple[Arrays, Batch]:
    """No unit of the rectified hidden layer is open on any text: no gradient below the output layer."""
    parameters, batch = healthy(experiment, rng)
    return {**parameters, "head.hidden.bias": np.full_like(parameters["head.hidden.bias"], -100.0)}, batch


def cancelling(experiment: Experiment, rng: np.random.Generator) -> tuple[Arrays, Batch]:
    """One text under both labels, p = 1/2 + 1e-4 / 4: of slopes p and p - 1 nearly nothing is left."""
    parameters, batch = healthy(experiment, rng)
    ids = batch.ids[batch.lengths.argmax()]
    batch = pad([ids, ids], {"label": np.array([0, 1])})
    logit = forward(experiment.model, parameters, batch)["logits"][0, 0]
    return {**parameters, "head.bias": parameters["head.bias"] - logit + 1e-4}, batch


FIELDS = {dead: {"model.head.hidden_size": 5}, cancelling: {"model.head.one_logit": True}}


@pytest.mark.parametrize("bad", FIELDS, ids=lambda bad: bad.__name__)
def test_well_conditioned_draws_again(bad, rng):
    experiment = small(**FIELDS[bad])
    wanted = healthy(experiment, rng)
    drawn = iter([bad(experiment, rng), bad(experiment, rng), wanted])
    found = well_conditioned(experiment, lambda: next(drawn))
    assert found is wanted


def test_uncancelled_share_is_what_is_left_of_a_sum(rng):
    experiment = small(**FIELDS[cancelling])
    assert uncancelled_share(experiment, *cancelling(experiment, rng)) == pytest.approx(5e-5, rel=1e-3)
    assert uncancelled_share(small(**FIELDS[dead]), *dead(small(**FIELDS[dead]), rng)) == 0.0


def test_well_conditioned_takes_the_best_where_none_is_good(rng):
    experiment = small(**FIELDS[dead])
    parameters, batch = dead(experiment, rng)
    count = itertools.count()
    found, _ = well_conditioned(experiment, lambda: ({**parameters, "number": np.array(next(count))}, batch))
    assert next(count) == DRAWS
    assert found["head.hidden.bias"].max() == -100.0


def test_rounding_share_sees_what_cancels_in_a_softmax(rng):
    """With keys of nearly 0 all scores of an attention are nearly equal: a gradient of rounding errors."""
    experiment = DECODERS[1].experiment("float32")
    parameters, batch = well_conditioned(
        experiment, lambda: (random_parameters(experiment, rng), random_batch(experiment, rng))
    )
    assert 0.0 < rounding_share(experiment, parameters, batch) <= MOST_ROUNDING
    parameters["attention.key.weight"] *= np.float32(1e-5)
    assert rounding_share(experiment, parameters, batch) > 10 * MOST_ROUNDING
    assert rounding_share(DECODERS[1].experiment("float64"), parameters, batch) == 0.0
