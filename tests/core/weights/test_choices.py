"""Models that `tasks.port` must not convert as if they were others."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.spec.experiment import Experiment, replace
from core.weights.choices import classifier_head
from tests.conftest import one_line


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model.encoder": {"kind": "none"}}, "encoder of kind none"),
        ({"model.encoder.num_layers": 2, "model.encoder.residual": True}, "residual layers"),
        ({"model.head.pooling": "ends"}, "pooling ends"),
        ({"model.head.pooling": "attention"}, "pooling attention"),
        ({"data": {"kind": "digits"}, "model.embedding.lookup": "scalar", "model.embedding.dim": 1}, "lookup scalar"),
    ],
)
def test_models_without_a_place_are_refused(changes, says):
    with pytest.raises(UserError) as error:
        classifier_head(replace(Experiment(), changes).model, "run")
    assert one_line(error).startswith(f"run: {says}: not converted")
