"""Padding, lengths and ids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from measure import difference
from measure.layers import LAYERS, copied
from measure.small import apart

SECTION = "Padding"
ROOT = Path(__file__).parents[2]


@difference(
    SECTION,
    "What a look-up of the padding id returns",
    torch="The stored row of `padding_idx`, whatever it holds. The layer zeroes it once, at the start.",
    paddle="Zeros, whatever the row holds.",
    effect="A table full of ones, looked up at id 0 with `padding_idx=0`: {torch:.0f} in PyTorch, {paddle:.0f} in"
    " Paddle. Neither gives the row a gradient ({torch_gradient:.0f} and {paddle_gradient:.0f}).",
    ours="Row 0 is zero and stays zero, so both answers are the same: `initial_parameters` in"
    " [core/parameters.py](../core/parameters.py); the reference multiplies by zero"
    " ([core/reference.py](../core/reference.py), `embed`).",
    size="a pretrained row 0: {torch:.0f} against {paddle:.0f}",
    claim=lambda f: (f["torch"], f["paddle"], f["torch_gradient"], f["paddle_gradient"]) == (1, 0, 0, 0),
)
def padding_row():
    """A row of ones at the padding id: looked up, and its gradient."""
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
table = paddle.ones([4, 3])
identity, padding = int(sys.argv[1]), None if sys.argv[2] == "none" else int(sys.argv[2])
try:
    paddle.nn.functional.embedding(paddle.to_tensor([identity]), table, padding_idx=padding).numpy()
    print("no error")
except Exception as error:
    print(type(error).__name__)
"""


def looked_up(identity: int, padding: str) -> str:
    """What Paddle does with an id, in a process of its own, which may not survive."""
    command = [sys.executable, "-c", OUT_OF_RANGE, str(identity), padding]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "the process is killed"


@difference(
    SECTION,
    "Ids out of range",
    torch="Every id is checked.",
    paddle="With `padding_idx` no id is checked, and foreign memory is read. Negative ids are never checked.",
    effect="A table of 4 rows. Id 4: {torch} in PyTorch; {checked} in Paddle without `padding_idx`, {unchecked} with"
    " it: the next bytes of memory come back as a word vector. Id -1 without `padding_idx`: {negative}."
    " Id 10^9 with it: {far}.",
    ours="Core checks ids and lengths, once per data set: [core/batches.py](../core/batches.py).",
    size="id V with `padding_idx`: {unchecked}, a vector of foreign memory",
    claim=lambda f: (
        f["torch"] == "IndexError"
        and f["checked"] == "ValueError"
        and f["unchecked"] == f["negative"] == "no error"
        and f["far"] == "the process is killed"
    ),
    slow=True,
)
def id_range():
    """Look-ups past the end of a table and before its start."""
    try:
        torch.nn.functional.embedding(torch.tensor([4]), torch.ones(4, 3), padding_idx=0)
        found = "no error"
    except IndexError as error:
        found = type(error).__name__
    return {
        "torch": found,
        "checked": looked_up(4, "none"),
        "unchecked": looked_up(4, "0"),
        "negative": looked_up(-1, "none"),
        "far": looked_up(10**9, "0"),
    }


LENGTHS = [3, 7]


def padded_pair():
    """A bidirectional LSTM in both with the same values, and two sequences of 3 and 7 steps padded with zeros to 7."""
    torch.manual_seed(0)
    one = torch.nn.LSTM(5, 6, batch_first=True, bidirectional=True)
    other = paddle.nn.LSTM(5, 6, direction="bidirect")
    copied(one, other)
    x = torch.randn(2, 7, 5)
    x[0, 3:] = 0
    return one, other, x


def packed(layer, x, lengths):
    """PyTorch's way to tell lengths: outputs and final h."""
    sequence = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    outputs, (hidden, _) = layer(sequence)
    outputs = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)[0]
    return outputs.detach().numpy(), hidden.detach().numpy()


@difference(
    SECTION,
    "Recurrent layers do not know where a sequence ends",
    torch="Lengths are told by `pack_padded_sequence`; without it the layer walks over the padding.",
    paddle="Lengths are told by `sequence_length=`; without it the layer walks over the padding.",
    effect="A sequence of 3 steps padded with zero vectors to 7. Without lengths, its final states move by up to"
    " {torch_moved:.2f} (PyTorch) and {paddle_moved:.2f} (Paddle), and the outputs past its end are as large as"
    " {past:.2f}. With lengths, those are zero in both, and the two agree to {agree:e}.",
    ours="The lengths rule: a state stops at the last real token and outputs past it are zero. Two one-way layers, the"
    f" reverse one on sequences turned round within their lengths, then a mask: `RecurrentEncoder` ({LAYERS}).",
    size="final states off by {torch_moved:.2f} if lengths are not told",
    claim=lambda f: f["torch_moved"] > 0.05 and f["agree"] < 1e-6 and f["past_with_lengths"] == 0,
)
def lengths():
    """A bidirectional LSTM on padded sequences, with lengths and without."""
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


@difference(
    SECTION,
    "Cells of one's own: Paddle stops the state and leaves the outputs",
    torch="A loop over a cell is written by hand; there is nothing to inherit.",
    paddle="`nn.RNN` and `nn.BiRNN` run any cell over time and take `sequence_length`: the state stops at the length,"
    " but outputs go on past it.",
    effect="`nn.RNN(nn.LSTMCell)`, a sequence of 3 steps padded to 7: final state as the built-in layer's to"
    " {state:e}, outputs past the end up to {past:.2f} (built-in layer: {builtin:.0f}). A mean or maximum over time is"
    " wrong.",
    ours=f"Outputs are masked ({LAYERS}).",
    size="outputs past the end up to {past:.2f} instead of zero",
    claim=lambda f: f["past"] > 0.01 and f["builtin"] == 0 and f["state"] < 1e-6,
)
def cell_outputs_past_end():
    """Paddle's wrapper of a cell against its built-in layer, the same weights."""
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
    torch="`pack_padded_sequence` refuses it.",
    paddle="`sequence_length` takes it.",
    effect="PyTorch: {torch}. Paddle: {paddle}; the final state of the empty sequence is {state:.2f} at most.",
    ours="Length 0 is an error in core, before either framework sees it: [core/batches.py](../core/batches.py).",
    size="{torch} against {paddle}",
    claim=lambda f: f["torch"] == "RuntimeError" and f["paddle"] == "no error",
)
def length_zero():
    """An empty sequence beside one of 7 steps."""
    one, other, x = padded_pair()
    try:
        packed(one, x, [0, 7])
        found = "no error"
    except RuntimeError as error:
        found = type(error).__name__
    _, (hidden, _) = other(paddle.to_tensor(x.numpy()), sequence_length=paddle.to_tensor([0, 7]))
    return {"torch": found, "paddle": "no error", "state": float(np.abs(hidden.numpy()[:, 0]).max())}
