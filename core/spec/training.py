"""The training section of the specification: optimizer, schedule, loss, batches, evaluation."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema import DropoutRate, Share, Spec
from core.spec.class_weights import ClassWeights
from core.spec.rates import FrozenSteps, RateFactors

Dtype = Literal["float32", "float64", "tf32", "bfloat16"]


class Adam(Spec):
    """Adam (Kingma and Ba 2015) with decoupled weight decay, never on biases.

    Decoupled weight decay: Loshchilov and Hutter 2019.
    """

    kind: Literal["adam"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0.0)
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    epsilon: float = Field(default=1e-8, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)


class SGD(Spec):
    """SGD, `v = momentum * v + g; p = p - lr * v`, with decoupled weight decay, never on biases."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0.0)
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)


Optimizer = Annotated[Adam | SGD, Field(discriminator="kind")]


class Schedule(Spec):
    """Learning-rate schedule, relative to the optimizer's rate: a function of the step alone."""

    kind: Literal["constant", "linear", "one_cycle"] = "constant"
    """Shape of the schedule.

    `linear`: linear warm-up and decay. `one_cycle`: cosine warm-up and decay (Smith 2018).
    """
    warmup_share: Share = 0.1
    """Share of all steps used for warm-up."""
    start_share: Share = 0.04
    """First rate, as a share of the peak."""
    final_share: Share = 0.0
    """Last rate, as a share of the peak."""


def learning_rate(schedule: Schedule, peak: float, step: int, total_steps: int) -> float:
    """Return the rate at step 0 <= `step` < `total_steps`.

    `peak` is the optimizer's learning rate.
    """
    if schedule.kind == "constant":
        return peak
    warmup = schedule.warmup_share * total_steps
    if step < warmup:
        share, start, end = step / warmup, schedule.start_share, 1.0
    else:
        share = (step - warmup) / max(total_steps - 1 - warmup, 1)
        start, end = 1.0, schedule.final_share
    share = min(share, 1.0)
    if schedule.kind == "one_cycle":
        share = (1.0 - math.cos(math.pi * share)) / 2.0
    return peak * (start + (end - start) * share)


