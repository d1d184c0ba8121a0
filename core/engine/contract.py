"""The interface of a backend, implemented in `backends/torch` and `backends/paddle`.

Initial values, batch order, learning rates, dropout masks and sequence reversal are computed once, in core. A backend
computes on framework tensors and exchanges NumPy arrays. It is a package with exactly these public names:

- `NAME`: str, the name of the backend
- `versions() -> dict[str, str]`: versions of the framework and of the CUDA build
- `build() -> Build`, `gpus() -> list[Gpu]`: the installed build, and its visible GPUs (`core/engine/devices.py`)
- `resolve_device(request, dtype="float32") -> str`: `"auto" | "cpu" | "gpu" | "gpu:N"` to the device that is used,
  `"cpu"` or `"gpu:N"`; raises UserError if a requested GPU is not usable, or does not support the spec's dtype
- `preferred_on_gpu(encoder, dtype) -> tuple[str, ...]`: implementations (`backends/implementations.py`) in the order
  of preference on a GPU
- `init_process_group(device) -> ProcessGroup`: the process group of the framework's launcher
  (`core/engine/processes.py`)
- `Engine`, `Ensemble`, `LayerProbe`: see below
- `NATIVE`: additional implementations of `LayerProbe` to `backends.implementations.IMPLEMENTATIONS`, for timings only
- `LINEAR_LAYOUT`: weight layout of the framework's linear layer, `"out_in"` or `"in_out"`
- `read_state(path, entry=None) -> StateDict`: the state dict in a file of the framework, or in its entry `entry`,
  without running code of the file (`core/weights/state_dict.py`); raises UserError if the file is damaged or unsafe
- `owns(model) -> bool`, `load_module(model, arrays, where)`, `module_logits(model, ids, lengths, where)`: a module that
  the user wrote in the framework: load arrays into it, and run it (`core/weights/witness.py`)
- `layer_output(kind, state, inputs)`: output of a single layer of the framework (`core/weights/layers.py`)
- `write_state(path, arrays)`: writes such a file atomically; a class built of the framework's layers loads it with no
  missing or unexpected key; `arrays` by its names, in its layout (`core/weights/convert.py`, `to_state`)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from core import spec
from core.batch import Batch
from core.engine.executor import Executor

PUBLIC_NAMES = (
    "LINEAR_LAYOUT",
    "NAME",
    "NATIVE",
    "Engine",
    "Ensemble",
    "LayerProbe",
    "WordEngine",
    "build",
    "gpus",
    "init_process_group",
    "layer_output",
    "load_module",
    "module_logits",
    "owns",
    "preferred_on_gpu",
    "read_state",
    "resolve_device",
    "versions",
    "write_model",
    "write_state",
)
"""Required `backends.<name>.__all__`.

