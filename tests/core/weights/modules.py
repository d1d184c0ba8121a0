"""Classifiers made of each framework's own layers, as a user of that framework would write them; and their weights.

Nothing here comes from `backends/`: these are what a port is held against. A module has the attributes of `Names`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.batch import Batch
from core.models.model import Model


@dataclass(frozen=True)
class Names:
    """What the author of a class called its parts."""

    embedding: str = "emb"
    encoder: str = "rnn"
    hidden: str = "fc1"
    head: str = "fc2"


NAMES = Names()


class OwnTorch:
    """A classifier of torch's own layers, with packed sequences. `bias` False leaves out every bias."""

    suffix = ".pt"

    def __init__(self, model: Model, dtype: str, names: Names = NAMES, bias: bool = True):
        import torch

        nn, encoder, head = torch.nn, model.encoder, model.head
        layer = {"srn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[encoder.cell]
        rnn = layer(
            model.encoder_inputs,
            encoder.hidden_size,
            encoder.num_layers,
            batch_first=True,
            bidirectional=encoder.bidirectional,
            bias=bias,
        )
        self.torch, self.model, self.names = torch, model, names
        self.module = nn.Module()
        self.module.add_module(names.embedding, nn.Embedding(model.embedding.vocab_size, model.embedding.dim))
        self.module.add_module(names.encoder, rnn)
        if head.hidden_size:
            self.module.add_module(
                names.hidden, nn.Linear(head.pooled_size(encoder.output_size(0)), head.hidden_size, bias=bias)
            )
        features = head.hidden_size or head.pooled_size(encoder.output_size(0))
        self.module.add_module(names.head, nn.Linear(features, head.outputs, bias=bias))
        self.module.to(getattr(torch, dtype))

    def randomise(self, rng: np.random.Generator) -> None:
        with self.torch.no_grad():
            for parameter in self.module.parameters():
                parameter.copy_(self.torch.from_numpy(rng.normal(0.0, 0.35, tuple(parameter.shape))))
            getattr(self.module, self.names.embedding).weight[0] = 0.0

    def save(self, path: Path) -> None:
        self.torch.save(self.module.state_dict(), path)

    def load(self, path: Path) -> None:
        """Strictly: torch refuses keys that are missing or too many."""
        self.module.load_state_dict(self.torch.load(path, weights_only=True))

    def logits(self, batch: Batch) -> np.ndarray:
        torch, head = self.torch, self.model.head
        lengths = torch.from_numpy(batch.lengths)
        with torch.no_grad():
            x = getattr(self.module, self.names.embedding)(torch.from_numpy(batch.ids))
            if batch.ngrams is not None:
                x = torch.cat([x, torch.from_numpy(batch.ngrams.values).to(x.dtype)], dim=2)
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            outputs, last = getattr(self.module, self.names.encoder)(packed)
            outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
            last = last[0] if isinstance(last, tuple) else last
            real = (torch.arange(outputs.shape[1]) < lengths[:, None])[:, :, None]
            pools = {
                "last": lambda: torch.cat(list(last[-self.model.encoder.directions :]), dim=1),
                "mean": lambda: torch.where(real, outputs, 0.0).sum(dim=1) / lengths[:, None],
                "max": lambda: torch.where(real, outputs, -torch.inf).amax(dim=1),
            }
            pools["max_mean"] = lambda: torch.cat([pools["max"](), pools["mean"]()], dim=1)
            pools["last_max_mean"] = lambda: torch.cat([pools["last"](), pools["max_mean"]()], dim=1)
            pooled = pools[head.pooling]()
            if head.hidden_size:
                pooled = getattr(torch, head.activation)(getattr(self.module, self.names.hidden)(pooled))
            return getattr(self.module, self.names.head)(pooled).numpy()


class OwnPaddle:
    """A classifier of Paddle's own layers, with `sequence_length`."""

    suffix = ".pdparams"

    def __init__(self, model: Model, dtype: str, names: Names = NAMES, bias: bool = True):
        from backends.paddle.framework import paddle

        assert bias, "Paddle's recurrent layers crash without biases"
        nn, encoder, head = paddle.nn, model.encoder, model.head
        layer = {"srn": nn.SimpleRNN, "gru": nn.GRU, "lstm": nn.LSTM}[encoder.cell]
        direction = "bidirect" if encoder.bidirectional else "forward"
        self.paddle, self.model, self.names = paddle, model, names
        before = paddle.get_default_dtype()
        paddle.set_default_dtype(dtype)
        try:
            self.layer = nn.Layer()
            self.layer.add_sublayer(names.embedding, nn.Embedding(model.embedding.vocab_size, model.embedding.dim))
            rnn = layer(model.encoder_inputs, encoder.hidden_size, encoder.num_layers, direction=direction)
            self.layer.add_sublayer(names.encoder, rnn)
            if head.hidden_size:
                self.layer.add_sublayer(
                    names.hidden, nn.Linear(head.pooled_size(encoder.output_size(0)), head.hidden_size)
                )
            features = head.hidden_size or head.pooled_size(encoder.output_size(0))
            self.layer.add_sublayer(names.head, nn.Linear(features, head.outputs))
        finally:
            paddle.set_default_dtype(before)

    def randomise(self, rng: np.random.Generator) -> None:
        for name, parameter in self.layer.named_parameters():
            values = rng.normal(0.0, 0.35, tuple(parameter.shape))
            if name.startswith(self.names.embedding):
                values[0] = 0.0
            parameter.set_value(values.astype(str(parameter.dtype).removeprefix("paddle.")))

    def save(self, path: Path) -> None:
        self.paddle.save(self.layer.state_dict(), str(path))

    def load(self, path: Path) -> None:
        """Strictly: Paddle only says what is missing, too many, or of a wrong shape."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert self.layer.set_state_dict(self.paddle.load(str(path))) == ([], [])

    def logits(self, batch: Batch) -> np.ndarray:
        paddle, head = self.paddle, self.model.head
        lengths = paddle.to_tensor(batch.lengths)
        with paddle.no_grad():
            x = getattr(self.layer, self.names.embedding)(paddle.to_tensor(batch.ids))
            if batch.ngrams is not None:
                x = paddle.concat([x, paddle.to_tensor(batch.ngrams.values).astype(x.dtype)], axis=2)
            outputs, last = getattr(self.layer, self.names.encoder)(x, sequence_length=lengths)
            last = last[0] if isinstance(last, tuple) else last
            real = (paddle.arange(outputs.shape[1]) < lengths.unsqueeze(1)).unsqueeze(2)
            zero = paddle.zeros_like(outputs)
            pools = {
                "last": lambda: paddle.concat(list(last[-self.model.encoder.directions :]), axis=1),
                "mean": lambda: (
                    paddle.where(real, outputs, zero).sum(axis=1) / lengths.unsqueeze(1).astype(outputs.dtype)
                ),
                "max": lambda: paddle.where(real, outputs, zero - float("inf")).max(axis=1),
            }
            pools["max_mean"] = lambda: paddle.concat([pools["max"](), pools["mean"]()], axis=1)
            pools["last_max_mean"] = lambda: paddle.concat([pools["last"](), pools["max_mean"]()], axis=1)
            pooled = pools[head.pooling]()
            if head.hidden_size:
                act = getattr(paddle.nn.functional, head.activation)
                pooled = act(getattr(self.layer, self.names.hidden)(pooled))
            return getattr(self.layer, self.names.head)(pooled).numpy()


OWN = {"torch": OwnTorch, "paddle": OwnPaddle}
