"""Comparison of a conversion with a witness: logits that the user's own model computed.

The weights do not determine the whole model: pooling, activations, the role of padding, and the layout and order of
square linear layers are open. `search` computes the NumPy reference of every candidate in float64, and compares its
logits with those of the witness.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.batch import Batch
from core.errors import UserError
from core.models.embedding import STATIC_TABLE, TABLE
from core.models.heads.pooling import JOINED
from core.models.model import Model, forward
from core.weights.choices import Choices, classifier_head
from core.weights.convert import Port, convert, head_finder
from core.weights.finders_head import OTHER_LAYOUT, SHOWN_LAYOUT
from core.weights.state_dict import StateDict
from core.weights.witness_logits import TOLERANCE, Witness

POOLINGS, ACTIVATIONS = ("last", "mean", "max"), ("tanh", "relu")
PADDINGS = {"tokens": "real tokens only", "all": "padded positions count as tokens"}


@dataclass(frozen=True)
class Candidate:
    """A conversion and the role of padding, a key of `PADDINGS`."""

    port: Port
    choices: Choices
    padding: str

    @property
    def open(self) -> dict[str, str]:
        """The choices that the weights do not determine, by name."""
        model, head = self.port.model, classifier_head(self.port.model, "weights")
        found: dict[str, str] = {"pooling": head.pooling}
        if head.hidden_size is not None:
            found["hidden activation"] = head.activation
        if hasattr(model.encoder, "activation"):
            found["TextCNN activation"] = str(getattr(model.encoder, "activation"))  # noqa: B009
        found["padding"] = PADDINGS[self.padding]
        linear = [module for module in (self.choices.hidden, self.choices.head) if module is not None]
        found["linear layers"] = ", ".join(
            f"{module or 'top level'} {SHOWN_LAYOUT[self.choices.layouts[module]]}" for module in linear
        )
        return found


@dataclass(frozen=True)
class Fit:
    """A candidate with the largest difference of its logits from those of the witness."""

    candidate: Candidate
    difference: float
    """max|a - b|"""
    relative: float
    """max|a - b| / max|b|"""

    def within(self, witness: Witness) -> bool:
        return self.relative <= TOLERANCE[witness.precision]


@dataclass(frozen=True)
class Space:
    """What is searched: a state dict, the layouts to try, and the choices that are given.

    `padding` None tries all; `keep_row_0` False computes with a zero vector for id 0, as seqtwin's own models do.
    """

    state: StateDict
    layouts: tuple[str, ...]
    choices: Choices
    padding: str | None = None
    keep_row_0: bool = True


def search(space: Space, witness: Witness) -> list[Fit]:
    """Return all candidates, the best fit first. Raises UserError if the witness does not fit the weights' shapes."""
    fits = []
    for candidate in candidates(space):
        port = candidate.port
        size, outputs = port.model.embedding.vocab_size, classifier_head(port.model, witness.where).outputs
        if witness.ids.min() < 0 or witness.ids.max() >= size:
            raise UserError(
                f"{witness.where}: got ids {witness.ids.min()} to {witness.ids.max()}, expected 0 to {size - 1}, the"
                f" rows of the embedding"
            )
        if witness.logits.shape[1] != outputs:
            raise UserError(f"{witness.where}: got {witness.logits.shape[1]} logits per text, expected {outputs}")
        found = _logits(candidate, witness, space.keep_row_0)
        difference = float(np.abs(found - witness.logits).max())
        largest = float(np.abs(witness.logits).max())
        fits.append(Fit(candidate, difference, difference / largest if largest else difference))
    return sorted(fits, key=lambda fit: fit.relative)


