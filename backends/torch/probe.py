"""Recurrent layers on fixed arrays, without a model, for parity checks and timings."""

from __future__ import annotations

import numpy as np

from backends.torch.dropout import no_dropout
from backends.torch.encoders.recurrent import RecurrentEncoder
from backends.torch.encoders.recurrent_layers import BUILTIN, with_default_dtype
from backends.torch.framework import torch
from backends.torch.runtime import Inputs, native_device, to_numpy, to_tensor
from core import spec
from core.batch import Batch
from core.engine.executor import Executor
from core.models.encoders.encoder import Block, Encoded

nn = torch.nn

NATIVE = ("padded",)
"""Additional implementations for timings only.

`padded`: the built-in layer without handling of lengths, so that the reverse direction starts at the padding.
"""


class NativeEncoder(nn.Module):
    """The implementation `padded`: all layers and directions in one call of the built-in layer."""

    def __init__(self, encoder: spec.RecurrentEncoder, inputs: int, dtype: torch.dtype, implementation: str):
        super().__init__()
        self.layer = with_default_dtype(
            dtype,
            lambda: BUILTIN[encoder.cell](
                inputs,
                encoder.hidden_size,
                num_layers=encoder.num_layers,
                bidirectional=encoder.bidirectional,
                batch_first=True,
            ),
        )

    def forward(self, x: torch.Tensor, inputs: Inputs, dropout) -> Encoded:
        return Encoded((Block(self.layer(x)[0], inputs.windows(1)),))

    def named(self) -> dict[str, nn.Parameter]:
        return {f"encoder.{name}": weight for name, weight in self.layer.named_parameters() if "_l" in name}


class LayerProbe:
    """See `core.engine.contract.LayerProbe`."""

    def __init__(
        self,
        encoder: spec.RecurrentEncoder,
        arrays: dict[str, np.ndarray],
        lengths: np.ndarray,
        executor: Executor,
    ) -> None:
        dtype, inputs = str(arrays["x"].dtype), arrays["x"].shape[-1]
        native = getattr(torch, dtype)
        kind = NativeEncoder if executor.implementation in NATIVE else RecurrentEncoder
        where = native_device(executor.device)
        self._encoder = kind(encoder, inputs, native, executor.implementation).to(where)
        weights = self._encoder.named()
        self.tensors = {name: to_tensor(array, where) for name, array in arrays.items() if name not in weights}
        for name, tensor in self.tensors.items():
            tensor.requires_grad_(not name.startswith("d_"))
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(to_tensor(arrays[name], where))
        self.tensors.update(weights)
        ids = np.zeros(arrays["x"].shape[:2], dtype=np.int64)
        self._inputs = Inputs(Batch(ids, lengths, {}), dtype, where)

    def forward(self) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {name: to_numpy(tensor) for name, tensor in self._forward().items() if tensor is not None}

    def gradients(self) -> dict[str, np.ndarray]:
        self.train()
        return {name: to_numpy(tensor.grad) for name, tensor in self.tensors.items() if not name.startswith("d_")}

    def infer(self) -> None:
        with torch.no_grad():
            self._forward()

    def train(self) -> None:
        for tensor in self.tensors.values():
            tensor.grad = None
        found, tensors = self._forward(), self.tensors
        names = [name for name in ("output", "h_n", "c_n") if f"d_{name}" in tensors]
        torch.autograd.backward([found[name] for name in names], [tensors[f"d_{name}"] for name in names])

    def _forward(self) -> dict[str, torch.Tensor]:
        tensors = self.tensors
        if "d_h_n" not in tensors and "h_0" not in tensors:
            return {"output": self._encoder(tensors["x"], self._inputs, no_dropout).blocks[0].values}
        start = tensors.get("h_0"), tensors.get("c_0")
        output, h_n, c_n = self._encoder.layers[0](tensors["x"], self._inputs, *start, states=True)
        return {"output": output, "h_n": h_n, "c_n": c_n}
