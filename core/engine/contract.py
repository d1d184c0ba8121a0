"""What a backend must do. `backends/torch` and `backends/paddle` are the two answers, file by file.

Everything that can be decided once is decided in core: starting values, batch order, learning rates, dropout masks,
the reversal of sequences. What is left to a backend is arithmetic on its own tensors, and NumPy at the border. A
backend is a package with these public names and no others:

- `NAME`: str, the backend's name
- `versions() -> dict[str, str]`: the framework's version and what it was built for
- `build() -> Build`, `gpus() -> list[Gpu]`: how the framework was built, and what it sees (`core/engine/devices.py`)
- `resolve_device(request, dtype="float32") -> str`: `"auto" | "cpu" | "gpu" | "gpu:N"` to the device that will be used,
  `"cpu"` or `"gpu:N"`; raises UserError if a GPU is asked for and not usable, or the device has not the spec's dtype
- `preferred_on_gpu(encoder, dtype) -> tuple[str, ...]`: implementations (`backends/implementations.py`) in the order
  in which a GPU should compute them
- `init_process_group(device) -> ProcessGroup`: this process among those that the framework's launcher started
  (`core/engine/processes.py`)
- `Engine`, `Ensemble`, `LayerProbe`: below
- `NATIVE`: implementations that a `LayerProbe` has besides `backends.implementations.IMPLEMENTATIONS`, for timings only
- `LINEAR_LAYOUT`: how the framework's own linear layer keeps its weight, `"out_in"` or `"in_out"`
- `read_state(path, entry=None) -> StateDict`: the state dict in a file of the framework's, or its part `entry`; no code
  in the file is run (`core/weights/state_dict.py`); raises UserError if the file is damaged or asks to run something
- `write_state(path, arrays)`: such a file, written atomically, that a class of the framework's own layers loads with no
  key missing and none too many; `arrays` by its names, in its layout (`core/weights/convert.py`, `to_state`)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core import spec
from core.batch import Batch
from core.engine.processes import SINGLE_PROCESS, ProcessGroup

PUBLIC_NAMES = (
    "LINEAR_LAYOUT",
    "NAME",
    "NATIVE",
    "Engine",
    "Ensemble",
    "LayerProbe",
    "build",
    "gpus",
    "init_process_group",
    "preferred_on_gpu",
    "read_state",
    "resolve_device",
    "versions",
    "write_state",
)
"""What `backends.<name>.__all__` must be; a test compares signatures too."""


@dataclass(frozen=True)
class StepStats:
    """What one training step did: its loss (as reduced), how many of the predictions that counted were right, and the
    gradient's norm before clipping."""

    loss: float
    right: int
    counted: int
    grad_norm: float


