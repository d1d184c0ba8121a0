"""A tagger with a conditional random field written by hand, once in each framework."""

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn

CLASSES = ("TorchTagger", "PaddleTagger")
INPUTS = ("ids=int[4,6]:14", "tags=int[4,6]:5", "lengths=lengths[4]:6")
TAGS = 5


class TorchTagger(tnn.Module):
    """ids and tags [B, L], lengths [B] -> {"emissions": [B, L, 5], "nll": [B]}."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.embed = tnn.Embedding(14, 6)
        self.rnn = tnn.GRU(6, 4, batch_first=True, bidirectional=True)
        self.emit = tnn.Linear(8, TAGS)
        self.transitions = tnn.Parameter(torch.randn(TAGS, TAGS))
        self.start = tnn.Parameter(torch.randn(TAGS))
        self.end = tnn.Parameter(torch.randn(TAGS))

    def forward(self, ids, tags, lengths):
        packed = tnn.utils.rnn.pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        h, _ = tnn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=ids.shape[1])
        emissions = self.emit(h)
        return {"emissions": emissions, "nll": self.partition(emissions, lengths) - self.gold(emissions, tags, lengths)}

    def partition(self, emissions, lengths):
        alpha = self.start + emissions[:, 0]
        for step in range(1, emissions.shape[1]):
            new = torch.logsumexp(alpha[:, :, None] + self.transitions[None], 1) + emissions[:, step]
            alpha = torch.where((step < lengths)[:, None], new, alpha)
        return torch.logsumexp(alpha + self.end, 1)

    def gold(self, emissions, tags, lengths):
        mask = (torch.arange(tags.shape[1])[None] < lengths[:, None]).to(emissions.dtype)
        score = (emissions.gather(2, tags[..., None]).squeeze(2) * mask).sum(1)
        score = score + (self.transitions[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]).sum(1)
        last = tags.gather(1, lengths[:, None] - 1).squeeze(1)
        return score + self.start[tags[:, 0]] + self.end[last]


class PaddleTagger(pnn.Layer):
    """ids and tags [B, L], lengths [B] -> {"emissions": [B, L, 5], "nll": [B]}."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.embed = pnn.Embedding(14, 6)
        self.rnn = pnn.GRU(6, 4, direction="bidirect")
        self.emit = pnn.Linear(8, TAGS)
        normal = pnn.initializer.Normal()
        self.transitions = self.create_parameter([TAGS, TAGS], default_initializer=normal)
        self.start = self.create_parameter([TAGS], default_initializer=normal)
        self.end = self.create_parameter([TAGS], default_initializer=normal)
        if fault == "frozen":
            self.transitions.stop_gradient = True

    def forward(self, ids, tags, lengths):
        h, _ = self.rnn(self.embed(ids), sequence_length=lengths)
        emissions = self.emit(h)
        gold = self.gold(emissions, tags, lengths)
        if self.fault == "detach":
            gold = gold.detach()
        nll = self.partition(emissions, lengths) - gold
        return {"emissions": emissions, "nll": nll / lengths.astype(nll.dtype) if self.fault == "per_token" else nll}

    def partition(self, emissions, lengths):
        alpha = self.start + emissions[:, 0]
        for step in range(1, emissions.shape[1]):
            scores = alpha.unsqueeze(2) + self.transitions.unsqueeze(0)
            new = paddle.logsumexp(scores, axis=2 if self.fault == "axis" else 1) + emissions[:, step]
            alpha = new if self.fault == "no_mask" else paddle.where((step < lengths).unsqueeze(1), new, alpha)
        return paddle.logsumexp(alpha if self.fault == "no_end" else alpha + self.end, axis=1)

    def gold(self, emissions, tags, lengths):
        mask = (paddle.arange(tags.shape[1]).unsqueeze(0) < lengths.unsqueeze(1)).astype(emissions.dtype)
        score = (paddle.take_along_axis(emissions, tags.unsqueeze(2), axis=2).squeeze(2) * mask).sum(axis=1)
        pairs = (tags[:, 1:], tags[:, :-1]) if self.fault == "transposed" else (tags[:, :-1], tags[:, 1:])
        steps = paddle.gather_nd(self.transitions, paddle.stack(pairs, axis=2))
        score = score + (steps * mask[:, 1:]).sum(axis=1)
        last = paddle.take_along_axis(tags, lengths.unsqueeze(1) - 1, axis=1).squeeze(1)
        return score + paddle.gather(self.start, tags[:, 0]) + paddle.gather(self.end, last)
