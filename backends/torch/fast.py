"""Bindings of the compiled kernels (`backends/kernels`) to tensors and autograd."""

from __future__ import annotations

from backends import kernels
from backends.kernels import training
from backends.torch.framework import torch
from core.models.encoders.recurrent import WEIGHT_KINDS, LayerSizes


class RecurrentFunction(torch.autograd.Function):
    """Autograd function of `kernels.Pass`.

    Gates are stored once, so a graph runs backward only once.
    """

    @staticmethod
    def forward(ctx, sizes: LayerSizes, lengths, states, keep, *arrays):
        """Compute one layer; `arrays`: x, h_0 and c_0 or None, and the weights of every direction.

        `states`: return h_n and (LSTM) c_n as well; `keep`: store the gates for `backward`.
        """
        arrays = [None if array is None else array.contiguous() for array in arrays]
        x, h_0, c_0, *weights = arrays
        batch, width, _ = x.shape
        hidden, directions = sizes.hidden, sizes.directions
        output = x.new_empty(batch, width, directions * hidden)
        h_n = x.new_empty(directions, batch, hidden) if states else None
        c_n = torch.empty_like(h_n) if states and sizes.cell == "lstm" else None
        run = kernels.Pass(sizes, list(x.shape), x.dtype == torch.float64)
        run.forward(
            int(lengths.sum()) if keep else None,
            lengths=address(lengths),
            x=address(x),
            h_0=address(h_0),
            c_0=address(c_0),
            output=address(output),
            h_n=address(h_n),
            c_n=address(c_n),
            **by_direction("", weights),
        )
        ctx.run, ctx.lengths = run, lengths
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output, *arrays)
        return output, h_n, c_n

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_output, d_h_n=None, d_c_n=None):
        output, *arrays = ctx.saved_tensors
        x, h_0, c_0, *weights = arrays
        given = [None if array is None else array.contiguous() for array in (d_output, d_h_n, d_c_n)]
        wanted = ctx.needs_input_grad[4:]
        gradients = [torch.empty_like(array) if want else None for array, want in zip(arrays, wanted, strict=True)]
        d_x, d_h_0, d_c_0, *d_weights = gradients
        ctx.run.backward(
            x=address(x),
            h_0=address(h_0),
            c_0=address(c_0),
            output=address(output),
            d_output=address(given[0]),
            d_h_n=address(given[1]),
            d_c_n=address(given[2]),
            d_x=address(d_x),
            d_h_0=address(d_h_0),
            d_c_0=address(d_c_0),
            **by_direction("", weights),
            **by_direction("d_", d_weights),
        )
        return None, None, None, None, *gradients


class PoolFunction(torch.autograd.Function):
    """Mean or max pooling of x [B, L, F] over real tokens to [B, F].

    The first of several equal maxima gets the gradient.
    """

    @staticmethod
    def forward(ctx, x, lengths, pooling):
        x = x.contiguous()
        pooled = x.new_empty(x.shape[0], x.shape[2])
        position = torch.empty(pooled.shape, dtype=torch.int32) if pooling == "max" else None
        ctx.found = {"lengths": lengths, "position": position}
        ctx.shape, ctx.float64 = list(x.shape), x.dtype == torch.float64
        tensors = {**ctx.found, "x": x, "pooled": pooled}
        training.pool(ctx.shape, ctx.float64, **{name: address(tensor) for name, tensor in tensors.items()})
        return pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_pooled):
        d_pooled = d_pooled.contiguous()
        d_x = d_pooled.new_empty(ctx.shape)
        tensors = {**ctx.found, "d_pooled": d_pooled, "d_x": d_x}
        training.unpool(ctx.shape, ctx.float64, **{name: address(tensor) for name, tensor in tensors.items()})
        return d_x, None, None


class RowGradient:
    """The gradient of an embedding [V, E] by rows: other rows, and that of PAD, are zero."""

    def __init__(self, ids: torch.Tensor, vectors: torch.Tensor, vocab_size: int):
        """Sum the gradients `vectors` [B, L, E] of looked-up vectors by their `ids` [B, L]."""
        ids, vectors = ids.contiguous(), vectors.contiguous()
        self.rows = training.Rows(address(ids), ids.numel(), vocab_size)
        self.values = vectors.new_empty(len(self.rows.ids), vectors.shape[-1])
        """Gradients [U, E] of the U distinct ids."""
        self.rows.sums(address(vectors), address(self.values), vectors.shape[-1], vectors.dtype == torch.float64)
        self.vocab_size = vocab_size

    def dense(self) -> torch.Tensor:
        """Return the dense gradient [V, E]."""
        found = self.values.new_zeros(self.vocab_size, self.values.shape[1])
        found[torch.from_numpy(self.rows.ids)] = self.values
        return found


def address(tensor: torch.Tensor | None) -> int | None:
    """Return the address of a tensor's data, None for None."""
    return None if tensor is None else tensor.data_ptr()


def by_direction(prefix: str, weights: list[torch.Tensor | None]) -> dict[str, list[int | None]]:
    """Return the addresses of the weights of every direction by the names of `kernels.Problem`."""
    count = len(WEIGHT_KINDS)
    return {
        prefix + kind: [address(tensor) for tensor in weights[place::count]] for place, kind in enumerate(WEIGHT_KINDS)
    }
