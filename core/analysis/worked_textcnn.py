"""A TextCNN's forward pass on numbers small enough to follow: the example of d2l, "max-over-time pooling", in figures.

11 tokens, word vectors of 6 numbers, 4 kernels of width 2 and 5 of width 4, 2 classes. Every value is computed by the
definition, one product at a time; `MODEL` and `arrays` are the same model for the reference and the frameworks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.batch import Batch, pad
from core.models.embedding import Embedding
from core.models.encoders.textcnn import TextCNNEncoder
from core.models.heads.pooled import PooledHead
from core.models.model import Model

TOKENS, WIDTH, CLASSES = 11, 6, 2
KERNELS, CHANNELS = (2, 4), (4, 5)
MODEL = Model(
    embedding=Embedding(vocab_size=TOKENS + 1, dim=WIDTH),
    encoder=TextCNNEncoder(kernels=KERNELS, channels=CHANNELS),
    head=PooledHead(pooling="max", classes=CLASSES),
)
SMALL = {
    "one channel": ([[0, 1, 2, 3, 4, 5, 6]], [[1, 2]], [2, 5, 8, 11, 14, 17]),
    "three channels": (
        [[0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7], [2, 3, 4, 5, 6, 7, 8]],
        [[1, 2], [3, 4], [-1, -3]],
        [2, 8, 14, 20, 26, 32],
    ),
}
"""d2l's examples: what is read, [channels, positions]; the kernel, [channels, width]; and d2l's answer."""


@dataclass(frozen=True)
class Example:
    """What the pencil wrote, and every layer's output by the name that `activations` has for it."""

    lines: list[str]
    outputs: dict[str, np.ndarray]


def arrays() -> dict[str, np.ndarray]:
    """The example's weights: numbers with one decimal, small and of both signs, each a function of its place."""

    def grid(step: int, *shape: int) -> np.ndarray:
        return ((np.arange(np.prod(shape)) * step) % 13 - 6).reshape(shape) / 10.0

    found = {"embedding.weight": grid(5, TOKENS + 1, WIDTH)}
    found["embedding.weight"][0] = 0.0
    for number, (width, channels) in enumerate(zip(KERNELS, CHANNELS, strict=True)):
        found[f"encoder.conv{number}.weight"] = grid(7 - 4 * number, channels, WIDTH, width)
        found[f"encoder.conv{number}.bias"] = grid(3, channels)
    found["head.weight"] = grid(4, CLASSES, sum(CHANNELS))
    found["head.bias"] = grid(9, CLASSES)
    return found


def batch() -> Batch:
    """One text, its tokens the words 1 to 11."""
    return pad([np.arange(1, TOKENS + 1)], {"label": np.zeros(1, np.int64)})


def correlate(x: list[list[float]], kernel: list[list[float]]) -> list[float]:
    """Slide a kernel [channels, width] over x [channels, positions]: a sum of products at each place where it fits."""
    width = len(kernel[0])
    places = range(len(x[0]) - width + 1)
    return [sum(x[i][t + u] * kernel[i][u] for i in range(len(x)) for u in range(width)) for t in places]


def derive() -> Example:
    """The whole forward pass by hand."""
    given = arrays()
    x = given["embedding.weight"][1:]  # [11, 6]
    lines = ["TextCNN    y[t, c] = b[c] + sum over u, i of W[c, i, u] x[t + u, i]", ""]
    for title, (read, kernel, _) in SMALL.items():
        lines.append(f"{title}: {read} slid over by {kernel} gives {correlate(read, kernel)}")
    lines += ["", f"word vectors x [{TOKENS}, {WIDTH}]", *(_row(f"  x[{t}]", x[t]) for t in range(TOKENS))]
    outputs, pooled = {"embedding": x}, []
    for number, width in enumerate(KERNELS):
        weight, bias = given[f"encoder.conv{number}.weight"], given[f"encoder.conv{number}.bias"]
        places = TOKENS - width + 1
        lines += [
            "",
            f"kernels of width {width}: {len(weight)} of them, each fits at {TOKENS} - {width} + 1 = {places} places",
        ]
        maps = np.array(
            [[bias[c] + v for v in correlate(x.T.tolist(), weight[c].tolist())] for c in range(len(weight))]
        )
        terms = [f"{weight[0, i, u]:g} * {x[u, i]:g}" for u in range(width) for i in range(WIDTH)]
        lines.append(f"  y[0, 0] = {bias[0]:g} + {' + '.join(terms)} = {maps[0, 0]:.5f}")
        for c, row in enumerate(maps):
            lines.append(_row(f"  y[:, {c}]", row))
            best = int(row.argmax())
            value = max(float(row[best]), 0.0)
            lines.append(f"    largest {row[best]:.5f} at place {best}, after relu {value:.5f}")
            pooled.append(value)
        outputs[f"encoder.conv{number}"] = np.pad(maps.T, ((0, TOKENS - places), (0, 0)))
    outputs["pooled"] = np.array(pooled)
    lines += ["", _row(f"pooled [{len(pooled)}], in the order of the kernels", outputs["pooled"])]
    weight, bias = given["head.weight"], given["head.bias"]
    logits = []
    for c in range(CLASSES):
        logits.append(bias[c] + sum(float(weight[c, f]) * pooled[f] for f in range(len(pooled))))
        terms = [f"{weight[c, f]:g} * {pooled[f]:.5f}" for f in range(len(pooled))]
        lines.append(f"  logit {c} = {bias[c]:g} + {' + '.join(terms)} = {logits[c]:.5f}")
    outputs["logits"] = np.array(logits)
    return Example(lines, outputs)


def _row(name: str, values: np.ndarray) -> str:
    return f"{name} = " + "  ".join(f"{value:8.5f}" for value in values)
