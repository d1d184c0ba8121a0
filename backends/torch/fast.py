"""Bindings of the compiled kernels (`backends/kernels`) to tensors and autograd."""

from __future__ import annotations

from dataclasses import dataclass

from backends.kernels import training
from backends.kernels.convolution_training import ConvolutionPass, Placement
from backends.kernels.layer import Pass
from backends.torch.framework import torch
from core.models.encoders.recurrent import LayerSizes


@dataclass(slots=True)
class Call:
    """What `RecurrentFunction` needs beside the differentiable tensors."""

    run: Pass
    lengths: torch.Tensor
    states: bool
    """Return h_n and (LSTM) c_n of the last layer as well."""
    inner: list[torch.Tensor]
    """Receives the outputs of all layers but the last, without gradients."""


def recurrent_layers(layers: tuple[LayerSizes, ...], lengths, states, arrays):
    """Compute a stack of layers, each on the output of the layer below, as one autograd function.

    `arrays`: x, h_0 and c_0 or None, and the weights by layer and direction; initial and final states, with `states`,
    are those of a single layer. Returns the outputs of all layers, of which only the last one has a gradient, and h_n
    and c_n or None.
    """
    x = arrays[0]
    call = Call(Pass(layers, x.shape, x.dtype == torch.float64), lengths.contiguous(), states, [])
    keep = torch.is_grad_enabled() and any(array is not None and array.requires_grad for array in arrays)
    if keep:
        output, h_n, c_n = RecurrentFunction.apply(call, *arrays)
    else:
        *call.inner[:], output, h_n, c_n = compute(call, contiguous(arrays), keep)
    return [*call.inner, output], h_n, c_n


def compute(call: Call, arrays, keep):
    """Run the forward pass; return the outputs of all layers, h_n and c_n; `keep`: store the gates for `backward`."""
    run, x = call.run, arrays[0]
    *shapes, h_n, c_n = run.layout.output_shapes
    outputs = empties(shapes, x)
    outputs += empties((h_n, c_n), x) if call.states else (None, None)
    run.forward(keep, call.lengths, arrays, addresses(outputs))
    return outputs


class RecurrentFunction(torch.autograd.Function):
    """Autograd function of `layer.Pass`: one for a stack of layers.

    Gates are stored once, so a graph runs backward only once.
    """

    @staticmethod
    def forward(ctx, call: Call, *arrays):
        """Compute the layers (`recurrent_layers`); return output, h_n and c_n of the last one."""
        arrays = contiguous(arrays)
        outputs = compute(call, arrays, True)
        call.inner.extend(outputs[:-3])
        ctx.run = call.run
        ctx.set_materialize_grads(False)
        saved = (*outputs[:-2], *arrays)
        ctx.save_for_backward(*saved)
        ctx.addresses = addresses(saved)
        return tuple(outputs[-3:])

    @staticmethod
    def backward(ctx, d_output, d_h_n=None, d_c_n=None):
        # `once_differentiable` takes its time, and is needed only if a graph of the gradients is wanted.
        way = checked_gradients if torch.is_grad_enabled() else recurrent_gradients
        return way(ctx, d_output, d_h_n, d_c_n)


def recurrent_gradients(ctx, *d_outputs):
    """Return the gradients of all arguments of `RecurrentFunction.forward`."""
    run, saved, wanted = ctx.run, contiguous(ctx.saved_tensors), ctx.needs_input_grad[1:]
    arrays = saved[-len(wanted) :]
    if addresses(saved) != ctx.addresses:  # by hooks, which pack saved tensors
        run.point(arrays, [*saved[: -len(wanted)], None, None])
    gradients = empties_like(arrays, wanted)
    run.backward(contiguous(d_outputs), addresses(gradients))
    return None, *gradients


checked_gradients = torch.autograd.function.once_differentiable(recurrent_gradients)


def empty(shape, like):
    """Return an uninitialized tensor with dtype and device of `like`."""
    return like.new_empty(shape)


