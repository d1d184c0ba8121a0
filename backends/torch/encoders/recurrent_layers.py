"""One recurrent layer, SRN, GRU or LSTM, in four equivalent implementations.

- `builtin`: the framework's layer, one call per direction over padded input
- `packed`: the framework's layer, one call, with the framework's handling of lengths
- `loop`: the textbook's steps in framework operations, with autograd
- `fast`: the compiled kernels for the CPU (`backends/kernels`), forward and backward

`layer(x, inputs, h_0, c_0, states)`: x [B, L, I], initial states [D, B, H] or None (zeros) for D directions ->
output [B, L, H * D], and if `states`, h_n and (LSTM) c_n [D, B, H], otherwise None. Lengths rule: states are not
updated at padding, outputs at padding are zero, and the reverse direction starts at the last real token.
"""

from __future__ import annotations

from backends.torch.fast import recurrent_layers
from backends.torch.framework import torch
from backends.torch.linear import empty, linear, stacked_shape
from backends.torch.runtime import Inputs
from core.models.encoders.recurrent import GATES, WEIGHT_KINDS, DirectionWeights, LayerSizes, direction_suffixes

nn, F = torch.nn, torch.nn.functional


BUILTIN = {"srn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def reorder(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Reorder the rows of a flattened x [B, L, D] by `index` [B * L], in the shape of x."""
    return x.reshape(-1, x.shape[-1]).index_select(0, index).reshape(x.shape)


# ---- builtin


def builtin_layer(sizes: LayerSizes, dtype: torch.dtype) -> nn.Module:
    """Create a unidirectional built-in layer."""
    return with_default_dtype(dtype, lambda: BUILTIN[sizes.cell](sizes.inputs, sizes.hidden, batch_first=True))


def with_default_dtype(dtype, make):
    """Call `make` with this default dtype."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return make()
    finally:
        torch.set_default_dtype(previous)


class BuiltinLayer(nn.Module):
    """A unidirectional built-in layer per direction over padded input.

    The reverse layer reads sequences reversed within their lengths, and its outputs are reversed back. This is exact,
    and on the CPU ten times faster than packed sequences.
    """

    def __init__(self, sizes: LayerSizes, dtype: torch.dtype):
        super().__init__()
        self.cell = sizes.cell
        self.directions = nn.ModuleList(builtin_layer(sizes, dtype) for _ in range(sizes.directions))

    def forward(self, x, inputs, h_0=None, c_0=None, states=False):
        sides, h_n, c_n = [], [], []
        for side, layer in enumerate(self.directions):
            read = x if side == 0 else reorder(x, inputs.reversal)
            start = None if h_0 is None else h_0[side : side + 1]
            if self.cell == "lstm" and start is not None:
                start = (start, c_0[side : side + 1])
            if states:
                output, h, c = self.with_states(layer, read, inputs, start)
                h_n.append(h)
                c_n.append(c)
            else:
                output, _ = layer(read, start)
            sides.append(output if side == 0 else reorder(output, inputs.reversal))
        output = torch.cat(sides, dim=-1) * inputs.mask
        if not states:
            return output, None, None
        return output, torch.cat(h_n), torch.cat(c_n) if self.cell == "lstm" else None

    def with_states(self, layer: nn.Module, x: torch.Tensor, inputs: Inputs, start):
        """Return output and final states, with one call per length.

        A call on padded input would continue past the length and does not return cell states of earlier steps.
        """
        lengths, rows, found = inputs.lengths, [], []
        for length in lengths.unique().tolist():
            index = (lengths == length).nonzero()[:, 0]
            mine = start
            if start is not None:
                mine = tuple(part[:, index] for part in start) if self.cell == "lstm" else start[:, index]
            output, last = layer(x[index, :length], mine)
            h, c = last if self.cell == "lstm" else (last, last)
            rows.append(index)
            found.append((F.pad(output, (0, 0, 0, x.shape[1] - length)), h, c))
        back = torch.cat(rows).argsort()
        outputs, h, c = zip(*found, strict=True)
        return torch.cat(outputs)[back], torch.cat(h, dim=1)[:, back], torch.cat(c, dim=1)[:, back]

    def weights(self) -> list[DirectionWeights]:
        """Return the parameters of every direction."""
        return [DirectionWeights(*(getattr(layer, f"{kind}_l0") for kind in WEIGHT_KINDS)) for layer in self.directions]


# ---- packed


class PackedLayer(nn.Module):
    """The built-in layer on packed sequences of real tokens, both directions in one call.

    `pack_padded_sequence` is avoided: it synchronizes to copy the indices, and its backward pass makes one copy per
    token. Two index operations with `Inputs.packing` give the same packed sequence.
    """

    def __init__(self, sizes: LayerSizes, dtype: torch.dtype):
        super().__init__()
        self.cell = sizes.cell
        self.suffixes = direction_suffixes(sizes.directions == 2)
        self.layer = with_default_dtype(
            dtype,
            lambda: BUILTIN[sizes.cell](
                sizes.inputs, sizes.hidden, batch_first=True, bidirectional=sizes.directions == 2
            ),
        )

    def forward(self, x, inputs, h_0=None, c_0=None, states=False):
        order, sizes, place = inputs.packing
        tokens = x.reshape(-1, x.shape[-1]).index_select(0, place)
        # With the order given, the framework reorders initial and final states accordingly.
        packed = nn.utils.rnn.PackedSequence(tokens, sizes, order if states or h_0 is not None else None)
        start = (h_0, c_0) if self.cell == "lstm" and h_0 is not None else h_0
        found, last = self.layer(packed, start)
        rows = found.data.new_zeros(x.shape[0] * x.shape[1], found.data.shape[-1])
        output = rows.index_copy(0, place, found.data).reshape(*x.shape[:2], -1)
        if not states:
            return output, None, None
        h_n, c_n = last if self.cell == "lstm" else (last, None)
        return output, h_n, c_n

    def weights(self) -> list[DirectionWeights]:
        """Return the parameters of every direction."""
        names = [[f"{kind}_l0{suffix}" for kind in WEIGHT_KINDS] for suffix in self.suffixes]
        return [DirectionWeights(*(getattr(self.layer, name) for name in own)) for own in names]


# ---- loop


def srn_step(x, h, c, weights: DirectionWeights):
    """Return h' = tanh(W x + b + U h + b)."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    return torch.tanh(linear(x, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh)), c


def residual_srn_step(x, h, c, weights: DirectionWeights):
    """Return h' = h + tanh(W x + b + U h + b)."""
    step, _ = srn_step(x, h, c, weights)
    return h + step, c


def lstm_step(x, h, c, weights: DirectionWeights):
    """Return h' = o tanh(c'), c' = f c + i g."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    gates = linear(x, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh)
    i, f, g, o = gates.chunk(4, -1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = f * c + i * g
    return o * torch.tanh(c), c


def gru_step(x, h, c, weights: DirectionWeights):
    """Return h' = (1 - z) n + z h, n = tanh(W_n x + b + r (U_n h + b))."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    r_x, z_x, n_x = linear(x, weight_ih, bias_ih).chunk(3, -1)
    r_h, z_h, n_h = linear(h, weight_hh, bias_hh).chunk(3, -1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n = torch.tanh(n_x + r * n_h)
    return (1.0 - z) * n + z * h, c


STEPS = {"srn": srn_step, "lstm": lstm_step, "gru": gru_step, "residual_srn": residual_srn_step}


class LoopLayer(nn.Module):
    """The textbook's loop over time steps in framework operations."""

    def __init__(self, sizes: LayerSizes, dtype: torch.dtype):
        super().__init__()
        self.sizes = sizes
        self.directions = nn.ModuleList(direction_weights(sizes, dtype) for _ in range(sizes.directions))

    def forward(self, x, inputs, h_0=None, c_0=None, states=False):
        real = (inputs.mask > 0).unbind(1)  # L times [B, 1]
        tokens = x.unbind(1)  # x[:, t] in a loop would make the backward pass quadratic in L
        step, sides, h_n, c_n = STEPS[self.sizes.cell], [], [], []
        for side, weights in enumerate(self.weights()):
            h = x.new_zeros(x.shape[0], self.sizes.hidden) if h_0 is None else h_0[side]
            c = torch.zeros_like(h) if c_0 is None else c_0[side]
            outputs = [None] * len(tokens)
            # The reverse direction iterates from the right; up to the last real token its state is unchanged.
            for t in range(len(tokens)) if side == 0 else reversed(range(len(tokens))):
                new_h, new_c = step(tokens[t], h, c, weights)
                h, c = torch.where(real[t], new_h, h), torch.where(real[t], new_c, c)
                outputs[t] = torch.where(real[t], new_h, torch.zeros_like(new_h))
            sides.append(torch.stack(outputs, dim=1))
            h_n.append(h)
            c_n.append(c)
        output = torch.cat(sides, dim=-1)
        if not states:
            return output, None, None
        return output, torch.stack(h_n), torch.stack(c_n) if self.sizes.cell == "lstm" else None

    def weights(self) -> list[DirectionWeights]:
        """Return the parameters of every direction."""
        return [DirectionWeights(*direction) for direction in self.directions]


def direction_weights(sizes: LayerSizes, dtype: torch.dtype) -> nn.ParameterList:
    """Create the parameters of one direction, in the order of `WEIGHT_KINDS`."""
    rows, inputs, hidden = GATES[sizes.cell] * sizes.hidden, sizes.inputs, sizes.hidden
    shapes = ((rows, inputs), (rows, hidden), (rows,), (rows,))
    return nn.ParameterList(empty(*stacked_shape(sizes.models, *shape), dtype=dtype) for shape in shapes)


# ---- fast


class FastLayer(LoopLayer):
    """The compiled kernels, forward and backward, with the parameters of the loop."""

    def __init__(self, sizes: LayerSizes, dtype: torch.dtype):
        super().__init__(sizes, dtype)
        self.sides = tuple(weights._parameters for weights in self.directions)
        """The parameters of every direction: iterating over a ParameterList takes longer than a small layer."""

    def forward(self, x, inputs, h_0=None, c_0=None, states=False):
        weights = [weight for side in self.sides for weight in side.values()]
        (output,), h_n, c_n = recurrent_layers((self.sizes,), inputs.lengths, states, (x, h_0, c_0, *weights))
        return output, h_n, c_n


def fast_stack(layers, x, inputs):
    """Return the outputs of several layers, each of which reads the output of the layer below.

    Only the last one has a gradient.
    """
    sizes = tuple(layer.sizes for layer in layers)
    weights = [weight for layer in layers for side in layer.sides for weight in side.values()]
    return recurrent_layers(sizes, inputs.lengths, False, (x, None, None, *weights))[0]


IMPLEMENTATIONS = {"builtin": BuiltinLayer, "packed": PackedLayer, "loop": LoopLayer, "fast": FastLayer}
"""Layer classes by implementation."""
STACKS = {"fast": fast_stack}
"""Functions that compute several layers in one call, by implementation."""
