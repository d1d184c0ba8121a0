"""Measurements of recurrent layers and cells: evaluation mode, moves between devices, results of a step."""

from __future__ import annotations

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.layers import LAYERS, SECTION
from tools.differences.small import apart, failure

NAMES = {"srn": ("RNN", "SimpleRNN"), "gru": ("GRU", "GRU"), "lstm": ("LSTM", "LSTM")}
"""Names of the built-in layers in PyTorch and Paddle. Those of the cells end with `Cell`."""


def layers(cell: str):
    """Return PyTorch's and Paddle's layer of a cell, with 3 inputs and 4 units, float32."""
    one, other = NAMES[cell]
    return getattr(torch.nn, one)(3, 4, batch_first=True), getattr(paddle.nn, other)(3, 4)


def shared(outcomes: list[str]) -> str:
    """Return the common outcome of several cases, or all of them."""
    return outcomes[0] if len(set(outcomes)) == 1 else ", ".join(outcomes)


@difference(
    SECTION,
    "Recurrent layers in evaluation mode: no backward pass in Paddle on the CPU",
    torch="On the CPU, gradients are computed after `eval()` as after `train()`.",
    paddle="In evaluation mode, the forward pass of the built-in layers does not keep the arrays that the backward pass"
    ' needs: `backward()` raises an error ("holder_ should not be null"). Saliency maps, adversarial examples and'
    " tests of gradients in evaluation mode need `train()`.",
    effect="Gradient of an SRN, a GRU and an LSTM on the CPU, without dropout: after `eval()` {torch_eval} in PyTorch,"
    " {paddle_eval} in Paddle; after `train()` {torch_train} and {paddle_train}. With `sequence_length=`, Paddle after"
    " `eval()`: {paddle_lengths}. With `nn.RNN` around Paddle's cells, after `eval()`: {paddle_cells}.",
    ours="No layer is switched to evaluation mode: built-in layers have no dropout, and dropout is a function that is"
    " passed to the forward pass ([backends/paddle/dropout.py](../backends/paddle/dropout.py)).",
    size="`backward()` after `eval()`: {torch_eval} against {paddle_eval}",
    claim=lambda f: (
        f["torch_eval"] == f["torch_train"] == f["paddle_train"] == f["paddle_cells"] == "no error"
        and f["paddle_eval"] == f["paddle_lengths"] == "RuntimeError"
    ),
)
def eval_backward():
    """Compute gradients of the built-in layers in both modes, and of Paddle's wrapper of cells in evaluation mode."""
    found = {}
    x = torch.randn(2, 5, 3), paddle.randn([2, 5, 3])

    def backward(layer, x, **given) -> str:
        return failure(lambda: layer(x, **given)[0].sum().backward())

    for mode in ("eval", "train"):
        cases = {"torch": [], "paddle": [], "lengths": [], "cells": []}
        for cell, (_, name) in NAMES.items():
            one, other = layers(cell)
            wrapped = paddle.nn.RNN(getattr(paddle.nn, f"{name}Cell")(3, 4))
            for layer in (one, other, wrapped):
                getattr(layer, mode)()
            cases["torch"].append(backward(one, x[0]))
            cases["paddle"].append(backward(other, x[1]))
            cases["lengths"].append(backward(other, x[1], sequence_length=paddle.to_tensor([3, 5])))
            cases["cells"].append(backward(wrapped, x[1]))
        found |= {f"torch_{mode}": shared(cases["torch"]), f"paddle_{mode}": shared(cases["paddle"])}
        if mode == "eval":
            found |= {"paddle_lengths": shared(cases["lengths"]), "paddle_cells": shared(cases["cells"])}
    return found