def empty_like(array):
    """Return an uninitialized tensor with the shape of a contiguous one."""
    return torch.empty_like(array)


def empties(shapes, like):
    """Return uninitialized tensors with dtype and device of `like`, None for the shape None."""
    return [None if shape is None else like.new_empty(shape) for shape in shapes]


def empties_like(arrays, wanted):
    """Return uninitialized tensors with the shapes of contiguous ones of one dtype and device, None if not `wanted`."""
    return [torch.empty_like(array) if want else None for array, want in zip(arrays, wanted, strict=True)]


def contiguous(arrays):
    """Return C-contiguous tensors, the same where they are; None for None."""
    return [None if array is None else array.contiguous() for array in arrays]


def addresses(arrays):
    """Return the addresses of tensors, None for None."""
    return [None if array is None else array.data_ptr() for array in arrays]


class ConvolutionFunction(torch.autograd.Function):
    """Autograd function of `ConvolutionPass`."""

    @staticmethod
    def forward(ctx, placements: tuple[Placement, ...], lengths, values, x, *weights):
        """Return the maxima [B, C] of every kernel, and with `values` also those of all windows [B, L, C].

        `weights`: weight and bias of every kernel. The values have no gradient.
        """
        x, *weights = contiguous((x, *weights))
        run = ConvolutionPass(lengths.contiguous(), x, weights, placements)
        pooled = [empty(shape, x) for shape in run.pooled]
        found = [empty(shape, x) for shape in run.values] if values else []
        run.forward(x, weights, pooled, found)
        ctx.run = run
        ctx.save_for_backward(x, *weights)
        ctx.mark_non_differentiable(*found)
        return *pooled, *found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *d_found):
        arrays = ctx.saved_tensors
        d_pooled = contiguous(d_found[: len(ctx.run.pooled)])
        wanted = ctx.needs_input_grad[3:]
        gradients = [empty_like(array) if want else None for array, want in zip(arrays, wanted, strict=True)]
        x, *weights = arrays
        d_x, *d_weights = gradients
        ctx.run.backward(x, weights, d_pooled, d_x, d_weights)
        return None, None, None, *gradients


class PoolFunction(torch.autograd.Function):
    """Mean or max pooling of x [B, L, F] over real tokens to [B, F], or both to [B, 2F].

    The first of several equal maxima gets the gradient.
    """

    @staticmethod
    def forward(ctx, x, lengths, pooling):
        x, lengths = x.contiguous(), lengths.contiguous()
        pooled = empty(training.pooled_shape(x, pooling), x)
        positions = training.position_shape(x, pooling)
        position = None if positions is None else torch.empty(positions, dtype=torch.int32)
        training.pool(pooling, lengths, x, pooled, position)
        ctx.pooling, ctx.lengths, ctx.position, ctx.shape = pooling, lengths, position, x.shape
        return pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_pooled):
        d_pooled = d_pooled.contiguous()
        d_x = empty(ctx.shape, d_pooled)
        training.unpool(ctx.pooling, ctx.lengths, d_pooled, d_x, ctx.position)
        return d_x, None, None


class RowGradient:
    """The gradient of an embedding [V, E] by rows: other rows, and that of PAD, are zero."""

    def __init__(self, rows: training.Rows, vectors: torch.Tensor, columns: training.Columns | None = None):
        """Sum the gradients `vectors` [B, L, W] of looked-up vectors by their ids (`training.Rows.sums`)."""
        vectors = vectors.contiguous()
        self.rows = rows
        self.values = empty((len(rows.ids), columns.dim if columns else vectors.shape[-1]), vectors)
        """Gradients [U, E] of the U distinct ids."""
        rows.sums(vectors, self.values, columns)

    def dense(self) -> torch.Tensor:
        """Return the dense gradient [V, E]."""
        found = self.values.new_zeros(self.rows.vocab_size, self.values.shape[1])
        found[torch.from_numpy(self.rows.ids)] = self.values
        return found
