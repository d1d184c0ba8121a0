"""Bindings of the compiled kernels (`backends/kernels`) to tensors and autograd."""

from __future__ import annotations

import numpy as np

from backends.kernels import training
from backends.kernels.convolution_training import ConvolutionPass, Placement
from backends.kernels.layer import Pass, by_direction
from backends.paddle.framework import paddle
from core.models.encoders.recurrent import LayerSizes


def recurrent_pass(sizes: LayerSizes, lengths, states, keep, arrays):
    """Run one layer; return its pass, and output, h_n and c_n as `RecurrentFunction`."""
    x, h_0, c_0, *weights = arrays
    run = Pass(sizes, x.shape, x.dtype == paddle.float64)
    output = empty(run.shapes["output"], x)
    h_n = empty(run.shapes["h_n"], x) if states else None
    c_n = empty(run.shapes["c_n"], x) if states and sizes.cell == "lstm" else None
    to = addresses((output, h_n, c_n))
    given = by_direction("", weights)
    run.forward(keep, lengths.contiguous(), x=x, h_0=h_0, c_0=c_0, output=to[0], h_n=to[1], c_n=to[2], **given)
    return run, output, h_n, c_n


class RecurrentFunction(paddle.autograd.PyLayer):
    """Autograd function of `layer.Pass`.

    Gates are stored once, so a graph runs backward only once.
    """

    @staticmethod
    def forward(ctx, sizes: LayerSizes, lengths, states, keep, *arrays):
        """Compute one layer; `arrays`: x, h_0 and c_0 or None, and the weights of every direction.

        `states`: return h_n and (LSTM) c_n as well; `keep`: store the gates for `backward`.
        """
        ctx.wanted = [array is not None and not array.stop_gradient for array in arrays]
        arrays = contiguous(arrays)
        ctx.run, *outputs = recurrent_pass(sizes, lengths, states, keep, arrays)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(outputs[0], *arrays)
        ctx.addresses = addresses((outputs[0], *arrays))
        return tuple(outputs)

    @staticmethod
    def backward(ctx, d_output, d_h_n=None, d_c_n=None):
        return recurrent_gradients(ctx, d_output, d_h_n, d_c_n)


def recurrent_gradients(ctx, d_output, d_h_n=None, d_c_n=None):
    """Return the gradients of the tensors among the arguments of `RecurrentFunction.forward`."""
    arrays = contiguous(ctx.saved_tensor())
    moved = {}
    if addresses(arrays) != ctx.addresses:  # by hooks, which pack saved tensors
        output, x, h_0, c_0, *weights = arrays
        moved = {"output": output, "x": x, "h_0": h_0, "c_0": c_0, **by_direction("", weights)}
    d_output, d_h_n, d_c_n = contiguous((d_output, d_h_n, d_c_n))
    wanted = zip(arrays[1:], ctx.wanted, strict=True)
    gradients = [empty_like(array) if want else None for array, want in wanted]
    d_x, d_h_0, d_c_0, *d_weights = addresses(gradients)
    ctx.run.backward(
        d_output=d_output,
        d_h_n=d_h_n,
        d_c_n=d_c_n,
        d_x=d_x,
        d_h_0=d_h_0,
        d_c_0=d_c_0,
        **by_direction("d_", d_weights),
        **moved,
    )
    # One gradient per input tensor, starting with the lengths; inputs that were None have no entry.
    return None, *(gradient for gradient, array in zip(gradients, arrays[1:], strict=True) if array is not None)


def empty(shape, like):
    """Return an uninitialized tensor with dtype and device of `like`.

    `paddle.empty` and `empty_like` call the same operator in three times its time; a small layer takes no longer.
    """
    return paddle._C_ops.empty(shape, like.dtype, like.place)


def empty_like(array):
    """Return an uninitialized tensor with the shape of a contiguous one."""
    return empty(array.shape, array)


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
