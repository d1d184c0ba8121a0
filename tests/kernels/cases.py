"""Problems for `backends.kernels`, how to run one, and what must come out, in plain NumPy. No framework is in it.

Beside the tests, the programs that they start use this: it imports no pytest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backends.kernels import layer
from core.models.encoders.recurrent import CELLS, GATES, WEIGHT_KINDS, LayerSizes, sigmoid

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One layer, one batch, and a loss: the sum of `output`, `h_n` and `c_n` times the `d_...` here."""

    cell: str
    x: np.ndarray  # [B, L, I]
    lengths: np.ndarray  # [B]
    weights: list[list[np.ndarray]]  # of each direction, in the order of WEIGHT_KINDS
    h_0: np.ndarray | None  # [D, B, H]
    c_0: np.ndarray | None
    d_output: np.ndarray | None  # [B, L, D * H]
    d_h_n: np.ndarray | None
    d_c_n: np.ndarray | None

    @property
    def hidden(self) -> int:
        return self.weights[0][1].shape[1]

    def rows(self, which) -> Case:
        """The same with some rows of the batch, or all of them in another order."""
        of_states = {
            name: None if (states := getattr(self, name)) is None else np.ascontiguousarray(states[:, which])
            for name in ("h_0", "c_0", "d_h_n", "d_c_n")
        }
        return replace(self, x=self.x[which], lengths=self.lengths[which], d_output=self.d_output[which], **of_states)


def random_case(
    rng, cell: str, dtype, directions: int, states: bool, batch: int, width: int, inputs: int, hidden: int
) -> Case:
    """Lengths from 1 to the width, both there where the batch has room. What lies past the lengths is NaN."""

    def draw(*shape, scale=0.4):
        return (rng.normal(size=shape) * scale).astype(dtype)

    lengths = rng.integers(1, width + 1, batch)
    lengths[rng.integers(batch)] = 1
    lengths[rng.integers(batch)] = width
    x, d_output = draw(batch, width, inputs), draw(batch, width, directions * hidden)
    past = np.arange(width) >= lengths[:, None]
    x[past], d_output[past] = np.nan, np.nan
    rows, tame = GATES[cell] * hidden, 0.8 / np.sqrt(hidden)  # larger ones would make rounding grow with every step
    weights = [[draw(rows, inputs), draw(rows, hidden, scale=tame), draw(rows), draw(rows)] for _ in range(directions)]
    h_0, c_0, d_h_n, d_c_n = (draw(directions, batch, hidden) if states else None for _ in range(4))
    if cell != "lstm":
        c_0 = d_c_n = None
    return Case(cell, x, lengths, weights, h_0, c_0, d_output, d_h_n, d_c_n)


def random_sizes(rng) -> dict[str, int]:
    """A small layer of any size, single rows, tokens, features and units among them."""
    inputs, hidden = (int(rng.choice([1, 2, 7, 8, 16, 17, 63, 64, 65, rng.integers(1, 71)])) for _ in range(2))
    return {
        "batch": int(rng.choice([1, rng.integers(1, 15)])),
        "width": int(rng.choice([1, rng.integers(1, 12)])),
        "inputs": inputs,
        "hidden": hidden,
    }


class NamedPass(layer.Pass):
    """The pass of one layer whose arrays are given by name, weights and their gradients with one per direction."""

    def __init__(self, sizes: LayerSizes, shape: list[int], float64: bool):
        super().__init__((sizes,), shape, float64)
        self._sizes = sizes

    def _flat(self, prefix: str, weights: dict[str, list]) -> list:
        sides = [weights.pop(prefix + kind, None) or [None] * self._sizes.directions for kind in WEIGHT_KINDS]
        assert not weights, weights
        return [weight for side in zip(*sides, strict=True) for weight in side]

    def forward(self, keep, lengths, x=None, h_0=None, c_0=None, output=None, h_n=None, c_n=None, **weights):
        super().forward(keep, lengths, [x, h_0, c_0, *self._flat("", weights)], [output, h_n, c_n])

    def backward(self, d_output=None, d_h_n=None, d_c_n=None, d_x=None, d_h_0=None, d_c_0=None, **d_weights):
        super().backward([d_output, d_h_n, d_c_n], [d_x, d_h_0, d_c_0, *self._flat("d_", d_weights)])


