"""A bidirectional LSTM with additive attention over the tokens of each text, once in each framework."""

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CLASSES = ("TorchTagger", "PaddleTagger")
INPUTS = ("ids=int[5,7]:20", "lengths=lengths[5]:7")


class TorchTagger(tnn.Module):
    """BiLSTM and attention: ids [B, L], lengths [B] -> logits [B, 3]."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.embed = tnn.Embedding(20, 6)
        self.lstm = tnn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.project = tnn.Linear(10, 4)
        self.score = tnn.Linear(4, 1, bias=False)
        self.dropout = tnn.Dropout(0.3)
        self.classify = tnn.Linear(10, 3)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        if self.fault == "sorted":
            # Sorted by length as an older PyTorch wanted it, and never put back.
            lengths_sorted, order = lengths.sort(descending=True)
            packed = pack_padded_sequence(x[order], lengths_sorted.cpu(), batch_first=True)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1])
        scores = self.score(torch.tanh(self.project(h))).squeeze(-1)
        mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
        weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=1)
        pooled = (weights[..., None] * h).sum(1)
        return self.classify(self.dropout(pooled))


class TorchSorting(TorchTagger):
    """The same model, which sorts the texts by length around the LSTM and restores their order."""

    def forward(self, ids, lengths):
        x = self.embed(ids)
        descending, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(x[order], descending.cpu(), batch_first=True)
        h, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1])
        h = h[order.argsort()]
        scores = self.score(torch.tanh(self.project(h))).squeeze(-1)
        scores[torch.arange(ids.shape[1])[None] >= lengths[:, None]] = float("-inf")
        pooled = torch.einsum("bl,bld->bd", torch.softmax(scores, dim=1), h)
        return self.classify(self.dropout(pooled))


class PaddleTagger(pnn.Layer):
    """BiLSTM and attention: ids [B, L], lengths [B] -> logits [B, 3]."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.embed = pnn.Embedding(20, 6)
        self.lstm = pnn.LSTM(6, 5, direction="forward" if fault == "one_direction" else "bidirect")
        self.project = pnn.Linear(5 if fault == "one_direction" else 10, 4)
        self.score = pnn.Linear(4, 1, bias_attr=False)
        self.dropout = pnn.Dropout(
            0.5 if fault == "rate" else 0.3,
            mode="downscale_in_infer" if fault == "mode" else "upscale_in_train",
        )
        self.classify = pnn.Linear(5 if fault == "one_direction" else 10, 3)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        h, _ = self.lstm(x) if self.fault == "no_lengths" else self.lstm(x, sequence_length=lengths)
        hidden = self.project(h)
        hidden = pnn.functional.sigmoid(hidden) if self.fault == "activation" else paddle.tanh(hidden)
        scores = self.score(hidden).squeeze(-1)
        if self.fault != "no_mask":
            mask = paddle.arange(ids.shape[1]).unsqueeze(0) < lengths.unsqueeze(1)
            scores = paddle.where(mask, scores, paddle.full_like(scores, -1e30))
        weights = pnn.functional.softmax(scores, axis=0 if self.fault == "softmax_axis" else 1)
        pooled = (weights.unsqueeze(-1) * h).sum(1)
        return self.classify(self.dropout(pooled))


class PaddleCells(pnn.Layer):
    """The same model; cells in a loop over the steps stand in for the LSTM."""

    def __init__(self, fault=""):
        super().__init__()
        self.words = pnn.Embedding(20, 6)
        self.back = pnn.LSTMCell(6, 5)
        self.forth = pnn.LSTMCell(6, 5)
        self.attention = pnn.Sequential(pnn.Linear(10, 4), pnn.Tanh(), pnn.Linear(4, 1, bias_attr=False))
        self.top = pnn.Sequential(pnn.Dropout(0.3), pnn.Linear(10, 3))

    def unroll(self, cell, x, mask, steps):
        h = c = paddle.zeros([x.shape[0], 5], dtype=x.dtype)
        outputs = [None] * x.shape[1]
        for step in steps:
            _, (new_h, new_c) = cell(x[:, step], (h, c))
            keep = mask[:, step : step + 1]
            h, c = keep * new_h + (1 - keep) * h, keep * new_c + (1 - keep) * c
            outputs[step] = keep * h
        return paddle.stack(outputs, axis=1)

    def forward(self, ids, lengths):
        x = self.words(ids)
        valid = paddle.arange(ids.shape[1]).unsqueeze(0) < lengths.unsqueeze(1)
        mask, steps = valid.astype(x.dtype), range(ids.shape[1])
        h = paddle.concat(
            [self.unroll(self.forth, x, mask, steps), self.unroll(self.back, x, mask, reversed(steps))], axis=-1
        )
        scores = self.attention(h).squeeze(-1)
        scores = paddle.where(valid, scores, paddle.full_like(scores, -1e30))
        weights = pnn.functional.softmax(scores, axis=1)
        return self.top(paddle.einsum("bl,bld->bd", weights, h))
