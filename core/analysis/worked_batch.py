"""A worked example of a padded batch: ids, lengths, mask, states, sums, mean, and what a missing mask changes.

Three texts of 4, 2 and 1 tokens are read by the SRN of `core.analysis.worked_example`, its states are averaged, and a
linear layer computes two logits. Every value is computed by definition, text by text; `MODEL`, `arrays` and `batch`
are the same model and batch for the reference and the backends.
"""

from __future__ import annotations

import numpy as np

from core.analysis.worked_example import B, Example, U, W
from core.analysis.worked_example import arrays as srn_arrays
from core.batch import PAD, Batch, pad
from core.models.embedding import Embedding
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.heads.pooled import PooledHead
from core.models.model import Model

WORDS = ("PAD", "UNK", "not", "a", "good", "film")
TEXTS = (("not", "a", "good", "film"), ("good", "film"), ("film",))
LABELS = (0, 1, 1)
VECTORS = np.array([[0.0, 0.0], [0.3, 0.3], [-1.0, 0.5], [0.2, 0.0], [1.0, 2.0], [0.5, -0.5]])
"""Word vectors [V, 2]; the row of PAD is zero."""
WEIGHT = np.array([[-1.0, 0.5], [2.0, 1.0]])
BIAS = np.array([0.1, -0.2])
"""Weight [2, 2] and bias [2] of the linear layer: a row and a number per class."""
MODEL = Model(
    embedding=Embedding(vocab_size=len(WORDS), dim=VECTORS.shape[1]),
    encoder=RecurrentEncoder(cell="srn", hidden_size=len(B), bidirectional=False),
    head=PooledHead(pooling="mean", classes=len(BIAS)),
)


def arrays() -> dict[str, np.ndarray]:
    """Return the weights by neutral name."""
    return {"embedding.weight": VECTORS, **srn_arrays("srn"), "head.weight": WEIGHT, "head.bias": BIAS}


def batch() -> Batch:
    """Return the batch of `TEXTS`, ids [3, 4]."""
    return pad([_ids(text) for text in TEXTS], {"label": np.array(LABELS)})


def derive() -> Example:
    """Derive the forward pass of the padded batch step by step, without the functions of the model."""
    longest = max(map(len, TEXTS))
    ids = np.array([[*_ids(text), *[PAD] * (longest - len(text))] for text in TEXTS])
    mask = np.array([[int(t < len(text)) for t in range(longest)] for text in TEXTS])
    x = VECTORS[ids]  # [3, 4, 2]
    lines = [
        "Batch      h_t = m_t * tanh(x_t W + h_{t-1} U + b)      mean = (h_1 + ... + h_L) / n",
        "           m_t is 1 for a token and 0 for padding, n the number of tokens, L the longest n",
        "",
        "vocabulary  " + "   ".join(f"{number} {word}" for number, word in enumerate(WORDS)),
        f"L = {longest}",
        "",
        f"{'text':<20}   n   ids [3, {longest}]      mask m [3, {longest}]",
    ]
    for text, row, own in zip(TEXTS, ids, mask, strict=True):
        padded = "  ".join(map(str, row))
        lines.append(f"{' '.join(text):<20}   {len(text)}   {padded}      {'  '.join(map(str, own))}")
    lines += ["", f"word vectors x [3, {longest}, 2]: rows of the table by id; the row of PAD is (0, 0)"]
    lines += [f"  text {number}:  {'  '.join(map(_pair, row))}" for number, row in enumerate(x, start=1)]
    outputs: dict[str, list] = {"encoder.l0": [], "pooled": [], "logits": []}
    losses = []
    for number, (row, own) in enumerate(zip(x, mask, strict=True), start=1):
        hidden, mean = _text(lines, number, row, own)
        logits = np.array([w[0] * mean[0] + w[1] * mean[1] + b for w, b in zip(WEIGHT, BIAS, strict=True)])
        for c, (w, b) in enumerate(zip(WEIGHT, BIAS, strict=True)):
            terms = " + ".join(f"{_operand(w[j])} * {_operand(mean[j])}" for j in range(2))
            lines.append(f"  logit {c} = {terms} + {_operand(b)} = {logits[c]:.5f}")
        label = LABELS[number - 1]
        losses.append(float(np.log(np.exp(logits).sum()) - logits[label]))
        lines.append(
            f"  loss    = log(exp({logits[0]:.5f}) + exp({logits[1]:.5f})) - {_operand(logits[label])}"
            f" = {losses[-1]:.5f}    label {label}"
        )
        for name, values in zip(outputs, (hidden, mean, logits), strict=True):
            outputs[name].append(values)
    total = " + ".join(f"{loss:.5f}" for loss in losses)
    lines += ["", f"loss of the batch = ({total}) / {len(losses)} = {sum(losses) / len(losses):.5f}"]
    arrays_of = {name: np.array(own) for name, own in outputs.items()}
    return Example(lines, {"embedding": x, **arrays_of}, sum(losses) / len(losses))


def _ids(text: tuple[str, ...]) -> np.ndarray:
    return np.array([WORDS.index(word) for word in text])


def _text(lines: list[str], number: int, x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write the steps of one text; return its states [L, 2], zero at padding, and their mean [2]."""
    length, longest = int(mask.sum()), len(mask)
    lines += ["", f"text {number}, n = {length}"]
    h, unmasked = np.zeros(2), np.zeros(2)
    states, free = [], []
    for t, (own, real) in enumerate(zip(x, mask, strict=True), start=1):
        unmasked = np.tanh(own @ W + unmasked @ U + B)
        free.append(unmasked)
        if real:
            h = np.tanh(own @ W + h @ U + B)
            states.append(h)
            lines.append(f"  h_{t} = 1 * tanh(x_{t} W + h_{t - 1} U + b) = {_pair(h)}")
        else:
            states.append(np.zeros(2))
            lines.append(f"  h_{t} = 0 {'':<27} = {_pair(states[-1])}    without the mask {_pair(unmasked)}")
    total = np.sum(states, axis=0)
    mean = total / length
    shown = " + ".join(_pair(state) for state in states)
    lines.append(f"  sum  = {shown} = {_pair(total)}")
    lines.append(f"  mean = {_pair(total)} / {length} = {_pair(mean)}")
    if length < longest:
        wrong = np.sum(free, axis=0)
        lines.append(f"         without the mask {_pair(wrong)} / {longest} = {_pair(wrong / longest)}: wrong")
    return np.array(states), mean


def _pair(values: np.ndarray) -> str:
    return f"({', '.join(f'{value:.5f}' for value in values)})"


def _operand(value: float) -> str:
    return f"({value:.5f})" if value < 0 else f"{value:.5f}"