@difference(
    SECTION,
    "Recurrent layers: no gradient of the input alone in Paddle on the CPU",
    torch="Gradients are computed by the input alone, also through a layer whose parameters are frozen"
    " (`requires_grad = False`).",
    paddle="The backward pass of the built-in layers needs memory for the gradients of all parameters. `paddle.grad` by"
    ' the input alone raises an error ("tensor should not be null"), and so does `backward()` through a layer whose'
    " parameters are frozen (`stop_gradient = True`).",
    effect="Gradient of an SRN, a GRU and an LSTM on the CPU by the input alone: {torch_alone} in PyTorch,"
    " {paddle_alone} in Paddle; by the input and all parameters: {torch_all} and {paddle_all}. Through frozen"
    " parameters: {torch_frozen} and {paddle_frozen}. With `nn.RNN` around Paddle's cells: {cells_alone} and"
    " {cells_frozen}.",
    ours="Virtual adversarial training computes all gradients by `backward()`, and clears those of the parameters"
    " (`steepest` in [backends/paddle/adversarial.py](../backends/paddle/adversarial.py)). A frozen encoder has the"
    " learning rate 0, and gradients ([core/spec/part_rates.py](../core/spec/part_rates.py)).",
    size="`grad` by the input: {torch_alone} against {paddle_alone}",
    claim=lambda f: (
        f["torch_alone"] == f["torch_all"] == f["torch_frozen"] == f["paddle_all"] == "no error"
        and f["cells_alone"] == f["cells_frozen"] == "no error"
        and "no error" not in (f["paddle_alone"], f["paddle_frozen"])
    ),
)
def input_gradient():
    """Compute gradients by the input alone, by the parameters too, and through frozen parameters."""
    inputs = torch.randn(2, 5, 3, requires_grad=True), paddle.randn([2, 5, 3])
    inputs[1].stop_gradient = False
    names = ("torch_alone", "torch_all", "torch_frozen", "paddle_alone", "paddle_all", "paddle_frozen")
    cases = {name: [] for name in (*names, "cells_alone", "cells_frozen")}

    def by(grad, layer, x, parameters) -> str:
        return failure(lambda: grad(layer(x)[0].sum(), [x, *parameters]))

    def frozen(layer, x) -> str:
        for parameter in layer.parameters():
            setattr(parameter, *(("requires_grad", False) if isinstance(x, torch.Tensor) else ("stop_gradient", True)))
        return failure(lambda: layer(x)[0].sum().backward())

    for cell, (_, name) in NAMES.items():
        one, other = layers(cell)
        wrapped = paddle.nn.RNN(getattr(paddle.nn, f"{name}Cell")(3, 4))
        for kind, layer, x, grad in (
            ("torch", one, inputs[0], torch.autograd.grad),
            ("paddle", other, inputs[1], paddle.grad),
            ("cells", wrapped, inputs[1], paddle.grad),
        ):
            cases[f"{kind}_alone"].append(by(grad, layer, x, []))
            if kind != "cells":
                cases[f"{kind}_all"].append(by(grad, layer, x, list(layer.parameters())))
            cases[f"{kind}_frozen"].append(frozen(layer, x))
    return {name: shared(outcomes) for name, outcomes in cases.items()}


@difference(
    SECTION,
    "Paddle's recurrent layers cannot be moved or cast on the CPU",
    torch="`to` moves and casts any layer.",
    paddle="`to` raises an error for the built-in recurrent layers, and for every model that contains one: it also"
    " copies their internal buffer, which has no memory on the CPU.",
    effect='SRN, GRU and LSTM on the CPU: `to("cpu")` {torch_cpu} in PyTorch, {paddle_cpu} in Paddle;'
    " `to(dtype=float64)` {torch_cast} and {paddle_cast}. In Paddle, `to` of a `Sequential` with such a layer:"
    " {paddle_inside}; of a cell: {paddle_cell}; of a linear layer: {paddle_linear}.",
    ours="Layers are created on the device (`paddle.set_device`) and in the precision (`with_default_dtype`) of the"
    f" run: [engine.py](../backends/paddle/engine.py), {LAYERS}.",
    size='`to("cpu")`: {torch_cpu} against {paddle_cpu}',
    claim=lambda f: (
        f["torch_cpu"] == f["torch_cast"] == f["paddle_cell"] == f["paddle_linear"] == "no error"
        and f["paddle_cpu"] == f["paddle_cast"] == f["paddle_inside"] == "RuntimeError"
    ),
)
def recurrent_to():
    """Move the built-in layers to the CPU, where they are, and cast them."""
    cases = {"torch_cpu": [], "paddle_cpu": [], "torch_cast": [], "paddle_cast": [], "inside": [], "cell": []}
    for cell, (_, name) in NAMES.items():
        for kind, given in (("cpu", {"device": "cpu"}), ("cast", {"dtype": "float64"})):
            one, other = layers(cell)
            own = {"dtype": torch.float64} if kind == "cast" else given
            cases[f"torch_{kind}"].append(failure(one.to, **own))
            cases[f"paddle_{kind}"].append(failure(other.to, **given))
        cases["inside"].append(failure(paddle.nn.Sequential(layers(cell)[1]).to, "cpu"))
        cases["cell"].append(failure(getattr(paddle.nn, f"{name}Cell")(3, 4).to, "cpu"))
    found = {f"paddle_{key}" if key in ("inside", "cell") else key: shared(value) for key, value in cases.items()}
    return {**found, "paddle_linear": failure(paddle.nn.Linear(3, 4).to, "cpu")}