def candidates(space: Space) -> Iterator[Candidate]:
    """Yield every candidate; all share the arrays of their arrangement of linear layers."""
    for choices in arrangements(space):
        port = convert(space.state, space.layouts[0], choices)
        paddings = (space.padding,) if space.padding else tuple(PADDINGS)
        for model, padding in itertools.product(_models(port.model, choices), paddings):
            head = classifier_head(model, "weights")
            own = dataclasses.replace(
                choices,
                pooling=head.pooling,
                activation=head.activation,
                encoder_activation=getattr(model.encoder, "activation", None),
            )
            yield Candidate(dataclasses.replace(port, model=model), own, padding)


def arrangements(space: Space) -> list[Choices]:
    """Return the choices of every order and layout of the linear layers that their shapes allow. Raises UserError."""
    found: dict[tuple, Choices] = {}
    refused: UserError | None = None
    for layout in space.layouts:
        finder = head_finder(space.state, layout, space.choices)
        try:
            orders = finder.orders()
        except UserError as error:
            refused = refused or error
            continue
        for order in orders:
            shapes = [finder.arrays[f"{module}.weight" if module else "weight"].shape for module in order]
            free = [space.layouts if rows == columns else (layout,) for rows, columns in shapes]
            for layouts in itertools.product(*free):
                found.setdefault(
                    (order, layouts),
                    dataclasses.replace(
                        space.choices,
                        head=order[-1],
                        hidden=order[0] if len(order) == 2 else None,
                        layouts=dict(zip(order, layouts, strict=True)),
                    ),
                )
    if not found and refused is not None:
        raise refused
    return list(found.values())


def layouts_to_try(usual: str, given: str | None) -> tuple[str, ...]:
    """Return the layouts of linear layers to try: the given one, or the usual one of the file and the other."""
    return (given,) if given else (usual, OTHER_LAYOUT[usual])


def _models(model: Model, given: Choices) -> Iterator[Model]:
    """Yield the model with every pooling and activation that is not given."""
    activations, old = (given.activation,) if given.activation else ACTIVATIONS, classifier_head(model, "weights")
    if old.hidden_size is None:
        activations = (old.activation,)
    own = getattr(model.encoder, "activation", None)
    inner = (None,) if own is None else (given.encoder_activation,) if given.encoder_activation else ACTIVATIONS
    poolings = (given.pooling or old.pooling,) if given.pooling or old.pooling in JOINED else POOLINGS
    for pooling, activation, encoder_activation in itertools.product(poolings, activations, inner):
        if pooling in model.encoder.poolings:
            head = model.head.model_copy(update={"pooling": pooling, "activation": activation})
            update = {} if encoder_activation is None else {"activation": encoder_activation}
            yield model.model_copy(update={"head": head, "encoder": model.encoder.model_copy(update=update)})


def _logits(candidate: Candidate, witness: Witness, keep_row_0: bool) -> np.ndarray:
    """Return the reference's logits [B, C] in float64.

    The reference gives id 0 a zero vector, but the user's model may look up row 0. So the tables of the reference hold
    the rows that the texts use, from row 1 on, and id 0 is used only for positions without a token.
    """
    port = candidate.port
    width = witness.ids.shape[1]
    lengths = np.full_like(witness.lengths, width) if candidate.padding == "all" else witness.lengths
    used, places = np.unique(witness.ids, return_inverse=True)
    ids = np.where(np.arange(width) < lengths[:, None], places.reshape(witness.ids.shape) + 1, 0)
    arrays = {
        name: array.astype(np.float64) for name, array in port.arrays.items() if name not in (TABLE, STATIC_TABLE)
    }
    for name in (TABLE, STATIC_TABLE):
        if name in port.arrays:
            rows = port.arrays[name][used].astype(np.float64)
            if name == TABLE and keep_row_0 and used[0] == 0:
                rows[0] = port.pad_row
            arrays[name] = np.concatenate([np.zeros((1, rows.shape[1])), rows])
    embedding = port.model.embedding.model_copy(update={"vocab_size": len(used) + 1})
    model = port.model.model_copy(update={"embedding": embedding})
    return forward(model, arrays, Batch(ids, lengths, {}))["logits"]
