"""Measurements of hand-written copies: one model of a textbook, written once per framework, that drifted apart."""

from __future__ import annotations

import warnings

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from core.data.stack import Stack
from core.spec.experiment import replace
from core.train.ensemble import steps_from
from tasks.cli.recipes import exploding
from tasks.run.gradient_norms import members
from tasks.run.worker import Request, Worker
from tools.differences import difference
from tools.differences.loss import paddle_entropy, torch_entropy
from tools.differences.small import apart, failure

SECTION = "Hand-written copies"
D2L = "https://github.com/d2l-ai/d2l-zh/blob/master/chapter_natural-language-processing-applications"
RNN = f"[sentiment-analysis-rnn]({D2L}/sentiment-analysis-rnn.md)"
CNN = f"[sentiment-analysis-cnn]({D2L}/sentiment-analysis-cnn.md)"
NNDL = "https://github.com/nndl/practice-in-paddle"
WORDS, WIDTH, LENGTH, TEXTS = 500, 100, 200, 16
KERNELS, CHANNELS = (3, 4, 5), 100


@difference(
    SECTION,
    "d2l's TextCNN: average instead of maximum over time",
    torch="The text and the MXNet code of d2l take the maximum over time; the PyTorch code has `AdaptiveAvgPool1d`.",
    paddle="`AdaptiveAvgPool1D`, as in PyTorch: a different model from MXNet's, under the same heading.",
    effect=f"d2l's kernels (3, 4, 5; 100 channels each, Xavier) on {TEXTS} random texts of {LENGTH} tokens with"
    f" {WIDTH} dimensions: features of {{maximum:.2f}} on average with the maximum, {{average:.3f}} with the average;"
    " {zeros_maximum:.0%} of them are zero after ReLU with the maximum, {zeros_average:.0%} with the average. Both"
    " frameworks' averages differ by at most {apart:e}.",
    ours="One specification for both frameworks: `head.pooling` is `max` or `mean`. Both are compared with the NumPy"
    f" reference. d2l: {CNN}.",
    size="features of {average:.3f} instead of {maximum:.2f}",
    claim=lambda f: f["maximum"] > 5 * f["average"] and f["zeros_average"] > 0.3 and f["apart"] < 1e-5,
)
def textcnn_pooling():
    """Pool the convolutions of d2l's TextCNN by maximum and by average, with equal weights in both frameworks."""
    rng = np.random.default_rng(0)
    x = rng.normal(0.0, 0.4, (TEXTS, WIDTH, LENGTH)).astype(np.float32)
    found: dict[str, list[np.ndarray]] = {"maximum": [], "average": [], "paddle": []}
    for kernel in KERNELS:
        bound = np.sqrt(6 / ((WIDTH + CHANNELS) * kernel))
        weight = rng.uniform(-bound, bound, (CHANNELS, WIDTH, kernel)).astype(np.float32)
        maps = torch.nn.functional.conv1d(torch.tensor(x), torch.tensor(weight))
        found["maximum"].append(torch.relu(maps.amax(dim=2)).numpy())
        found["average"].append(torch.relu(torch.nn.AdaptiveAvgPool1d(1)(maps))[:, :, 0].numpy())
        other = paddle.nn.functional.conv1d(paddle.to_tensor(x), paddle.to_tensor(weight))
        found["paddle"].append(paddle.nn.functional.relu(paddle.nn.AdaptiveAvgPool1D(1)(other))[:, :, 0].numpy())
    maximum, average, other = (np.concatenate(own, axis=1) for own in found.values())
    return {
        "maximum": float(maximum.mean()),
        "average": float(average.mean()),
        "zeros_maximum": float((maximum == 0).mean()),
        "zeros_average": float((average == 0).mean()),
        "apart": float(np.abs(average - other).max()),
    }


