"""The part of the specification that says how a model is trained: optimizer, schedule, loss, order, evaluation."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema import Share, Spec
from core.spec.class_weights import ClassWeights

Dtype = Literal["float32", "float64", "tf32", "bfloat16"]


class Adam(Spec):
    """Kingma and Ba 2015, with decoupled weight decay (Loshchilov and Hutter 2019), never on biases."""

    kind: Literal["adam"] = "adam"
    learning_rate: float = Field(1e-3, gt=0.0)
    beta1: float = Field(0.9, ge=0.0, lt=1.0)
    beta2: float = Field(0.999, ge=0.0, lt=1.0)
    epsilon: float = Field(1e-8, gt=0.0)
    weight_decay: float = Field(0.0, ge=0.0)


class SGD(Spec):
    """`v = momentum * v + g; p = p - lr * v`, with decoupled weight decay, never on biases."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: float = Field(0.1, gt=0.0)
    momentum: float = Field(0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(0.0, ge=0.0)


Optimizer = Annotated[Adam | SGD, Field(discriminator="kind")]


class Schedule(Spec):
    """The learning rate as a share of the optimiser's, a function of the step alone (`core/spec/training.py`)."""

    kind: Literal["constant", "linear", "one_cycle"] = "constant"
    """`linear`: up to the peak, then down, both straight. `one_cycle`: both as half a cosine (Smith 2018)."""
    warmup_share: Share = 0.1
    """Share of all steps spent rising."""
    start_share: Share = 0.04
    """First rate, as a share of the peak."""
    final_share: Share = 0.0
    """Last rate, as a share of the peak."""


def learning_rate(schedule: Schedule, peak: float, step: int, total_steps: int) -> float:
    """Rate of step 0 <= `step` < `total_steps`; `peak` is the optimiser's learning rate."""
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
    loss_reduction: Literal["mean", "sum"] = "mean"
    class_weights: ClassWeights | None = None
    """A text of class c counts class_weights[c] times in the training loss, and once in that of dev and test. The mean
    is still over texts, not over their weights. `balanced`: N / (C * n_c), n_c of the N texts of train being of class
    c, put in its place as numbers before training begins: the spec of a run holds the numbers."""
    clip_mode: Literal["none", "global", "tensor"] = "global"
    """Scale by min(1, clip_norm / norm): the norm over all gradients, or of each tensor alone."""
    clip_norm: float = Field(1.0, gt=0.0)
    batch_size: int = Field(32, ge=1)
    bucket_batches: int = Field(50, ge=0)
    """Sequences of this many batches are sorted by length together, so that a batch holds similar lengths; 0: none."""
    shuffle: bool = True
    """Another order in every epoch. Otherwise that of the data, always the same, and `bucket_batches` is 0 or 1."""
    epochs: int = Field(3, ge=1)
    eval_interval: int | None = Field(None, ge=1)
    """Steps between evaluations on dev, besides those of `eval_epochs`."""
    eval_epochs: bool = True
    """Evaluate on dev at the end of each epoch. After the last step dev is looked at in any case."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many evaluations without a better one: a higher dev accuracy, or as high at a lower loss."""
    seed: int = Field(0, ge=0, lt=2**63)
    dtype: Dtype = "float32"
    """`tf32`: arrays are float32, and a GPU may round to 10 bits what its matrix products and recurrent layers read.
    `bfloat16`: arrays are float32, and what a product of a recurrent or linear layer reads from outside, its weight
    matrices and its input x (not the recurrent state h, not biases), is rounded to the nearest of 8 significant bits,
    ties to even. Gradients pass straight through that, and updates go to the weights as they were. A GPU may round to
    10 bits what else its products read: h, and backwards gradients."""
    dropout_masks: Literal["shared", "native"] = "shared"
    """`shared`: drawn in core from (seed, step, place), the same bits in every backend and after a resume. `native`: by
    the framework's own generator."""

    @property
    def array_dtype(self) -> Literal["float32", "float64"]:
        """Of parameters, moments and everything in between: NumPy's and the frameworks' name of it."""
        return "float64" if self.dtype == "float64" else "float32"

    @model_validator(mode="after")
    def _buckets_are_shuffled(self):
        if not self.shuffle and self.bucket_batches > 1:
            raise ValueError("shuffle = false keeps the order of the data: set bucket_batches to 0")
        return self
