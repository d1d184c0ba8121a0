"""Measurements of state dictionaries and files."""

from __future__ import annotations

import warnings

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.small import PaddleNet, start

SECTION = "Files"
PARAMETERS = "[core/models/parameters.py](../core/models/parameters.py)"


@difference(
    SECTION,
    "Paddle's recurrent layers save every array twice",
    torch="`nn.LSTM.state_dict()` holds each array once.",
    paddle="It holds each array under two names: `weight_ih_l0`, as in PyTorch, and `0.cell_fw.weight_ih`.",
    effect="A bidirectional LSTM of one layer: {torch} keys in PyTorch, {paddle} in Paddle; {shared} of PyTorch's"
    " arrays have the same name and shape in Paddle. A file with all keys is {bytes:.1f} times as large.",
    ours=f"Files hold each array once, under the names of the parameter table: {PARAMETERS}.",
    size="{paddle} keys instead of {torch}",
    claim=lambda f: f["torch"] == f["shared"] == 8 and f["paddle"] == 16 and f["bytes"] == 2,
)
def state_dict_keys():
    """Count keys and bytes of an LSTM's state dictionary."""
    one, other = torch.nn.LSTM(16, 16, bidirectional=True), paddle.nn.LSTM(16, 16, direction="bidirect")
    keys = {key: tuple(value.shape) for key, value in one.state_dict().items()}
    others = {key: tuple(value.shape) for key, value in other.state_dict().items()}
    return {
        "torch": len(keys),
        "paddle": len(others),
        "shared": len(keys.items() & others.items()),
        "bytes": float(sum(map(np.prod, others.values())) / sum(map(np.prod, keys.values()))),
    }


@difference(
    SECTION,
    "A file that does not match the model",
    torch="`load_state_dict` raises an error if a key is missing, unknown, or has the wrong shape.",
    paddle="`set_state_dict` warns and skips; it returns missing and unexpected keys. Keys with the wrong shape count"
    " as missing.",
    effect="A weight of the wrong shape, and no bias: {torch} in PyTorch, {paddle} in Paddle, with {warnings} warnings"
    " and {missing} missing keys; layer unchanged: {unchanged}.",
    ours=f"Core checks names, shapes and types before loading: `check_parameters` in {PARAMETERS}.",
    size="{torch} in PyTorch, a warning in Paddle",
    claim=lambda f: (
        f["torch"] == "RuntimeError" and f["paddle"] == "no error" and f["missing"] == 2 and f["unchanged"] == "yes"
    ),
)
def load_mismatch():
    """Load a state dictionary with one array of the wrong shape and one missing."""
    try:
        torch.nn.Linear(3, 2).load_state_dict({"weight": torch.zeros(5, 5)})
        found = "no error"
    except RuntimeError as error:
        found = type(error).__name__
    layer = paddle.nn.Linear(3, 2)
    before = layer.weight.numpy().copy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        missing, _ = layer.set_state_dict({"weight": paddle.zeros([5, 5])})
    return {
        "torch": found,
        "paddle": "no error",
        "warnings": len([w for w in caught if "weight" in str(w.message) or "bias" in str(w.message)]),
        "missing": len(missing),
        "unchanged": "yes" if np.array_equal(before, layer.weight.numpy()) else "no",
    }


@difference(
    SECTION,
    "Keys of the optimizer state depend on a process-wide counter",
    torch="Keys are the positions of the parameters: 0, 1, 2.",
    paddle="Keys are names that count the layers created in the process: `linear_0.w_0_moment1_0`.",
    effect="The same model is created twice in one process: {shared} of {keys} keys of Adam's state are equal. Loading"
    " the first model's state into the second model's optimizer: {outcome}.",
    ours="Moments are saved under the parameters' neutral names: `Adam.moments` and `load` in"
    " [optimizer.py](../backends/paddle/optimizer.py).",
    size="{shared} of {keys} keys equal for the same model created twice",
    claim=lambda f: f["shared"] == 0 and f["keys"] > 40 and f["outcome"] == "AssertionError",
)
def optimizer_state_keys():
    """Compare Adam's keys for a model created twice, and load one state into the other."""
    states, optimizers = [], []
    for _ in range(2):
        net = PaddleNet(arrays=start())
        optimizer = paddle.optimizer.Adam(0.01, parameters=list(net.named().values()))
        net.loss(np.zeros((2, 3), dtype=np.int64), np.zeros(2, dtype=np.int64)).backward()
        optimizer.step()
        states.append({key: value for key, value in optimizer.state_dict().items() if "_acc" in key or "moment" in key})
        optimizers.append(optimizer)
    before = {key: value.numpy().copy() for key, value in states[1].items()}
    changed = {key: value + 1 for key, value in states[0].items()}
    try:
        optimizers[1].set_state_dict(changed)
        after = optimizers[1].state_dict()
        kept = all(np.array_equal(before[key], after[key].numpy()) for key in before)
        outcome = "no error, and nothing is loaded" if kept else "no error, and it is loaded"
    except AssertionError as error:
        outcome = type(error).__name__
    return {"keys": len(states[0]), "shared": len(states[0].keys() & states[1].keys()), "outcome": outcome}
