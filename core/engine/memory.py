"""Memory of a training run, estimated from its spec before anything is allocated.

All numbers are lower bounds: what they do not fit into is certainly too small.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.models.model import Model, parameter_count, parameter_table
from core.spec.data import TEXTS, DigitSums
from core.spec.experiment import Experiment
from core.spec.training import SGD, Training

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
PLAIN = 128
"""Size that replaces that of a field without a default, to see how much memory the field takes."""


@dataclass(frozen=True)
class Limit:
    """Memory that a process can use at most."""

    size: int
    """Bytes."""
    owner: str
    """What has the memory, as `this machine`."""
    host: bool = True
    """False for the memory of a GPU."""


@dataclass(frozen=True)
class Need:
    """Memory of a training run, in bytes."""

    parameters: int
    gradients: int
    moments: int
    activations: int = 0

    @property
    def step(self) -> int:
        """Memory of a training step."""
        return self.parameters + self.gradients + self.moments + self.activations

    @property
    def total(self) -> int:
        """Memory of a run on the CPU: the initial values, and a step, or a checkpoint as arrays and as the file."""
        return self.parameters + max(self.step, 2 * (self.parameters + self.moments))

    def on(self, limit: Limit) -> int:
        """Return what counts for a limit. A GPU holds neither initial values nor files."""
        return self.total if limit.host else self.step


def training_need(model: Model, training: Training, tokens: int = 0, models: int = 1) -> Need:
    """Return the memory of `models` models of a spec, and of the activations for `tokens` tokens of a batch.

    Some implementations store the gradient of the embedding only for the rows that a batch uses; it counts in full,
    since the temporary arrays of a step, which do not count, are larger.
    """
    size = value_size(training)
    everything = size * models * parameter_count(model)
    trainable = size * models * sum(math.prod(row.shape) for row in parameter_table(model) if row.trainable)
    optimizer = training.optimizer
    kinds = int(optimizer.momentum > 0) if isinstance(optimizer, SGD) else 2
    return Need(everything, trainable, kinds * trainable, size * tokens * values_per_token(model))


def value_size(training: Training) -> int:
    """Return the bytes of a value."""
    return 8 if training.array_dtype == "float64" else 4


def values_per_token(model: Model) -> int:
    """Return the number of values per token that a training step keeps for the backward pass."""
    embedding = model.embedding
    one_hot = embedding.vocab_size if embedding.lookup == "one_hot" else 0
    encoder = model.encoder.values_per_token(model.encoder_inputs)
    return one_hot + model.encoder_inputs + encoder + model.head.values_per_token(model.features)


def check_ngram_memory(experiment: Experiment, limit: Limit | None, tokens: int) -> None:
    """Raise UserError if the n-grams of `tokens` training tokens take more memory than the limit, beside the model.

    An n-gram is a number of four bytes. The weights of the linear model are as many as there are distinct n-grams,
    which the fit limits (`core/data/ngrams/fit.py`).
    """
    own = experiment.model.ngrams
    if limit is None or own is None or not own.inputs:
        return
    size = 4 * tokens * own.orders
    if size + training_need(experiment.model, experiment.training).total > limit.size:
        raise UserError(
            f"`model.ngrams.orders` {own.orders}, `text.max_length` {experiment.text.max_length}: the n-grams of"
            f" {tokens:,} tokens take at least {amount(size)} of memory, {limit.owner} has {amount(limit.size)}:"
            " lower one of them"
        )


def check_memory(
    experiment: Experiment, limit: Limit | None, models: int = 1, lengths: np.ndarray | None = None, shards: int = 1
) -> None:
    """Raise UserError if training takes more memory than the limit; it names the fields to lower.

    `lengths` are those of the training texts; without any, batches do not count. If it is None, the vocabulary of texts
    is not known, and counts as empty.
    """
    if limit is None:
        return
    model, training = experiment.model, experiment.training
    if lengths is None and experiment.data.kind in TEXTS:
        model = model.model_copy(update={"embedding": model.embedding.model_copy(update={"vocab_size": 2})})
    if isinstance(experiment.data, DigitSums):
        _check_digits(experiment.data, limit)
    tokens = 0 if lengths is None or not len(lengths) else _tokens(lengths, training) // shards
    need = training_need(model, training, tokens, models)
    if need.on(limit) <= limit.size:
        return
    has = f"{limit.owner} has {amount(limit.size)}"
    if 2 * need.activations > need.on(limit):
        raise UserError(
            f"`training.batch_size` {training.batch_size}, `text.max_length` {experiment.text.max_length}: a batch of"
            f" {tokens:,} tokens takes about {amount(need.activations)} of memory, {has}: lower `training.batch_size`"
        )
    fields = _large_fields(model, lambda other: training_need(other, training, tokens, models).on(limit))
    named = ", ".join(f"`{field}` {_shown(value)}" for field, value in fields.items())
    several = f" of {models:,} models" if models > 1 else ""
    raise UserError(
        f"{named or model.describe()}: training takes at least {amount(need.on(limit))} of memory for"
        f" {_number(models * parameter_count(model))} parameters{several} in {training.array_dtype}, with gradients and"
        f" the state of {training.optimizer.kind}, and {has}:"
        f" lower {' or '.join(f'`{field}`' for field in fields) or 'the sizes of the model'}"
    )


def _tokens(lengths: np.ndarray, training: Training) -> int:
    """Return the mean number of tokens in a batch; at least one batch has as many.

    Texts without a label that join a batch count as long as the others.
    """
    labeled = int(lengths.sum()) // math.ceil(len(lengths) / training.batch_size)
    return labeled + int(labeled * training.unlabeled_batch_size / training.batch_size)


def _check_digits(data: DigitSums, limit: Limit) -> None:
    size = 16 * 100 * data.copies * data.length  # int64, as rows and stacked
    if size > limit.size:
        field = "length" if data.length > data.copies else "copies"
        raise UserError(
            f"data.{field} {getattr(data, field)}: the data takes at least {amount(size)} of memory, {limit.owner} has"
            f" {amount(limit.size)}: lower data.{field}"
        )


def _large_fields(model: Model, cost: Callable[[Model], int]) -> dict[str, object]:
    """Return the fields that take most of the memory: with their defaults, it would be less than half."""
    sizes = {field: (value, cost(other)) for field, value, other in _with_defaults(model)}
    large = {field: value for field, (value, size) in sizes.items() if 2 * size < cost(model)}
    if large or not sizes:
        return large
    first = min(sizes, key=lambda field: sizes[field][1])
    return {first: sizes[first][0]}


def _with_defaults(model: Model) -> Iterator[tuple[str, object, Model]]:
    """Yield path and value of every field that exceeds its default, and the model with the default."""
    for section in ("embedding", "encoder", "head"):
        own = getattr(model, section)
        for name, field in type(own).model_fields.items():
            value = getattr(own, name)
            plain = _plain(value, field.default)
            if plain != value:
                changed = own.model_copy(update={name: plain})
                yield f"model.{section}.{name}", value, model.model_copy(update={section: changed})


def _plain(value: object, default: object) -> object:
    if isinstance(value, tuple) and isinstance(default, tuple) and all(type(own) is int for own in value):
        return tuple(min(own, max(default)) for own in value)
    if type(value) is int:
        return min(value, default if type(default) is int else PLAIN)
    return value


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _number(count: int) -> str:
    return f"{count:,}" if count < 10**15 else f"{count:.1e}"


def amount(size: int) -> str:
    """Return a number of bytes with its unit, as `15.3 GiB`."""
    power = min((max(size, 1).bit_length() - 1) // 10, len(UNITS) - 1)
    value = size / (1 << 10 * power)
    return f"{value:.1f} {UNITS[power]}" if power and value < 10_000 else f"{value:.4g} {UNITS[power]}"


def host_limit(root: Path = Path("/")) -> Limit | None:
    """Return the smallest of physical memory, control-group limit and limit of the process, None if unknown."""
    found = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(Limit(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine"))
    found += [Limit(size, "this container") for size in _control_group_limits(root)]
    try:
        import resource
    except ImportError:  # Windows has no such module
        pass
    else:
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            found.append(Limit(soft, "this process (ulimit -v)"))
    return min((own for own in found if own.size > 0), key=lambda own: own.size, default=None)


def _control_group_limits(root: Path) -> Iterator[int]:
    """Yield the memory limits of the control groups (version 1 or 2) that hold this process.

    In a container the path of the group may be that of the host; the limit is then that of the root.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, place = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not controllers:
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(place.lstrip("/"))
        for folder in (group, *group.parents):
            try:
                text = (mount / folder / name).read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                continue
            if text.isdigit():
                yield int(text)


def device_limit(device: str, gpus: Callable) -> Limit | None:
    """Return the memory of `cpu` or `gpu:N`, None if unknown; `gpus` is that of the backend."""
    if device == "cpu":
        return host_limit()
    number = int(device.partition(":")[2])
    return next((Limit(gpu.memory, f"GPU {number}", host=False) for gpu in gpus() if gpu.number == number), None)
