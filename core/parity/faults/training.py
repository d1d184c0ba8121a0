"""Faults of a training step and of a resumed run."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np

from core.parity.faults.fault import Fault, Patches


def _decay_on_one_bias(side: ModuleType) -> Patches:
    original = side.optimizer.decay

    def decay(named, weight_decay, learning_rate):
        # `decay` recognizes biases by name.
        named = {name.replace("bias_hh", "weight-hh"): parameter for name, parameter in named.items()}
        original(named, weight_decay, learning_rate)

    return [(side.optimizer, "decay", decay)]


def _lazy_adam(side: ModuleType) -> Patches:
    original = side.engine.Engine.train_step

    def train_step(self, batch, step, learning_rate):
        names = [f"{kind}embedding.weight" for kind in ("", "moment1/", "moment2/")]
        before = {**self.parameters(), **self.moments()}
        original(self, batch, step, learning_rate)
        after = {**self.parameters(), **self.moments()}
        absent = np.setdiff1d(np.arange(len(after[names[0]])), batch.ids)
        for name in names:
            after[name][absent] = before[name][absent]
        moments = {name: array for name, array in after.items() if "/" in name}
        self.load({name: array for name, array in after.items() if "/" not in name}, moments, step + 1)

    return [(side.engine.Engine, "train_step", train_step)]


def _norm_misses_a_tensor(side: ModuleType) -> Patches:
    original = side.engine.clip

    def clip(gradients, mode, limit):
        norm, partial = original(gradients, "none", limit), original(gradients[:-1], "none", limit)
        original(gradients, mode, limit * norm / partial)
        return norm

    return [(side.engine, "clip", clip)]


def _value_clip_by_norm(side: ModuleType) -> Patches:
    original = side.engine.clip

    def clip(gradients, mode, limit):
        return original(gradients, "tensor" if mode == "value" else mode, limit)

    return [(side.engine, "clip", clip)]


def _late_schedule(side: ModuleType) -> Patches:
    original = side.engine.Engine.train_step

    def train_step(self, batch, step, learning_rate):
        late = getattr(self, "_late_rate", learning_rate)
        self._late_rate = learning_rate
        original(self, batch, step, late)

    return [(side.engine.Engine, "train_step", train_step)]


def _count_ahead(side: ModuleType) -> Patches:
    original = side.engine.Engine.load

    def load(self, parameters, moments, steps):
        original(self, parameters, moments, steps + 1 if steps else 0)

    return [(side.engine.Engine, "load", load)]


def _short_batch_over_full_size(side: ModuleType) -> Patches:
    return [(side.engine.Engine, "_divisor", lambda self, batch: self.training.batch_size)]


def _untrained_in_float32(side: ModuleType) -> Patches:
    original = side.engine.Engine.train_step

    def train_step(self, batch, step, learning_rate):
        before = self.parameters()["head.weight"]
        original(self, batch, step, learning_rate)
        if self.training.dtype == "float32":
            self._model.assign({**self.parameters(), "head.weight": before})

    return [(side.engine.Engine, "train_step", train_step)]


def _perturbation_of_batch(side: ModuleType) -> Patches:
    original = side.adversarial.moved

    def perturbation(gradient, inputs, size):
        whole = gradient * inputs.mask
        return whole * (size * inputs.mask.sum().sqrt() / whole.square().sum().sqrt())

    def moved(model, *arguments):
        return original(SimpleNamespace(fast=False), *arguments)  # the kernel calls no `perturbation`

    return [(side.adversarial, "perturbation", perturbation), (side.adversarial, "moved", moved)]


def _reversed_divergence(side: ModuleType) -> Patches:
    original, log_probabilities = side.adversarial.divergences, side.adversarial.log_probabilities

    def divergences(target, logits):
        return original(log_probabilities(logits), target)

    return [(side.adversarial, "divergences", divergences)]


def _divided_by_all(side: ModuleType) -> Patches:
    return [(side.engine.Engine, "_divisor", side.engine.Engine._text_divisor)]


def _one_rate(side: ModuleType) -> Patches:
    original = side.engine.Engine._apply

    def apply(self, loss, right, rates):
        return original(self, loss, right, rates | {"encoder": rates["head"]})

    return [(side.engine.Engine, "_apply", apply)]


def _unfreezes_on_resume(side: ModuleType) -> Patches:
    original_load, original_apply = side.engine.Engine.load, side.engine.Engine._apply

    def load(self, parameters, moments, steps):
        original_load(self, parameters, moments, steps)
        self._resumed = steps > 0

    def apply(self, loss, right, rates):
        if getattr(self, "_resumed", False):
            rates = rates | {"embedding": rates["head"]}
        return original_apply(self, loss, right, rates)

    return [(side.engine.Engine, "load", load), (side.engine.Engine, "_apply", apply)]


def _goes_on_from_average(side: ModuleType) -> Patches:
    original = side.engine.Engine.load

    def load(self, parameters, moments, steps):
        # An evaluation loads the average, then the engine's own parameters again, at the same step.
        again = getattr(self, "_loaded_at", None) == steps
        self._loaded_at = steps
        if not again:
            original(self, parameters, moments, steps)

    return [(side.engine.Engine, "load", load)]


ADAM = {"training.optimizer": {"kind": "adam"}}
CLIPPING = {"training.clip_mode": "global", "training.clip_norm": 0.01}

FAULTS = {
    "decay-on-one-bias": Fault(
        "weight decay is applied to one of a layer's two biases",
        3,
        "after step 1: encoder.bias_hh_l0",
        _decay_on_one_bias,
        {"training.optimizer": {"kind": "adam", "weight_decay": 0.1}},
    ),
    "lazy-adam": Fault(
        "Adam skips the word vectors that a batch does not look up",
        3,
        "after step",
        _lazy_adam,
        {**ADAM, "training.batch_size": 2},  # a large batch of small texts may have every word
    ),
    "norm-misses-a-tensor": Fault(
        "the norm for clipping leaves out one tensor",
        3,
        "after step 1: moment1/",
        _norm_misses_a_tensor,
        {**ADAM, **CLIPPING},
    ),
    "value-clip-by-norm": Fault(
        "clipping by value limits the norm of each tensor instead",
        3,
        "after step 1: moment1/",
        _value_clip_by_norm,
        {**ADAM, "training.clip_mode": "value", "training.clip_norm": 0.001},
    ),
    "late-schedule": Fault(
        "the learning rate is that of the step before",
        3,
        "after step 2",
        _late_schedule,
        {"training.schedule": {"kind": "linear", "warmup_share": 0.5}},
    ),
    "step-count-ahead": Fault("a resume counts one step too many", 4, "step", _count_ahead, ADAM),
    "short-batch-over-full-size": Fault(
        "the mean loss of a short batch divides by the full batch size",
        2,
        "loss",
        _short_batch_over_full_size,
        {"training.loss_reduction": "mean"},
    ),
    "perturbation-of-batch": Fault(
        "adversarial perturbations are scaled by the gradient of the whole batch, not of each text",
        2,
        "loss",
        _perturbation_of_batch,
        {"training.adversarial": 0.5},
    ),
    "reversed-divergence": Fault(
        "the divergence of virtual adversarial training is KL(q || p), not KL(p || q)",
        2,
        "loss",
        _reversed_divergence,
        {"training.virtual_adversarial": 0.5},
    ),
    "divided-by-all-texts": Fault(
        "the mean loss is divided by all texts of a batch, those without a label included",
        2,
        "loss",
        _divided_by_all,
        {"training.virtual_adversarial": 0.5, "training.unlabeled_batch_size": 3},
    ),
    "one-rate": Fault(
        "the encoder has the learning rate of the head",
        3,
        "after step 1: encoder.",
        _one_rate,
        {"training.rate_factors": {"encoder": 0.5}},
    ),
    "unfreezes-on-resume": Fault(
        "a resume ends the frozen steps of the embedding",
        4,
        "step",
        _unfreezes_on_resume,
        {"training.frozen_steps": {"embedding": 10000}},
    ),
    "goes-on-from-average": Fault(
        "training continues from the averaged parameters after an evaluation",
        4,
        "step",
        _goes_on_from_average,
        {"training.average_share": 1.0, "training.average_interval": 2, "training.eval_interval": 5},
    ),
    "untrained-in-float32": Fault(
        "the head's weight is not trained, in float32 only",
        3,
        "after step 1: head.weight",
        _untrained_in_float32,
        {"training.dtype": "float32"},
    ),
}
