"""Measurements of padding, lengths and token ids."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.layers import LAYERS, copied
from tools.differences.small import KILLED, apart, failure, isolated, paddle_dtype

SECTION = "Padding"


@difference(
    SECTION,
    "The embedding of the padding id",
    torch="The stored row of `padding_idx`. The layer initializes it to zero.",
    paddle="Always zeros, even if the stored row is not zero.",
    effect="A table of ones, looked up at id 0 with `padding_idx=0`: {torch:.0f} in PyTorch, {paddle:.0f} in"
    " Paddle. In both, the row has no gradient ({torch_gradient:.0f} and {paddle_gradient:.0f}).",
    ours="Row 0 is zero and stays zero, so both results are equal: `initial_parameters` in"
    " [core/models/parameters.py](../core/models/parameters.py); the reference multiplies by zero"
    " ([core/models/model.py](../core/models/model.py), `embed`).",
    size="a pretrained row 0: {torch:.0f} against {paddle:.0f}",
    claim=lambda f: (f["torch"], f["paddle"], f["torch_gradient"], f["paddle_gradient"]) == (1, 0, 0, 0),
)
def padding_row():
    """Look up a padding row of ones, and compute its gradient."""
    one = torch.ones(3, 2, requires_grad=True)
    found = torch.nn.functional.embedding(torch.tensor([0, 1]), one, padding_idx=0)
    found.sum().backward()
    other = paddle.ones([3, 2])
    other.stop_gradient = False
    other_found = paddle.nn.functional.embedding(paddle.to_tensor([0, 1]), other, padding_idx=0)
    other_found.sum().backward()
    return {
        "torch": found[0, 0].item(),
        "paddle": other_found[0, 0].item(),
        "torch_gradient": one.grad[0].abs().max().item(),
        "paddle_gradient": other.grad[0].abs().max().item(),
    }


OUT_OF_RANGE = """
import sys
from backends.paddle.framework import paddle
from tools.differences.small import failure
table = paddle.ones([4, 3])
identity, padding = int(sys.argv[1]), None if sys.argv[2] == "none" else int(sys.argv[2])
ids = paddle.to_tensor([identity])
print(">", failure(lambda: paddle.nn.functional.embedding(ids, table, padding_idx=padding).numpy()))
"""


def looked_up(identity: int, padding: str) -> str:
    """Look up an id with Paddle in a separate process, which may crash; return the outcome."""
    return isolated(OUT_OF_RANGE, str(identity), padding)[-1]


@difference(
    SECTION,
    "Ids out of range",
    torch="All ids are checked.",
    paddle="With `padding_idx` no id is checked, and the lookup reads out of bounds. Negative ids are never checked.",
    effect="A table of 4 rows. Id 4: {torch} in PyTorch; {checked} in Paddle without `padding_idx`, {unchecked} with"
    " it: the next bytes of memory are returned as a word vector. Id -1 without `padding_idx`: {negative}."
    " Id 10^9 with it: {far}.",
    ours="Core checks ids and lengths once per data set: [core/batch.py](../core/batch.py).",
    size="id V with `padding_idx`: {unchecked}, out-of-bounds memory is read",
    claim=lambda f: (
        f["torch"] == "IndexError"
        and f["checked"] == "ValueError"
        and f["unchecked"] == f["negative"] == "no error"
        and f["far"] == KILLED
    ),
    slow=True,
)
def id_range():
    """Look up ids past the end of a table and before its start."""
    return {
        "torch": failure(torch.nn.functional.embedding, torch.tensor([4]), torch.ones(4, 3), padding_idx=0),
        "checked": looked_up(4, "none"),
        "unchecked": looked_up(4, "0"),
        "negative": looked_up(-1, "none"),
        "far": looked_up(10**9, "0"),
    }


LENGTHS = [3, 7]


def padded_pair():
    """Return an LSTM of each framework with equal values, and two padded sequences."""
    torch.manual_seed(0)
    one = torch.nn.LSTM(5, 6, batch_first=True, bidirectional=True)
    other = paddle.nn.LSTM(5, 6, direction="bidirect")
    copied(one, other)
    x = torch.randn(2, 7, 5)
    x[0, 3:] = 0
    return one, other, x


def packed(layer, x, lengths):
    """Run PyTorch's layer on packed sequences; return outputs and final h."""
    sequence = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    outputs, (hidden, _) = layer(sequence)
    outputs = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)[0]
    return outputs.detach().numpy(), hidden.detach().numpy()


