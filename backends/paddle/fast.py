"""Bindings of the compiled kernels (`backends/kernels`) to tensors and autograd."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backends.kernels import training
from backends.kernels.convolution_training import ConvolutionPass, Placement
from backends.kernels.layer import Pass
from backends.paddle.framework import paddle
from core.models.encoders.recurrent import LayerSizes


@dataclass(slots=True)
class Call:
    """What `RecurrentFunction` needs beside the differentiable tensors.

    No tuple, in which Paddle would find the tensor.
    """

    run: Pass
    lengths: paddle.Tensor
    states: bool
    """Return h_n and (LSTM) c_n of the last layer as well."""
    inner: list[paddle.Tensor]
    """Receives the outputs of all layers but the last, without gradients."""


def recurrent_layers(layers: tuple[LayerSizes, ...], lengths, states, arrays):
    """Compute a stack of layers, each on the output of the layer below, as one autograd function.

    `arrays`: x, h_0 and c_0 or None, and the weights by layer and direction; initial and final states, with `states`,
    are those of a single layer. Returns the outputs of all layers, of which only the last one has a gradient, and h_n
    and c_n or None.
    """
    x = arrays[0]
    call = Call(Pass(layers, x.shape, x.dtype == paddle.float64), lengths.contiguous(), states, [])
    keep = paddle.is_grad_enabled() and any(array is not None and not array.stop_gradient for array in arrays)
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


class RecurrentFunction(paddle.autograd.PyLayer):
    """Autograd function of `layer.Pass`: one for a stack of layers.

    Gates are stored once, so a graph runs backward only once.
    """

    @staticmethod
    def forward(ctx, call: Call, *arrays):
        """Compute the layers (`recurrent_layers`); return output, h_n and c_n of the last one."""
        ctx.wanted = [array is not None and not array.stop_gradient for array in arrays]
        arrays = contiguous(arrays)
        outputs = compute(call, arrays, True)
        call.inner.extend(outputs[:-3])
        ctx.run = call.run
        ctx.set_materialize_grads(False)
        # Detached: an output that refers to its own function would never be freed without a backward pass.
        saved = (*outputs[:-3], outputs[-3].detach(), *arrays)
        ctx.save_for_backward(*saved)
        ctx.addresses = addresses(saved)
        return tuple(outputs[-3:])

    @staticmethod
    def backward(ctx, d_output, d_h_n=None, d_c_n=None):
        return recurrent_gradients(ctx, d_output, d_h_n, d_c_n)


def recurrent_gradients(ctx, *d_outputs):
    """Return the gradients of the tensors among the arguments of `RecurrentFunction.forward`."""
    run, saved, wanted = ctx.run, contiguous(ctx.saved_tensor()), ctx.wanted
    arrays = saved[-len(wanted) :]
    if addresses(saved) != ctx.addresses:  # by hooks, which pack saved tensors
        run.point(arrays, [*saved[: -len(wanted)], None, None])
    gradients = empties_like(arrays, wanted)
    run.backward(contiguous(d_outputs), addresses(gradients))
    # One gradient per input tensor; inputs that were None have no entry.
    return tuple(gradient for gradient, array in zip(gradients, arrays, strict=True) if array is not None)


def empty(shape, like):
    """Return an uninitialized tensor with dtype and device of `like`.

    `paddle.empty` and `empty_like` call the same operator in three times its time; a small layer takes no longer.
    """
    return paddle._C_ops.empty(shape, like.dtype, like.place)


def empty_like(array):
    """Return an uninitialized tensor with the shape of a contiguous one."""
    return empty(array.shape, array)


def empties(shapes, like):
    """Return uninitialized tensors with dtype and device of `like`, None for the shape None."""
    dtype, place = like.dtype, like.place  # takes as long as the operator
    return [None if shape is None else paddle._C_ops.empty(shape, dtype, place) for shape in shapes]


def empties_like(arrays, wanted):
    """Return uninitialized tensors with the shapes of contiguous ones of one dtype and device, None if not `wanted`."""
    shapes = [array.shape if want else None for array, want in zip(arrays, wanted, strict=True)]
    return empties(shapes, arrays[0])


def contiguous(arrays):
    """Return C-contiguous tensors, the same where they are; None for None."""
    return [None if array is None else array.contiguous() for array in arrays]


def addresses(arrays):
    """Return the addresses of tensors, None for None."""
    return [None if array is None else array.data_ptr() for array in arrays]


class ConvolutionFunction(paddle.autograd.PyLayer):
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
    def backward(ctx, *d_found):
        arrays = ctx.saved_tensor()
        d_pooled = contiguous(d_found[: len(ctx.run.pooled)])
        wanted = [not array.stop_gradient for array in arrays]
        gradients = [empty_like(array) if want else None for array, want in zip(arrays, wanted, strict=True)]
        x, *weights = arrays
        d_x, *d_weights = gradients
        ctx.run.backward(x, weights, d_pooled, d_x, d_weights)
        # One gradient per input tensor, starting with the lengths.
        return None, *gradients


class PoolFunction(paddle.autograd.PyLayer):
    """Mean or max pooling of x [B, L, F] over real tokens to [B, F], or both to [B, 2F].

    The first of several equal maxima gets the gradient.
    """

    @staticmethod
    def forward(ctx, x, lengths, pooling):
        x, lengths = x.contiguous(), lengths.contiguous()
        pooled = empty(training.pooled_shape(x, pooling), x)
        positions = training.position_shape(x, pooling)
        position = None if positions is None else paddle.empty(positions, "int32")
        training.pool(pooling, lengths, x, pooled, position)
        ctx.pooling, ctx.lengths, ctx.position, ctx.shape = pooling, lengths, position, x.shape
        return pooled

    @staticmethod
    def backward(ctx, d_pooled):
        d_pooled = d_pooled.contiguous()
        d_x = empty(ctx.shape, d_pooled)
        training.unpool(ctx.pooling, ctx.lengths, d_pooled, d_x, ctx.position)
        return d_x, None


class RowGradient:
    """The gradient of an embedding [V, E] by rows: other rows, and that of PAD, are zero."""

    def __init__(self, rows: training.Rows, vectors: paddle.Tensor, columns: training.Columns | None = None):
        """Sum the gradients `vectors` [B, L, W] of looked-up vectors by their ids (`training.Rows.sums`)."""
        vectors = vectors.contiguous()
        self.rows = rows
        self.values = empty((len(rows.ids), columns.dim if columns else vectors.shape[-1]), vectors)
        """Gradients [U, E] of the U distinct ids."""
        rows.sums(vectors, self.values, columns)

    def dense(self) -> paddle.Tensor:
        """Return the dense gradient [V, E]."""
        found = np.zeros((self.rows.vocab_size, self.values.shape[1]), self.values.numpy().dtype)
        found[self.rows.ids] = self.values.numpy()
        return paddle.to_tensor(found, place=self.values.place)
