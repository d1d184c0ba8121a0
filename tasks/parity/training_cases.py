"""Specs of the parity check's training runs, on real reviews, tagged text, pairs and digits; they cover all rungs."""

from __future__ import annotations

from core.models.heads import MultilabelHead
from core.spec.data import TEXTS
from core.spec.experiment import Experiment, replace
from tasks.cli.recipes import DIGIT_SUM
from tasks.parity.decoder_cases import PAIR_TRAINING
from tasks.parity.language_cases import LANGUAGE_TRAINING

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
    "training.rate_factors": {"embedding": 0.5, "encoder": 0.8},
    "training.frozen_steps": {"embedding": 3, "encoder": 1},
    "training.word_dropout": 0.1,
    "training.adversarial": 0.1,
    "training.average_share": 0.7,
    "training.average_interval": 2,
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
    own = {"model.ngrams": {"orders": 2}} if base.data.kind in TEXTS and kind == "pooled" else {}
    changes = {"task": base.task, "data": data, "text": text, "model.head": head, **own, **EVERY_FEATURE}
    return replace(PARITY_SPEC, changes)


def with_unequal_weights(experiment: Experiment) -> Experiment:
    """Return the spec with another class weight for each class, from 0.5 to 1.75; unchanged if it takes none."""
    if isinstance(experiment.model.head, MultilabelHead):
        return experiment
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

WITH_NGRAMS = {"data.train_limit": 4000, "training.clip_norm": 0.01}
"""Changes for models with n-grams: as many texts as 200 steps read; a low norm, as the linear model leaves small
gradients, which would not be clipped."""

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
    "rates by part, virtual adversarial, unlabeled texts": {
        **SMALLER,
        "training.virtual_adversarial": 0.05,
        "training.unlabeled_batch_size": 6,
        "training.optimizer": {"kind": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
        "training.rate_factors": {"embedding": 0.3, "encoder": 0.6},
        "training.frozen_steps": {"embedding": 40, "encoder": 20},
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
    "max and mean, adversarial, averaged": {
        **SMALLER,
        "model.head.pooling": "max_mean",
        "training.adversarial": 0.05,
        "training.average_share": 1.0,
        "training.average_interval": 3,
        "training.eval_interval": 10,
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
    "n-grams, bigru": {**SMALLER, **WITH_NGRAMS, "model.encoder.cell": "gru", "model.ngrams": {}},
    "n-grams with one logit, one direction": {
        **SMALLER,
        **WITH_NGRAMS,
        "model.encoder.bidirectional": False,
        "model.head.pooling": "last",
        "model.head.one_logit": True,
        "model.ngrams": {"orders": 1, "characters": 2, "inputs": False},
    },
    "textcnn with inputs of n-grams": {
        **SMALLER,
        **WITH_NGRAMS,
        "model.encoder": {"kind": "textcnn", "kernels": (2, 3, 7), "channels": (16, 24, 8)},
        "model.embedding.static_copy": True,
        "model.head.pooling": "max",
        "model.ngrams": {"orders": 2, "logits": False},
    },
    "several labels, bigru": {
        **SMALLER,
        "model.encoder.cell": "gru",
        "model.head": {"kind": "multilabel", "dropout": 0.5, "hidden_size": 16},
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
    **LANGUAGE_TRAINING,
}
"""Training runs of `--all` on real reviews and the textbook's digits, as changes to `PARITY_SPEC`."""
