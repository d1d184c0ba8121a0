"""The complete model: spec, parameter table and NumPy reference.

Every model is the composition `embedding -> encoder -> head`; encoder and head have several families. Both backends are
verified against this reference. It computes in the precision of its parameters: float64, or complex128, for exact
derivatives in tests (complex step, Squire and Trapp 1998). It is written for readability, not speed, yet fast enough to
classify single texts without a framework.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from pydantic import model_validator

from core.batch import Batch
from core.errors import UserError
from core.models.embedding import Embedding
from core.models.encoders import AnyEncoder, RecurrentEncoder, kind_of
from core.models.encoders.encoder import Encoded, Places
from core.models.encoders.ngrams import NgramEncoder
from core.models.heads import AnyHead, LanguageHead, PooledHead
from core.models.heads.pooling import PoolingHead
from core.models.ngrams import SCALE, Ngrams, ngrams_of, spread
from core.models.parameters import Parameter
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout, no_dropout
from core.rng import generator
from core.schema import Spec, of_kind


class Model(Spec):
    embedding: Embedding = Embedding()
    encoder: AnyEncoder = RecurrentEncoder()
    head: AnyHead = PooledHead()
    ngrams: Ngrams | None = None
    """A linear model of n-grams next to the network, None for none; with `encoder.kind` ngrams the whole model."""

    @model_validator(mode="before")
    @classmethod
    def _ngrams_alone_have_a_section(cls, tree: object) -> object:
        if isinstance(tree, dict) and tree.get("ngrams") is None and kind_of(tree.get("encoder", {})) == "ngrams":
            return {**tree, "ngrams": {"inputs": False}}
        return tree

    @model_validator(mode="after")
    def _ngrams_are_of_texts(self):
        if self.ngrams is None:
            return self
        if not isinstance(self.head, PooledHead):
            raise ValueError(f"ngrams needs head.kind pooled, got {self.head.kind}: remove ngrams")
        if isinstance(self.encoder, NgramEncoder) and (self.ngrams.inputs or not self.ngrams.logits):
            raise ValueError("encoder.kind ngrams has no word vectors: set ngrams.inputs false and ngrams.logits true")
        return self

    @model_validator(mode="after")
    def _head_fits(self):
        self.head.check_encoder(self.encoder)
        return self

    @model_validator(mode="after")
    def _output_words_are_those_of_the_embedding(self):
        head, embedding = self.head, self.embedding
        if not isinstance(head, LanguageHead):
            return self
        if embedding.lookup == "scalar":
            raise ValueError("head.kind language needs a word table: use another embedding.lookup than scalar")
        for own, wanted in (("num_words", "vocab_size"), ("dim", "dim")):
            if getattr(head, own) != getattr(embedding, wanted):
                raise ValueError(
                    f"head.{own} is {getattr(head, own)}, but embedding.{wanted} is {getattr(embedding, wanted)}:"
                    " set both to the same value"
                )
        return self

    @property
    def encoder_inputs(self) -> int:
        """Number of inputs of the encoder per token: the word vector, and the values of n-grams."""
        joined = 0 if self.ngrams is None else self.ngrams.input_size(self.head.classes)
        return self.embedding.output_size + joined

    @property
    def features(self) -> int:
        """Number of features F of the head's input."""
        return self.encoder.output_size(self.encoder_inputs)

    @property
    def implementations(self) -> tuple[str, ...]:
        """Implementations of `backends.implementations.IMPLEMENTATIONS` that support the encoder with this head."""
        fused = self.encoder.fused_pooling
        fits = fused is None or (isinstance(self.head, PoolingHead) and self.head.pooling == fused)
        return tuple(name for name in self.encoder.implementations if fits or name != "fast")

    @property
    def outputs(self) -> int:
        """Number of logits of a classifier of texts."""
        return of_kind(self.head, PooledHead).outputs

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear model of n-grams alone, which needs no framework."""
        return isinstance(self.encoder, NgramEncoder)

    @property
    def label(self) -> str:
        """Short name of the model, such as `BiLSTM 64 + n-grams`."""
        return self.encoder.label + (" + n-grams" if self.ngrams is not None and not self.is_linear else "")

    def describe(self) -> str:
        """Describe embedding, encoder and head with their sizes in one line."""
        if self.is_linear and self.ngrams is not None:
            return f"linear model of {self.ngrams.describe()}"
        parts = (self.embedding, self.encoder, self.head)
        beside = ""
        if self.ngrams is not None:
            beside = ", plus a linear model of " if self.ngrams.logits else ", with values of "
            beside += self.ngrams.describe()
        return ", ".join(part.describe() for part in parts) + beside


def parameter_table(model: Model) -> list[Parameter]:
    """Return the rows of all parameters, in the order of the forward pass."""
    if model.is_linear:
        return []
    return [
        *model.embedding.parameters(),
        *model.encoder.parameters(model.encoder_inputs),
        *model.head.parameters(model.features),
        *(model.ngrams.parameters() if model.ngrams is not None else ()),
    ]


def parameter_count(model: Model) -> int:
    """Return the number of values in all parameters."""
    return sum(math.prod(row.shape) for row in parameter_table(model))


def initial_parameters(model: Model, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """Draw initial values in float64 by generators keyed by (seed, name), then cast to `dtype`.

    Both backends start from identical bits. Adding a parameter to the table changes no other parameter.
    """
    return {
        row.name: row.draw(generator(seed, "parameter", row.drawn_as or row.name)).astype(dtype)
        for row in parameter_table(model)
    }


def check_parameters(arrays: dict[str, np.ndarray], model: Model, where: str) -> None:
    """Check arrays against the parameter table.

    Raises UserError naming the first array that is missing, unknown, of another shape, not float32 or float64, or
    that holds NaN or infinity.
    """
    expected = {row.name: row.shape for row in parameter_table(model)}
    for name, shape in expected.items():
        if name not in arrays:
            raise UserError(f"{where}: parameter {name} is missing: restore the file, or use one of this model")
        if arrays[name].shape != shape:
            raise UserError(
                f"{where}: parameter {name}: got shape {list(arrays[name].shape)}, expected {list(shape)}:"
                " use a file of this model"
            )
        if arrays[name].dtype not in (np.float32, np.float64):
            raise UserError(
                f"{where}: parameter {name}: got dtype {arrays[name].dtype}, expected float32 or float64:"
                " use a file of this model"
            )
        if not np.isfinite(arrays[name]).all():
            raise UserError(
                f"{where}: parameter {name} has NaN or infinite values: restore the file, or train with a lower"
                " `training.optimizer.learning_rate`"
            )
    for name in arrays:
        if name not in expected:
            raise UserError(f"{where}: parameter {name} is not in the spec: use a file of this model")


def check_network(model: Model) -> None:
    """Raise UserError for a linear model of n-grams, which has no network."""
    if model.is_linear:
        raise UserError(
            "model.encoder.kind ngrams: a linear model of n-grams, which no framework computes: use a model with a"
            " network"
        )


def product_weights(model: Model) -> list[str]:
    """Return the parameters used in matrix products: all but biases, embedding tables and what is added."""
    return [row.name for row in parameter_table(model) if not (row.is_bias or row.looked_up or row.added)]


def dropout_places(model: Model, rows: int, width: int, outputs: int | None = None) -> Places:
    """Return shape and rate of every dropout place, for a batch of `rows` sequences of `width`.

    `outputs` is the width of the head's places (`Head.output_width`), by default that of the sequences.
    """
    places = {
        **model.embedding.dropout_places(rows, width),
        **model.encoder.dropout_places(rows, width, model.encoder_inputs),
        **model.head.dropout_places(rows, width if outputs is None else outputs, model.features),
    }
    return {place: (shape, rate) for place, (shape, rate) in places.items() if rate > 0.0}


def forward(
    model: Model, parameters: Arrays, batch: Batch, dropout: Dropout = no_dropout, rounded: Rounding = exactly
) -> Arrays:
    """Return every layer's output by name, like `core.engine.contract.Engine.activations`.

    `rounded` is applied to the weights and inputs of matrix products (`core.models.precision.rounding_of`).
    """
    if model.is_linear:
        return {"logits": spread(ngrams_of(batch).logits.astype(np.float64), model.outputs)}
    x, encoded = encode(model, parameters, batch, dropout, rounded)
    found = {"embedding": x, **encoded.layers, **model.head.forward(parameters, encoded, batch, dropout, rounded)}
    found["logits"] = with_ngrams(model, parameters, batch, found["logits"])
    return found


def with_ngrams(model: Model, parameters: Arrays, batch: Batch, logits: np.ndarray) -> np.ndarray:
    """Return the head's logits [B, outputs] plus those of the model's n-grams, if it adds them."""
    if model.ngrams is None or not model.ngrams.logits:
        return logits
    own = ngrams_of(batch).logits.astype(logits.dtype)
    return logits + parameters[SCALE] * spread(own, model.outputs)


def margin(model: Model, parameters: Arrays, batch: Batch, dropout: Dropout, rounded: Rounding) -> float:
    """Return the distance of the model from the nearest kink on this batch.

    It is the smallest gap between the two largest values in max pooling, or the smallest distance of a ReLU input from
    zero. If it is below rounding error, two frameworks may validly take different sides.
    """
    _, encoded = encode(model, parameters, batch, dropout, rounded)
    return model.head.margin(parameters, encoded, batch, dropout, rounded)


def encode(
    model: Model, parameters: Arrays, batch: Batch, dropout: Dropout, rounded: Rounding
) -> tuple[np.ndarray, Encoded]:
    """Return the inputs of the encoder [B, L, `encoder_inputs`] and its output."""
    x = inputs_of(model, parameters, batch, dropout)
    encoded = model.encoder.forward(parameters, x, batch, dropout, rounded)
    if model.head.reads_table:
        encoded = replace(encoded, words=model.embedding.words(parameters, batch))
    return x, encoded


def inputs_of(model: Model, parameters: Arrays, batch: Batch, dropout: Dropout) -> np.ndarray:
    """Return the inputs of the encoder [B, L, `encoder_inputs`]: word vectors, then values of n-grams."""
    x = model.embedding.forward(parameters, batch, dropout)
    if model.ngrams is None or not model.ngrams.inputs:
        return x
    return np.concatenate([x, ngrams_of(batch).values.astype(x.dtype)], axis=-1)