`tests/test_architecture.py` compares signatures as well.
"""


@dataclass(frozen=True)
class StepStats:
    """Statistics of one training step.

    `loss` as reduced by the spec; `right` of `counted` predictions were correct; `grad_norm` before clipping, and
    with `training.watch_gradients` the `norms` of every parameter by name.
    """

    loss: float
    right: int
    counted: int
    grad_norm: float
    norms: dict[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """A model with its optimizer on one device.

    Arguments and results are NumPy arrays, named as in the parameter table.
    """

    device: str
    """Actual device, `cpu` or `gpu:N`."""
    implementation: str
    """Implementation of the recurrent layers: `builtin`, `packed`, `loop` or `fast`."""

    def __init__(
        self,
        model: spec.Model,
        training: spec.Training,
        parameters: dict[str, np.ndarray],
        executor: Executor,
    ) -> None:
        """Build the model with these parameters.

        All processes of a group receive the same batches and take the same steps; each computes its shard.
        """

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> None:
        """Compute loss and gradients, clip, and update. `step` (from 0) keys the dropout masks.

        Does not synchronize: the statistics stay on the device until `collect`.
        """

    def collect(self) -> list[StepStats]:
        """Return the statistics of the steps since the last call, in order; synchronizes the device."""
        ...

    def device_seconds(self) -> float | None:
        """Return the device time in seconds of the steps since the last call, after `collect`.

        The time of a step starts when its batch is on the device. None if the framework cannot measure it.
        """
        ...

    def logits(self, batch: Batch) -> np.ndarray:
        """Return logits in the model's dtype, without dropout.

        They are [B, outputs] of a classifier, [B, L, C] of a tagger, [B, M, V] of a decoder with teacher forcing, and
        log-probabilities and gaps [B, L, 2 D] of a language model (`core/models/heads/language.py`).
        """
        ...

    def begin_decoding(self, batch: Batch) -> Any:
        """Encode the sources of a batch; return the state of their decoder before the first step.

        For a decoder head only. A state is opaque: it is read by `decode_step` and `select` of the same engine.
        """

    def decode_step(self, state: Any, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, Any]:
        """Take one step for R rows with their last tokens `ids` [R] (BOS at first), without dropout.

        Returns logits [R, V], attention weights [R, S] over the source tokens or None, and the next state.
        """
        ...

    def select(self, state: Any, rows: np.ndarray) -> Any:
        """Return the state of these `rows` [R], in this order, with repetition."""

    def activations(self, batch: Batch, step: int | None = None) -> dict[str, np.ndarray]:
        """Return every layer's output, without dropout, or with the dropout of a training step.

        `embedding` [B, L, E] (after dropout), `encoder.l{k}` [B, L, H * directions], `head.attention` [B, L] if any,
        `pooled` [B, P], `head.hidden` [B, F'] if any, `logits` as above; of a decoder `decoder.l{k}` [B, M, H] and
        `attention` [B, M, S] if any.
        """
        ...

    def gradients(self, batch: Batch, step: int) -> tuple[float, dict[str, np.ndarray]]:
        """Return the loss and all gradients before clipping, with the dropout of `step`; no update."""
        ...

    def parameters(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters."""
        ...

    def moments(self) -> dict[str, np.ndarray]:
        """Return copies of the optimizer state of every trainable parameter.

        `moment1/NAME` and `moment2/NAME` (Adam), `velocity/NAME` (SGD with momentum).
        """
        ...

    def load(self, parameters: dict[str, np.ndarray], moments: dict[str, np.ndarray], steps: int) -> None:
        """Load the state of a run after `steps` steps. `moments` may be empty if `steps` is 0."""


@dataclass(frozen=True)
class EnsembleStats:
    """Statistics of one training step of an ensemble, arrays [M] for M models."""

    loss: np.ndarray
    """Losses as reduced by the spec."""
    right: np.ndarray
    """Numbers of correct predictions."""
    counted: int
    """Number of predictions per model."""
    norms: dict[str, np.ndarray]
    """Gradient norms of every trainable tensor, before clipping."""


class Ensemble(Protocol):
    """M models of one spec, with different values, data and seeds: a batched `Engine`.

    For small models, frameworks need more time to launch operations than to compute them; an ensemble launches them
    once for all models. Arrays are those of an `Engine` with a leading axis, [M, ...]. A batch holds B sequences per
    model, model by model: [M * B]. Dropout masks differ by model, and are `shared`.
    """

    device: str
    implementation: str

    def __init__(
        self,
        model: spec.Model,
        training: spec.Training,
        seeds: list[int],
        parameters: dict[str, np.ndarray],
        executor: Executor,
    ) -> None:
        """Build M models. `seeds` [M] key the dropout masks; the implementation is `loop` or `fast`."""

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> None:
        """Train like `Engine.train_step`, with separate loss, clipping and optimizer per model."""

    def collect(self) -> list[EnsembleStats]:
        """Return the statistics of the steps since the last call, in order."""
        ...

    def logits(self, batch: Batch) -> np.ndarray:
        """Return logits [M * B, outputs]."""
        ...

    def gradients(self, batch: Batch, step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return losses [M] and all gradients [M, ...] before clipping; no update."""
        ...

    def parameters(self) -> dict[str, np.ndarray]: ...

    def moments(self) -> dict[str, np.ndarray]: ...

    def load(self, parameters: dict[str, np.ndarray], moments: dict[str, np.ndarray], steps: int) -> None: ...


class LayerProbe(Protocol):
    """Recurrent layers on fixed arrays, without a model, for parity checks and timings.

    Arrays of one dtype: `x` [B, L, I]; the encoder's weights by name (`core/models/parameters.py`); the gradient of the
    loss with respect to the output, `d_output` [B, L, H * directions]. For a single layer also initial states `h_0` and
    (LSTM) `c_0`, and gradients `d_h_n` and (LSTM) `d_c_n`, all [directions, B, H].
    """

    def __init__(
        self,
        encoder: spec.RecurrentEncoder,
        arrays: dict[str, np.ndarray],
        lengths: np.ndarray,
        executor: Executor,
    ) -> None:
        """Build the layers; `lengths` [B] int64.

        The implementation may also be one of the backend's `NATIVE`, which take no states.
        """

    def forward(self) -> dict[str, np.ndarray]:
        """Return `output` and, for a layer with states, `h_n` and (LSTM) `c_n`."""
        ...

    def gradients(self) -> dict[str, np.ndarray]:
        """Return the gradients of `x`, `h_0` and `c_0` (if given), and every weight, by name."""
        ...

    def infer(self) -> None:
        """Run one forward pass in inference mode; synchronizes the device."""

    def train(self) -> None:
        """Run one forward and backward pass; synchronizes the device."""
