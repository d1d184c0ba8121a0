"""A language model whose output layer shares the embedding's weight, with the loss inside, once in each framework."""

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn

CLASSES = ("TorchModel", "PaddleModel")
INPUTS = ("ids=int[4,6]:13", "targets=int[4,6]:13")
VOCABULARY, DIM = 13, 6


class TorchModel(tnn.Module):
    """ids and targets [B, L] -> (logits [B, L, 13], loss)."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.embed = tnn.Embedding(VOCABULARY, DIM)
        self.lstm = tnn.LSTM(DIM, DIM, batch_first=True)
        self.norm = tnn.LayerNorm(DIM)
        self.out = tnn.Linear(DIM, VOCABULARY, bias=False)
        self.out.weight = self.embed.weight
        self.loss = tnn.CrossEntropyLoss(ignore_index=0)

    def forward(self, ids, targets):
        h, state = self.lstm(self.embed(ids[:, :3]))
        if self.fault == "detach":
            # Truncated backpropagation, which the other side does not do.
            state = tuple(own.detach() for own in state)
        later, _ = self.lstm(self.embed(ids[:, 3:]), state)
        logits = self.out(self.norm(torch.cat([h, later], 1)))
        return logits, self.loss(logits.reshape(-1, VOCABULARY), targets.reshape(-1))


class PaddleModel(pnn.Layer):
    """ids and targets [B, L] -> (logits [B, L, 13], loss)."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.embed = pnn.Embedding(VOCABULARY, DIM)
        self.lstm = pnn.LSTM(DIM, DIM)
        self.norm = pnn.LayerNorm(DIM, epsilon=1e-12 if fault == "epsilon" else 1e-5)
        self.loss = pnn.CrossEntropyLoss(
            ignore_index=-100 if fault == "ignored" else 0,
            reduction="sum" if fault == "reduction" else "mean",
            label_smoothing=0.1 if fault == "smoothing" else 0.0,
        )
        if fault == "not_tied":
            self.out = pnn.Linear(DIM, VOCABULARY, bias_attr=False)

    def forward(self, ids, targets):
        h, state = self.lstm(self.embed(ids[:, :3]))
        if self.fault == "zero_state":
            state = tuple(paddle.zeros_like(own) for own in state)
        if self.fault == "swapped_state":
            state = state[::-1]
        later, _ = self.lstm(self.embed(ids[:, 3:]), state)
        h = self.norm(paddle.concat([h, later], axis=1))
        logits = self.out(h) if self.fault == "not_tied" else paddle.matmul(h, self.embed.weight, transpose_y=True)
        return logits, self.loss(logits.reshape([-1, VOCABULARY]), targets.reshape([-1]))


class PaddleTiedEmbedding(pnn.Layer):
    """The same model: one pass instead of two windows, cells in a loop, and other names."""

    def __init__(self, fault=""):
        super().__init__()
        self.rnn = pnn.RNN(pnn.LSTMCell(DIM, DIM))
        self.ln = pnn.LayerNorm(DIM)
        self.table = pnn.Embedding(VOCABULARY, DIM)

    def forward(self, ids, targets):
        h, _ = self.rnn(self.table(ids))
        logits = paddle.matmul(self.ln(h), self.table.weight.t())
        loss = pnn.functional.cross_entropy(
            logits.reshape([-1, VOCABULARY]), targets.reshape([-1]), ignore_index=0, reduction="mean"
        )
        return logits, loss
