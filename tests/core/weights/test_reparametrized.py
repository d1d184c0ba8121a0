"""Weight norm is computed; other reparametrizations and arrays without a place do not vanish."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.weights.choices import Choices
from core.weights.convert import convert
from core.weights.reparametrized import folded
from core.weights.state_dict import StateDict
from tests.conftest import loaded, one_line
from tests.core.weights.test_convert import changed, spec, state_of


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("style", ["weight_norm", "parametrizations"])
@pytest.mark.parametrize("dim", [0, 1, None, -1])
def test_weight_norm_of_torch(style, dim):
    torch = loaded("torch").framework.torch
    utils = torch.nn.utils
    add = utils.parametrizations.weight_norm if style == "parametrizations" else utils.weight_norm
    for layer, name in (
        (torch.nn.Linear(4, 4), "weight"),
        (torch.nn.Linear(4, 1), "weight"),
        (torch.nn.Conv1d(3, 5, 2), "weight"),
        (torch.nn.LSTM(3, 4), "weight_hh_l0"),
    ):
        layer = add(layer, name, dim=dim).double()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.randn_like(parameter))
        inputs = torch.randn((2, 3, 4) if isinstance(layer, torch.nn.Conv1d) else (2, getattr(layer, "in_features", 3)))
        layer(inputs.double())  # the older weight norm computes its attribute in forward
        wanted = getattr(layer, name).detach().numpy()
        state = {f"x.{key}": tensor.numpy() for key, tensor in layer.state_dict().items()}
        found, notes = folded(state, "my.pt")
        assert np.abs(found[f"x.{name}"] - wanted).max() < 1e-14 and len(notes) == 1
        assert not [key for key in found if "original" in key or key.endswith(("_g", "_v"))]


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_of_paddle(dim):
    paddle = loaded("paddle").framework.paddle
    layer = paddle.nn.utils.weight_norm(paddle.nn.Linear(3, 5), dim=dim)
    layer.weight_g.set_value(layer.weight_g * 2.0 + 0.1)
    wanted = layer(paddle.eye(3)).numpy() - layer.bias.numpy()
    state = {key: tensor.numpy() for key, tensor in layer.state_dict().items()}
    assert np.abs(folded(state, "my.pdparams")[0]["weight"] - wanted).max() < 1e-6


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ("rnn.weight_hh_l0_raw", "rnn.module.weight_hh_l0"),
            'state["rnn.weight_hh_l0"] = state.pop("rnn.weight_hh_l0_raw")',
        ),
        (("fc.weight_orig", "fc.weight_u", "fc.weight_v"), "remove_spectral_norm"),
        (("fc.parametrizations.weight.original", "fc.parametrizations.weight.0._u"), "remove_parametrizations"),
        (("fc.parametrizations.weight.original",), "fc.parametrizations.weight.original belongs to a parametrization"),
        (("fc.weight_orig", "fc.weight_mask"), "fc.weight_orig is pruned: call prune.remove(layer, name)"),
        (("fc.parametrizations.weight.original1",), "without fc.parametrizations.weight.original0"),
        (("fc.weight", "fc.weight_g", "fc.weight_v"), "are both in the file"),
    ],
)
def test_other_reparametrizations_are_refused(names, says):
    with pytest.raises(UserError) as error:
        folded(dict.fromkeys(names, np.ones((2, 2))), "my.pt")
    assert says in one_line(error)


def test_weight_norm_in_a_classifier(rng):
    state = state_of(spec(), rng)
    plain = convert(StateDict("my.pdparams", state), "in_out").arrays["head.weight"]
    weight = state.pop("fc2.weight")
    state["fc2.weight_g"] = np.sqrt(np.square(weight).sum(axis=0))
    state["fc2.weight_v"] = weight * 3.0
    port = convert(StateDict("my.pdparams", state), "in_out")
    assert np.abs(port.arrays["head.weight"] - plain).max() < 1e-15
    assert port.notes == ["fc2.weight computed from its weight norm, along axis 1"]


def test_nothing_that_is_not_computed_vanishes(rng):
    more = {
        "norm__weight": np.ones(8),
        "norm__bias": np.ones(8),
        "bn__running_mean": np.ones(8),
        "attention__weight": np.ones((8, 8)),
        "attention__bias": np.ones(8),
        "attn__v": np.ones(8),
        "deep__weight_ih_l0": np.ones((12, 8)),
        "deep__weight_hh_l0": np.ones((12, 4)),
    }
    state = changed(state_of(spec(), rng), **more)
    port = convert(StateDict("my.pdparams", state), "in_out", Choices(encoder="rnn"))
    assert set(port.unplaced) == {name.replace("__", ".") for name in more}