@difference(
    SECTION,
    "Recurrent layers without lengths process padding",
    torch="Lengths are given by `pack_padded_sequence`; without it the layer also processes the padding.",
    paddle="Lengths are given by `sequence_length=`; without it the layer also processes the padding.",
    effect="A sequence of 3 steps padded with zero vectors to 7. Without lengths, its final states change by up to"
    " {torch_moved:.2f} (PyTorch) and {paddle_moved:.2f} (Paddle), and the outputs past its end reach {past:.2f}. With"
    " lengths, these outputs are zero in both, and the frameworks agree to {agree:e}.",
    ours="States stop at the last real token, and outputs past it are zero. Two unidirectional layers, one of them on"
    f" sequences reversed within their lengths, then a mask: `RecurrentEncoder` ({LAYERS}).",
    size="final states off by {torch_moved:.2f} without lengths",
    claim=lambda f: f["torch_moved"] > 0.05 and f["agree"] < 1e-6 and f["past_with_lengths"] == 0,
)
def lengths():
    """Run a bidirectional LSTM on padded sequences, with lengths and without."""
    one, other, x = padded_pair()
    outputs, hidden = packed(one, x, LENGTHS)
    blind, (blind_hidden, _) = one(x)
    ours, (our_hidden, _) = other(paddle.to_tensor(x.numpy()), sequence_length=paddle.to_tensor(LENGTHS))
    _, (our_blind_hidden, _) = other(paddle.to_tensor(x.numpy()))
    return {
        "torch_moved": apart(hidden, blind_hidden.detach().numpy()),
        "paddle_moved": apart(our_hidden.numpy(), our_blind_hidden.numpy()),
        "past": blind[0, 3:].abs().max().item(),
        "past_with_lengths": float(max(np.abs(outputs[0, 3:]).max(), np.abs(ours.numpy()[0, 3:]).max())),
        "agree": max(apart(outputs, ours.numpy()), apart(hidden, our_hidden.numpy())),
    }


CELLS = {"srn": ("RNN", "SimpleRNN"), "gru": ("GRU", "GRU"), "lstm": ("LSTM", "LSTM")}
"""Names of the built-in layers in PyTorch and Paddle."""


def gradients_apart(cell: str, sizes: list[int], scale: float) -> dict[str, float]:
    """Compare the gradients of a bidirectional float64 layer on two sequences padded to 7 steps.

    Initial states are random numbers times `scale`. Return differences of gradients by name, relative to the largest
    entry of PyTorch's, and under "outputs" the absolute difference of all outputs.
    """
    torch.manual_seed(0)
    one = getattr(torch.nn, CELLS[cell][0])(5, 6, batch_first=True, bidirectional=True, dtype=torch.float64)
    with paddle_dtype("float64"):
        other = getattr(paddle.nn, CELLS[cell][1])(5, 6, direction="bidirect")
    copied(one, other)
    shapes = {"x": (2, 7, 5), "h_0": (2, 2, 6)} | ({"c_0": (2, 2, 6)} if cell == "lstm" else {})
    given = {
        name: (torch.randn(shape, dtype=torch.float64) * (1.0 if name == "x" else scale)).requires_grad_()
        for name, shape in shapes.items()
    }
    factors = torch.randn(2, 7, 12, dtype=torch.float64)  # weights of the outputs in the loss
    other_given = {name: paddle.to_tensor(a.detach().numpy(), stop_gradient=False) for name, a in given.items()}

    sequence = torch.nn.utils.rnn.pack_padded_sequence(
        given["x"], torch.tensor(sizes), batch_first=True, enforce_sorted=False
    )
    packed_outputs, last = one(sequence, (given["h_0"], given["c_0"]) if cell == "lstm" else given["h_0"])
    outputs = torch.nn.utils.rnn.pad_packed_sequence(packed_outputs, batch_first=True, total_length=7)[0]
    (outputs * factors).sum().backward()

    start = (other_given["h_0"], other_given["c_0"]) if cell == "lstm" else other_given["h_0"]
    other_outputs, other_last = other(other_given["x"], start, sequence_length=paddle.to_tensor(sizes))
    (other_outputs * paddle.to_tensor(factors.numpy())).sum().backward()

    pairs = {name: (p.grad.numpy(), getattr(other, name).grad.numpy()) for name, p in one.named_parameters()}
    pairs |= {name: (a.grad.numpy(), other_given[name].grad.numpy()) for name, a in given.items()}
    found = {name: apart(wanted, got) / float(np.abs(wanted).max()) for name, (wanted, got) in pairs.items()}
    last, other_last = (last, other_last) if cell == "lstm" else ([last], [other_last])
    ends = zip([outputs, *last], [other_outputs, *other_last], strict=True)
    return {**found, "outputs": max(apart(a.detach().numpy(), b.numpy()) for a, b in ends)}