@difference(
    SECTION,
    "d2l's BiRNN: which values start how, and which are trained",
    torch='The loop over the LSTM\'s arrays tests for `"weight"`: all weight matrices are drawn anew, by Xavier. The'
    " GloVe vectors are frozen, as the text says.",
    paddle='The loop tests for `"weigth"`: no array of the LSTM is changed. `stop_gradient = False` leaves the vectors'
    " trainable.",
    effect=f"Two bidirectional layers of 100 units on {WORDS} words of 100 dimensions: PyTorch's loop changes {{torch}}"
    " of {torch_arrays} arrays of the LSTM, Paddle's {paddle} of {paddle_arrays}; the input weights of the first layer"
    " have the standard deviation {torch_std:.4f} and {paddle_std:.4f}. Trainable word vectors: {torch_words:,} numbers"
    " against {paddle_words:,}.",
    ours="Starting values and trainable arrays are fields of the spec, for both frameworks (`encoder.init`,"
    f" `embedding.trainable`). d2l: {RNN}.",
    size="arrays started by Xavier: {torch} against {paddle}; vectors frozen against trained",
    claim=lambda f: f["torch"] > 0 == f["paddle"] and f["torch_words"] == 0 < f["paddle_words"],
)
def birnn_start():
    """Run both loops on an LSTM of each framework, count the changed arrays and the trainable word vectors."""
    torch.manual_seed(0)
    paddle.seed(0)
    one = torch.nn.LSTM(WIDTH, 100, num_layers=2, bidirectional=True)
    other = paddle.nn.LSTM(WIDTH, 100, num_layers=2, direction="bidirect", time_major=True)
    before = {name: value.detach().clone() for name, value in one.named_parameters()}
    for name, value in one.named_parameters():
        if "weight" in name:
            torch.nn.init.xavier_uniform_(value)
    changed = [name for name, value in one.named_parameters() if not torch.equal(value, before[name])]
    names = [name for name, _ in other.named_parameters()]
    words, tables = torch.nn.Embedding(WORDS, WIDTH), paddle.nn.Embedding(WORDS, WIDTH)
    words.weight.requires_grad = False
    tables.weight.stop_gradient = False
    return {
        "torch": len(changed),
        "torch_arrays": len(before),
        "paddle": sum("weigth" in name for name in names),
        "paddle_arrays": len(names),
        "torch_std": one.weight_ih_l0.std().item(),
        "paddle_std": other.weight_ih_l0.std().item(),
        "torch_words": WORDS * WIDTH * words.weight.requires_grad,
        "paddle_words": WORDS * WIDTH * (not tables.weight.stop_gradient),
    }


GATES = {"c": ("i", "f", "o", "c"), "a": ("i", "f", "o", "a")}
"""The gates and the candidate of the book's two LSTMs, by the candidate's letter."""


def book_lstm(module, letter: str):
    """Return an LSTM of 4 units on 3 inputs in a framework's module, with the names of the book's arrays."""

    class Layer(paddle.nn.Layer if module is paddle else torch.nn.Module):
        def __init__(self):
            super().__init__()
            for gate in GATES[letter]:
                for name, shape in (("W", [3, 4]), ("U", [4, 4]), ("b", [1, 4])):
                    xavier = paddle.nn.initializer.XavierUniform()
                    array = (
                        self.create_parameter(shape, default_initializer=xavier)
                        if module is paddle
                        else torch.nn.Parameter(torch.randn(shape))
                    )
                    setattr(self, f"{name}_{gate}", array)

    return Layer()


def last_state(arrays: dict[str, np.ndarray], letter: str, x: np.ndarray) -> np.ndarray:
    """Compute the last hidden state [1, 4] for inputs x [L, 3], as the book does."""
    h = c = np.zeros((1, 4))
    for row in x:
        i, f, o, g = (row @ arrays[f"W_{k}"] + h @ arrays[f"U_{k}"] + arrays[f"b_{k}"] for k in GATES[letter])
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    return h