def start(case: Case, backward: bool = True) -> tuple[NamedPass, Arrays]:
    """Forward: the pass, and `output`, `h_n` and for an LSTM `c_n`. All results begin as NaN: each must be written."""
    dtype, directions = case.x.dtype, len(case.weights)
    batch, width, _ = case.x.shape
    found = {"output": np.full((batch, width, directions * case.hidden), np.nan, dtype)}
    for name in ("h_n", "c_n") if case.cell == "lstm" else ("h_n",):
        found[name] = np.full((directions, batch, case.hidden), np.nan, dtype)
    sizes = LayerSizes(case.cell, case.x.shape[-1], case.hidden, directions)
    one = NamedPass(sizes, list(case.x.shape), dtype == np.float64)
    given = {name: getattr(case, name) for name in ("lengths", "x", "h_0", "c_0")}
    for number, kind in enumerate(WEIGHT_KINDS):
        given[kind] = [weights[number] for weights in case.weights]
    one.forward(backward, **given, **found)
    return one, found


def run(case: Case, unwanted: tuple[str, ...] = ()) -> Arrays:
    """Forward and backward: `output`, ..., and the gradients `d_x`, `d_h_0`, `d_weight_ih_0` (direction 0), ..."""
    one, found = start(case)
    gradients = {
        f"d_{name}": np.full_like(array, np.nan)
        for name in ("x", "h_0", "c_0")
        if (array := getattr(case, name)) is not None
    }
    for d, weights in enumerate(case.weights):
        for kind, weight in zip(WEIGHT_KINDS, weights, strict=True):
            gradients[f"d_{kind}_{d}"] = np.full_like(weight, np.nan)
    gradients = {name: array for name, array in gradients.items() if name not in unwanted}
    wanted = {name: gradients.get(name) for name in ("d_x", "d_h_0", "d_c_0")}
    for kind in WEIGHT_KINDS:
        wanted[f"d_{kind}"] = [gradients.get(f"d_{kind}_{d}") for d in range(len(case.weights))]
    given = {name: getattr(case, name) for name in ("d_output", "d_h_n", "d_c_n")}
    one.backward(**given, **wanted)
    return {**found, **gradients}


