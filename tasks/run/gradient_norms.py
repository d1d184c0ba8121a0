"""Gradient norms of recurrent layers over several seeds, as `tasks.exploding` measures them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from core.analysis.gradient_flow import Powers, powers, state_gradients
from core.schema import of_kind
from core.spec.data import DigitSums
from core.spec.experiment import Experiment, replace
from core.train.ensemble import evaluate_each
from core.train.loop import finite_or_none
from core.train.members import starting_values
from tasks.cli.recipes import digit_sum
from tasks.run.ensembles import make_members, train_once
from tasks.run.worker import Worker

TENSORS = MappingProxyType({"W": "encoder.weight_ih_l0", "U": "encoder.weight_hh_l0", "b": "encoder.bias_ih_l0"})
"""Map the book's name of each tensor of the layer to seqtwin's."""
VANISHING_CELLS = ("srn", "gru", "lstm")
POWERS_CELL = "srn"
"""The cell whose dh_{t+k}/dh_t is a product of k factors U and tanh'."""


@dataclass(frozen=True)
class Training:
    """Hold one training of all seeds: norms before clipping and losses [steps, seeds], accuracies [seeds]."""

    norms: dict[str, np.ndarray]
    losses: np.ndarray
    dev: list[float]
    test: list[float]

    def tree(self) -> dict:
        return {
            "norms": {name: _numbers(values) for name, values in self.norms.items()},
            "loss": _numbers(self.losses),
            "best_dev_accuracy": self.dev,
            "test_accuracy": self.test,
        }


@dataclass(frozen=True)
class Vanishing:
    """Hold what remains of a gradient on its way back, by `untrained` or `trained`."""

    norms: dict[str, dict[str, np.ndarray]]
    """Norms of dL/dh_t and dL/dc_t [L, seeds], averaged over dev, by state (`lstm h`)."""
    powers: dict[str, Powers]
    """Powers of the SRN's U, with a row per seed."""


@dataclass(frozen=True)
class Measured:
    """Hold the results of the program."""

    trainings: dict[str, Training]
    """Trainings by way of clipping."""
    vanishing: Vanishing
    seconds: float


def _numbers(values: np.ndarray) -> list[list[float | None]]:
    return [[finite_or_none(value) for value in step] for step in values.tolist()]


def variants(base: Experiment) -> dict[str, Experiment]:
    """Return the ways of clipping that the program compares."""
    return {
        "not clipped": replace(base, {"training.clip_mode": "none"}),
        "clipped": replace(base, {"training.clip_mode": "tensor"}),
    }


def members(base: Experiment, seeds: list[int]):
    return make_members({f"seed{seed}": replace(base, {"training.seed": seed}) for seed in seeds})


def train(name: str, spec: Experiment, seeds: list[int], who: Worker) -> Training:
    """Train `spec` with every seed side by side."""
    own = members(spec, seeds)
    display, state, ensemble = train_once(name, own, who)
    ensemble.load(state.best, {}, 0)
    tests = evaluate_each(ensemble, own[0].experiment.model.head, [member.data.test for member in own])
    return Training(
        {short: np.stack([stats.norms[tensor] for stats in display.stats]) for short, tensor in TENSORS.items()},
        np.stack([stats.loss for stats in display.stats]),
        [own.best_score for own in state.members],
        [test.accuracy for test in tests],
    )


def vanishing(base: Experiment, seeds: list[int], epochs: int, who: dict[str, Worker]) -> Vanishing:
    """Measure every cell on `base`'s digit sums before and after `epochs` epochs with Adam."""
    found = Vanishing({"untrained": {}, "trained": {}}, {})
    length = of_kind(base.data, DigitSums).length
    for cell in VANISHING_CELLS:
        spec = digit_sum(
            **{
                "model.encoder.cell": cell,
                "data.length": length,
                "text.max_length": length,
                "training.epochs": epochs,
                "training.dtype": base.training.dtype,
            }
        )
        own = members(spec, seeds)
        _, state, _ = train_once(f"training {cell} for dL/dh_t", own, who[cell])
        for name, values in (("untrained", starting_values(own)), ("trained", state.best)):
            each = [_norms(member, values, number, who[cell]) for number, member in enumerate(own)]
            for part in each[0]:
                found.norms[name][f"{cell} {part}"] = np.stack([norms[part] for norms in each], axis=1)
            if cell == POWERS_CELL:
                found.powers[name] = powers(values[TENSORS["U"]], length - 1)
    return found


def _norms(member, values: dict[str, np.ndarray], number: int, who: Worker) -> dict[str, np.ndarray]:
    """Return the norms of one model: `h` [L] and, for an LSTM, `c` [L - 1]."""
    own = {name: array[number] for name, array in values.items()}
    dev = member.data.dev.batch(np.arange(len(member.data.dev)))
    found = state_gradients(who.backend, who.executor, member.experiment, own, dev)
    return {part: norms.mean(axis=0) for part, norms in found.items()}


def relative_to_last(states: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return norms relative to the cell's last |dL/dh_t|."""
    return {name: values / states[f"{name.partition(' ')[0]} h"][-1] for name, values in states.items()}