@difference(
    SECTION,
    "The book's LSTM of figure 6.13: renamed arrays stay random",
    torch="A model with other names would not load: `load_state_dict` raises an error.",
    paddle="The book trains an LSTM with `W_c`, `U_c`, `b_c` and loads it into one that calls them `W_a`, `U_a`, `b_a`."
    " `set_state_dict` warns and leaves those at their starting values: the figure shows the gates of another model.",
    effect="An LSTM with the book's names: {loaded} of {arrays} arrays are loaded in Paddle, with {warnings} warnings;"
    " PyTorch: {torch}. For a random input of 10 steps, the last hidden state is off by {off:.2f}.",
    ours="A checkpoint has exactly the arrays of the spec's table, or is refused; `tasks.gates` reads the run itself:"
    f" [the textbook's experiments](textbook.md#gates). The book's program: [chapter 6]({NNDL}).",
    size="{loaded} of {arrays} arrays loaded, with a warning",
    claim=lambda f: f["loaded"] == f["arrays"] - 3 and f["torch"] == "RuntimeError" and f["off"] > 0.01,
)
def renamed_arrays():
    """Load the book's first LSTM into its second one, in both frameworks."""
    paddle.seed(0)
    first, second = book_lstm(paddle, "c"), book_lstm(paddle, "a")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second.set_state_dict(first.state_dict())
    given = {name: array.numpy() for name, array in first.state_dict().items()}
    found = {name: array.numpy() for name, array in second.state_dict().items()}
    x = np.random.default_rng(0).normal(0.0, 1.0, (10, 3))
    one, other = book_lstm(torch, "c"), book_lstm(torch, "a")
    return {
        "arrays": len(found),
        "loaded": sum(name in given and bool((given[name] == array).all()) for name, array in found.items()),
        "warnings": sum("W_a" in str(own.message) or "_a" in str(own.message) for own in caught),
        "torch": failure(other.load_state_dict, one.state_dict()),
        "off": apart(last_state(given, "c", x), last_state(found, "a", x)),
    }


@difference(
    SECTION,
    "The loss that the book reads while gradients explode",
    torch="Logs of PyTorch's `cross_entropy` show the true loss.",
    paddle="The book's program logs Paddle's `cross_entropy`, which counts at most 64 per text: [see"
    " above](#log_softmax_floor).",
    effect="The SRN of `python -m tasks.exploding`, without clipping, trained in Paddle, eight seeds. Loss of the"
    " {texts} texts of step 250, before the step: true {low:,.0f} to {high:,.0f}, by Paddle's function"
    " {capped_low:,.0f} to {capped_high:,.0f}; with seed 0 {true_0:,.0f} and {capped_0:,.0f}.",
    ours="The true loss is computed and logged in both frameworks; see"
    " [the textbook's experiments](textbook.md#the-loss-as-the-book-sees-it).",
    size="step 250: {true_0:,.0f} is reported as {capped_0:,.0f}",
    claim=lambda f: f["capped_high"] <= 64 * f["texts"] and f["low"] > 1.5 * f["capped_high"],
    slow=True,
)
def exploding_loss():
    """Train the exploding SRN to step 249, and compute the sum of losses of the next batch by both functions."""
    seeds = list(range(8))
    spec = replace(exploding(), {"training.clip_mode": "none"})
    own = members(spec, seeds)
    ensemble = Worker.of_ensemble(Request("paddle", "cpu"), spec).ensemble(own)
    *steps, (_, batch, _) = steps_from(own, Stack([member.data.train for member in own]))
    for step, given, rate in steps:
        ensemble.train_step(given, step, rate)
    logits = np.split(ensemble.logits(batch).astype(np.float64), len(seeds))
    labels = np.split(batch.labels, len(seeds))
    pairs = list(zip(logits, labels, strict=True))
    true = [float(torch_entropy(torch.tensor(x), torch.tensor(y), reduction="sum")) for x, y in pairs]
    capped = [float(paddle_entropy(paddle.to_tensor(x), paddle.to_tensor(y), reduction="sum")) for x, y in pairs]
    return {
        "texts": len(labels[0]),
        "low": min(true),
        "high": max(true),
        "capped_low": min(capped),
        "capped_high": max(capped),
        "true_0": true[0],
        "capped_0": capped[0],
    }