def form(result) -> str:
    """Return the nesting of a step's results, as "(h, (h, c))": tensors equal to the first are h, others c."""
    first = result
    while isinstance(first, tuple):
        first = first[0]

    def name(part) -> str:
        if isinstance(part, tuple):
            return "(" + ", ".join(map(name, part)) + ")"
        return "h" if apart(part.detach().numpy(), first.detach().numpy()) == 0 else "c"

    return name(result)


@difference(
    SECTION,
    "Results of a recurrent cell",
    torch="`RNNCell` and `GRUCell` return h, `LSTMCell` returns (h, c).",
    paddle="Every cell returns (output, states), where the output is h again.",
    effect="One step of an SRN and of a GRU returns {torch_srn} and {torch_gru} in PyTorch, {paddle_srn} and"
    " {paddle_gru} in Paddle. One step of an LSTM returns {torch_lstm} and {paddle_lstm}. With the same weights, h and"
    " c agree to {apart:e}. A second step, written for PyTorch, in Paddle: {second_srn} (SRN), {second_gru} (GRU),"
    " {second_lstm} (LSTM). The text of the error does not name the state.",
    ours=f"Steps are written out and return (h, c) in both: `STEPS` ({LAYERS}).",
    size="LSTM: {torch_lstm} against {paddle_lstm}",
    older="The results have the same form. A second step, written for PyTorch: {second_srn} (SRN), {second_gru} (GRU),"
    " {second_lstm} (LSTM).",
    claim=lambda f: (
        f["torch_srn"] == f["torch_gru"] == "h"
        and f["paddle_srn"] == f["paddle_gru"] == "(h, h)"
        and (f["torch_lstm"], f["paddle_lstm"]) == ("(h, c)", "(h, (h, c))")
        and f["apart"] < 1e-6
        and "no error" not in (f["second_srn"], f["second_gru"], f["second_lstm"])
    ),
)
def cell_results():
    """Compare the results of one step, and take a second step in Paddle by code that is correct in PyTorch."""
    torch.manual_seed(0)
    found, errors = {}, []
    for cell, (name, own) in NAMES.items():
        one, other = getattr(torch.nn, f"{name}Cell")(3, 4), getattr(paddle.nn, f"{own}Cell")(3, 4)
        for key, parameter in one.named_parameters():
            getattr(other, key).set_value(parameter.detach().numpy())
        x = torch.randn(2, 3)
        other_x = paddle.to_tensor(x.numpy())
        wanted, result = one(x), other(other_x)
        found |= {f"torch_{cell}": form(wanted), f"paddle_{cell}": form(result)}
        pairs = zip(wanted, result[1], strict=True) if cell == "lstm" else [(wanted, result[1])]
        errors += [apart(a.detach().numpy(), b.numpy()) for a, b in pairs]
        # As in PyTorch: h, c = cell(x, (h, c)) or h = cell(x, h). Both pass on the whole result.
        found[f"second_{cell}"] = failure(other, other_x, result)
    return {**found, "apart": max(errors)}
