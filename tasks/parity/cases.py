"""Define the small random models of the parity check, whose gradients are compared entry by entry.

The grid covers every choice of the model on rungs 1 and 2, entry by entry. The training runs cover all rungs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from core.models.heads import MultilabelHead
from core.models.heads.pooling import Pooling
from core.models.ngrams import Ngrams
from core.spec.experiment import Experiment, replace
from tasks.parity.decoder_cases import DECODERS, DecoderCase
from tasks.parity.language_cases import LANGUAGE, LanguageCase

Changes = tuple[tuple[str, object], ...]
"""Pairs of dotted spec field and value."""


TAGS = ("model.head", {"kind": "tokens", "classes": 3, "dropout": 0.25})
CRF = ("model.head.crf", True)


def small_model(dtype: str, encoder: dict[str, object], pooling: str, lookup: str, changes: Changes) -> Experiment:
    """Return a model of a few units with dropout, whose gradients can be compared entry by entry."""
    experiment = replace(Experiment(), {"model.encoder": encoder, "model.head.pooling": pooling})
    if lookup == "scalar":
        experiment = replace(experiment, {"data": {"kind": "digits"}})
    for path, value in changes:
        if path == "model.head":  # another kind, which has other fields
            experiment = replace(experiment, {path: value})
    return replace(
        experiment,
        {
            "model.embedding.vocab_size": 7,
            "model.embedding.dim": 1 if lookup == "scalar" else 3,
            "model.embedding.lookup": lookup,
            "model.embedding.dropout": 0.25,
            "model.head.dropout": 0.25,
            "model.head.classes": 3,
            "training.dtype": dtype,
            "training.clip_norm": 0.5,
            **{path: value for path, value in changes if path != "model.head"},
        },
    )


def _suffix(changes: Changes) -> str:
    return "".join(f"-{path.rpartition('.')[2]}={_shown(value)}" for path, value in changes)


def _shown(value: object) -> str:
    if isinstance(value, Ngrams):
        return ",".join(f"{name}:{own}" for name, own in value.model_dump(exclude_unset=True).items())
    return value.kind if isinstance(value, MultilabelHead) else str(value)


def multilabel(pooling: Pooling) -> tuple[str, MultilabelHead]:
    """Return the change to a multi-label head."""
    return "model.head", MultilabelHead(pooling=pooling)


@dataclass(frozen=True)
class Case:
    """Describe a small recurrent model: a point of the grid and changes to the rest of the spec."""

    cell: str
    layers: int
    bidirectional: bool
    pooling: str
    lookup: str
    changes: Changes = ()

    def __str__(self) -> str:
        direction = "bi" if self.bidirectional else "one"
        return f"{self.cell}-{self.layers}-{direction}-{self.pooling}-{self.lookup}{_suffix(self.changes)}"

    def experiment(self, dtype: str, **changes: object) -> Experiment:
        encoder = {
            "kind": "recurrent",
            "cell": self.cell,
            "hidden_size": 3,
            "num_layers": self.layers,
            "bidirectional": self.bidirectional,
            "dropout": 0.25,
        }
        return small_model(dtype, encoder, self.pooling, self.lookup, (*self.changes, *changes.items()))


@dataclass(frozen=True)
class TextCNNCase:
    """Describe a small TextCNN; its longest kernels are longer than some texts."""

    kernels: tuple[int, ...]
    channels: tuple[int, ...]
    activation: str
    pooling: str = "max"
    lookup: str = "index"
    changes: Changes = ()
    padding: str = "valid"
    tags: bool = False
    """True for a head per token, which needs the padding same."""

    def __str__(self) -> str:
        kernels = "+".join(map(str, self.kernels))
        padding = ("" if self.padding == "valid" else f"-{self.padding}") + ("-tags" if self.tags else "")
        return f"textcnn-{kernels}-{self.activation}-{self.pooling}-{self.lookup}{padding}{_suffix(self.changes)}"

    def experiment(self, dtype: str, **changes: object) -> Experiment:
        encoder = {
            "kind": "textcnn",
            "kernels": self.kernels,
            "channels": self.channels,
            "padding": self.padding,
            "activation": self.activation,
        }
        head = (TAGS,) if self.tags else ()
        return small_model(dtype, encoder, self.pooling, self.lookup, (*head, *self.changes, *changes.items()))


@dataclass(frozen=True)
class BagCase:
    """Describe a small bag of word vectors."""

    pooling: str
    lookup: str = "index"
    changes: Changes = ()

    def __str__(self) -> str:
        return f"bag-{self.pooling}-{self.lookup}{_suffix(self.changes)}"

    def experiment(self, dtype: str, **changes: object) -> Experiment:
        return small_model(dtype, {"kind": "none"}, self.pooling, self.lookup, (*self.changes, *changes.items()))


@dataclass(frozen=True)
class TaggerCase:
    """Describe a small tagger: an encoder and changes to the head and the rest of the spec."""

    cell: str
    layers: int
    bidirectional: bool
    changes: Changes = ()

    def __str__(self) -> str:
        return f"tagger-{self.cell}-{self.layers}-{'bi' if self.bidirectional else 'one'}{_suffix(self.changes)}"

    def experiment(self, dtype: str, **changes: object) -> Experiment:
        encoder = {
            "kind": "recurrent",
            "cell": self.cell,
            "hidden_size": 3,
            "num_layers": self.layers,
            "bidirectional": self.bidirectional,
            "dropout": 0.25,
        }
        return small_model(dtype, encoder, "last", "index", (TAGS, *self.changes, *changes.items()))


BIGRAMS = ("model.embedding.bigrams", 5), ("model.embedding.bigram_dim", 2)
RESIDUAL = ("model.encoder.residual", True)
ADVERSARIAL = ("training.adversarial", 0.3)
ONE_LOGIT = ("model.head.classes", 2), ("model.head.one_logit", True)
VIRTUAL = ("training.virtual_adversarial", 0.3)
UNLABELED = ("training.unlabeled_batch_size", 2)
STATIC_COPY = ("model.embedding.static_copy", True)

GRID = [
    Case(*point)
    for point in itertools.product(
        ("srn", "gru", "lstm"), (1, 2), (False, True), ("last", "mean", "max"), ("index", "one_hot")
    )
]

VARIANTS: list[Case | TextCNNCase | TaggerCase | BagCase | DecoderCase | LanguageCase] = [
    Case("lstm", 1, True, "mean", "index", (("model.head.hidden_size", 4),)),
    Case("gru", 1, True, "last", "index", (("model.head.hidden_size", 4), ("model.head.activation", "tanh"))),
    Case("lstm", 1, True, "max", "index", (("model.head.classes", 2), ("model.head.one_logit", True))),
    Case("srn", 2, True, "mean", "index", (("training.loss_reduction", "sum"),)),
    Case("lstm", 1, True, "mean", "index", (("model.embedding.trainable", False),)),
    Case("residual_srn", 1, False, "last", "index"),
    Case("residual_srn", 2, True, "mean", "one_hot"),
    Case("residual_srn", 2, True, "max", "index"),
    *(
        Case(cell, layers, layers > 1, "last", lookup, (("model.encoder.biases", "one"),))
        for cell, layers, lookup in (("srn", 1, "one_hot"), ("gru", 2, "index"), ("lstm", 1, "index"))
    ),
    Case("lstm", 1, True, "ends", "index"),
    Case("srn", 2, False, "ends", "one_hot", (("model.head.hidden_size", 4),)),
    Case("gru", 1, True, "max_mean", "index", (("model.head.hidden_size", 4),)),
    Case("lstm", 2, True, "last_max_mean", "index"),
    Case("srn", 1, False, "last_max_mean", "one_hot", (("model.head.hidden_size", 4),)),
    Case("lstm", 1, True, "attention", "index"),
    # The scores of a GRU's outputs, which differ little, have gradients that cancel: too much for float32.
    Case("srn", 2, True, "attention", "index", (("model.head.hidden_size", 4),)),
    Case("gru", 1, True, "mean", "index", (("training.word_dropout", 0.4),)),
    Case("lstm", 2, True, "max_mean", "index", (ADVERSARIAL,)),
    Case("lstm", 1, True, "mean", "index", (VIRTUAL, UNLABELED, ("training.loss_reduction", "sum"))),
    Case("gru", 1, True, "last", "index", (VIRTUAL, UNLABELED, ADVERSARIAL, *ONE_LOGIT)),
    Case("gru", 1, True, "mean", "one_hot", (ADVERSARIAL, ("model.embedding.trainable", False))),
    Case("srn", 1, False, "last", "scalar"),
    Case("lstm", 2, True, "mean", "scalar"),
    *(Case(cell, 3, cell != "gru", "mean", "index", (RESIDUAL,)) for cell in ("gru", "lstm")),
    Case("gru", 1, True, "mean", "index", (("training.class_weights", (0.5, 3.0, 1.25)),)),
    Case(
        "lstm",
        1,
        False,
        "last",
        "index",
        (
            ("model.head.classes", 2),
            ("model.head.one_logit", True),
            ("training.class_weights", (0.75, 2.5)),
            ("training.loss_reduction", "sum"),
        ),
    ),
]
"""Choices of the spec that the grid does not cover."""

TEXTCNN = [
    TextCNNCase((1,), (4,), "relu"),
    TextCNNCase((2, 4), (3, 2), "tanh", lookup="one_hot"),
    TextCNNCase((3, 4, 5), (2, 3, 1), "relu", changes=(STATIC_COPY,)),
    TextCNNCase((7,), (3,), "relu", pooling="mean"),
    TextCNNCase((4, 2), (2, 3), "tanh", pooling="mean", lookup="one_hot", changes=(STATIC_COPY,)),
    TextCNNCase((2, 7, 3), (2, 2, 2), "relu", changes=(("model.embedding.trainable", False),)),
    TextCNNCase((2, 3), (3, 2), "tanh", changes=(("model.head.hidden_size", 4), ("training.loss_reduction", "sum"))),
    TextCNNCase((2, 3), (2, 3), "relu", pooling="max_mean"),
    TextCNNCase((3,), (4,), "relu", changes=(("model.head.classes", 2), ("model.head.one_logit", True))),
    TextCNNCase((4, 1, 9), (3, 2, 2), "tanh", padding="same"),
]
"""Kernels of one token and longer than texts, both activations, static copy, frozen embedding, centered windows."""

BAG = [
    BagCase("mean", changes=(("model.head.hidden_size", 4),)),
    BagCase("attention"),
    BagCase("max_mean", changes=(*BIGRAMS, ADVERSARIAL)),
    BagCase("max", "one_hot", (STATIC_COPY, *BIGRAMS)),
]

NGRAMS = "model.ngrams"
BOTH = (NGRAMS, Ngrams(orders=2))
ONLY_LOGITS = (NGRAMS, Ngrams(orders=2, inputs=False))
ONLY_INPUTS = (NGRAMS, Ngrams(orders=2, logits=False))
TWO_CLASSES = ("model.head.classes", 2)

WITH_NGRAMS = [
    Case("lstm", 1, True, "mean", "index", (BOTH,)),
    Case("gru", 2, True, "max", "one_hot", ((NGRAMS, Ngrams(orders=3)), TWO_CLASSES)),
    Case("srn", 1, False, "last", "index", ((NGRAMS, Ngrams(orders=1)), TWO_CLASSES, ("model.head.one_logit", True))),
    Case("gru", 1, True, "ends", "index", (ONLY_LOGITS, ("model.head.hidden_size", 4))),
    Case("lstm", 2, False, "last", "index", (ONLY_INPUTS, ("training.word_dropout", 0.4))),
    TextCNNCase((2, 4), (3, 2), "tanh", changes=(BOTH, STATIC_COPY)),
    TextCNNCase((3,), (4,), "relu", "mean", changes=(ONLY_INPUTS, ("model.embedding.trainable", False))),
    BagCase("mean", changes=(BOTH, ("model.head.hidden_size", 4), *BIGRAMS)),
]
"""A linear model of n-grams with every kind of encoder: its logits, its inputs or both, and two and more classes."""

VARIANTS += TEXTCNN + BAG + DECODERS + WITH_NGRAMS


TAGGERS = [
    TaggerCase("srn", 1, False, BIGRAMS),
    TaggerCase("gru", 1, True, (("model.head.hidden_size", 4),)),
    TaggerCase("lstm", 2, True, (("model.head.hidden_size", 4), ("model.head.activation", "tanh"))),
    TaggerCase("lstm", 1, True, (("training.class_weights", (0.5, 3.0, 1.25)), ("training.loss_reduction", "sum"))),
    TaggerCase("lstm", 1, True, (CRF,)),
    TaggerCase("gru", 1, True, (ADVERSARIAL, ("training.loss_reduction", "sum"))),
    TaggerCase("gru", 2, False, (CRF, ("training.loss_reduction", "sum"))),
    TaggerCase("srn", 1, True, (CRF, ("model.head.hidden_size", 4))),
    TextCNNCase((3,), (4,), "relu", padding="same", tags=True),
    TextCNNCase((2, 5), (2, 3), "tanh", changes=(CRF,), padding="same", tags=True),
]
"""Softmax and CRF per token, on every kind of encoder that has features per token."""

MULTILABEL = [
    Case("lstm", 1, True, "mean", "index", (multilabel("mean"),)),
    Case("gru", 2, True, "max_mean", "index", (multilabel("max_mean"), ("model.head.hidden_size", 4))),
    Case("srn", 1, False, "last", "one_hot", (multilabel("last"), ("training.loss_reduction", "sum"))),
    Case("lstm", 2, True, "attention", "index", (multilabel("attention"), ("model.head.threshold", 0.3))),
    TextCNNCase((2, 4), (3, 2), "tanh", changes=(multilabel("max"), ADVERSARIAL)),
    BagCase("mean", changes=(multilabel("mean"), ("model.head.hidden_size", 4), *BIGRAMS)),
]
"""A sigmoid per label on every kind of encoder and most poolings, both reductions, and adversarial training."""

VARIANTS += TAGGERS + LANGUAGE + MULTILABEL