class Training(Spec):
    optimizer: Optimizer = Adam()
    schedule: Schedule = Schedule()
    rate_factors: RateFactors = RateFactors()
    """Factors of the learning rate, and so of weight decay, by part of the model (`core/spec/part_rates.py`)."""
    frozen_steps: FrozenSteps = FrozenSteps()
    """Number of first steps in which a part of the model does not change: its learning rate is 0.

    Its gradients count for the norm of clipping, and for the optimizer's state, as in every other step.
    """
    loss_reduction: Literal["mean", "sum"] = "mean"
    class_weights: ClassWeights | None = None
    """Factors of the training loss by class; dev and test losses are unweighted.

    The mean divides by the number of texts, not by the sum of their weights. `balanced`: N / (C * n_c), where n_c of
    the N training texts have class c. It is replaced by these numbers before training: the spec of a run holds them.
    """
    clip_mode: Literal["none", "global", "tensor", "value"] = "global"
    """Gradient clipping.

    `global`, `tensor`: by min(1, clip_norm / norm), with the global norm or each tensor's norm. `value`: every entry to
    [-clip_norm, clip_norm]. The recorded norm is always the global one before clipping.
    """
    clip_norm: float = Field(default=1.0, gt=0.0)
    """Maximum norm, or with `clip_mode` `value` the maximum of an entry."""
    batch_size: int = Field(default=32, ge=1)
    bucket_batches: int = Field(default=50, ge=0)
    """Bucket size in batches; sequences of a bucket are sorted by length to reduce padding.

    0: off.
    """
    shuffle: bool = True
    """Shuffle in every epoch.

    Otherwise keep the order of the data, with `bucket_batches` 0 or 1.
    """
    epochs: int = Field(default=3, ge=1)
    eval_interval: int | None = Field(default=None, ge=1)
    """Steps between evaluations on dev, in addition to `eval_epochs`."""
    eval_epochs: bool = True
    """Evaluate on dev at the end of each epoch. Dev is always evaluated after the last step."""
    eval_start: bool = False
    """Evaluate on dev before the first step as well, as step 0 of the metrics.

    The untrained model is never the best checkpoint, and does not count for `patience`.
    """
    patience: int | None = Field(default=None, ge=1)
    """Early-stopping patience, in evaluations.

    Training stops after this many evaluations without improvement: a higher dev accuracy, or an equal one at a lower
    loss.
    """
    word_dropout: DropoutRate = 0.0
    """Probability with which a training step reads UNK instead of a real token (`core/word_dropout.py`)."""
    adversarial: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Size e of the adversarial perturbation of the word vectors in training; 0: none (Miyato et al. 2017).

    The loss is the mean of that of the word vectors x (after dropout) and that of x + r, with the same dropout masks.
    Per text of n real tokens, r = e * sqrt(n) * g / |g|, where g is the gradient of the text's first loss by x; so e is
    the root mean square of the norms of r by token. r is a constant for the gradients (`core/adversarial.py`). A step
    takes twice as long.
    """
    virtual_adversarial: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Size e of the virtual adversarial perturbation of a classifier's word vectors; 0: none (Miyato et al. 2017).

    The loss also has `virtual_weight` * KL(p(y|x) || p(y|x + r)), the mean over all texts of a batch (or their sum,
    by `loss_reduction`), where p(y|x) is
    a constant, and so is r = e * sqrt(n) * g / |g|. Here g is the gradient of that divergence by its r, at a random
    direction of size `virtual_probe`: one step of the power method. No label is read (`core/adversarial.py`).
    """
    virtual_probe: float = Field(default=0.1, gt=0.0, allow_inf_nan=False)
    """Size of the random direction at which g is computed, per token, as e."""
    virtual_weight: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    unlabeled_batch_size: int = Field(default=0, ge=0)
    """Texts without a label that join every batch; 0: none (Miyato et al. 2017).

    They count in the divergence of `virtual_adversarial` alone. An epoch is still one pass over the labeled texts; the
    others go round at their own pace (`core/data/unlabeled_batches.py`).
    """
    average_share: Share = 0.0
    """Share of the steps, at the end of the run, over which the parameters are averaged; 0: none.

    From the first averaged step on, the mean is evaluated on dev and kept as the best checkpoint. Training continues
    from the parameters themselves (Izmailov et al. 2018; `core/train/average.py`).
    """
    average_interval: int = Field(default=10, ge=1)
    """Steps between the parameters that are averaged, the last step's included."""
    watch_gradients: bool = False
    """Record the gradient norm of every parameter in every step, before clipping (`grad_norms` of the metrics)."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    dtype: Dtype = "float32"
    """Precision of arrays and matrix products.

    `tf32`: arrays are float32, and a GPU may round the inputs of matrix products and recurrent layers to 10 bits.
    `bfloat16`: arrays are float32. The weight matrices and the input x of recurrent and linear layers (not the
    recurrent state h, not biases) are rounded to the nearest of 8 significant bits, ties to even. Gradients pass
    straight through the rounding, and updates apply to the unrounded weights. A GPU may round the other inputs of its
    products to 10 bits: h, and gradients in the backward pass.
    """
    dropout_masks: Literal["shared", "native"] = "shared"
    """Source of dropout masks.

    `shared`: drawn in core from (seed, step, place), identical in every backend and after a resume. `native`: drawn by
    the framework's generator.
    """

    @property
    def array_dtype(self) -> Literal["float32", "float64"]:
        """Dtype of parameters, moments and activations, as named in NumPy and both frameworks."""
        return "float64" if self.dtype == "float64" else "float32"

    @model_validator(mode="after")
    def _buckets_are_shuffled(self):
        if not self.shuffle and self.bucket_batches > 1:
            raise ValueError(f"shuffle = false needs bucket_batches 0, got {self.bucket_batches}: set bucket_batches 0")
        return self
