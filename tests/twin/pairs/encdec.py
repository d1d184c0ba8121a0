"""A GRU encoder and decoder with dot attention and teacher forcing, once in each framework."""

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn

CLASSES = ("TorchTranslator", "PaddleTranslator")
INPUTS = ("source=int[5,5]:12", "target=int[5,4]:11")
"""As many texts as tokens, so that a wrong batch axis raises no error."""
HIDDEN = 6


class TorchTranslator(tnn.Module):
    """Encoder and decoder: source [B, S], target [B, T] -> (logits [B, T, 11], state [1, B, 6])."""

    def __init__(self, fault="", layers=1, dropout=0.0):
        super().__init__()
        self.fault = fault
        self.source_embed = tnn.Embedding(12, 5)
        self.encoder = tnn.GRU(5, HIDDEN, layers, dropout=dropout, batch_first=fault != "batch_axis")
        self.target_embed = tnn.Embedding(11, 4)
        self.decoder = tnn.GRU(4, HIDDEN, layers, dropout=dropout, batch_first=True)
        self.combine = tnn.Linear(2 * HIDDEN, HIDDEN, bias=False)
        self.out = tnn.Linear(HIDDEN, 11)

    def forward(self, source, target):
        memory, state = self.encoder(self.source_embed(source))
        if self.fault == "detach":
            memory, state = memory.detach(), state.detach()
        h, state = self.decoder(self.target_embed(target), state)
        scores = h @ memory.transpose(1, 2) / HIDDEN**0.5
        scores = scores.masked_fill((source == 0)[:, None], -1e9)
        context = scores.softmax(-1) @ memory
        return self.out(torch.tanh(self.combine(torch.cat([context, h], -1)))), state


class PaddleTranslator(pnn.Layer):
    """Encoder and decoder: source [B, S], target [B, T] -> (logits [B, T, 11], state [1, B, 6])."""

    def __init__(self, fault="", layers=1, dropout=0.0):
        super().__init__()
        self.fault = fault
        self.source_embed = pnn.Embedding(12, 5)
        self.encoder = pnn.GRU(5, HIDDEN, layers, dropout=0.0 if fault == "inner_rate" else dropout)
        self.target_embed = pnn.Embedding(11, 4)
        self.decoder = pnn.GRU(4, HIDDEN, layers, dropout=dropout)
        self.combine = pnn.Linear(2 * HIDDEN, HIDDEN, bias_attr=None if fault == "extra_bias" else False)
        self.out = pnn.Linear(HIDDEN, 11)

    def forward(self, source, target):
        memory, state = self.encoder(self.source_embed(source))
        if self.fault == "state":
            state = None
        if self.fault == "first_state":
            state = memory[:, 0].unsqueeze(0)
        if self.fault == "shift":
            target = paddle.concat([paddle.zeros_like(target[:, :1]), target[:, :-1]], axis=1)
        h, state = self.decoder(self.target_embed(target), state)
        scores = paddle.matmul(h, memory, transpose_y=True)
        if self.fault != "scale":
            scores = scores / HIDDEN**0.5
        if self.fault != "mask":
            scores = paddle.where((source == 0).unsqueeze(1), paddle.full_like(scores, -1e9), scores)
        context = paddle.matmul(pnn.functional.softmax(scores), memory)
        parts = [h, context] if self.fault == "concat" else [context, h]
        return self.out(paddle.tanh(self.combine(paddle.concat(parts, axis=-1)))), state


class TorchCells(tnn.Module):
    """The same model from cells, steps first, with other names; the decoder runs one step after another."""

    def __init__(self, fault=""):
        super().__init__()
        self.readout = tnn.Linear(HIDDEN, 11)
        self.mix = tnn.Linear(2 * HIDDEN, HIDDEN, bias=False)
        self.decode = tnn.GRUCell(4, HIDDEN)
        self.words = tnn.Embedding(11, 4)
        self.encode = tnn.GRU(5, HIDDEN)
        self.words_in = tnn.Embedding(12, 5)

    def forward(self, source, target):
        memory, state = self.encode(self.words_in(source.T))
        memory, h, logits = memory.permute(1, 0, 2), state[0], []
        for step in range(target.shape[1]):
            h = self.decode(self.words(target[:, step]), h)
            scores = torch.einsum("bd,bsd->bs", h, memory) / HIDDEN**0.5
            weights = torch.softmax(scores.masked_fill(source == 0, float("-inf")), -1)
            context = torch.einsum("bs,bsd->bd", weights, memory)
            logits.append(self.readout(self.mix(torch.cat([context, h], -1)).tanh()))
        return torch.stack(logits, 1), h[None]