@difference(
    SECTION,
    "Initial states and padding: wrong gradients of the reverse direction",
    torch="Packed sequences support initial states.",
    paddle="A bidirectional layer with `sequence_length=` supports them, and its outputs are correct. But on the CPU"
    " the backward pass of the reverse direction reads zeros instead of the initial state, for every padded sequence.",
    effect="Two sequences of 3 and 7 steps, the first padded to 7, random initial states, float64. Outputs and final"
    " states agree to {outputs:e}. Errors of the gradient of `weight_hh_l0_reverse`, relative to its largest entry, are"
    " {srn:.0%} (SimpleRNN), {gru:.0%} (GRU) and {lstm:.0%} (LSTM). In the GRU, gradients of the other reverse"
    " parameters and of the initial states are wrong by at least {gru_others:.0%}, and those of the input by"
    " {gru_input:.0%}, which affects the layers below. All other gradients agree to {rest:e}. The cause is padding, not"
    " unequal lengths: with two sequences of 5 steps padded to 7, the error of the LSTM is {alike:.0%}. Without padding"
    " all gradients agree to {unpadded:e}, with zero initial states to {zeros:e}.",
    ours="Models start from zero states, for which gradients are correct. For other states the implementation `packed`"
    " raises an error in Paddle; `builtin` reverses sequences itself, with correct gradients"
    " ([backends/paddle/encoders/recurrent_layers.py](../backends/paddle/encoders/recurrent_layers.py)).",
    size="LSTM: gradient of the reverse `weight_hh` off by {lstm:.0%}",
    claim=lambda f: (
        min(f["srn"], f["gru"], f["lstm"], f["alike"], f["gru_input"], f["gru_others"]) > 0.02
        and max(f["rest"], f["unpadded"], f["zeros"], f["outputs"]) < 1e-12
    ),
)
def reverse_states():
    """Compare gradients of bidirectional layers on padded sequences, with initial states and without."""
    padded = {cell: gradients_apart(cell, LENGTHS, scale=1.0) for cell in CELLS}
    unpadded = [gradients_apart(cell, [7, 7], scale=1.0) for cell in CELLS]
    zeros = [gradients_apart(cell, LENGTHS, scale=0.0) for cell in CELLS]
    wrong = {cell: ["weight_hh_l0_reverse"] for cell in CELLS}
    wrong["gru"] = [name for name in padded["gru"] if name.endswith("_reverse")] + ["x", "h_0"]
    right = [value for cell in CELLS for name, value in padded[cell].items() if name not in wrong[cell]]
    return {
        **{cell: padded[cell]["weight_hh_l0_reverse"] for cell in CELLS},
        "gru_input": padded["gru"]["x"],
        "gru_others": min(padded["gru"][name] for name in wrong["gru"]),
        "alike": gradients_apart("lstm", [5, 5], scale=1.0)["weight_hh_l0_reverse"],
        "rest": max(right),
        "unpadded": max(max(found.values()) for found in unpadded),
        "zeros": max(max(found.values()) for found in zeros),
        "outputs": max(found["outputs"] for found in padded.values()),
    }


@difference(
    SECTION,
    "Custom cells: Paddle does not mask outputs past the length",
    torch="There is no wrapper for cells; users write the loop over time.",
    paddle="`nn.RNN` and `nn.BiRNN` run any cell over time with `sequence_length`: the state stops at the length, but"
    " outputs do not.",
    effect="`nn.RNN(nn.LSTMCell)` on a sequence of 3 steps padded to 7: the final state equals that of the built-in"
    " layer to {state:e}, but outputs past the end reach {past:.2f} (built-in layer: {builtin:.0f}). The mean or"
    " maximum over time is then wrong.",
    ours=f"Outputs are masked ({LAYERS}).",
    size="outputs past the end up to {past:.2f} instead of zero",
    claim=lambda f: f["past"] > 0.01 and f["builtin"] == 0 and f["state"] < 1e-6,
)
def cell_outputs_past_end():
    """Compare Paddle's wrapper of a cell with its built-in layer, with the same weights."""
    paddle.seed(0)
    builtin, cell = paddle.nn.LSTM(5, 6), paddle.nn.LSTMCell(5, 6)
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, kind).set_value(getattr(builtin, f"{kind}_l0").numpy())
    x, sizes = paddle.randn([2, 7, 5]), paddle.to_tensor(LENGTHS)
    wanted, (hidden, _) = builtin(x, sequence_length=sizes)
    found, (found_hidden, _) = paddle.nn.RNN(cell)(x, sequence_length=sizes)
    return {
        "state": apart(hidden[0].numpy(), found_hidden.numpy()),
        "past": float(np.abs(found.numpy()[0, 3:]).max()),
        "builtin": float(np.abs(wanted.numpy()[0, 3:]).max()),
    }


@difference(
    SECTION,
    "A sequence of length 0",
    torch="`pack_padded_sequence` raises an error.",
    paddle="`sequence_length` accepts it.",
    effect="PyTorch: {torch}. Paddle: {paddle}; the final state of the empty sequence is at most {state:.2f}.",
    ours="Length 0 is an error in core, before either framework sees it: [core/batch.py](../core/batch.py).",
    size="{torch} against {paddle}",
    claim=lambda f: f["torch"] == "RuntimeError" and f["paddle"] == "no error",
)
def length_zero():
    """Run layers on an empty sequence and one of 7 steps."""
    one, other, x = padded_pair()
    _, (hidden, _) = other(paddle.to_tensor(x.numpy()), sequence_length=paddle.to_tensor([0, 7]))
    found = failure(packed, one, x, [0, 7])
    return {"torch": found, "paddle": "no error", "state": float(np.abs(hidden.numpy()[:, 0]).max())}
