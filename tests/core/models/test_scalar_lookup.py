"""Look-up `scalar`: a digit is its value, and nothing else than digits has one."""

from __future__ import annotations

import numpy as np
import pytest

from core.data.sources import digit_sums
from core.errors import UserError
from core.models.model import forward, parameter_table
from core.parity.instances import random_parameters
from core.spec.data import DigitSums
from core.spec.experiment import Experiment, replace
from tests.conftest import one_line
from tests.core.train.test_loop import new_engine

SCALAR = {"model.embedding.lookup": "scalar", "model.embedding.dim": 1}
DIGITS = {"data": {"kind": "digits", "length": 6}, "model.head.classes": 19, "training.dtype": "float64"}


def test_input_is_the_digit(backend, rng):
    experiment = replace(Experiment(), {**DIGITS, **SCALAR, "model.encoder.hidden_size": 3})
    rows = rng.integers(0, 100, 5)
    batch = digit_sums.prepare(experiment.data).test.batch(rows)
    digits, _ = digit_sums.draw(DigitSums(length=6))["test"]
    parameters = random_parameters(experiment, rng)
    assert not [row for row in parameter_table(experiment.model) if row.name.startswith("embedding")]
    for found in (forward(experiment.model, parameters, batch), new_engine(backend, experiment).activations(batch)):
        np.testing.assert_array_equal(found["embedding"], digits[rows][:, :, None].astype(np.float64))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({**SCALAR}, "model.embedding.lookup scalar needs data.kind digits, got reviews: use index"),
        ({**DIGITS, **SCALAR, "model.embedding.dim": 4}, "lookup scalar has no table: set dim 1"),
        ({**DIGITS, **SCALAR, "model.embedding.static_copy": True}, "lookup scalar has no table"),
        ({**DIGITS, **SCALAR, "training.word_dropout": 0.1}, "no value for UNK: set training.word_dropout 0"),
    ],
)
def test_other_uses_are_refused(changes, says):
    with pytest.raises(UserError) as error:
        replace(Experiment(), changes)
    assert says in one_line(error)