def same_bits(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def run_side_by_side(cases: list[Case]) -> Arrays:
    """`run` of models with equal sizes in one pass: what it finds, stacked, [models, ...]."""
    first, count = cases[0], len(cases)
    stacked = {
        name: None if getattr(first, name) is None else np.stack([getattr(case, name) for case in cases])
        for name in ("x", "lengths", "h_0", "c_0", "d_output", "d_h_n", "d_c_n")
    }
    weights = [
        [np.stack([case.weights[d][number] for case in cases]) for number in range(len(WEIGHT_KINDS))]
        for d in range(len(first.weights))
    ]
    batch, width, inputs = first.x.shape
    shape = [count * batch, width, inputs]
    found = {"output": np.full((count, batch, width, len(weights) * first.hidden), np.nan, first.x.dtype)}
    for name in ("h_n", "c_n") if first.cell == "lstm" else ("h_n",):
        found[name] = np.full((count, len(weights), batch, first.hidden), np.nan, first.x.dtype)
    sizes = LayerSizes(first.cell, inputs, first.hidden, len(weights), count)
    one = NamedPass(sizes, shape, first.x.dtype == np.float64)
    # A pass has the sequences of all models in one axis.
    given = {"lengths": stacked["lengths"].reshape(-1), "x": stacked["x"].reshape(shape)}
    given |= {"h_0": stacked["h_0"], "c_0": stacked["c_0"]}
    output, d_output = (array.reshape(*shape[:2], -1) for array in (found["output"], stacked["d_output"]))
    for number, kind in enumerate(WEIGHT_KINDS):
        given[kind] = [own[number] for own in weights]
    one.forward(True, **given, **{**found, "output": output})
    gradients = {
        f"d_{name}": np.full_like(stacked[name], np.nan) for name in ("x", "h_0", "c_0") if stacked[name] is not None
    }
    d_weights = {
        kind: [np.full_like(own[number], np.nan) for own in weights] for number, kind in enumerate(WEIGHT_KINDS)
    }
    one.backward(
        d_output=d_output,
        **{name: stacked[name] for name in ("d_h_n", "d_c_n")},
        **{**gradients, "d_x": gradients["d_x"].reshape(shape)},
        **{f"d_{kind}": arrays for kind, arrays in d_weights.items()},
    )
    for kind, arrays in d_weights.items():
        gradients |= {f"d_{kind}_{d}": array for d, array in enumerate(arrays)}
    return {**found, **gradients}


def expected(case: Case) -> Arrays:
    """What `run` must find, in float64: each row by itself, forward by the steps of `core.models.model`, then back."""
    directions, (batch, width, _), hidden = len(case.weights), case.x.shape, case.hidden
    found = {"output": np.zeros((batch, width, directions * hidden)), "d_x": np.zeros(case.x.shape)}
    for name in ("h_n", "c_n", "d_h_0", "d_c_0"):
        found[name] = np.zeros((directions, batch, hidden))
    for d in range(directions):
        weights = [weight.astype(np.float64) for weight in case.weights[d]]
        d_weights = [np.zeros_like(weight) for weight in weights]
        columns = slice(d * hidden, (d + 1) * hidden)
        for b in range(batch):

            def state(name, d=d, b=b):
                states = getattr(case, name)
                return np.zeros(hidden) if states is None else states[d, b].astype(np.float64)

            walk = range(case.lengths[b]) if d == 0 else range(case.lengths[b] - 1, -1, -1)
            x = case.x[b].astype(np.float64)
            before, h, c = [], state("h_0"), state("c_0")
            for t in walk:
                before.append((h, c))
                h, c = CELLS[case.cell](x[t], h, c, weights)
                found["output"][b, t, columns] = h
            found["h_n"][d, b], found["c_n"][d, b] = h, c
            dh, dc = state("d_h_n"), state("d_c_n")
            for t, (h, c) in zip(reversed(walk), reversed(before), strict=True):
                if case.d_output is not None:
                    dh = dh + case.d_output[b, t, columns]
                d_x, dh, dc = STEPS_BACK[case.cell](x[t], h, c, dh, dc, weights, d_weights)
                found["d_x"][b, t] += d_x
            found["d_h_0"][d, b], found["d_c_0"][d, b] = dh, dc
        found |= {f"d_{kind}_{d}": array for kind, array in zip(WEIGHT_KINDS, d_weights, strict=True)}
    return found


# The gradient of one step, by hand: of what it read (x, h, c), from that of what it wrote (dh, dc); `d_weights` grow.


def _back_through_products(x, h, d_from_x, d_from_h, weights, d_weights):
    for total, share in zip(d_weights, (np.outer(d_from_x, x), np.outer(d_from_h, h), d_from_x, d_from_h), strict=True):
        total += share
    return d_from_x @ weights[0], d_from_h @ weights[1]


def _srn_back(x, h, c, dh, dc, weights, d_weights):
    after, _ = CELLS["srn"](x, h, c, weights)
    d_sum = dh * (1 - after**2)
    return *_back_through_products(x, h, d_sum, d_sum, weights, d_weights), dc


def _residual_srn_back(x, h, c, dh, dc, weights, d_weights):
    d_x, d_h, dc = _srn_back(x, h, c, dh, dc, weights, d_weights)
    return d_x, d_h + dh, dc


def _gru_back(x, h, c, dh, dc, weights, d_weights):
    from_x, from_h = weights[0] @ x + weights[2], weights[1] @ h + weights[3]
    (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(from_x, 3), np.split(from_h, 3)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    n = np.tanh(n_x + r * n_h)
    d_n = dh * (1 - z) * (1 - n**2)
    d_z = dh * (h - n) * z * (1 - z)
    d_r = d_n * n_h * r * (1 - r)
    d_from_x, d_from_h = np.concatenate([d_r, d_z, d_n]), np.concatenate([d_r, d_z, d_n * r])
    d_x, d_h = _back_through_products(x, h, d_from_x, d_from_h, weights, d_weights)
    return d_x, d_h + dh * z, dc


def _lstm_back(x, h, c, dh, dc, weights, d_weights):
    i, f, g, o = np.split(weights[0] @ x + weights[2] + weights[1] @ h + weights[3], 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    after = np.tanh(f * c + i * g)
    dc = dc + dh * o * (1 - after**2)
    d_sum = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * after * o * (1 - o)])
    return *_back_through_products(x, h, d_sum, d_sum, weights, d_weights), dc * f


STEPS_BACK = {"srn": _srn_back, "gru": _gru_back, "lstm": _lstm_back, "residual_srn": _residual_srn_back}
