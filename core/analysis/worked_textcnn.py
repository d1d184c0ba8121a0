"""A worked example of TextCNN on small numbers: d2l's "max-over-time pooling".

It has 11 tokens, word vectors of size 6, 4 kernels of width 2 and 5 of width 4, and 2 classes. Every value is computed
by definition, product by product; `MODEL` and `arrays` are the same model for the reference and the backends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.analysis.worked_example import Example
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
"""d2l's examples: input [channels, positions], kernel [channels, width], d2l's result."""


def arrays() -> dict[str, np.ndarray]:
    """Return the weights: small numbers with one decimal, a function of their index."""

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
    """Return a batch of one text with tokens 1 to 11."""
    return pad([np.arange(1, TOKENS + 1)], {"label": np.zeros(1, np.int64)})


def correlate(x: Sequence[Sequence[float]], kernel: Sequence[Sequence[float]]) -> list[float]:
    """Cross-correlate x [channels, positions] with a kernel [channels, width], without padding."""
    width = len(kernel[0])
    places = range(len(x[0]) - width + 1)
    return [sum(x[i][t + u] * kernel[i][u] for i in range(len(x)) for u in range(width)) for t in places]


def derive() -> Example:
    """Derive the forward pass step by step."""
    given = arrays()
    x = given["embedding.weight"][1:]  # [11, 6]
    lines = ["TextCNN    y[t, c] = b[c] + sum over u, i of W[c, i, u] x[t + u, i]", ""]
    for title, (read, kernel, _) in SMALL.items():
        lines.append(f"{title}: {read} cross-correlated with {kernel} gives {correlate(read, kernel)}")
    lines += ["", f"word vectors x [{TOKENS}, {WIDTH}]", *(_row(f"  x[{t}]", x[t]) for t in range(TOKENS))]
    outputs, pooled = {"embedding": x}, []
    for number, width in enumerate(KERNELS):
        weight, bias = given[f"encoder.conv{number}.weight"], given[f"encoder.conv{number}.bias"]
        places = TOKENS - width + 1
        lines += [
            "",
            f"{len(weight)} kernels of width {width}, each with {TOKENS} - {width} + 1 = {places} valid positions",
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
            lines.append(f"    maximum {row[best]:.5f} at position {best}, after relu {value:.5f}")
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
    return Example(lines, {name: values[None] for name, values in outputs.items()})


def _row(name: str, values: np.ndarray) -> str:
    return f"{name} = " + "  ".join(f"{value:8.5f}" for value in values)
