"""Features of a spec that only act if it uses them: a parity check of another spec does not exercise them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from core.spec.experiment import Experiment


def _layers(experiment: Experiment) -> int:
    return getattr(experiment.model.encoder, "num_layers", 1)


FEATURES: dict[str, Callable[[Experiment], object]] = {
    "dropout on the embedding": lambda e: e.model.embedding.dropout,
    "dropout between layers": lambda e: _layers(e) > 1 and getattr(e.model.encoder, "dropout", 0),
    "dropout in the head": lambda e: e.model.head.dropout,
    "word dropout": lambda e: e.training.word_dropout,
    "adversarial training": lambda e: e.training.adversarial,
    "virtual adversarial training": lambda e: e.training.virtual_adversarial,
    "unlabeled texts": lambda e: e.training.unlabeled_batch_size,
    "learning rates by part": lambda e: len(set(e.training.rate_factors.model_dump().values())) > 1,
    "frozen steps": lambda e: any(e.training.frozen_steps.model_dump().values()),
    "average of the parameters": lambda e: e.training.average_share,
    "several layers": lambda e: _layers(e) > 1,
    "residual layers": lambda e: _layers(e) > 1 and getattr(e.model.encoder, "residual", False),
    "hidden layer of the head": lambda e: getattr(e.model.head, "hidden_size", None),
    "one logit": lambda e: getattr(e.model.head, "one_logit", False),
    "one-hot lookup": lambda e: e.model.embedding.lookup == "one_hot",
    "scalar lookup": lambda e: e.model.embedding.lookup == "scalar",
    "static copy of the embedding": lambda e: e.model.embedding.static_copy,
    "bigrams": lambda e: e.model.embedding.bigrams,
    "logits of n-grams": lambda e: e.model.ngrams is not None and e.model.ngrams.logits,
    "inputs of n-grams": lambda e: e.model.ngrams is not None and e.model.ngrams.inputs,
    "frozen embedding": lambda e: not e.model.embedding.trainable,
    "class weights": lambda e: e.training.class_weights,
    "sum of losses": lambda e: e.training.loss_reduction == "sum",
    "mean of losses": lambda e: e.training.loss_reduction == "mean",
    "Adam": lambda e: e.training.optimizer.kind == "adam",
    "SGD with momentum": lambda e: getattr(e.training.optimizer, "momentum", 0),
    "weight decay": lambda e: e.training.optimizer.weight_decay,
    "learning-rate schedule": lambda e: e.training.schedule.kind != "constant",
    "clipping by the global norm": lambda e: e.training.clip_mode == "global",
    "clipping by tensor": lambda e: e.training.clip_mode == "tensor",
    "clipping by value": lambda e: e.training.clip_mode == "value",
}
"""Whether a spec exercises a feature, by the feature's name. A hidden layer has its own dropout, that of the head."""


def not_exercised(experiments: Iterable[Experiment]) -> list[str]:
    """Return the features that none of the specs exercises."""
    specs = list(experiments)
    return [name for name, active in FEATURES.items() if not any(active(spec) for spec in specs)]