class Engine(Protocol):
    """A model with its optimiser on one device. Arrays at this border are NumPy, names those of the parameter table."""

    device: str
    """`cpu` or `gpu:N`: where it really runs."""
    implementation: str
    """Which code computes the recurrent layers: `builtin`, `packed`, `loop` or `fast`."""

    def __init__(
        self,
        model: spec.Model,
        training: spec.Training,
        parameters: dict[str, np.ndarray],
        device: str,
        implementation: str,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Realise the spec with these values, on a device that `resolve_device` returned, with recurrent layers that
        `backends.implementations.resolve_implementation` returned. In a `group` of several processes all are given the
        same batches and take the same steps, each having computed its share of them."""

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> None:
        """Loss, gradients, clipping, one optimiser step. `step` (from 0) keys the dropout masks.

        Does not wait for the device: the figures are kept there until `collect`.
        """

    def collect(self) -> list[StepStats]:
        """Figures of the steps since the last call, in order. This waits for the device."""

    def device_seconds(self) -> float | None:
        """What the device took for the steps since the last call, of each from its batch being there to its end; asked
        after `collect`. None where the framework cannot tell."""

    def logits(self, batch: Batch) -> np.ndarray:
        """[B, outputs] in the model's dtype, without dropout."""

    def activations(self, batch: Batch, step: int | None = None) -> dict[str, np.ndarray]:
        """Every layer's output: `embedding` [B, L, E] (after its dropout), `encoder.l{k}` [B, L, H * directions],
        `pooled` [B, F], `head.hidden` [B, F'] where there is one, `logits` [B, outputs]. Without dropout, or with that
        of a training step."""

    def gradients(self, batch: Batch, step: int) -> tuple[float, dict[str, np.ndarray]]:
        """The loss and every trainable parameter's gradient before clipping, with the dropout of `step`; no update."""

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of all parameters."""

    def moments(self) -> dict[str, np.ndarray]:
        """Copies of the optimiser's state: `moment1/NAME` and `moment2/NAME` (Adam), `velocity/NAME` (SGD with
        momentum) for every trainable parameter."""

    def load(self, parameters: dict[str, np.ndarray], moments: dict[str, np.ndarray], steps: int) -> None:
        """Take over the state of a run after `steps` steps. `moments` may be empty when `steps` is 0."""


@dataclass(frozen=True)
class EnsembleStats:
    """What one training step of models side by side did, for each of them: arrays [M]."""

    loss: np.ndarray
    """As reduced."""
    right: np.ndarray
    """Right predictions."""
    counted: int
    """Predictions of each."""
    norms: dict[str, np.ndarray]
    """Of every trainable tensor's gradient, before clipping."""


class Ensemble(Protocol):
    """M models of one spec side by side, which differ in values, data and seeds: what `Engine` does, for all at once.

    Small models take a framework longer to order than to compute; side by side, the orders are given once. Arrays are
    those of an `Engine` with an axis more, [M, ...]. A batch holds B sequences of each model, model by model: [M * B].
    Dropout masks are each model's own, and `shared`.
    """

    device: str
    implementation: str

    def __init__(
        self,
        model: spec.Model,
        training: spec.Training,
        seeds: list[int],
        parameters: dict[str, np.ndarray],
        device: str,
        implementation: str,
    ) -> None:
        """`seeds` [M] key the dropout masks; `implementation` is `loop` or `fast`."""

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> None:
        """As `Engine.train_step`: loss, clipping and optimiser of every model by itself."""

    def collect(self) -> list[EnsembleStats]:
        """Figures of the steps since the last call, in order."""

    def logits(self, batch: Batch) -> np.ndarray:
        """[M * B, outputs]"""

    def gradients(self, batch: Batch, step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Losses [M] and every trainable parameter's gradient [M, ...] before clipping; no update."""

    def parameters(self) -> dict[str, np.ndarray]: ...

    def moments(self) -> dict[str, np.ndarray]: ...

    def load(self, parameters: dict[str, np.ndarray], moments: dict[str, np.ndarray], steps: int) -> None: ...


class LayerProbe(Protocol):
    """Recurrent layers on fixed arrays, outside of any model: for proofs and for timings.

    Arrays, of one dtype: `x` [B, L, I]; the encoder's weights under their names (`core/models/parameters.py`); the
    loss's gradient by what comes out, `d_output` [B, L, H * directions]; and, of a single layer, initial states `h_0`
    and (LSTM) `c_0` and gradients `d_h_n` and (LSTM) `d_c_n`, all [directions, B, H].
    """

    def __init__(
        self,
        encoder: spec.RecurrentEncoder,
        arrays: dict[str, np.ndarray],
        lengths: np.ndarray,
        device: str,
        implementation: str,
    ) -> None:
        """`lengths` [B] int64; `implementation` one that can run there
        (`backends.implementations.resolve_implementation`), or one of the backend's `NATIVE`, which takes no states."""

    def forward(self) -> dict[str, np.ndarray]:
        """`output`, and of a layer with states `h_n` and (LSTM) `c_n`."""

    def gradients(self) -> dict[str, np.ndarray]:
        """By `x`, `h_0`, `c_0` where given, and every weight, under its name."""

    def infer(self) -> None:
        """One forward pass, as in use; waits for the device."""

    def train(self) -> None:
        """One pass forward and back; waits for the device."""
